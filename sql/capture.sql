-- From a row to an event: the one trigger function, the attaching of tables to it, and the events that no row
-- change makes (emit and test).

CREATE FUNCTION webhooks.capture() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'capture';
COMMENT ON FUNCTION webhooks.capture() IS
    'Row trigger: appends the events that a row change makes. Its argument, a JSON object, is the record of the '
    'attachment: {"v": 1, "kind": …, "table": oid, "system": the cluster''s identifier, "columns": {field: {"name": …, '
    '"attnum": …, "category": the type''s}}}';

-- Whether row changes of a kind of table make events for anybody in this session now: the WHEN clauses of capture's
-- triggers. They have no argument, for Postgres parses a clause anew for each statement. Not parallel safe: the first call
-- of a session opens a subtransaction.
DO $$
DECLARE
    kind text;
BEGIN
    FOR kind IN SELECT webhooks.kinds() LOOP
        EXECUTE format('CREATE FUNCTION webhooks.%I() RETURNS boolean LANGUAGE c STABLE AS ''MODULE_PATHNAME'', ''wanted''',
                       'wanted_' || kind);
        EXECUTE format('COMMENT ON FUNCTION webhooks.%I() IS %L', 'wanted_' || kind,
                       'Whether anybody subscribes to what a change of ' || kind || ' makes: the WHEN clause of their triggers');
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
    RETURNS TABLE (suppliers oid, id smallint, name smallint, equals oid)
    LANGUAGE sql STABLE ROWS 1
    SET search_path = pg_catalog, pg_temp
AS $$
    -- The name's column is the one as which the suppliers' table was attached, else name. (Where the suppliers are
    -- partitioned there is a constraint for each partition, too.)
    SELECT fk.confrelid, fk.confkey[1], name.attnum, fk.conpfeqop[1]
      FROM pg_constraint fk
      JOIN pg_class suppliers ON suppliers.oid = fk.confrelid
      LEFT JOIN LATERAL webhooks.attached_fields(fk.confrelid, webhooks.attachment_of(fk.confrelid)) attached
             ON attached.field = 'name'
      JOIN pg_attribute name ON name.attrelid = fk.confrelid AND NOT name.attisdropped
       AND CASE WHEN attached.attnum IS NULL THEN name.attname = 'name' ELSE name.attnum = attached.attnum END
     WHERE fk.contype = 'f' AND fk.conrelid = imports AND fk.conkey = ARRAY[reference]
     ORDER BY suppliers.relispartition LIMIT 1
$$;
COMMENT ON FUNCTION webhooks.supplier_key(regclass, smallint) IS
    'Where the foreign key of a column of imports leads: the table, its id''s and its name''s column, how ids are compared';

CREATE FUNCTION webhooks.attach(target regclass, kind text = NULL, columns jsonb = '{}') RETURNS void
    LANGUAGE plpgsql  -- with the caller's rights: whoever may attach a table could trigger on it anyway
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    relation pg_class := (SELECT pg_class FROM pg_class WHERE oid = target);
    missing  text;
    unknown  text;
    attachment jsonb;
BEGIN
    IF target IS NULL THEN
        RAISE EXCEPTION 'no table was given'
            USING ERRCODE = 'null_value_not_allowed', HINT = 'webhooks.attach(''products'') attaches products.';
    ELSIF relation.relkind NOT IN ('r', 'p') THEN
        RAISE EXCEPTION '"%" is not a table', target
            USING ERRCODE = 'wrong_object_type', HINT = 'Events come from row changes: attach the tables behind it.';
    ELSIF NOT pg_has_role(relation.relowner, 'USAGE') THEN
        RAISE EXCEPTION 'must be owner of table %', target
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('Ask %s, its owner, to attach it.', pg_get_userbyid(relation.relowner));
    END IF;

    kind := coalesce(kind, relation.relname);
    IF NOT EXISTS (SELECT FROM webhooks.fields(kind)) THEN
        RAISE EXCEPTION 'unknown kind of table "%"', kind
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = format('The kinds are %s: webhooks.attach(''my_table'', kind => ''products'').',
                                (SELECT string_agg(known, ', ') FROM webhooks.kinds() known));
    END IF;
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
       AND NOT EXISTS (SELECT FROM pg_attribute
                        WHERE attrelid = target AND attname = coalesce(columns ->> field, field)
                          -- A virtual generated column (Postgres 18) has no value in a trigger.
                          AND attnum > 0 AND NOT attisdropped AND attgenerated <> 'v');
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'table % lacks columns that % need: %', target, kind, missing
            USING ERRCODE = 'undefined_column',
                  HINT = 'If they have other names, map them: columns => ''{"stock": "qty_on_hand"}''.';
    END IF;

    attachment := jsonb_build_object(
        'v', 1, 'kind', kind, 'table', target::oid::bigint,
        'system', (SELECT system_identifier FROM pg_control_system()),
        'columns', (SELECT jsonb_object_agg(field, jsonb_build_object('name', attname, 'attnum', attnum,
                                                                      'category', typcategory))
                      FROM webhooks.fields(kind)
                      JOIN pg_attribute ON attrelid = target AND attname = coalesce(columns ->> field, field)
                       AND attnum > 0 AND NOT attisdropped
                      JOIN pg_type ON pg_type.oid = atttypid));
    -- Postgres fires triggers in the order of their names. With this one ours comes before the application's: what those
    -- change is news after the change that they were fired for.
    EXECUTE format('CREATE OR REPLACE TRIGGER "!webhooks_capture" AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW '
                   'WHEN (webhooks.%I()) EXECUTE FUNCTION webhooks.capture(%L)', target, 'wanted_' || kind, attachment);
    -- So DROP EXTENSION takes the trigger along and asks for no CASCADE.
    EXECUTE format('ALTER TRIGGER "!webhooks_capture" ON %s DEPENDS ON EXTENSION pg_webhooks', target);
END
$$;
COMMENT ON FUNCTION webhooks.attach(regclass, text, jsonb) IS
    'Turns the row changes of a table into events; kind defaults to the table''s name, columns maps field names to '
    'other column names';

CREATE FUNCTION webhooks.detach(target regclass) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF webhooks.attachment_of(target) IS NULL THEN
        RAISE EXCEPTION 'table % is not attached', coalesce(target::text, 'NULL')
            USING ERRCODE = 'undefined_object', HINT = 'webhooks.attach() attaches a table.';
    END IF;
    EXECUTE format('DROP TRIGGER "!webhooks_capture" ON %s', target);
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
    'Appends a custom event in the caller''s transaction and returns its wh_… id';

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
