-- How it goes: for the operator, the metrics and the page. All of it reads and is bounded, whatever the log holds.

CREATE FUNCTION webhooks.leases()
    RETURNS TABLE (shard integer, owner text, epoch bigint, taken_at timestamptz, expires_at timestamptz,
                   is_held boolean)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- An unlogged table cannot be read on a standby; and nobody delivers from one.
    IF pg_is_in_recovery() THEN
        RETURN QUERY
            SELECT l.shard, l.owner, l.epoch, NULL::timestamptz, NULL::timestamptz, false
              FROM webhooks.lease l ORDER BY l.shard;
        RETURN;
    END IF;
    RETURN QUERY
        SELECT l.shard, l.owner, l.epoch, h.taken_at, h.expires_at, coalesce(h.expires_at > clock_timestamp(), false)
          FROM webhooks.lease l LEFT JOIN webhooks.holder h ON h.shard = l.shard ORDER BY l.shard;
END
$$;
COMMENT ON FUNCTION webhooks.leases() IS
    'The shards and the sidecars that hold them, or held them last; while is_held is false, nobody delivers the '
    'shard''s messages';

CREATE FUNCTION webhooks.unread(OUT events integer, OUT oldest_at timestamptz)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET jit = off
AS $$
    WITH cursor AS (
        SELECT * FROM webhooks.shard_cursors()
    ), span AS (  -- what has begun since the cursor's snapshot, and what ran then
        SELECT shard, pg_snapshot_xmax(done) AS low_xid, -1 AS low_seq, '18446744073709551615'::xid8 AS high_xid
          FROM cursor
         UNION ALL
        SELECT shard, x, CASE WHEN x = xid THEN seq ELSE -1 END, x FROM cursor CROSS JOIN pg_snapshot_xip(done) x
    ), counted AS (
        SELECT s.shard, count(*) AS events, min(unread.occurred_at) AS oldest_at
          FROM span s
         CROSS JOIN LATERAL (
            SELECT e.occurred_at FROM webhooks.event e
             WHERE (e.xid, e.seq) > (s.low_xid, s.low_seq) AND e.xid <= s.high_xid
             ORDER BY e.xid, e.seq LIMIT 10000) unread
         GROUP BY s.shard
    )
    SELECT least(coalesce(max(events), 0), 10000)::integer, min(oldest_at) FROM counted
$$;
COMMENT ON FUNCTION webhooks.unread() IS
    'The events that the shard furthest behind has not passed, counted up to 10,000, and when the oldest of them '
    'happened: its first attempts, and perhaps those of later ones, are not all over';

-- The names in it are resolved here, so it needs no search path of its own, and the planner can make it part of its
-- callers.
CREATE FUNCTION webhooks.trouble_of(endpoint integer)
    RETURNS TABLE (oldest_due_at timestamptz, is_retrying boolean, is_failing boolean, given_up integer)
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT due.first_at,
           -- Among those due first, or the last: a retry is due later than what is redelivered.
           due.first_at IS NOT NULL AND coalesce(
               (SELECT true FROM (SELECT p.retry_count FROM webhooks.pending p WHERE p.endpoint = trouble_of.endpoint
                                   ORDER BY p.endpoint, p.due_at LIMIT 100) p
                 WHERE p.retry_count > 0 LIMIT 1),
               (SELECT p.retry_count > 0 FROM webhooks.pending p WHERE p.endpoint = trouble_of.endpoint
                 ORDER BY p.endpoint DESC, p.due_at DESC LIMIT 1), false),
           due.first_at IS NOT NULL AND coalesce(
               (SELECT a.outcome <> 'delivered' AND a.ours IS NOT TRUE FROM webhooks.attempt a
                 WHERE a.endpoint = trouble_of.endpoint AND a.started_at > statement_timestamp() - interval '5 min'
                 ORDER BY a.started_at DESC LIMIT 1), false),
           (SELECT count(*)::integer
              FROM (SELECT FROM webhooks.attempt a
                     WHERE a.endpoint = trouble_of.endpoint AND a.outcome IN ('rejected', 'exhausted')
                       AND a.started_at > statement_timestamp() - interval '1 h' LIMIT 1000) a)
      FROM (SELECT min(p.due_at) AS first_at FROM webhooks.pending p WHERE p.endpoint = trouble_of.endpoint) due;
END;
COMMENT ON FUNCTION webhooks.trouble_of(integer) IS
    'Of an endpoint: when the first of what waits is due; whether retries are to come; whether the attempts at what is '
    'due are being made, and fail; how many deliveries of the last hour are tried no more, counted up to 1,000';

