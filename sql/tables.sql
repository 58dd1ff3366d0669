-- What the extension remembers: who wants what (endpoint, subscription), what happened (event, append-only), how far
-- the sidecar has read (cursor, append-only), what waits for another attempt (pending, the one small mutable
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

-- Then what a sidecar's calls lock first: while DROP waits for one of them it holds nothing that the call wants.
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
    'Of the transactions below this one the previous owner may have delivered more than its last cursor row says: fetch '
    'looks for that in attempt and pending';

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

-- Not logged, for it means nothing after the sessions' end, and without an index, as holder is.
CREATE UNLOGGED TABLE webhooks.member (
    owner         text NOT NULL,
    pid           integer NOT NULL,
    backend_start timestamptz NOT NULL
);
COMMENT ON TABLE webhooks.member IS
    'The sessions of sidecars: one counts while a session with its pid has begun at its backend_start. Not advisory '
    'locks, which any role could take';
COMMENT ON COLUMN webhooks.member.owner IS 'The sidecar''s name, perhaps with a slash and something behind it';

CREATE TYPE webhooks.outcome AS ENUM ('delivered', 'retry', 'rejected', 'gone', 'exhausted', 'unreadable');
COMMENT ON TYPE webhooks.outcome IS
    'What an attempt led to: success, a later retry, a final refusal (4xx), 410 Gone, the last retry spent; or that '
    'nothing was sent, as the message is damaged: its bytes are no text, or its signature does not match';

CREATE TABLE webhooks.endpoint (
    key             integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id              text NOT NULL UNIQUE CHECK (id ~ '^ep_[0-9a-z]+$'),
    url             text NOT NULL,
    events          text[] NOT NULL,
    secret          text,
    active          boolean NOT NULL DEFAULT true,
    description     text,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    disabled_at     timestamptz,
    disabled_by     webhooks.outcome,
    disabled_reason text,
    secret_set_at   timestamptz,
    previous_secret text,
    previous_until  timestamptz,
    max_in_flight   integer,
    max_per_second  double precision,
    timeout_ms      integer,
    extra           jsonb
);
COMMENT ON TABLE webhooks.endpoint IS 'A registered webhook: where to send which events, signed with what';
COMMENT ON COLUMN webhooks.endpoint.key IS 'What event, pending and attempt rows hold instead of the id, in four bytes';
COMMENT ON COLUMN webhooks.endpoint.secret_set_at IS
    'When secret was last changed: what was signed after that can be signed again with the same result';
COMMENT ON COLUMN webhooks.endpoint.previous_secret IS
    'After a rotation, signs beside secret in the Standard Webhooks header until previous_until';
COMMENT ON COLUMN webhooks.endpoint.max_in_flight IS
    'How many requests may be under way to it at once; NULL: as the sidecar decides';
COMMENT ON COLUMN webhooks.endpoint.max_per_second IS 'How many requests may begin in a second; NULL: any number';
COMMENT ON COLUMN webhooks.endpoint.timeout_ms IS
    'How long an attempt may take; NULL: pg_webhooks.request_timeout';
COMMENT ON COLUMN webhooks.endpoint.disabled_at IS 'When active last became false; disabled_reason says why';
COMMENT ON COLUMN webhooks.endpoint.disabled_by IS
    'What an attempt led to that disabled it, gone or exhausted; NULL where somebody did';

-- Who wants what, one row a pattern; follow_events() keeps it in step with endpoint.events.
CREATE TABLE webhooks.subscription (
    pattern  text NOT NULL,
    tenant   text,
    endpoint integer NOT NULL,
    since    pg_snapshot NOT NULL,
    PRIMARY KEY (endpoint, pattern)
);
CREATE INDEX subscription_pattern ON webhooks.subscription (pattern, tenant);
COMMENT ON TABLE webhooks.subscription IS
    'Who wants what: an event''s recipients are the endpoints that have a pattern of its name, and whose since does '
    'not see its transaction. Looked up when the event is read: a writer pays nothing for them';
COMMENT ON COLUMN webhooks.subscription.tenant IS 'Whose events alone it takes; NULL takes all';
COMMENT ON COLUMN webhooks.subscription.since IS
    'What was committed before the registration, which counts as running: what this sees is not for the endpoint';

CREATE TABLE webhooks.subscription_change ();
COMMENT ON TABLE webhooks.subscription_change IS
    'Holds no rows: a change of subscription invalidates it in every session, as a change of a table''s columns '
    'would. Were it subscription itself, the plans of those who read that would go, too';

CREATE TABLE webhooks.event (
    occurred_at timestamptz NOT NULL,
    xid         xid8 NOT NULL,
    seq         integer NOT NULL,
    ended       integer NOT NULL,
    horizon     xid8 NOT NULL,
    key         bigint,
    target      integer,
    webhook_id  text NOT NULL,
    name        text NOT NULL,
    tenant      text,
    signature   bytea NOT NULL,
    body        text NOT NULL,
    extra       jsonb
) PARTITION BY RANGE (occurred_at);
CREATE INDEX event_position ON webhooks.event (xid, seq);
COMMENT ON TABLE webhooks.event IS
    'One row per message, appended in the writer''s transaction and never changed; the capture code relies on the '
    'order of the columns';
COMMENT ON COLUMN webhooks.event.xid IS
    'The top-level transaction that wrote it; (xid, seq) is the event''s position in the log';
COMMENT ON COLUMN webhooks.event.horizon IS
    'The transaction id after the highest that had ended when the event was captured: with ended, it tells which of '
    'two transactions had a row first';
COMMENT ON COLUMN webhooks.event.ended IS
    'The low 32 bits of the count of transactions that had ended since the server started, when the event was captured';
COMMENT ON COLUMN webhooks.event.key IS
    'Hash of the ordering key, the table and the primary key of the row: events with the same one are about the same '
    'row';
COMMENT ON COLUMN webhooks.event.target IS 'The one endpoint that a test or a sample is for; NULL: whoever subscribes';
COMMENT ON COLUMN webhooks.event.signature IS
    'HMAC-SHA256 of webhook_id, a dot and body under log_key: a row that does not match it is never sent';
COMMENT ON COLUMN webhooks.event.body IS 'The exact bytes to send; text, because jsonb would reorder and reformat them';
COMMENT ON COLUMN webhooks.event.extra IS 'NULL; for later versions';

CREATE TABLE webhooks.log_key (key bytea NOT NULL);
COMMENT ON TABLE webhooks.log_key IS
    'One row: the key under which capture signs what it logs. It is never dumped; what is restored has a key of its '
    'own';

CREATE TABLE webhooks.pending (
    endpoint    integer NOT NULL,
    xid         xid8 NOT NULL,
    seq         integer NOT NULL,
    occurred_at timestamptz NOT NULL,
    due_at      timestamptz NOT NULL,
    retry_count integer NOT NULL,
    ours_since  timestamptz,
    extra       jsonb,
    PRIMARY KEY (endpoint, xid, seq)
);
CREATE INDEX pending_due ON webhooks.pending (endpoint, due_at);
COMMENT ON TABLE webhooks.pending IS
    'Deliveries waiting for a later attempt: those that failed until their retry, and those that are sent again';
COMMENT ON COLUMN webhooks.pending.retry_count IS
    'Which retry the next attempt will be; 0 for one that is sent again';
COMMENT ON COLUMN webhooks.pending.ours_since IS
    'Since when all attempts have failed through a fault of ours; NULL where the last one did not';

CREATE TABLE webhooks.retry_request (
    endpoint   integer NOT NULL,
    after_xid  xid8 NOT NULL,
    after_seq  integer NOT NULL,
    until_xid  xid8 NOT NULL,
    until_seq  integer NOT NULL,
    is_anew    boolean NOT NULL
);
COMMENT ON TABLE webhooks.retry_request IS
    'Who has asked that what waits for an endpoint, behind a position and up to another, be due now. The sidecar does '
    'it: a lock of pending that an open transaction held would have reports wait';
COMMENT ON COLUMN webhooks.retry_request.is_anew IS 'Whether the retries are counted from 0 again';

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
    signed_at        bigint,
    ours             boolean,
    extra            jsonb
) PARTITION BY RANGE (started_at);
CREATE INDEX attempt_endpoint ON webhooks.attempt (endpoint, started_at);
CREATE INDEX attempt_webhook_id ON webhooks.attempt (webhook_id);
-- Costs an attempt that succeeded nothing, and finds the others where they are few.
CREATE INDEX attempt_failed ON webhooks.attempt (endpoint, started_at) WHERE outcome <> 'delivered';
-- What is tried no more, though nobody has it.
CREATE INDEX attempt_given_up ON webhooks.attempt (endpoint, started_at) WHERE outcome IN ('rejected', 'exhausted');
CREATE INDEX attempt_unreadable ON webhooks.attempt (started_at) WHERE outcome = 'unreadable';
COMMENT ON TABLE webhooks.attempt IS
    'The delivery log: one row per HTTP request made, or given up because the message cannot be read';
