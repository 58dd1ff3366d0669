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

CREATE FUNCTION webhooks.health(endpoint_id text = NULL, recent integer = 100)
    RETURNS TABLE (id text, url text, active boolean, state text,
                   attempts integer, delivered integer, p50_ms integer, p95_ms integer,
                   last_attempt_at timestamptz, last_error text, last_error_at timestamptz,
                   pending bigint, next_attempt_at timestamptz, recent_ms integer[], recent_ok boolean[])
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
    SELECT e.id, e.url, e.active,
           CASE WHEN NOT e.active THEN 'disabled' WHEN made.attempts = 0 AND waits.pending = 0 THEN 'idle'
                WHEN NOT made.recent_ok[1] OR waits.retrying THEN 'failing' ELSE 'healthy' END,
           made.attempts, made.delivered, made.p50_ms, made.p95_ms, made.last_attempt_at,
           failure.error, failure.started_at,
           waits.pending, waits.next_attempt_at, made.recent_ms, made.recent_ok
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
     CROSS JOIN LATERAL (
        SELECT count(*) AS pending, min(p.due_at) AS next_attempt_at,
               coalesce(bool_or(p.retry_count > 0), false) AS retrying
          FROM webhooks.pending p WHERE p.endpoint = e.key) waits
     ORDER BY e.key
$$;
COMMENT ON FUNCTION webhooks.health(text, integer) IS
    'The health of each webhook: healthy, failing, idle (nothing in 24 hours) or disabled; with figures of its '
    'latest attempts in 24 hours, newest first, at most as many as recent says';

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
                   missed bigint, missed_reasons text[])
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
    WITH waits AS (  -- of a disabled endpoint nothing is due
        SELECT count(*) AS pending, count(*) FILTER (WHERE e.active AND p.due_at <= clock_timestamp()) AS overdue,
               min(p.due_at) FILTER (WHERE e.active) AS oldest_due_at,
               array_agg(DISTINCT e.key) FILTER (WHERE e.active AND p.retry_count > 0) AS retrying
          FROM webhooks.pending p JOIN webhooks.endpoint e ON e.key = p.endpoint
    ), log AS (
        SELECT * FROM webhooks.unread()
    )
    SELECT (SELECT extversion FROM pg_extension WHERE extname = 'pg_webhooks'),
           (SELECT count(*)::integer FROM webhooks.members()),
           leases.shards, leases.held, log.events, log.oldest_at,
           waits.pending, waits.overdue, waits.oldest_due_at,
           greatest(clock_timestamp() - least(log.oldest_at, waits.oldest_due_at), interval '0'),
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
                  ORDER BY m.last_at DESC LIMIT 10)
      FROM waits, log,
           (SELECT count(*)::integer AS shards, (count(*) FILTER (WHERE is_held))::integer AS held
              FROM webhooks.leases()) leases,
           LATERAL (SELECT count(*)::integer AS endpoints, (count(*) FILTER (WHERE NOT active))::integer AS disabled,
                           coalesce(array_agg(id ORDER BY key) FILTER (WHERE
                               disabled_by IS NOT NULL OR key = ANY (waits.retrying)), '{}') AS in_trouble
                      FROM webhooks.endpoint) registered
$$;
COMMENT ON FUNCTION webhooks.status() IS
    'The state of delivery, in one row: sidecars and the shards they hold; events whose first attempts are not all '
    'over, and those after them (unread, counted up to 10,000); what is pending; for how long something has been due '
    'without being sent (behind; 0 when nothing is); the webhooks that were disabled for their failures or have '
    'retries to come; the settings that are not valid, for which other values count; the newest messages, ten at '
    'most, that cannot be read and are not sent; and how many row changes should have made an event and did not '
    '(missed), with the newest ten of their tables, events and reasons';
