-- What is attached, and what is wrong with it.

CREATE FUNCTION webhooks.attached_tables()
    RETURNS TABLE (target regclass, attachment jsonb, enabled "char", is_current boolean)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    -- A partition's trigger belongs to that of its table. In another cluster, or for another table, recorded numbers of
    -- columns mean nothing (attachment.rs).
    SELECT t.tgrelid, a.attachment, t.tgenabled::"char",
           (a.attachment ->> 'system')::bigint = (SELECT system_identifier FROM pg_control_system())
               AND (a.attachment ->> 'table')::oid = t.tgrelid
      FROM pg_trigger t
     CROSS JOIN LATERAL (SELECT webhooks.attachment_of(t.tgrelid)::jsonb) AS a (attachment)
     WHERE t.tgfoid = 'webhooks.capture()'::regprocedure AND t.tgname = '!webhooks_capture' AND t.tgparentid = 0
$$;
COMMENT ON FUNCTION webhooks.attached_tables() IS
    'The attached tables with their triggers'' arguments; is_current where those are of this cluster and this table';

CREATE FUNCTION webhooks.attachment_definition(target regclass) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH attached AS (
        SELECT a, a::jsonb AS attachment FROM webhooks.attachment_of(target) AS a
    ), renamed AS (
        SELECT jsonb_object_agg(f.field, c.attname) AS columns
          FROM attached CROSS JOIN LATERAL webhooks.attached_fields(target, a) f
          JOIN pg_attribute c ON c.attrelid = target AND c.attnum = f.attnum AND c.attname <> f.field
    ), held AS (
        SELECT c.attname::text, c.attnum, c.attnum IN (SELECT webhooks.left_out_columns(target, a)) AS is_left_out
          FROM attached, pg_attribute c
         WHERE c.attrelid = target AND c.attnum > 0 AND NOT c.attisdropped AND c.attgenerated <> 'v'
    )
    SELECT format('SELECT webhooks.attach(%s)', concat_ws(', ', quote_literal(target),
               'kind => ' || quote_literal(attachment ->> 'kind'),
               'columns => ' || quote_literal(renamed.columns),
               CASE WHEN attachment ? 'include' THEN 'include => ' || quote_literal(
                   ARRAY(SELECT attname FROM held WHERE NOT is_left_out ORDER BY attnum)) END,
               CASE WHEN NOT attachment ? 'include' THEN 'exclude => ' || quote_literal(
                   (SELECT array_agg(attname ORDER BY attnum) FROM held
                     WHERE is_left_out AND NOT webhooks.looks_like_secret(attname))) END))
      FROM attached, renamed
$$;
COMMENT ON FUNCTION webhooks.attachment_definition(regclass) IS
    'The call that attaches a table as it is attached now';

