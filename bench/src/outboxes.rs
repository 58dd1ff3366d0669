//! What others do in a trigger, written plainly: (b) an outbox by hand, (c) an event trigger in the manner of Hasura.
//! Both are row-level PL/pgSQL.

/// (b): jsonb, HMAC by pgcrypto, NOTIFY. Table and function; the trigger comes and goes.
pub const OUTBOX: &str = "
    CREATE EXTENSION IF NOT EXISTS pgcrypto;
    CREATE TABLE outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body jsonb NOT NULL, signature text NOT NULL);
    CREATE FUNCTION outbox() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        body jsonb := jsonb_build_object('event', 'product.updated', 'timestamp', clock_timestamp(), 'data',
            jsonb_build_object('product_id', NEW.id, 'sku', NEW.sku, 'updated_by', session_user, 'changes',
                jsonb_build_object('price', jsonb_build_object('old', OLD.price, 'new', NEW.price))));
    BEGIN
        INSERT INTO outbox (body, signature) VALUES (body, encode(hmac(body::text, 'secret', 'sha256'), 'hex'));
        PERFORM pg_notify('outbox', '');
        RETURN NULL;
    END
    $$";

/// Puts (b) on `products`.
pub const ADD_OUTBOX: &str = "CREATE TRIGGER outbox AFTER UPDATE ON products FOR EACH ROW EXECUTE FUNCTION outbox()";

/// Takes (b) off again, and empties it.
pub const REMOVE_OUTBOX: &str = "DROP TRIGGER outbox ON products; TRUNCATE outbox";

/// (c): a uuid key, row_to_json of the old and the new row, three indexes. Neither signed nor notified: Hasura polls.
pub const EVENT_LOG: &str = "
    CREATE TABLE event_log (
        id            text PRIMARY KEY DEFAULT gen_random_uuid(),
        schema_name   text NOT NULL,
        table_name    text NOT NULL,
        trigger_name  text NOT NULL,
        payload       jsonb NOT NULL,
        delivered     boolean NOT NULL DEFAULT false,
        error         boolean NOT NULL DEFAULT false,
        tries         integer NOT NULL DEFAULT 0,
        created_at    timestamp DEFAULT now(),
        locked        timestamptz,
        next_retry_at timestamp,
        archived      boolean NOT NULL DEFAULT false
    );
    CREATE INDEX ON event_log (trigger_name);
    CREATE INDEX ON event_log (locked NULLS FIRST, next_retry_at NULLS FIRST, created_at)
        WHERE NOT delivered AND NOT error AND NOT archived;
    CREATE FUNCTION insert_event_log(schema_name text, table_name text, trigger_name text, op text, row_data json) RETURNS text
        LANGUAGE plpgsql AS $$
    DECLARE
        id      text := gen_random_uuid();
        payload json := json_build_object('op', op, 'data', row_data,
            'session_variables', nullif(current_setting('hasura.user', true), '')::json);
    BEGIN
        INSERT INTO event_log (id, schema_name, table_name, trigger_name, payload)
        VALUES (id, schema_name, table_name, trigger_name, payload);
        RETURN id;
    END
    $$;
    CREATE FUNCTION notify_event_log() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM insert_event_log(TG_TABLE_SCHEMA::text, TG_TABLE_NAME::text, 'product_updated', TG_OP,
            json_build_object('old', row_to_json(OLD), 'new', row_to_json(NEW)));
        RETURN NULL;
    END
    $$";

/// Puts (c) on `products`.
pub const ADD_EVENT_LOG: &str =
    "CREATE TRIGGER event_log AFTER UPDATE ON products FOR EACH ROW EXECUTE FUNCTION notify_event_log()";

/// Takes (c) off again, and empties it.
pub const REMOVE_EVENT_LOG: &str = "DROP TRIGGER event_log ON products; TRUNCATE event_log";

/// Takes ours off, and puts it on again.
pub const REMOVE_OURS: &str = "ALTER TABLE products DISABLE TRIGGER \"!webhooks_capture\"";
/// See [`REMOVE_OURS`].
pub const ADD_OURS: &str = "ALTER TABLE products ENABLE TRIGGER \"!webhooks_capture\"";
