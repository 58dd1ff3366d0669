-- What a sidecar does with the shards that it owns (leases.sql): it sleeps and wakes, reads the event log through the
-- cursor and due deliveries from pending, and reports what happened; what that leads to is decided here. Role
-- webhooks_sidecar may execute these functions and touch no table.

-- Sleep -------------------------------------------------------------------------------------------------------------

CREATE FUNCTION webhooks.try_sleep() RETURNS boolean
    LANGUAGE c AS 'MODULE_PATHNAME', 'try_sleep_wrapper';
COMMENT ON FUNCTION webhooks.try_sleep() IS 'Takes the session lock that makes writers notify; false while a writer is committing. Look for work once more after it, before waiting';

CREATE FUNCTION webhooks.stop_sleeping() RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'stop_sleeping_wrapper';
COMMENT ON FUNCTION webhooks.stop_sleeping() IS 'Releases the lock of try_sleep: writers stop notifying';

CREATE FUNCTION webhooks.wait_for_commit(seen text, least_us integer, most_us integer) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'wait_for_commit_wrapper';
COMMENT ON FUNCTION webhooks.wait_for_commit(text, integer, integer) IS 'Waits until a transaction that the snapshot does not see has ended, for at least least_us and at most most_us: how an awake sidecar notices commits without polling';

-- Reading -----------------------------------------------------------------------------------------------------------

CREATE TYPE webhooks.delivery AS (
    xid          bigint,
    seq          integer,
    occurred_at  timestamptz,
    webhook_id   text,
    event        text,
    body         text,
    endpoint     integer,
    url          text,
    retry_count  integer,
    signed_at    bigint,
    signature    text,
    signature_v1 text,
    window_to    text,
    events       integer
);
COMMENT ON TYPE webhooks.delivery IS 'One event for one endpoint, ready to send: signature is X-Webhook-Signature; webhook_id, signed_at and signature_v1 are the Standard Webhooks headers. The last row that fetch and fetch_due return is not a delivery: it has no webhook_id, and says where they stopped';

CREATE FUNCTION webhooks.current_signature(body text, made_with integer, made bytea, secret text, secret_version integer) RETURNS text
    LANGUAGE sql IMMUTABLE
RETURN CASE WHEN secret IS NULL THEN NULL
            WHEN made_with = secret_version AND made IS NOT NULL THEN 'sha256=' || encode(made, 'hex')
            ELSE webhooks.sign(body, secret) END;
COMMENT ON FUNCTION webhooks.current_signature(text, integer, bytea, text, integer) IS 'The signature made at capture, or a new one if the secret has changed since';

CREATE FUNCTION webhooks.standard_signatures(webhook_id text, signed_at bigint, body text, secret text, previous_secret text,
                                             previous_until timestamptz) RETURNS text
    LANGUAGE sql IMMUTABLE
RETURN webhooks.sign_standard(webhook_id, signed_at, body, secret)
    || CASE WHEN previous_until > to_timestamp(signed_at) THEN ' ' || webhooks.sign_standard(webhook_id, signed_at, body, previous_secret)
            ELSE '' END;
COMMENT ON FUNCTION webhooks.standard_signatures(text, bigint, text, text, text, timestamptz) IS 'The webhook-signature header: made with the secret and, while a rotation leaves it valid, with the previous one';

