-- What a sidecar reports, and what it leads to: attempts in the log, deliveries that wait, endpoints that are disabled.
-- One transaction each. Role webhooks_sidecar may execute report() and touch no table.

CREATE TYPE webhooks.ending AS ENUM ('attempted', 'unreadable');
COMMENT ON TYPE webhooks.ending IS
    'What a sidecar did with a delivery: it made a request, or found a message that is damaged and set it aside';

CREATE TYPE webhooks.result AS (
    endpoint         integer,
    xid              xid8,
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
    signed_at        bigint,
    ours             boolean
);
COMMENT ON TYPE webhooks.result IS
    'What became of a delivery: an attempt with a status or an error, or none. Times are relative: the sidecar''s '
    'clock need not agree with the server''s. ours says that the sidecar or its machine failed, not the endpoint';

CREATE TYPE webhooks.cursor_row AS (endpoint integer, done text, xid xid8, seq integer, known xid8);
COMMENT ON TYPE webhooks.cursor_row IS
    'A row for webhooks.cursor: of an endpoint, or of the shard (endpoint 0). known is moved of the row that the sidecar '
    'knows of the endpoint, NULL where it knows of none: over another one nothing is written';

CREATE FUNCTION webhooks.report(shard integer, lease_id bigint, number bigint, cursor_rows webhooks.cursor_row[],
                                results webhooks.result[],
                                OUT disabled integer[], OUT written integer[], OUT moved xid8[])
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    now_at    CONSTANT timestamptz := clock_timestamp();
    my_shard  CONSTANT integer := shard;
    my_number CONSTANT bigint := number;
BEGIN
    -- A take-over deletes this row: it waits for this transaction, or this one finds its lease gone.
    PERFORM FROM webhooks.holder h WHERE h.shard = my_shard AND h.lease_id = report.lease_id FOR SHARE;
    IF NOT FOUND THEN
        PERFORM webhooks.refuse_stale(my_shard);
    END IF;
    disabled := '{}';
    -- Where it is sent again, since its acknowledgement was lost, it has been done.
    IF (webhooks.newest_cursor(my_shard, 0)).report IS DISTINCT FROM my_number THEN
        INSERT INTO webhooks.attempt (started_at, endpoint, retry_count, http_status, response_time_ms, outcome,
                                      webhook_id, event, signed_at)
        SELECT now_at - r.started_ms_ago * interval '1 ms', r.endpoint, r.retry_count, r.http_status,
               r.response_time_ms, 'delivered', r.webhook_id, r.event, r.signed_at
          FROM unnest(results) r WHERE r.http_status BETWEEN 200 AND 299;
        IF EXISTS (SELECT FROM unnest(results) r
                    WHERE r.was_pending OR (r.http_status BETWEEN 200 AND 299) IS NOT TRUE) THEN
            disabled := webhooks.report_exceptions(results, now_at);
        END IF;
        PERFORM webhooks.write_cursor(my_shard, my_number, cursor_rows);
    END IF;
    SELECT coalesce(array_agg(c.endpoint ORDER BY c.endpoint), '{}'), coalesce(array_agg(c.moved ORDER BY c.endpoint), '{}')
      INTO written, moved
      FROM unnest(cursor_rows) r
      JOIN webhooks.cursor c ON c.shard = my_shard AND c.endpoint = r.endpoint AND c.report = my_number;
END
$$;
COMMENT ON FUNCTION webhooks.report(integer, bigint, bigint, webhooks.cursor_row[], webhooks.result[]) IS
    'In one transaction: logs attempts, puts failed deliveries into pending, disables endpoints, and moves the cursor. '
    'Returns the endpoints that it disabled, and those (0: the shard) whose rows it has written, with their moved. The '
    'same number once more changes nothing';

