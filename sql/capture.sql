-- From a row to an event: the one trigger function, the attaching of tables to it, and the events that no row
-- change makes (emit and test).

CREATE FUNCTION webhooks.capture() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'capture';
COMMENT ON FUNCTION webhooks.capture() IS
    'Row trigger: appends the events that a row change makes; at a TRUNCATE, counts as missed those that a delete '
    'makes. '
    'Its argument, a JSON object, is the record of the '
    'attachment: {"v": 1, "kind": …, "table": oid, "system": the cluster''s identifier, "columns": {field: {"name": …, '
    '"attnum": …, "category": the type''s}}, "include", "exclude", "secrets": [columns like these]}';

-- Whether row changes of a kind of table make events for anybody in this session now: the WHEN clauses of capture's
-- triggers. They have no argument, for Postgres parses a clause anew for each statement. Not parallel safe: the first
-- call of a session opens a subtransaction.
DO $$
DECLARE
    kind text;
BEGIN
    FOR kind IN SELECT webhooks.kinds() LOOP
        EXECUTE format('CREATE FUNCTION webhooks.%I() RETURNS boolean LANGUAGE c STABLE '
                       'AS ''MODULE_PATHNAME'', ''wanted''',
                       'wanted_' || kind);
        EXECUTE format('COMMENT ON FUNCTION webhooks.%I() IS %L', 'wanted_' || kind,
                       'Whether anybody subscribes to what a change of ' || kind
                           || ' makes: the WHEN clause of their triggers');
    END LOOP;
END
$$;

CREATE FUNCTION webhooks.attachment_of(target regclass) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    -- A trigger's arguments end with a zero byte each. (encode() would escape what is not ASCII.)
    SELECT convert_from(btrim(tgargs, decode('00', 'hex')), 'UTF8') FROM pg_trigger
     WHERE tgrelid = target AND tgfoid = 'webhooks.capture()'::regprocedure AND tgname = '!webhooks_capture'
$$;
COMMENT ON FUNCTION webhooks.attachment_of(regclass) IS
    'The argument of an attached table''s trigger; NULL where the table is not attached';

CREATE FUNCTION webhooks.supplier_key(imports regclass, reference smallint)
    RETURNS TABLE (suppliers oid, name smallint, own smallint[], referenced smallint[], equals oid[])
    LANGUAGE sql STABLE ROWS 1
    SET search_path = pg_catalog, pg_temp
AS $$
    -- The name's column is the one as which the suppliers' table was attached, else name. A key of this column alone
    -- comes before one of several. (Where the suppliers are partitioned there is a constraint for each partition, too.
    -- A key with PERIOD, from 18 on, may lead to several rows with different names: it counts for none.)
    SELECT fk.confrelid, name.attnum, fk.conkey, fk.confkey, fk.conpfeqop
      FROM pg_constraint fk
      JOIN pg_class suppliers ON suppliers.oid = fk.confrelid
      LEFT JOIN LATERAL webhooks.attached_fields(fk.confrelid, webhooks.attachment_of(fk.confrelid)) attached
             ON attached.field = 'name'
      JOIN pg_attribute name ON name.attrelid = fk.confrelid AND NOT name.attisdropped
       AND CASE WHEN attached.attnum IS NULL THEN name.attname = 'name' ELSE name.attnum = attached.attnum END
     WHERE fk.contype = 'f' AND fk.conrelid = imports AND reference = ANY (fk.conkey)
       AND (to_jsonb(fk) ->> 'conperiod')::boolean IS NOT TRUE
     ORDER BY cardinality(fk.conkey), suppliers.relispartition LIMIT 1
$$;
COMMENT ON FUNCTION webhooks.supplier_key(regclass, smallint) IS
    'Where the foreign key of a column of imports leads: the table, its name''s column, the key''s columns on both '
    'sides, and how they are compared';

CREATE FUNCTION webhooks.recorded_columns(target regclass, names text[]) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_agg(jsonb_build_object('name', attname, 'attnum', attnum, 'category', typcategory) ORDER BY attnum)
      FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
     WHERE attrelid = target AND attname = ANY (names) AND attnum > 0 AND NOT attisdropped AND attgenerated <> 'v'
