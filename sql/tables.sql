-- What the extension remembers: who wants what (endpoint), what happened (event, append-only), how far the
-- sidecar has read (cursor, append-only), what waits for another attempt (pending, the one small mutable
-- table), and what was tried (attempt, append-only).

-- The script runs as a superuser with schema webhooks in its path: whoever could create a function there beforehand
-- could have one called in the place of Postgres' own, where its arguments fit better.
SET LOCAL search_path = pg_catalog, pg_temp;

DO $$
BEGIN
    IF getdatabaseencoding() <> 'UTF8' THEN
        RAISE EXCEPTION 'pg_webhooks needs a database with encoding UTF8, not %', getdatabaseencoding()
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'Messages are JSON, and JSON is UTF-8: CREATE DATABASE … ENCODING ''UTF8''.';
    END IF;
END
$$;

-- CREATE EXTENSION has made the schema, or found one of its name. Its owner could drop what is in it, and whoever may
-- create in it could plant a table where a day's partition is looked for. (A superuser's schema will do: pg_dump
-- makes it before the extension. One that this transaction has made has the privileges that are given by default;
-- grants.sql takes them back.)
DO $$
DECLARE
    reason text := (
        SELECT coalesce(
            (SELECT 'it belongs to ' || oid::regrole FROM pg_roles WHERE oid = n.nspowner AND NOT rolsuper),
            (SELECT string_agg(CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, ', ')
                    || ' may create objects in it'
               FROM aclexplode(n.nspacl) WHERE age(n.xmin) > 0 AND privilege_type = 'CREATE' AND grantee <> n.nspowner),
            (SELECT 'it holds ' || min(pg_describe_object(classid, objid, 0))
               FROM pg_depend
              WHERE refclassid = 'pg_namespace'::regclass AND refobjid = n.oid AND deptype = 'n'
                AND classid <> 'pg_extension'::regclass))
          FROM pg_namespace n WHERE n.nspname = 'webhooks');
BEGIN
    IF reason IS NOT NULL THEN
        RAISE EXCEPTION 'schema webhooks is not free for pg_webhooks: %', reason
            USING ERRCODE = 'duplicate_schema',
                  HINT = 'pg_webhooks needs that name: ALTER SCHEMA webhooks RENAME TO …, '
                         'then CREATE EXTENSION pg_webhooks.';
    END IF;
END
$$;
COMMENT ON SCHEMA webhooks IS 'Webhooks from row changes: the pg_webhooks extension';

-- First of all, because DROP EXTENSION locks what belongs to it in this order. The lock of this table is the one that
-- a sleeping sidecar holds on to, and until it has it DROP must not hold any that the sidecar wants meanwhile: that
-- is a deadlock.
CREATE TABLE webhooks.wakeup ();
COMMENT ON TABLE webhooks.wakeup IS
    'Holds no rows: its lock says whether a sidecar sleeps (ARCHITECTURE.md, "Wake-up")';

CREATE TYPE webhooks.outcome AS ENUM ('delivered', 'retry', 'rejected', 'gone', 'exhausted', 'unreadable');
COMMENT ON TYPE webhooks.outcome IS
    'What an attempt led to: success, a later retry, a final refusal (4xx), 410 Gone, the last retry spent; or that there '
    'was nothing to send, as the message''s bytes are no text';

CREATE TABLE webhooks.endpoint (
    key             integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id              text NOT NULL UNIQUE CHECK (id ~ '^ep_[0-9a-z]+$'),
    url             text NOT NULL,
    events          text[] NOT NULL,
    secret          text,
    secret_version  integer NOT NULL DEFAULT 1,
    active          boolean NOT NULL DEFAULT true,
    description     text,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    disabled_at     timestamptz,
    disabled_by     webhooks.outcome,
    disabled_reason text,
    secret_set_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    previous_secret text,
    previous_until  timestamptz
);
COMMENT ON TABLE webhooks.endpoint IS 'A registered webhook: where to send which events, signed with what';
COMMENT ON COLUMN webhooks.endpoint.key IS 'What event, pending and attempt rows hold instead of the id, in four bytes';
COMMENT ON COLUMN webhooks.endpoint.secret_version IS
    'Counts changes of the secret, so that a signature made with an earlier one is recognised and made again';
