-- Who may do what. Tables are the owner's alone; functions are closed to PUBLIC and opened by role.

DO $$
BEGIN
    -- Roles belong to the cluster: another database's pg_webhooks may have made them already.
    IF to_regrole('webhooks_admin') IS NULL THEN
        CREATE ROLE webhooks_admin NOLOGIN;
    END IF;
    IF to_regrole('webhooks_api') IS NULL THEN
        CREATE ROLE webhooks_api NOLOGIN;
    END IF;
    IF to_regrole('webhooks_sidecar') IS NULL THEN
        CREATE ROLE webhooks_sidecar NOLOGIN;
    END IF;
END
$$;

-- Everything above is the owner's alone, whatever default privileges gave away as it was made. (Types are not secret,
-- and whoever builds a view on our functions needs USAGE on theirs: there PUBLIC keeps it, as with any type.)
SELECT webhooks.revoke_from_others('SCHEMA webhooks', nspowner, nspacl) FROM pg_namespace WHERE nspname = 'webhooks';
SELECT webhooks.revoke_from_others(
           CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || oid::regclass, relowner, relacl)
  FROM pg_class WHERE relnamespace = 'webhooks'::regnamespace AND relkind IN ('r', 'p', 'S');
SELECT webhooks.revoke_from_others(
           'FUNCTION ' || oid::regprocedure, proowner, coalesce(proacl, acldefault('f', proowner)))
  FROM pg_proc WHERE pronamespace = 'webhooks'::regnamespace;
SELECT webhooks.revoke_from_others('TYPE ' || oid::regtype, typowner, ARRAY(
           SELECT item FROM unnest(typacl) item WHERE NOT starts_with(item::text, '=')))
  FROM pg_type WHERE typnamespace = 'webhooks'::regnamespace AND typacl IS NOT NULL;

-- Every writer evaluates them; they tell no more than whether anybody subscribes.
DO $$
DECLARE
    kind text;
BEGIN
    FOR kind IN SELECT webhooks.kinds() LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION webhooks.%I() TO PUBLIC', 'wanted_' || kind);
    END LOOP;
END
$$;
GRANT USAGE ON SCHEMA webhooks TO webhooks_admin, webhooks_api, webhooks_sidecar;

-- What the REST API stands on. A token decides which of it a caller gets.
GRANT EXECUTE ON FUNCTION webhooks.authenticate(text) TO webhooks_admin, webhooks_api;

GRANT EXECUTE ON FUNCTION
    webhooks.register(text, text[], text, boolean, text, jsonb),
    webhooks.update(text, text, text[], text, boolean, text, jsonb),
    webhooks.rotate_secret(text, text, interval),
    webhooks.generate_secret(),
    webhooks.delete(text),
    webhooks.get(text),
    webhooks.list(),
    webhooks.test(text),
    webhooks.trigger(text, text),
    webhooks.event_types(),
    webhooks.logs(text, integer),
    webhooks.attempts(text, text, text, text, text, timestamptz, timestamptz, text, integer),
    webhooks.events(text, text, text, timestamptz, timestamptz, text, integer),
    webhooks.message(text),
    webhooks.deliveries(text),
    webhooks.signatures(text, text, bigint),
    webhooks.redeliver(text, text),
    webhooks.retry(text, text),
    webhooks.replay(text, timestamptz, timestamptz, boolean, boolean),
    webhooks.status(),
    webhooks.version(),
    webhooks.missed_events(),
    webhooks.invalid_settings(),
    webhooks.leases(),
    webhooks.health(text, integer),
    webhooks.activity(timestamptz, timestamptz, interval)
TO webhooks_admin, webhooks_api;

GRANT EXECUTE ON FUNCTION
    webhooks.create_token(text, text, timestamptz),
    webhooks.revoke_token(text),
    webhooks.tokens(),
    webhooks.attach(regclass, text, jsonb, text[], text[]),
    webhooks.recorded_columns(regclass, text[]),
    webhooks.check_attachable(regclass),
    webhooks.create_triggers(regclass, text, jsonb),
    webhooks.check_columns(regclass, text, jsonb),
    webhooks.check_told(regclass, text, jsonb, text[], text[]),
    webhooks.left_out_columns(regclass, text),
    webhooks.attached_fields(regclass, text),
    webhooks.looks_like_secret(text),
    webhooks.detach(regclass),
    webhooks.attachment_of(regclass),
    webhooks.attachments(),
    webhooks.attachment_problems(),
    webhooks.attachment_definition(regclass),
    webhooks.attached_tables(),
    webhooks.events_of(text),
    webhooks.capture(),
    webhooks.kinds(),
    webhooks.fields(text),
    webhooks.emit(text, jsonb),
    webhooks.sign(text, text),
    webhooks.verify(text, text, text),
    webhooks.set_shards(integer),
    webhooks.maintain(text)
TO webhooks_admin;

GRANT EXECUTE ON FUNCTION
    webhooks.join(text),
    webhooks.leave(text),
    webhooks.acquire(text, integer, bigint),
    webhooks.renew(integer, bigint, integer),
    webhooks.release(integer, bigint),
    webhooks.try_sleep(),
    webhooks.stop_sleeping(),
    webhooks.wait_for_commit(text, integer, integer),
    webhooks.fetch(integer, bigint, text, xid8[], integer[], integer[], integer[], integer[], xid8[], text, integer,
                   bigint),
    webhooks.news(integer, bigint, text),
    webhooks.cursors(integer),
    webhooks.fetch_due(integer, bigint, integer[], integer[], integer, integer[], xid8[], integer[], bigint),
    webhooks.report(integer, bigint, bigint, webhooks.cursor_row[], webhooks.result[]),
    webhooks.endpoint_labels(integer[]),
    webhooks.maintain(text)
TO webhooks_sidecar;