CREATE FUNCTION webhooks.write_cursor(shard integer, number bigint, cursor_rows webhooks.cursor_row[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    my_shard  CONSTANT integer := shard;
    my_number CONSTANT bigint := number;
    locked    integer[] := '{}';
BEGIN
    IF cardinality(cursor_rows) > 1 THEN
        -- Whoever disables or changes an endpoint writes its row, too, and comes before this or after it. Nobody waits.
        locked := ARRAY(SELECT e.key FROM webhooks.endpoint e
                         WHERE e.key IN (SELECT r.endpoint FROM unnest(cursor_rows) r) AND e.active
                           FOR NO KEY UPDATE SKIP LOCKED);
    END IF;
    WITH told AS MATERIALIZED (
        SELECT r.endpoint, r.done::pg_snapshot, r.xid, r.seq, newest.moved, newest.done IS NOT NULL AS has_row,
               r.endpoint = 0
               OR r.endpoint = ANY (locked)
                  AND r.known IS NOT DISTINCT FROM CASE WHEN newest.done IS NOT NULL THEN newest.moved END AS is_right
          FROM unnest(cursor_rows) r
          LEFT JOIN LATERAL webhooks.newest_cursor(my_shard, r.endpoint) newest ON true
    )
    INSERT INTO webhooks.cursor (shard, endpoint, moved, done, xid, seq, report)
    SELECT my_shard, t.endpoint,
           greatest(pg_current_xact_id(), (t.moved::text::bigint + 1)::text::xid8), t.done, t.xid, t.seq, my_number
      FROM told t
     WHERE t.is_right
       -- The shard's row leaves those behind that have one of their own: they must have it.
       AND (t.endpoint <> 0 OR NOT EXISTS (SELECT FROM told o WHERE NOT o.is_right AND NOT o.has_row));
END
$$;
COMMENT ON FUNCTION webhooks.write_cursor(integer, bigint, webhooks.cursor_row[]) IS
    'Appends the rows of a report to webhooks.cursor: an endpoint''s only over the row that the sidecar knows, and the '
    'shard''s only where those that it leaves behind have theirs';

CREATE FUNCTION webhooks.is_failing(endpoint integer, webhook_id text, occurred_at timestamptz, exhausted bigint)
    RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    -- Both indexes are right at every size of the log; a plan made while it was small would say otherwise.
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
    -- Redelivered, or enabled again, a message begins anew.
    first_attempt timestamptz := (
        SELECT max(a.started_at) FROM webhooks.attempt a
         WHERE a.webhook_id = webhook_id AND a.endpoint + 0 = endpoint AND a.retry_count = 0
           AND a.started_at >= occurred_at - interval '1 s');
BEGIN
    IF webhooks.setting('disable') = 'any' THEN
        RETURN true;
    END IF;
    RETURN (SELECT count(*) FILTER (WHERE recent.outcome = 'delivered')
                <= count(*) FILTER (WHERE recent.outcome = 'exhausted') + exhausted
              FROM (SELECT a.outcome, a.event FROM webhooks.attempt a
                     WHERE a.endpoint = endpoint AND a.started_at >= first_attempt
                     ORDER BY a.started_at DESC LIMIT 1000) recent
             WHERE NOT starts_with(recent.event, 'webhook.'));
END
$$;
COMMENT ON FUNCTION webhooks.is_failing(integer, text, timestamptz, bigint) IS
    'Whether an endpoint whose message has just run out of retries takes no more than it lets run out: among its '
    'latest 1,000 attempts since that message''s first, tests aside, are no more deliveries than exhausted ones, to '
    'which the report adds so many. pg_webhooks.disable = ''any'' does not ask';

CREATE FUNCTION webhooks.report_exceptions(results webhooks.result[], now_at timestamptz) RETURNS integer[]
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    schedule text := webhooks.setting('retry_schedule');
    jitter   double precision := webhooks.setting('retry_jitter');
    disabled integer[];
BEGIN
    DELETE FROM webhooks.pending p USING unnest(results) r
     WHERE r.was_pending AND r.http_status BETWEEN 200 AND 299
       AND p.endpoint = r.endpoint AND p.xid = r.xid AND p.seq = r.seq;

    WITH failed AS MATERIALIZED (
        SELECT r.*, verdict.outcome::webhooks.outcome, verdict.next_retry, begun.at AS started_at, ours.since,
               now_at + (r.response_time_ms - r.started_ms_ago + verdict.wait_ms) * interval '1 ms' AS next_attempt_at
          FROM unnest(results) r
         CROSS JOIN LATERAL (SELECT now_at - r.started_ms_ago * interval '1 ms' AS at) begun
         CROSS JOIN LATERAL (
            SELECT CASE WHEN r.ours THEN coalesce((
                SELECT p.ours_since FROM webhooks.pending p
                 WHERE p.endpoint = r.endpoint AND p.xid = r.xid AND p.seq = r.seq), begun.at) END AS since) ours
         CROSS JOIN LATERAL (
            SELECT * FROM webhooks.classify_attempt(r.http_status, r.retry_after, r.retry_count,
                                                    (extract(epoch FROM now_at - ours.since) * 1000)::bigint,
                                                    schedule, jitter * random())
             WHERE r.ending = 'attempted'
             UNION ALL
            SELECT 'unreadable', NULL, NULL WHERE r.ending = 'unreadable') verdict
         WHERE (r.http_status BETWEEN 200 AND 299) IS NOT TRUE
    ), logged AS (
        INSERT INTO webhooks.attempt (started_at, endpoint, retry_count, http_status, response_time_ms, outcome,
                                      webhook_id, event, error, response, next_attempt_at, signed_at, ours)
        SELECT started_at, endpoint, retry_count, http_status, response_time_ms, outcome,
               webhook_id, event, error, response, next_attempt_at, signed_at, nullif(ours, false)
          FROM failed
    ), waiting AS (
        INSERT INTO webhooks.pending (endpoint, xid, seq, occurred_at, due_at, retry_count, ours_since)
        SELECT endpoint, xid, seq, occurred_at, next_attempt_at, next_retry, since
          FROM failed WHERE outcome = 'retry'
            ON CONFLICT (endpoint, xid, seq) DO UPDATE
           SET due_at = excluded.due_at, retry_count = excluded.retry_count, ours_since = excluded.ours_since
    ), settled AS (
        DELETE FROM webhooks.pending p USING failed f
         WHERE f.was_pending AND f.outcome <> 'retry'
           AND p.endpoint = f.endpoint AND p.xid = f.xid AND p.seq = f.seq
    ), cause AS MATERIALIZED (  -- of those that ran out of retries, the message that began last: it is asked about
        SELECT DISTINCT ON (endpoint) endpoint, outcome, webhook_id, occurred_at,
               count(*) FILTER (WHERE outcome = 'exhausted' AND NOT starts_with(event, 'webhook.'))
                   OVER (PARTITION BY endpoint) AS exhausted,
               CASE outcome WHEN 'gone' THEN format('the endpoint answered 410 Gone to %s', webhook_id)
                            ELSE format('%s failed %s times, at last with %s', webhook_id, retry_count + 1,
                                        coalesce('HTTP ' || http_status, error)) END AS reason
          FROM failed
         WHERE outcome IN ('gone', 'exhausted')
         ORDER BY endpoint, outcome, occurred_at DESC, seq
    ), free AS MATERIALIZED (
        -- Not one that an open transaction is changing, for which all reports would wait: the next failure will do.
        SELECT e.key FROM webhooks.endpoint e
          JOIN cause c ON c.endpoint = e.key
         WHERE e.active AND CASE c.outcome WHEN 'gone' THEN true
                                ELSE webhooks.is_failing(e.key, c.webhook_id, c.occurred_at, c.exhausted) END
           FOR NO KEY UPDATE OF e SKIP LOCKED
    ), stopped AS (
        UPDATE webhooks.endpoint e
           SET active = false, disabled_at = now_at, updated_at = now_at, disabled_by = cause.outcome,
               disabled_reason = cause.reason
          FROM cause
         WHERE e.key = cause.endpoint AND e.active AND e.key IN (SELECT key FROM free)
     RETURNING e.key
    )
    SELECT coalesce(array_agg(key), '{}') INTO disabled FROM stopped;
    RETURN disabled;
END
$$;
COMMENT ON FUNCTION webhooks.report_exceptions(webhooks.result[], timestamptz) IS
    'The part of report for everything but first attempts that succeeded';

CREATE FUNCTION webhooks.endpoint_labels(endpoints integer[])
    RETURNS TABLE (endpoint integer, id text, host text, disabled_reason text, waiting bigint)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT e.key, e.id, substring(e.url FROM '^[a-z]+://([^/?#]*)'), e.disabled_reason,
           CASE WHEN e.active THEN 0 ELSE (SELECT count(*) FROM webhooks.pending p WHERE p.endpoint = e.key) END
      FROM webhooks.endpoint e
     WHERE e.key = ANY (endpoints)
     ORDER BY e.key
$$;
COMMENT ON FUNCTION webhooks.endpoint_labels(integer[]) IS
    'For the sidecar''s log: the ids and hosts of endpoints and, of those that are disabled, why, and how many '
    'deliveries wait. No path or query, which may hold a secret';