COMMENT ON COLUMN webhooks.attempt.response IS 'The beginning of the response''s body, kept for attempts that failed';
COMMENT ON COLUMN webhooks.attempt.signed_at IS 'The webhook-timestamp that was sent, in Unix seconds';
COMMENT ON COLUMN webhooks.attempt.ours IS
    'True where the sidecar or its machine failed, not the endpoint; else NULL';

CREATE TABLE webhooks.missed (
    first_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    table_name text NOT NULL,
    event      text NOT NULL,
    reason     text NOT NULL,
    changes    bigint NOT NULL
);
COMMENT ON TABLE webhooks.missed IS
    'Row changes that should have made an event and did not. Each transaction appends its own; housekeeping adds up '
    'those of the same table, event and reason, and drops them after event_retention';
COMMENT ON COLUMN webhooks.missed.event IS '* where a change made none of the events that it makes';

CREATE TABLE webhooks.cursor (
    shard      integer NOT NULL,
    endpoint   integer NOT NULL DEFAULT 0,
    moved      xid8 NOT NULL DEFAULT pg_current_xact_id(),
    done       pg_snapshot,
    xid        xid8,
    seq        integer,
    report     bigint,
    written_by xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (shard, endpoint, moved)
);
-- What a person, or a report that disabled an endpoint, has written: the sidecar asks for it with each look.
CREATE INDEX cursor_told ON webhooks.cursor (written_by) WHERE endpoint <> 0 AND report IS NULL;
COMMENT ON TABLE webhooks.cursor IS
    'What of the log has been delivered or put into pending: by endpoint where it has a row of its own, by shard for '
    'all others. The newest row counts. Appended, not updated: a row updated 100 times a second under a pinned xmin '
    'gets slower with every version';