CREATE FUNCTION webhooks.health(endpoint_id text = NULL, recent integer = 100)
    RETURNS TABLE (id text, url text, active boolean, state text,
                   attempts integer, delivered integer, p50_ms integer, p95_ms integer,
                   last_attempt_at timestamptz, last_error text, last_error_at timestamptz,
                   failing_since timestamptz, pending bigint, next_attempt_at timestamptz, given_up integer,
                   recent_ms integer[], recent_ok boolean[])
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
    SELECT e.id, e.url, e.active,
           CASE WHEN NOT e.active THEN 'disabled' WHEN made.attempts = 0 AND trouble.oldest_due_at IS NULL THEN 'idle'
                WHEN NOT made.recent_ok[1] OR trouble.is_retrying THEN 'failing' ELSE 'healthy' END,
           made.attempts, made.delivered, made.p50_ms, made.p95_ms, made.last_attempt_at,
           failure.error, failure.started_at,
           CASE WHEN trouble.is_retrying THEN (
               -- Since the oldest message that waits first failed.
               SELECT min(a.started_at)
                 FROM (SELECT p.xid, p.seq FROM webhooks.pending p
                        WHERE p.endpoint = e.key ORDER BY p.endpoint, p.xid, p.seq LIMIT 1) oldest
                 JOIN webhooks.event m ON m.xid = oldest.xid AND m.seq = oldest.seq
                 JOIN webhooks.attempt a ON a.webhook_id = m.webhook_id AND a.endpoint + 0 = e.key
                                        AND a.outcome = 'retry') END,
           (SELECT count(*) FROM (SELECT FROM webhooks.pending p WHERE p.endpoint = e.key LIMIT 1000) p),
           trouble.oldest_due_at, trouble.given_up, made.recent_ms, made.recent_ok
      -- OFFSET 0: the id is looked up once, and also where there is no endpoint at all.
      FROM (SELECT CASE WHEN health.endpoint_id IS NOT NULL THEN webhooks.endpoint_key(health.endpoint_id) END AS key,
                   webhooks.checked_limit('recent', recent) AS recent
            OFFSET 0) asked
      JOIN webhooks.endpoint e ON asked.key IS NULL OR e.key = asked.key
     CROSS JOIN LATERAL (
        SELECT count(*)::integer AS attempts, (count(*) FILTER (WHERE outcome = 'delivered'))::integer AS delivered,
               percentile_disc(0.5) WITHIN GROUP (ORDER BY response_time_ms) AS p50_ms,
               percentile_disc(0.95) WITHIN GROUP (ORDER BY response_time_ms) AS p95_ms,
               max(started_at) AS last_attempt_at,
               coalesce(array_agg(response_time_ms ORDER BY started_at DESC), '{}') AS recent_ms,
               coalesce(array_agg(outcome = 'delivered' ORDER BY started_at DESC), '{}') AS recent_ok
          FROM (SELECT * FROM webhooks.attempt a
                 WHERE a.endpoint = e.key AND a.started_at > clock_timestamp() - interval '24 h'
                 ORDER BY a.started_at DESC LIMIT asked.recent) a) made
      LEFT JOIN LATERAL (
        SELECT coalesce(f.error, 'HTTP ' || f.http_status) AS error, f.started_at
          FROM webhooks.attempt f
         WHERE f.endpoint = e.key AND f.outcome <> 'delivered' AND f.started_at > clock_timestamp() - interval '24 h'
         ORDER BY f.started_at DESC LIMIT 1) failure ON true
     CROSS JOIN LATERAL webhooks.trouble_of(e.key) trouble
     ORDER BY e.key
$$;
COMMENT ON FUNCTION webhooks.health(text, integer) IS
    'The health of each webhook: healthy, failing, idle (nothing in 24 hours) or disabled; with figures of its '
    'latest attempts in 24 hours, newest first, at most as many as recent says; since when it fails, while retries are '
    'to come; how much waits for it; and given_up, how many of its deliveries of the last hour are tried no more, since '
    'it refused them (4xx) or the last retry failed. Both are counted up to 1,000';