CREATE FUNCTION webhooks.fetch(shard integer, lease_id bigint, window_from text, window_to text, xid bigint, seq integer,
                               max_events integer, max_bytes bigint)
    RETURNS SETOF webhooks.delivery
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    -- Asleep, the caller holds a lock that DROP EXTENSION wants while it has those that are wanted here. To fail, which
    -- releases it, before the deadlock detector (1 s) has one of both fail is better than to have it be the DROP.
    SET lock_timeout = '500ms'
    -- The index on (xid, seq) is right at every size of the log; a plan made while the log was small would say otherwise.
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET plan_cache_mode = force_generic_plan
    SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    my_shard    CONSTANT integer := shard;
    my_lease_id CONSTANT bigint := lease_id;
    -- This call reads what seen_now sees and seen_before does not, behind the position (at_xid, at_seq).
    seen_before pg_snapshot := window_from;
    seen_now    pg_snapshot := coalesce(window_to::pg_snapshot, pg_current_snapshot());
    new_from    xid8 := pg_snapshot_xmax(seen_before);
    new_to      xid8 := pg_snapshot_xmax(seen_now);
    at_xid      xid8 := coalesce(xid, 0)::text::xid8;
    at_seq      integer := coalesce(seq, -1);
    -- New are all transactions from new_from on, and those that ran at seen_before and have ended since.
    ended       xid8[] := ARRAY(SELECT x FROM pg_snapshot_xip(seen_before) x
                                 WHERE x >= at_xid AND pg_visible_in_snapshot(x, seen_now));
    now_s       bigint := floor(extract(epoch FROM clock_timestamp()));
    shards      bigint := (SELECT count(*) FROM webhooks.lease);
    recovering  boolean;
BEGIN
    SELECT pg_snapshot_xmax(seen_before) <= l.recover_before INTO recovering
      FROM webhooks.holder h JOIN webhooks.lease l ON l.shard = h.shard
     WHERE h.shard = my_shard AND h.lease_id = my_lease_id;
    IF NOT FOUND THEN
        PERFORM webhooks.refuse_stale(my_shard);
    END IF;

    -- No transaction has begun or ended in between: the look of a sidecar that waits for the next one costs next to nothing.
    IF new_from = new_to AND cardinality(ended) = 0 THEN
        RETURN NEXT (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, seen_now::text, 0)::webhooks.delivery;
        RETURN;
    END IF;

    RETURN QUERY
    WITH span AS (  -- the stretches of the index to read; one lower bound each, so that a chunk starts where the last one ended
        SELECT x AS low_xid, CASE WHEN x = at_xid THEN at_seq ELSE -1 END AS low_seq, x AS high_xid
          FROM unnest(ended) AS x
         UNION ALL
        SELECT greatest(new_from, at_xid), CASE WHEN at_xid >= new_from THEN at_seq ELSE -1 END, new_to
    ), chunk AS MATERIALIZED (  -- of which is read what begins within max_bytes
        SELECT unread.*, sum(octet_length(unread.body)) OVER (ORDER BY unread.xid, unread.seq ROWS UNBOUNDED PRECEDING)
                         - octet_length(unread.body) AS bytes_before
          FROM span
         CROSS JOIN LATERAL (
            SELECT e.* FROM webhooks.event e
             WHERE (e.xid, e.seq) > (span.low_xid, span.low_seq) AND e.xid <= span.high_xid
               AND pg_visible_in_snapshot(e.xid, seen_now)
             ORDER BY e.xid, e.seq LIMIT max_events) unread
         ORDER BY unread.xid, unread.seq LIMIT max_events
    ), ready AS (
        SELECT e.xid::text::bigint, e.seq, e.occurred_at, e.webhook_id, e.name, e.body, p.key, p.url, 0, now_s,
               webhooks.current_signature(e.body, made.version, made.signature, p.secret, p.secret_version),
               webhooks.standard_signatures(e.webhook_id, now_s, e.body, p.secret, p.previous_secret, p.previous_until), NULL::text, NULL::integer
          FROM chunk e
         -- The arrays are gone through once, in step: to look each recipient up in them takes the square of their number.
         CROSS JOIN LATERAL (
            SELECT unnest(e.endpoints) AS endpoint, unnest(e.secret_versions) AS version, unnest(e.signatures) AS signature) made
          JOIN webhooks.endpoint p ON p.key = made.endpoint AND p.active AND p.key % shards = my_shard
         -- After a take-over: not again what the previous owner had logged or put aside behind its last cursor row. (The
         -- sum keeps the planner from the index on endpoint, under which a busy endpoint has a million rows.)
         WHERE e.bytes_before < max_bytes
           AND NOT (recovering AND (
                EXISTS (SELECT FROM webhooks.attempt a
                         WHERE a.webhook_id = e.webhook_id AND a.endpoint + 0 = p.key AND a.started_at >= e.occurred_at - interval '1 s')
             OR EXISTS (SELECT FROM webhooks.pending w WHERE w.endpoint = p.key AND w.xid = e.xid AND w.seq = e.seq)))
         ORDER BY e.xid, e.seq
    ), last AS (
        SELECT e.xid, e.seq FROM chunk e WHERE e.bytes_before < max_bytes ORDER BY e.xid DESC, e.seq DESC LIMIT 1
    )
    SELECT * FROM ready
     UNION ALL  -- where to go on (without a position the window is read to its end), and how many events were read
    SELECT last.xid::text::bigint, last.seq, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, seen_now::text, cut.events
      FROM (SELECT (count(*) FILTER (WHERE bytes_before < max_bytes))::integer AS events,
                   count(*) = max_events OR count(*) FILTER (WHERE bytes_before >= max_bytes) > 0 AS more
              FROM chunk) AS cut
      LEFT JOIN last ON cut.more;