$$;
COMMENT ON FUNCTION webhooks.recorded_columns(regclass, text[]) IS
    'Columns as a trigger''s argument holds them: so they are found when they have been renamed';

CREATE FUNCTION webhooks.check_columns(target regclass, kind text, columns jsonb) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    missing text;
    unknown text;
    virtual text;
BEGIN
    IF jsonb_typeof(columns) IS DISTINCT FROM 'object'
       OR EXISTS (SELECT FROM jsonb_each(columns) AS pair WHERE jsonb_typeof(pair.value) <> 'string') THEN
        RAISE EXCEPTION 'columns must be a JSON object of field names to column names, not %',
                        coalesce(columns::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'For example columns => ''{"stock": "qty_on_hand"}''.';
    END IF;
    SELECT string_agg(quote_ident(key), ', ' ORDER BY key) INTO unknown
      FROM jsonb_object_keys(columns) AS key
     WHERE key NOT IN (SELECT field FROM webhooks.fields(kind));
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION 'columns names fields that % do not have: %', kind, unknown
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Its fields are ' || (SELECT string_agg(field, ', ') FROM webhooks.fields(kind)) || '.';
    END IF;

    -- A field that columns names must be there, whether it is required or not.
    SELECT string_agg(quote_ident(coalesce(columns ->> field, field)), ', ') INTO missing
      FROM webhooks.fields(kind)
     WHERE (required OR columns ? field)
       AND webhooks.recorded_columns(target, ARRAY[coalesce(columns ->> field, field)]) IS NULL;
    IF missing IS NOT NULL THEN
        -- Virtual generated columns (Postgres 18) are computed when they are read: a trigger's row does not have them.
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO virtual
          FROM webhooks.fields(kind)
          JOIN pg_attribute ON attrelid = target AND attname = coalesce(columns ->> field, field)
           AND attgenerated = 'v';
        RAISE EXCEPTION 'table % lacks columns that % need: %', target, kind, missing
            USING ERRCODE = 'undefined_column',
                  HINT = coalesce(virtual || ': virtual generated columns have no value in a trigger: make them STORED',
                                  'If they have other names, map them: columns => ''{"stock": "qty_on_hand"}''.');
    END IF;
END
$$;
COMMENT ON FUNCTION webhooks.check_columns(regclass, text, jsonb) IS
    'Raises an error unless a table has the columns of a kind, by the names that columns gives them';

CREATE FUNCTION webhooks.check_told(target regclass, kind text, columns jsonb, include text[], exclude text[])
    RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    named   text := CASE WHEN include IS NULL THEN 'exclude' ELSE 'include' END;
    unknown text;
    fields  text;
BEGIN
    IF include IS NOT NULL AND exclude IS NOT NULL THEN
        RAISE EXCEPTION 'include and exclude were both given'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'include lists all columns that changes may show; exclude those that it does not.';
    END IF;
    SELECT string_agg(coalesce(quote_ident(name), 'NULL'), ', ') INTO unknown
      FROM unnest(coalesce(include, exclude)) AS name
     WHERE webhooks.recorded_columns(target, ARRAY[name]) IS NULL;
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION 'table % lacks columns that % names: %', target, named, unknown
            USING ERRCODE = 'undefined_column', HINT = 'Give the names of the table''s own columns.';
    END IF;
    SELECT string_agg(quote_ident(name), ', ') INTO fields FROM unnest(exclude) AS name
     WHERE name IN (SELECT coalesce(columns ->> field, field) FROM webhooks.fields(kind));
    IF fields IS NOT NULL THEN
        RAISE EXCEPTION 'exclude names columns that the events of % are made of: %', kind, fields
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Those columns are in the messages themselves. exclude keeps others out of changes.';
    END IF;
END
$$;
COMMENT ON FUNCTION webhooks.check_told(regclass, text, jsonb, text[], text[]) IS
    'Raises an error unless a table''s changes can be told with these columns alone, or without these';

CREATE FUNCTION webhooks.check_attachable(target regclass) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    relation pg_class := (SELECT pg_class FROM pg_class WHERE oid = target);
    what     text;
    hint     text;
    other    regclass;
BEGIN
    SELECT r.what, r.hint INTO what, hint FROM (VALUES
        (target IS NULL, NULL, NULL),
        (relation.relkind = 'v', 'a view, not a table', 'Events come from row changes: attach the tables behind it.'),
        (relation.relkind = 'm', 'a materialized view, not a table',
         'Events come from row changes: attach the tables behind it.'),
        (relation.relkind = 'f', 'a foreign table',
         'Its rows also change elsewhere: install pg_webhooks there, and attach the table where its rows are.'),
        (relation.relkind NOT IN ('r', 'p'), 'not a table', 'Give the name of a table.'),
        (relation.relnamespace = 'webhooks'::regnamespace, 'a table of pg_webhooks itself',
         'Events of its own are no row changes: webhooks.logs() and webhooks.attempts() show what was delivered.'),
        (target::oid < 16384, 'a table of Postgres itself', 'It fires no triggers there: attach one of your own.'),
        (relation.relpersistence = 't', 'a temporary table', 'It is gone with its session: attach an ordinary table.')
        ) r (holds, what, hint)
     WHERE r.holds LIMIT 1;
    IF target IS NULL THEN
        RAISE EXCEPTION 'no table was given'
            USING ERRCODE = 'null_value_not_allowed', HINT = 'webhooks.attach(''products'') attaches products.';
    ELSIF what IS NOT NULL THEN
        RAISE EXCEPTION '% cannot be attached: it is %', target, what USING ERRCODE = 'wrong_object_type', HINT = hint;
    ELSIF NOT pg_has_role(relation.relowner, 'USAGE') THEN
        RAISE EXCEPTION 'must be owner of table %', target
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('Ask %s, its owner, to attach it.', pg_get_userbyid(relation.relowner));
    END IF;

    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = target AND tgname IN ('!webhooks_capture', '!webhooks_truncate')
                                        AND tgfoid <> 'webhooks.capture()'::regprocedure) THEN
        RAISE EXCEPTION 'table % has a trigger of another''s called "!webhooks_capture" or "!webhooks_truncate"', target
            USING ERRCODE = 'duplicate_object', HINT = 'pg_webhooks needs these names: ALTER TRIGGER … RENAME TO ….';
    END IF;
    SELECT relid INTO other FROM pg_partition_ancestors(target) AS relid
     WHERE relid <> target AND webhooks.attachment_of(relid) IS NOT NULL LIMIT 1;
    IF other IS NOT NULL THEN
        RAISE EXCEPTION 'table % is a partition of %, which is attached', target, other
            USING ERRCODE = 'wrong_object_type',
                  HINT = 'Its rows make events already. To attach partitions one by one, detach that table first.';
    END IF;
    SELECT t.tgrelid INTO other FROM pg_partition_tree(target) p
      JOIN pg_trigger t ON t.tgrelid = p.relid AND t.tgname = '!webhooks_capture' AND t.tgparentid = 0
     WHERE p.relid <> target LIMIT 1;
    IF other IS NOT NULL THEN
        RAISE EXCEPTION '%, a partition of table %, is attached by itself', other, target
            USING ERRCODE = 'duplicate_object',
                  HINT = format('SELECT webhooks.detach(%L); then attach the table.', other);
    END IF;