CREATE FUNCTION webhooks.attachment_problems()
    RETURNS TABLE (target regclass, about text, problem text, fix text)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH attached AS (
        SELECT *, attachment ->> 'kind' AS kind FROM webhooks.attached_tables()
    ), field AS (
        SELECT a.target, f.field, f.required, a.attachment -> 'columns' -> f.field ->> 'name' AS recorded,
               (SELECT attname::text FROM webhooks.attached_fields(a.target, a.attachment::text) now
                  JOIN pg_attribute c ON c.attrelid = a.target AND c.attnum = now.attnum
                 WHERE now.field = f.field) AS found
          FROM attached a CROSS JOIN LATERAL webhooks.fields(a.kind) f
    ), problem AS (
        SELECT target, 'trigger', 'its trigger is disabled',
               format('ALTER TABLE %s ENABLE TRIGGER "!webhooks_capture";', target)
          FROM attached WHERE enabled NOT IN ('O', 'A')
         UNION ALL
        SELECT target, 'column', format('no column for %s: events that need it are not made', string_agg(field, ', ')),
               format('SELECT webhooks.attach(%L, kind => %L, columns => …);', target, min(kind))
          FROM field JOIN attached USING (target) WHERE required AND found IS NULL GROUP BY target
         UNION ALL
        SELECT target, 'renamed',
               format('%s: attach it again before a dump or an upgrade of the server, which lose track of it',
                      string_agg(format('%s is column %I now', recorded, found), ', ')),
               webhooks.attachment_definition(target) || ';'
          FROM field WHERE recorded <> found GROUP BY target
         UNION ALL
        SELECT a.target, 'child', format('rows of its child tables make no events: %s',
                                         string_agg(i.inhrelid::regclass::text, ', ')),
               format('SELECT webhooks.attach(%L, kind => %L);', min(i.inhrelid::regclass::text), a.kind)
          FROM attached a
          JOIN pg_inherits i ON i.inhparent = a.target JOIN pg_class c ON c.oid = i.inhrelid AND NOT c.relispartition
         WHERE NOT EXISTS (SELECT FROM attached child WHERE child.target = i.inhrelid)
         GROUP BY a.target, a.kind
         UNION ALL
        SELECT a.target, 'partition', format('rows of partition %s make no events: its trigger is %s', p.relid,
                                             CASE WHEN t.oid IS NULL THEN 'missing' ELSE 'disabled' END),
               CASE WHEN t.oid IS NULL
                    THEN format('SELECT webhooks.detach(%L); %s;', a.target, webhooks.attachment_definition(a.target))
                    ELSE format('ALTER TABLE %s ENABLE TRIGGER "!webhooks_capture";', p.relid) END
          FROM attached a
          JOIN pg_class c ON c.oid = a.target AND c.relkind = 'p'
         CROSS JOIN LATERAL pg_partition_tree(a.target) p
          LEFT JOIN pg_trigger t ON t.tgrelid = p.relid AND t.tgfoid = 'webhooks.capture()'::regprocedure
                AND t.tgname = '!webhooks_capture'
         WHERE p.isleaf AND p.relid <> a.target AND (t.oid IS NULL OR t.tgenabled NOT IN ('O', 'A'))
         UNION ALL
        SELECT a.target, 'secret', format('changes shows columns that look like secrets, since include names them: %s',
                                          string_agg(c.attname, ', ' ORDER BY c.attnum)),
               'If nobody is to get them, attach the table without them in include.'
          FROM attached a
          JOIN pg_attribute c ON c.attrelid = a.target AND c.attnum > 0 AND NOT c.attisdropped
         WHERE a.attachment ? 'include' AND webhooks.looks_like_secret(c.attname)
           AND c.attnum NOT IN (SELECT webhooks.left_out_columns(a.target, a.attachment::text))
         GROUP BY a.target
         UNION ALL
        SELECT a.target, 'excluded', format('no column %s to leave out: was it renamed before a dump?', one ->> 'name'),
               format('SELECT webhooks.attach(%L, kind => %L, exclude => …);', a.target, a.kind)
          FROM attached a CROSS JOIN LATERAL jsonb_array_elements(
               coalesce(a.attachment -> 'exclude', '[]') || coalesce(a.attachment -> 'secrets', '[]')) one
         WHERE NOT a.is_current
           AND NOT EXISTS (SELECT FROM pg_attribute c WHERE c.attrelid = a.target AND c.attname = one ->> 'name')
    )
    SELECT * FROM problem ORDER BY 1, 2
$$;
COMMENT ON FUNCTION webhooks.attachment_problems() IS
    'What keeps rows of attached tables from being events, or sends what it perhaps should not; about says of what '
    'kind';

CREATE FUNCTION webhooks.attachments()
    RETURNS TABLE (target regclass, kind text, events text[], columns jsonb, left_out text[], definition text,
                   problem text)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a.target, a.attachment ->> 'kind', ARRAY(SELECT webhooks.events_of(a.attachment ->> 'kind')),
           (SELECT jsonb_object_agg(f.field, c.attname)
              FROM webhooks.attached_fields(a.target, a.attachment::text) f
              JOIN pg_attribute c ON c.attrelid = a.target AND c.attnum = f.attnum),
           ARRAY(SELECT c.attname::text FROM webhooks.left_out_columns(a.target, a.attachment::text) AS left_out
                   JOIN pg_attribute c ON c.attrelid = a.target AND c.attnum = left_out ORDER BY c.attnum),
           webhooks.attachment_definition(a.target),
           (SELECT string_agg(p.problem, '; ') FROM webhooks.attachment_problems() p WHERE p.target = a.target)
      FROM webhooks.attached_tables() a
     ORDER BY a.target::text
$$;
COMMENT ON FUNCTION webhooks.attachments() IS
    'The attached tables: the events that their rows make, which column is which field, what changes leaves out, the '
    'call that attaches the table so, and what is wrong with it';
