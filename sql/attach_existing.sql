-- At CREATE EXTENSION: the tables of the specification that are there already.

CREATE FUNCTION webhooks.setting_before(name text) RETURNS text
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'setting_before_wrapper';

DO $$
DECLARE
    kind     text;
    relation regclass;
BEGIN
    -- CREATE EXTENSION runs its script with warnings alone and its own search_path: let the notices through as the
    -- session would, and look for the tables where the session looks, temporary ones last. What is called from there
    -- on is qualified, for users may have put functions of these names into that path.
    PERFORM pg_catalog.set_config('client_min_messages', webhooks.setting_before('client_min_messages'), true);
    PERFORM pg_catalog.set_config(
        'search_path', pg_catalog.concat_ws(', ', nullif(webhooks.setting_before('search_path'), ''), 'pg_temp'), true);
    FOR kind IN SELECT webhooks.kinds() LOOP
        relation := pg_catalog.to_regclass(pg_catalog.quote_ident(kind));
        IF relation IS NULL THEN
            RAISE NOTICE 'no table % in the search path', kind
                USING HINT = pg_catalog.format('SELECT webhooks.attach(%L) attaches it once it exists; '
                                               'for a table of another name, add kind => %L.', kind, kind);
            CONTINUE;
        END IF;
        BEGIN
            PERFORM webhooks.attach(relation, kind);
            RAISE NOTICE 'attached %: its row changes are events now', relation;
        EXCEPTION WHEN undefined_column OR wrong_object_type OR insufficient_privilege OR duplicate_object
                    OR lock_not_available THEN
            RAISE NOTICE 'did not attach %: %', relation, SQLERRM
                USING HINT = pg_catalog.format('SELECT webhooks.attach(%L, columns => …) attaches it later.', relation);
        END;
    END LOOP;
END
$$;

DROP FUNCTION webhooks.setting_before(text);