END
$$;
COMMENT ON FUNCTION webhooks.check_attachable(regclass) IS
    'Raises an error unless a relation is a table whose row changes can become events, and the caller''s';

CREATE FUNCTION webhooks.create_triggers(target regclass, kind text, attachment jsonb) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    -- Writers queue up behind a lock that is waited for.
    SET lock_timeout = '3s'
AS $$
BEGIN
    -- Postgres fires triggers in the order of their names. With this one ours comes before the application's: what
    -- those change is news after the change that they were fired for.
    EXECUTE format('CREATE OR REPLACE TRIGGER "!webhooks_capture" AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW '
                   'WHEN (webhooks.%I()) EXECUTE FUNCTION webhooks.capture(%L)', target, 'wanted_' || kind, attachment);
    -- TRUNCATE tells of no rows: it is counted as missed, once.
    EXECUTE format('CREATE OR REPLACE TRIGGER "!webhooks_truncate" AFTER TRUNCATE ON %s FOR EACH STATEMENT '
                   'WHEN (webhooks.%I()) EXECUTE FUNCTION webhooks.capture(%L)', target, 'wanted_' || kind, attachment);
    -- So DROP EXTENSION takes the triggers along and asks for no CASCADE.
    EXECUTE format('ALTER TRIGGER "!webhooks_capture" ON %s DEPENDS ON EXTENSION pg_webhooks', target);
    EXECUTE format('ALTER TRIGGER "!webhooks_truncate" ON %s DEPENDS ON EXTENSION pg_webhooks', target);