COMMENT ON COLUMN webhooks.endpoint.secret_set_at IS
    'When secret was last set: what was signed after that can be signed again with the same result';
COMMENT ON COLUMN webhooks.endpoint.previous_secret IS
    'After a rotation, signs beside secret in the Standard Webhooks header until previous_until';
COMMENT ON COLUMN webhooks.endpoint.disabled_at IS 'When active last became false; disabled_reason says why';
COMMENT ON COLUMN webhooks.endpoint.disabled_by IS
    'What an attempt led to that disabled it, gone or exhausted; NULL where somebody did';

CREATE TABLE webhooks.event (
    occurred_at     timestamptz NOT NULL,
    xid             xid8 NOT NULL,
    seq             integer NOT NULL,
    webhook_id      text NOT NULL,
    name            text NOT NULL,
    body            text NOT NULL,
    endpoints       integer[] NOT NULL,
    secret_versions integer[] NOT NULL,
    signatures      bytea[] NOT NULL
) PARTITION BY RANGE (occurred_at);
CREATE INDEX event_position ON webhooks.event (xid, seq);
COMMENT ON TABLE webhooks.event IS
    'One row per message, appended in the writer''s transaction and never changed; the capture code relies on the '
    'order of the columns';
COMMENT ON COLUMN webhooks.event.xid IS
    'The top-level transaction that wrote it; (xid, seq) is the event''s position in the log';
COMMENT ON COLUMN webhooks.event.body IS 'The exact bytes to send; text, because jsonb would reorder and reformat them';
COMMENT ON COLUMN webhooks.event.endpoints IS
    'Keys of the endpoints that subscribed when it happened, disabled ones included';
COMMENT ON COLUMN webhooks.event.secret_versions IS
    'For each of endpoints, the secret_version its signature was made with';
COMMENT ON COLUMN webhooks.event.signatures IS
    'For each of endpoints, HMAC-SHA256 of body, or NULL where the endpoint has no secret';

CREATE TABLE webhooks.pending (
    endpoint    integer NOT NULL,
    xid         xid8 NOT NULL,
    seq         integer NOT NULL,
    occurred_at timestamptz NOT NULL,
    due_at      timestamptz NOT NULL,
    retry_count integer NOT NULL,
    PRIMARY KEY (endpoint, xid, seq)
);
CREATE INDEX pending_due ON webhooks.pending (endpoint, due_at);
COMMENT ON TABLE webhooks.pending IS
    'Deliveries waiting for a later attempt: failed ones until their retry, deferred ones until their endpoint has '
    'room';
COMMENT ON COLUMN webhooks.pending.retry_count IS
    'Which retry the next attempt will be; 0 for a first attempt that was deferred';

CREATE TABLE webhooks.attempt (
    started_at       timestamptz NOT NULL,
    endpoint         integer NOT NULL,
    retry_count      integer NOT NULL,
    http_status      integer,
    response_time_ms integer NOT NULL,
    outcome          webhooks.outcome NOT NULL,
    webhook_id       text NOT NULL,
    event            text NOT NULL,
    error            text,
    response         text,
    next_attempt_at  timestamptz,
    signed_at        bigint
) PARTITION BY RANGE (started_at);
CREATE INDEX attempt_endpoint ON webhooks.attempt (endpoint, started_at);
CREATE INDEX attempt_webhook_id ON webhooks.attempt (webhook_id);
-- Costs an attempt that succeeded nothing, and finds the others where they are few.
CREATE INDEX attempt_failed ON webhooks.attempt (endpoint, started_at) WHERE outcome <> 'delivered';
CREATE INDEX attempt_unreadable ON webhooks.attempt (started_at) WHERE outcome = 'unreadable';
COMMENT ON TABLE webhooks.attempt IS
    'The delivery log: one row per HTTP request made, or given up because the message cannot be read';
COMMENT ON COLUMN webhooks.attempt.response IS 'The beginning of the response''s body, kept for attempts that failed';
COMMENT ON COLUMN webhooks.attempt.signed_at IS 'The webhook-timestamp that was sent, in Unix seconds';

CREATE TABLE webhooks.lease (
    shard          integer PRIMARY KEY,
    epoch          bigint NOT NULL DEFAULT 0,
    owner          text,
    recover_before xid8 NOT NULL DEFAULT '0'
);
COMMENT ON TABLE webhooks.lease IS
    'The shards, and which sidecar took each of them last; whether it still holds it says holder';