CREATE FUNCTION webhooks.activity(since timestamptz, until timestamptz, bucket interval)
    RETURNS TABLE (at timestamptz, delivered bigint, failed bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_custom_plan
    SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    IF bucket IS NULL OR bucket <= interval '0'
       OR extract(year FROM bucket) <> 0 OR extract(month FROM bucket) <> 0 THEN
        RAISE EXCEPTION 'attempts cannot be counted in buckets of %', coalesce(bucket::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Give days, hours, minutes or seconds: bucket => ''5 minutes''.';
    END IF;
    RETURN QUERY
    SELECT date_bin(bucket, a.started_at, since),
           count(*) FILTER (WHERE a.outcome = 'delivered'), count(*) FILTER (WHERE a.outcome <> 'delivered')
      FROM webhooks.endpoint e
      JOIN webhooks.attempt a ON a.endpoint = e.key AND a.started_at >= since AND a.started_at < until
     GROUP BY 1
     ORDER BY 1;
END
$$;
COMMENT ON FUNCTION webhooks.activity(timestamptz, timestamptz, interval) IS
    'Attempts over time: how many in each bucket succeeded and failed';

CREATE FUNCTION webhooks.missed_events()
    RETURNS TABLE (table_name text, event text, reason text, changes bigint, first_at timestamptz, last_at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT table_name, event, reason, sum(changes)::bigint, min(first_at), max(last_at)
      FROM webhooks.missed GROUP BY table_name, event, reason ORDER BY max(last_at) DESC
$$;
COMMENT ON FUNCTION webhooks.missed_events() IS
    'Row changes of the time of event_retention that should have made an event and did not: of which table, which '
    'event (* is all), why, and how many';

CREATE FUNCTION webhooks.status()
    RETURNS TABLE (version text, sidecars integer, shards integer, shards_held integer,
                   unread integer, oldest_unread_at timestamptz,
                   pending bigint, overdue bigint, oldest_due_at timestamptz, behind interval,
                   endpoints integer, disabled integer, in_trouble text[], invalid_settings text[], unreadable text[],
                   missed bigint, missed_reasons text[], given_up integer)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    -- Along an index, as far as it counts: what waits may be millions of rows.
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
    SET jit = off
AS $$
    WITH endpoint AS MATERIALIZED (
        SELECT e.key, e.id, e.active, t.given_up,
               e.disabled_by IS NOT NULL OR t.is_retrying AND e.active OR t.given_up > 0 AS in_trouble,
               -- Of a disabled one nothing is due.
               CASE WHEN e.active THEN t.oldest_due_at END AS oldest_due_at,
               -- What is due at one that fails is being tried: it holds up nobody else, and is no backlog of ours.
               CASE WHEN e.active AND NOT t.is_failing THEN t.oldest_due_at END AS behind_since
          FROM webhooks.endpoint e CROSS JOIN LATERAL webhooks.trouble_of(e.key) t
    ), registered AS (
        SELECT count(*)::integer AS endpoints, (count(*) FILTER (WHERE NOT active))::integer AS disabled,
               coalesce(array_agg(id ORDER BY key) FILTER (WHERE in_trouble), '{}') AS in_trouble,
               coalesce(least(sum(given_up), 10000), 0)::integer AS given_up,
               min(oldest_due_at) AS oldest_due_at, min(behind_since) AS behind_since
          FROM endpoint
    ), waits AS (
        SELECT (SELECT count(*) FROM (SELECT FROM webhooks.pending LIMIT 10000) p) AS pending,
               (SELECT count(*)
                  FROM (SELECT FROM endpoint e
                          JOIN webhooks.pending p ON p.endpoint = e.key AND p.due_at <= statement_timestamp()
                         WHERE e.active
                         LIMIT 10000) p) AS overdue
    ), log AS (
        SELECT * FROM webhooks.unread()
    )
    SELECT (SELECT extversion FROM pg_extension WHERE extname = 'pg_webhooks'),
           (SELECT count(*)::integer FROM webhooks.members()),
           leases.shards, leases.held, log.events, log.oldest_at,
           waits.pending, waits.overdue, registered.oldest_due_at,
           greatest(clock_timestamp() - least(log.oldest_at, registered.behind_since), interval '0'),
           registered.endpoints, registered.disabled, registered.in_trouble,
           ARRAY(SELECT DISTINCT setting FROM webhooks.invalid_settings() ORDER BY setting),
           ARRAY(SELECT a.webhook_id
                   FROM (SELECT * FROM webhooks.attempt
                          WHERE outcome = 'unreadable' ORDER BY started_at DESC LIMIT 1000) a
                  -- Where somebody has mended the message and sent it again, it is one no more.
                  WHERE NOT EXISTS (SELECT FROM webhooks.attempt again
                                     WHERE again.webhook_id = a.webhook_id AND again.endpoint + 0 = a.endpoint
                                       AND again.started_at > a.started_at AND again.outcome <> 'unreadable')
                  GROUP BY a.webhook_id ORDER BY max(a.started_at) DESC LIMIT 10),
           (SELECT coalesce(sum(changes), 0)::bigint FROM webhooks.missed),
           ARRAY(SELECT format('%s, %s: %s', m.table_name, m.event, m.reason) FROM webhooks.missed_events() m
                  ORDER BY m.last_at DESC LIMIT 10),
           registered.given_up
      FROM waits, log, registered,
           (SELECT count(*)::integer AS shards, (count(*) FILTER (WHERE is_held))::integer AS held
              FROM webhooks.leases()) leases
$$;
COMMENT ON FUNCTION webhooks.status() IS
    'The state of delivery, in one row: sidecars and the shards they hold; events whose first attempts are not all '
    'over, and those after them (unread); what is pending and overdue (all three counted up to 10,000); for how long '
    'something has been due without being sent (behind; 0 when nothing is), but for what is due at a webhook whose '
    'attempts fail; the webhooks that were disabled for their failures, have retries to come, or have deliveries of the '
    'last hour that are tried no more (in_trouble; given_up counts those deliveries); the settings that are not valid, '
    'for which other values count; the newest messages, ten at most, that cannot be read and are not sent; and how many '
    'row changes should have made an event and did not (missed), with the newest ten of their tables, events and '
    'reasons';

CREATE FUNCTION webhooks.version() RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$ SELECT extversion FROM pg_extension WHERE extname = 'pg_webhooks' $$;
COMMENT ON FUNCTION webhooks.version() IS 'The version of the extension that is installed; reads nothing else';