EXCEPTION WHEN lock_not_available THEN
    RAISE EXCEPTION 'could not attach table % within 3 seconds: others are using it', target
        USING ERRCODE = 'lock_not_available',
              HINT = format('It waits for all transactions that have written to the table. Try again, or see who they '
                            'are: SELECT pid FROM pg_locks WHERE relation = %L::regclass;', target);
END
$$;
COMMENT ON FUNCTION webhooks.create_triggers(regclass, text, jsonb) IS
    'Makes the triggers of an attached table, or makes them anew';

CREATE FUNCTION webhooks.attach(target regclass, kind text = NULL, columns jsonb = '{}', include text[] = NULL,
                                exclude text[] = NULL) RETURNS void
    LANGUAGE plpgsql  -- with the caller's rights: whoever may attach a table could trigger on it anyway
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    children   text;
    secrets    text[];
    attachment jsonb;
BEGIN
    PERFORM webhooks.check_attachable(target);
    kind := coalesce(kind, (SELECT relname FROM pg_class WHERE oid = target));
    IF NOT EXISTS (SELECT FROM webhooks.fields(kind)) THEN
        RAISE EXCEPTION 'unknown kind of table "%"', kind
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = format('The kinds are %s: webhooks.attach(''my_table'', kind => ''products'').',
                                (SELECT string_agg(known, ', ') FROM webhooks.kinds() known));
    END IF;
    PERFORM webhooks.check_columns(target, kind, columns);
    PERFORM webhooks.check_told(target, kind, columns, include, exclude);

    attachment := jsonb_strip_nulls(jsonb_build_object(
        'v', 1, 'kind', kind, 'table', target::oid::bigint,
        'system', (SELECT system_identifier FROM pg_control_system()),
        'columns', (SELECT jsonb_object_agg(field, recorded -> 0)
                      FROM webhooks.fields(kind),
                           webhooks.recorded_columns(target, ARRAY[coalesce(columns ->> field, field)]) AS recorded
                     WHERE recorded IS NOT NULL),
        'include', CASE WHEN include IS NOT NULL THEN coalesce(webhooks.recorded_columns(target, include), '[]') END,
        'exclude', webhooks.recorded_columns(target, exclude)));
    IF include IS NULL THEN
        secrets := ARRAY(SELECT attname::text FROM webhooks.left_out_columns(target, attachment::text) AS left_out
                           JOIN pg_attribute ON attrelid = target AND attnum = left_out
                          WHERE attname <> ALL (coalesce(exclude, '{}')) ORDER BY attnum);
        IF cardinality(secrets) > 0 THEN
            attachment := attachment || jsonb_build_object('secrets', webhooks.recorded_columns(target, secrets));
            RAISE NOTICE 'left out of changes, for they look like secrets: %', array_to_string(secrets, ', ')
                USING HINT = 'With include => … you list the columns that are sent yourself.';
        END IF;
    END IF;

    PERFORM webhooks.create_triggers(target, kind, attachment);
    SELECT string_agg(inhrelid::regclass::text, ', ') INTO children
      FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid AND NOT relispartition
     WHERE inhparent = target AND webhooks.attachment_of(inhrelid) IS NULL;
    IF children IS NOT NULL THEN
        RAISE WARNING 'rows of the child tables of % make no events: %', target, children
            USING HINT = format('Postgres fires no trigger of a parent for them. Attach each: SELECT '
                                'webhooks.attach(…, kind => %L);', kind);
    END IF;