COMMENT ON COLUMN webhooks.lease.epoch IS
    'How often the shard has been taken: for people, since a crash of the server may give a number twice';
COMMENT ON COLUMN webhooks.lease.owner IS
    'The sidecar''s name, a slash, and the number of its worker; NULL once it has given the shard back';
COMMENT ON COLUMN webhooks.lease.recover_before IS
    'Windows that begin below this transaction may hold deliveries that the previous owner made after its last cursor '
    'row: fetch looks for them in attempt and pending';

-- Not logged, so that any recovery empties it: a crash, a promotion, a restored base backup. Transactions may be lost
-- then, and their ids are given out again: what an owner has read by these ids counts no more. There is no index, and
-- whoever adds a row has locked its shard's in lease: where wal_level is minimal, a crash soon after CREATE DATABASE
-- … TEMPLATE leaves the index of an unlogged table broken (seen with 15).
CREATE UNLOGGED TABLE webhooks.holder (
    shard      integer NOT NULL,
    lease_id   bigint NOT NULL,
    session    integer NOT NULL,
    taken_at   timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE webhooks.holder IS
    'Which shards are held, and until when; every fetch and report carries the lease_id, and another one is refused. '
    'A recovery of the server empties it, a clean restart does not';
COMMENT ON COLUMN webhooks.holder.lease_id IS
    'A random number of each acquire. Not the epoch: an acquire that was not flushed is lost in a crash, and its epoch '
    'given to another';
COMMENT ON COLUMN webhooks.holder.session IS
    'The process id of the session in which the owner has been reading since taken_at: once the owner''s sessions are '
    'gone, nobody has to wait for the lease to run out';

CREATE TABLE webhooks.cursor (
    shard       integer NOT NULL,
    moved       xid8 DEFAULT pg_current_xact_id(),
    window_from pg_snapshot NOT NULL,
    window_to   pg_snapshot,
    xid         xid8,
    seq         integer,
    PRIMARY KEY (shard, moved)
);
COMMENT ON TABLE webhooks.cursor IS
    'How far each shard has been delivered or put into pending; the newest row counts. Appended, not updated: a row '
    'updated 100 times a second under a pinned xmin gets slower with every version';
COMMENT ON COLUMN webhooks.cursor.moved IS
    'The transaction that wrote the row. Not a sequence, because one that CREATE DATABASE has copied may go back in '
    'a crash';
COMMENT ON COLUMN webhooks.cursor.window_from IS 'Everything that this snapshot sees is done';
COMMENT ON COLUMN webhooks.cursor.window_to IS
    'Of what this snapshot sees in addition, everything up to (xid, seq) is done; NULL when no window is open';

CREATE TABLE webhooks.token (
    id           text PRIMARY KEY CHECK (id ~ '^tk_[0-9a-z]+$'),
    name         text NOT NULL,
    role         text NOT NULL CHECK (role IN ('read', 'manage')),
    hash         bytea NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by   text NOT NULL DEFAULT session_user,
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz
);
COMMENT ON TABLE webhooks.token IS 'Who may use the REST API and the page';
COMMENT ON COLUMN webhooks.token.hash IS
    'SHA-256 of the token, which has 128 random bits of its own: it needs no salt and no slow hash';

INSERT INTO webhooks.lease (shard) VALUES (0);
INSERT INTO webhooks.cursor (shard, window_from) VALUES (0, pg_current_snapshot());

-- Endpoints and tokens belong to the user, so pg_dump carries them. The log, the queue and the cursor stay behind: a
-- restored database must not send last month's messages again.
SELECT pg_extension_config_dump('webhooks.endpoint', '');
SELECT pg_extension_config_dump('webhooks.endpoint_key_seq', '');
SELECT pg_extension_config_dump('webhooks.token', '');

-- Every backend caches who subscribes; any change of endpoints tells them all, at its commit, to read again.
CREATE FUNCTION webhooks.forget_subscribers() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'forget_subscribers';
COMMENT ON FUNCTION webhooks.forget_subscribers() IS 'Invalidates every backend''s cache of subscriptions at commit';

CREATE TRIGGER forget_subscribers AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON webhooks.endpoint
    FOR EACH STATEMENT EXECUTE FUNCTION webhooks.forget_subscribers();