END
$$;
COMMENT ON FUNCTION webhooks.fetch(integer, bigint, text, text, bigint, integer, integer, bigint) IS 'The next events after a position, in commit windows and never twice, as deliveries to active endpoints';

CREATE FUNCTION webhooks.fetch_due(shard integer, lease_id bigint, lanes integer[], room integer[], room_elsewhere integer,
                                   flying_endpoints integer[], flying_xids bigint[], flying_seqs integer[])
    RETURNS SETOF webhooks.delivery
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '500ms'
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET plan_cache_mode = force_generic_plan
    SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    now_at timestamptz := clock_timestamp();
    now_s  bigint := floor(extract(epoch FROM now_at));
    shards bigint := (SELECT count(*) FROM webhooks.lease);
BEGIN
    IF NOT EXISTS (SELECT FROM webhooks.holder h WHERE h.shard = fetch_due.shard AND h.lease_id = fetch_due.lease_id) THEN
        PERFORM webhooks.refuse_stale(fetch_due.shard);
    END IF;

    RETURN QUERY
    WITH RECURSIVE waiting AS (  -- the endpoints with something pending, found by stepping along the index from one to the next
        (SELECT p.endpoint FROM webhooks.pending p ORDER BY p.endpoint LIMIT 1)
         UNION ALL
        SELECT (SELECT p.endpoint FROM webhooks.pending p WHERE p.endpoint > w.endpoint ORDER BY p.endpoint LIMIT 1)
          FROM waiting w WHERE w.endpoint IS NOT NULL
    ), lane AS (  -- those of them that may be sent to, and how many more requests each can take
        SELECT e.key, e.url, e.secret, e.secret_version, e.previous_secret, e.previous_until, coalesce(l.room, room_elsewhere) AS room
          FROM waiting w
          JOIN webhooks.endpoint e ON e.key = w.endpoint AND e.active AND e.key % shards = fetch_due.shard
          LEFT JOIN unnest(fetch_due.lanes, fetch_due.room) AS l (endpoint, room) ON l.endpoint = e.key
         WHERE coalesce(l.room, room_elsewhere) > 0
    ), flying AS (
        SELECT f.endpoint, f.xid::text::xid8 AS xid, f.seq
          FROM unnest(flying_endpoints, flying_xids, flying_seqs) AS f (endpoint, xid, seq)
    ), candidate AS MATERIALIZED (  -- one more than there is room for: the first that stays behind says when to come again
        SELECT lane.*, p.xid, p.seq, p.occurred_at, p.due_at, p.retry_count, row_number() OVER (PARTITION BY lane.key ORDER BY p.due_at) AS place
          FROM lane
         CROSS JOIN LATERAL (
            SELECT p.* FROM webhooks.pending p
             WHERE p.endpoint = lane.key
               -- NOT IN: hashed once, where NOT EXISTS would go through all that flies for each row of each endpoint that hangs.
               AND (p.endpoint, p.xid, p.seq) NOT IN (SELECT f.endpoint, f.xid, f.seq FROM flying f)
             ORDER BY p.due_at LIMIT lane.room + 1) p
    ), ready AS (
        SELECT c.xid::text::bigint, c.seq, c.occurred_at, e.webhook_id, e.name, e.body, c.key, c.url, c.retry_count, now_s,
               webhooks.sign(e.body, c.secret),  -- to find the one made at capture costs more where there are many
               webhooks.standard_signatures(e.webhook_id, now_s, e.body, c.secret, c.previous_secret, c.previous_until), NULL::text, NULL::integer
          FROM candidate c
          JOIN webhooks.event e ON e.xid = c.xid AND e.seq = c.seq AND e.occurred_at = c.occurred_at
         WHERE c.place <= c.room AND c.due_at <= now_at
         ORDER BY c.due_at
    )
    SELECT * FROM ready
     UNION ALL  -- occurred_at: when the next one falls due, or fell, of the endpoints that had room before this call
    SELECT NULL, NULL, min(c.due_at), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
      FROM candidate c WHERE c.place > c.room OR c.due_at > now_at;