COMMENT ON COLUMN webhooks.cursor.endpoint IS '0: of all endpoints of the shard that have no row of their own';
COMMENT ON COLUMN webhooks.cursor.moved IS
    'Orders the rows of an endpoint. Not a sequence, because one that CREATE DATABASE has copied may go back in a crash';
COMMENT ON COLUMN webhooks.cursor.done IS
    'Everything that this snapshot sees is done; NULL: from here on the shard''s row counts for the endpoint';
COMMENT ON COLUMN webhooks.cursor.xid IS
    'A transaction that done does not see, of which everything up to seq is done; NULL: there is none';
COMMENT ON COLUMN webhooks.cursor.report IS
    'The number of the report that wrote the row: one that is sent again, as its acknowledgement was lost, does nothing';
COMMENT ON COLUMN webhooks.cursor.written_by IS
    'The transaction that wrote the row. Where xmin is another one, replication has brought the row: it does not count';

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
INSERT INTO webhooks.cursor (shard, done) VALUES (0, pg_current_snapshot());

-- Endpoints and tokens belong to the user, so pg_dump carries them. The log, the queue and the cursor stay behind: a
-- restored database must not send last month's messages again.
SELECT pg_extension_config_dump('webhooks.endpoint', '');
SELECT pg_extension_config_dump('webhooks.endpoint_key_seq', '');
SELECT pg_extension_config_dump('webhooks.token', '');

CREATE FUNCTION webhooks.latest_snapshot() RETURNS pg_snapshot
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'latest_snapshot_wrapper';
COMMENT ON FUNCTION webhooks.latest_snapshot() IS
    'What is committed by now, also where the transaction''s own snapshot is older (REPEATABLE READ)';

-- A row for each pattern of an endpoint. Those that it had before keep their since: what is unread of them is still
-- theirs. After a restore all have a new one: the snapshots of another server say nothing here.
CREATE FUNCTION webhooks.follow_events() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.events = NEW.events
       AND EXISTS (SELECT FROM webhooks.subscription s WHERE s.endpoint = NEW.key) THEN
        RETURN NULL;
    END IF;
    DELETE FROM webhooks.subscription s
     WHERE s.endpoint = OLD.key AND (TG_OP = 'DELETE' OR s.pattern <> ALL (NEW.events));
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO webhooks.subscription (pattern, endpoint, since)
        SELECT pattern, NEW.key, webhooks.snapshot_before_this()
          FROM unnest(NEW.events) AS pattern
            ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION webhooks.follow_events() IS 'Keeps subscription in step with an endpoint''s events';

CREATE TRIGGER follow_events AFTER INSERT OR UPDATE OF events OR DELETE ON webhooks.endpoint
    FOR EACH ROW EXECUTE FUNCTION webhooks.follow_events();
ALTER TABLE webhooks.endpoint ENABLE ALWAYS TRIGGER follow_events;

CREATE FUNCTION webhooks.is_wanted(event text) RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    -- A session keeps the plan that it made while there were few.
    SET enable_seqscan = off
    SET enable_bitmapscan = off
AS $$
BEGIN
    RETURN EXISTS (SELECT FROM webhooks.subscription s WHERE s.pattern = ANY (webhooks.patterns_of(event)));
END
$$;
COMMENT ON FUNCTION webhooks.is_wanted(text) IS 'Whether anybody subscribes to an event, disabled webhooks included';

-- Every backend remembers which events anybody wants; a change tells them all, at its commit, to look again.
CREATE FUNCTION webhooks.forget_subscriptions() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'forget_subscriptions';
COMMENT ON FUNCTION webhooks.forget_subscriptions() IS 'Makes every session forget at commit which events are wanted';

CREATE TRIGGER forget_subscriptions AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON webhooks.subscription
    FOR EACH STATEMENT EXECUTE FUNCTION webhooks.forget_subscriptions();
ALTER TABLE webhooks.subscription ENABLE ALWAYS TRIGGER forget_subscriptions;