END
$$;
COMMENT ON FUNCTION webhooks.attach(regclass, text, jsonb, text[], text[]) IS
    'Turns the row changes of a table into events; kind defaults to the table''s name, columns maps field names to '
    'other column names; changes shows the columns of include alone, or all but those of exclude and those whose names '
    'look like secrets';

CREATE FUNCTION webhooks.detach(target regclass) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    attached regclass;
BEGIN
    IF webhooks.attachment_of(target) IS NULL THEN
        RAISE EXCEPTION 'table % is not attached', coalesce(target::text, 'NULL')
            USING ERRCODE = 'undefined_object', HINT = 'webhooks.attach() attaches a table.';
    END IF;
    SELECT relid INTO attached FROM pg_partition_ancestors(target) AS relid
     WHERE relid <> target AND webhooks.attachment_of(relid) IS NOT NULL LIMIT 1;
    IF attached IS NOT NULL THEN
        RAISE EXCEPTION 'table % is attached as a partition of %', target, attached
            USING ERRCODE = 'wrong_object_type', HINT = format('SELECT webhooks.detach(%L) ends it for all.', attached);
    END IF;
    EXECUTE format('DROP TRIGGER "!webhooks_capture" ON %s', target);
    EXECUTE format('DROP TRIGGER IF EXISTS "!webhooks_truncate" ON %s', target);
END
$$;
COMMENT ON FUNCTION webhooks.detach(regclass) IS 'Stops capturing a table''s row changes';

CREATE FUNCTION webhooks.append_custom(event text, data text) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'append_custom_wrapper';
COMMENT ON FUNCTION webhooks.append_custom(text, text) IS 'Appends a custom event; data is the text of a JSON object';

CREATE FUNCTION webhooks.emit(event text, data jsonb) RETURNS text
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$ SELECT webhooks.append_custom(event, data::text) $$;
COMMENT ON FUNCTION webhooks.emit(text, jsonb) IS
    'Appends a custom event in the caller''s transaction and returns its wh_… id; NULL where nobody subscribes to it, '
    'or pg_webhooks.enabled is off';

CREATE FUNCTION webhooks.append_sample(event text, endpoint integer) RETURNS text
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'append_sample_wrapper';
COMMENT ON FUNCTION webhooks.append_sample(text, integer) IS 'Appends the sample of a built-in event for one endpoint';

CREATE FUNCTION webhooks.trigger(endpoint_id text, event text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target integer := webhooks.endpoint_key(endpoint_id);
BEGIN
    IF NOT (SELECT active FROM webhooks.endpoint WHERE key = target) THEN
        RAISE EXCEPTION 'webhook % is disabled', endpoint_id
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = format('SELECT webhooks.update(%L, active => true) enables it.', endpoint_id);
    ELSIF NOT EXISTS (SELECT FROM webhooks.event_types() known WHERE known.event = trigger.event) THEN
        RAISE EXCEPTION 'there is no sample of event "%"', coalesce(event, 'NULL')
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'There are samples of '
                      || (SELECT string_agg(known.event, ', ') FROM webhooks.event_types() known) || '.';
    END IF;
    RETURN webhooks.append_sample(event, target);
END
$$;
COMMENT ON FUNCTION webhooks.trigger(text, text) IS
    'Queues a realistic sample of a built-in event for one webhook, subscribed or not, and returns its wh_… id';

CREATE FUNCTION webhooks.test(endpoint_id text) RETURNS text
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$ SELECT webhooks.trigger(endpoint_id, 'webhook.test') $$;
COMMENT ON FUNCTION webhooks.test(text) IS 'Queues webhook.test for a webhook and returns its wh_… id';