END
$$;
COMMENT ON FUNCTION webhooks.fetch_due(integer, bigint, integer[], integer[], integer, integer[], bigint[], integer[]) IS 'Pending deliveries that are due, for each endpoint as many as it has room for: room for those in lanes, room_elsewhere for the others; flying_… are those that the sidecar already has in hand';

-- Reporting ---------------------------------------------------------------------------------------------------------

CREATE TYPE webhooks.ending AS ENUM ('attempted', 'deferred', 'unreadable');
COMMENT ON TYPE webhooks.ending IS
    'What a sidecar did with a delivery: it made a request, left it for later, or found bytes that are no text and set it aside';

CREATE TYPE webhooks.result AS (
    endpoint         integer,
    xid              bigint,
    seq              integer,
    occurred_at      timestamptz,
    webhook_id       text,
    event            text,
    retry_count      integer,
    was_pending      boolean,
    ending           webhooks.ending,
    started_ms_ago   integer,
    response_time_ms integer,
    http_status      integer,
    retry_after      text,
    error            text,
    response         text,
    signed_at        bigint
);
COMMENT ON TYPE webhooks.result IS
    'What became of a delivery: an attempt with a status or an error, or none. Times are relative: the sidecar''s clock '
    'need not agree with the server''s';

CREATE FUNCTION webhooks.report(shard integer, lease_id bigint, window_from text, window_to text, xid bigint, seq integer,
                                results webhooks.result[])
    RETURNS integer[]
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    now_at   timestamptz := clock_timestamp();
    disabled integer[] := '{}';
BEGIN
    -- A take-over deletes this row: it waits for this transaction, or this one finds its lease gone.
    PERFORM FROM webhooks.holder h WHERE h.shard = report.shard AND h.lease_id = report.lease_id FOR SHARE;
    IF NOT FOUND THEN
        PERFORM webhooks.refuse_stale(report.shard);
    END IF;

    INSERT INTO webhooks.attempt (started_at, endpoint, retry_count, http_status, response_time_ms, outcome, webhook_id, event, signed_at)
    SELECT now_at - r.started_ms_ago * interval '1 ms', r.endpoint, r.retry_count, r.http_status, r.response_time_ms, 'delivered',
           r.webhook_id, r.event, r.signed_at
      FROM unnest(results) r WHERE r.http_status BETWEEN 200 AND 299;

    IF EXISTS (SELECT FROM unnest(results) r WHERE r.was_pending OR (r.http_status BETWEEN 200 AND 299) IS NOT TRUE) THEN
        disabled := webhooks.report_exceptions(results, now_at);
    END IF;

    IF report.window_from IS NOT NULL THEN
        INSERT INTO webhooks.cursor (shard, window_from, window_to, xid, seq)
        VALUES (report.shard, report.window_from::pg_snapshot, report.window_to::pg_snapshot, report.xid::text::xid8, report.seq);
    END IF;
    RETURN disabled;
END
$$;
COMMENT ON FUNCTION webhooks.report(integer, bigint, text, text, bigint, integer, webhooks.result[]) IS 'In one transaction: logs attempts, puts failed and deferred deliveries into pending, disables endpoints, and moves the cursor (unless window_from is NULL). Returns the endpoints it disabled';

CREATE FUNCTION webhooks.report_exceptions(results webhooks.result[], now_at timestamptz) RETURNS integer[]
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    schedule text := webhooks.setting('retry_schedule');
    disabled integer[];
BEGIN
    DELETE FROM webhooks.pending p USING unnest(results) r
     WHERE r.was_pending AND r.http_status BETWEEN 200 AND 299
       AND p.endpoint = r.endpoint AND p.xid = r.xid::text::xid8 AND p.seq = r.seq;

    INSERT INTO webhooks.pending (endpoint, xid, seq, occurred_at, due_at, retry_count)
    SELECT r.endpoint, r.xid::text::xid8, r.seq, r.occurred_at, now_at, r.retry_count
      FROM unnest(results) r WHERE r.ending = 'deferred' AND NOT r.was_pending
        ON CONFLICT DO NOTHING;

    WITH failed AS MATERIALIZED (
        SELECT r.*, r.xid::text::xid8 AS event_xid, verdict.outcome::webhooks.outcome,
               now_at - r.started_ms_ago * interval '1 ms' AS started_at,
               now_at + (r.response_time_ms - r.started_ms_ago + verdict.wait_ms) * interval '1 ms' AS next_attempt_at
          FROM unnest(results) r
         CROSS JOIN LATERAL (
            SELECT * FROM webhooks.classify_attempt(r.http_status, r.retry_after, r.retry_count, schedule) WHERE r.ending = 'attempted'
             UNION ALL
            SELECT 'unreadable', NULL WHERE r.ending = 'unreadable') verdict
         WHERE (r.http_status BETWEEN 200 AND 299) IS NOT TRUE
    ), logged AS (
        INSERT INTO webhooks.attempt (started_at, endpoint, retry_count, http_status, response_time_ms, outcome, webhook_id, event,
                                      error, response, next_attempt_at, signed_at)
        SELECT started_at, endpoint, retry_count, http_status, response_time_ms, outcome, webhook_id, event, error, response,
               next_attempt_at, signed_at
          FROM failed
    ), waiting AS (
        INSERT INTO webhooks.pending (endpoint, xid, seq, occurred_at, due_at, retry_count)
        SELECT endpoint, event_xid, seq, occurred_at, next_attempt_at, retry_count + 1 FROM failed WHERE outcome = 'retry'
            ON CONFLICT (endpoint, xid, seq) DO UPDATE SET due_at = excluded.due_at, retry_count = excluded.retry_count
    ), settled AS (
        DELETE FROM webhooks.pending p USING failed f
         WHERE f.was_pending AND f.outcome <> 'retry' AND p.endpoint = f.endpoint AND p.xid = f.event_xid AND p.seq = f.seq
    ), free AS MATERIALIZED (  -- not one that an open transaction is changing: all reports would wait for it; the next failure will do
        SELECT e.key FROM webhooks.endpoint e
         WHERE e.active AND e.key IN (SELECT endpoint FROM failed WHERE outcome IN ('gone', 'exhausted'))
           FOR NO KEY UPDATE SKIP LOCKED
    ), stopped AS (
        UPDATE webhooks.endpoint e
           SET active = false, disabled_at = now_at, updated_at = now_at, disabled_by = cause.outcome,
               disabled_reason = cause.reason
          FROM (SELECT DISTINCT ON (endpoint) endpoint, outcome,
                       CASE outcome WHEN 'gone' THEN format('the endpoint answered 410 Gone to %s', webhook_id)
                                    ELSE format('%s failed %s times, at last with %s', webhook_id, retry_count + 1,
                                                coalesce('HTTP ' || http_status, error)) END AS reason
                  FROM failed WHERE outcome IN ('gone', 'exhausted') ORDER BY endpoint, outcome) cause
         WHERE e.key = cause.endpoint AND e.active AND e.key IN (SELECT key FROM free)
     RETURNING e.key
    )
    SELECT coalesce(array_agg(key), '{}') INTO disabled FROM stopped;
    RETURN disabled;
END
$$;
COMMENT ON FUNCTION webhooks.report_exceptions(webhooks.result[], timestamptz) IS 'The part of report for everything but first attempts that succeeded';
