-- What a sidecar does with the shards that it owns (leases.sql): it sleeps and wakes, reads the event log through the
-- cursor and due deliveries from pending. report.sql takes what became of them. Role
-- webhooks_sidecar may execute these functions and touch no table.

-- Sleep -------------------------------------------------------------------------------------------------------------

CREATE FUNCTION webhooks.try_sleep() RETURNS boolean
    LANGUAGE c AS 'MODULE_PATHNAME', 'try_sleep_wrapper';
COMMENT ON FUNCTION webhooks.try_sleep() IS
    'Takes the session lock that makes writers notify; false while a writer is committing. Look for work once more '
    'after it, before waiting';

CREATE FUNCTION webhooks.stop_sleeping() RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'stop_sleeping_wrapper';
COMMENT ON FUNCTION webhooks.stop_sleeping() IS 'Releases the lock of try_sleep: writers stop notifying';

CREATE FUNCTION webhooks.wait_for_commit(seen text, least_us integer, most_us integer) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'wait_for_commit_wrapper';
COMMENT ON FUNCTION webhooks.wait_for_commit(text, integer, integer) IS
    'Waits until a transaction that the snapshot does not see has ended, for at least least_us and at most most_us: '
    'how an awake sidecar notices commits without polling';

-- Reading -----------------------------------------------------------------------------------------------------------

CREATE FUNCTION webhooks.standard_signatures(webhook_id text, signed_at bigint, body text, secret text,
                                             previous_secret text, previous_until timestamptz) RETURNS text
    LANGUAGE sql IMMUTABLE
RETURN webhooks.sign_standard(webhook_id, signed_at, body, secret)
    || CASE WHEN previous_until > to_timestamp(signed_at)
            THEN ' ' || webhooks.sign_standard(webhook_id, signed_at, body, previous_secret)
            ELSE '' END;
COMMENT ON FUNCTION webhooks.standard_signatures(text, bigint, text, text, text, timestamptz) IS
    'The webhook-signature header: made with the secret and, while a rotation leaves it valid, with the previous one';

-- Why a row of the log is not to be sent; NULL where it may be.
CREATE FUNCTION webhooks.damage(webhook_id text, body text, signature bytea, key bytea) RETURNS text
    LANGUAGE sql IMMUTABLE
RETURN CASE WHEN signature = webhooks.log_signature(webhook_id, body, key) THEN NULL
            ELSE 'The message was not written by pg_webhooks, or changed since: its signature does not match' END;
COMMENT ON FUNCTION webhooks.damage(text, text, bytea, bytea) IS
    'Why a row of the log is not to be sent: whoever can write there must not speak in a partner''s name';

-- fetch and fetch_due return a row for each event: its body once, and side by side in arrays what each recipient gets.
-- signatures is X-Webhook-Signature; webhook_id, signed_at and signatures_v1 are the Standard Webhooks headers; damage
-- says why it is not to be sent. What the call itself has to say is in the first columns, the same in each row; where
-- there is nothing to send, it is in one row whose other columns are NULL.

CREATE FUNCTION webhooks.fetch(shard integer, lease_id bigint, window_from text, INOUT window_to text,
                               after_xid xid8, after_seq integer, max_events integer, max_bytes bigint,
                               OUT events_read integer, OUT stopped_xid xid8, OUT stopped_seq integer,
                               OUT xid xid8, OUT seq integer, OUT occurred_at timestamptz, OUT webhook_id text,
                               OUT horizon xid8, OUT ended integer,
                               OUT event text, OUT body text, OUT damage text, OUT signed_at bigint,
                               OUT endpoints integer[], OUT urls text[], OUT retry_counts integer[],
                               OUT signatures text[], OUT signatures_v1 text[])
    RETURNS SETOF record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    -- Asleep, the caller holds a lock that DROP EXTENSION wants while it has those that are wanted here. To fail, which
    -- releases it, before the deadlock detector (1 s) has one of both fail is better than to have it be the DROP.
    SET lock_timeout = '500ms'
    -- The index on (xid, seq) is right at every size of the log; a plan made while it was small would say otherwise.
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    -- Nor does it know how many rows the steps have: they are hashed. What is looked up by an index stands behind
    -- OFFSET 0.
    SET enable_nestloop = off
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
    read_to     text := seen_now;
    new_from    xid8 := pg_snapshot_xmax(seen_before);
    new_to      xid8 := pg_snapshot_xmax(seen_now);
    at_xid      xid8 := coalesce(after_xid, '0');
    at_seq      integer := coalesce(after_seq, -1);
    -- New are all transactions from new_from on, and those that ran at seen_before and have ended since.
    ended_since xid8[] := ARRAY(SELECT x FROM pg_snapshot_xip(seen_before) x
                                 WHERE x >= at_xid AND pg_visible_in_snapshot(x, seen_now));
    now_s       bigint := floor(extract(epoch FROM clock_timestamp()));
    shards      bigint := (SELECT count(*) FROM webhooks.lease);
    log_key     bytea := (SELECT key FROM webhooks.log_key);
    recovering  boolean;
BEGIN
    SELECT pg_snapshot_xmax(seen_before) <= l.recover_before INTO recovering
      FROM webhooks.holder h JOIN webhooks.lease l ON l.shard = h.shard
     WHERE h.shard = my_shard AND h.lease_id = my_lease_id;
    IF NOT FOUND THEN
        PERFORM webhooks.refuse_stale(my_shard);
    END IF;

    window_to := read_to;
    events_read := 0;
    -- No transaction has begun or ended in between: the look of a sidecar that waits for one costs next to nothing.
    IF new_from = new_to AND cardinality(ended_since) = 0 THEN
        RETURN NEXT;
        RETURN;
    END IF;

    RETURN QUERY
    WITH span AS (  -- the stretches of the index to read; one lower bound each: a chunk starts where the last one ended
        SELECT x AS low_xid, CASE WHEN x = at_xid THEN at_seq ELSE -1 END AS low_seq, x AS high_xid
          FROM unnest(ended_since) AS x
         UNION ALL
        SELECT greatest(new_from, at_xid), CASE WHEN at_xid >= new_from THEN at_seq ELSE -1 END, new_to
    ), chunk AS MATERIALIZED (
        SELECT unread.*, coalesce(unread.tenant, '') AS tenant_or_none
          FROM span
         CROSS JOIN LATERAL (
            SELECT e.* FROM webhooks.event e
             WHERE (e.xid, e.seq) > (span.low_xid, span.low_seq) AND e.xid <= span.high_xid
               AND pg_visible_in_snapshot(e.xid, seen_now)
             ORDER BY e.xid, e.seq LIMIT max_events) unread
         ORDER BY unread.xid, unread.seq LIMIT max_events
    ), subscriber AS MATERIALIZED (  -- who takes the events of a name and tenant, looked up once for each such pair
        SELECT topic.name, topic.tenant_or_none, s.sinces, s.first_new, p.*
          FROM (SELECT DISTINCT c.name, c.tenant_or_none FROM chunk c WHERE c.target IS NULL) topic
         CROSS JOIN LATERAL (
            SELECT s.endpoint, array_agg(s.since) AS sinces, min(pg_snapshot_xmax(s.since)) AS first_new
              FROM webhooks.subscription s
             WHERE s.pattern = ANY (webhooks.patterns_of(topic.name))
               AND (s.tenant IS NULL OR s.tenant = topic.tenant_or_none)
             GROUP BY s.endpoint) s
         CROSS JOIN LATERAL (
            SELECT p.key, p.url, p.secret, p.previous_secret, p.previous_until FROM webhooks.endpoint p
             WHERE p.key = s.endpoint AND p.active AND p.key % shards = my_shard OFFSET 0) p
    ), audience AS (
        SELECT s.name, s.tenant_or_none, count(*) AS endpoints FROM subscriber s GROUP BY s.name, s.tenant_or_none
    ), measured AS MATERIALIZED (  -- of the chunk is read what begins within max_bytes, 1 kB a delivery
        SELECT c.*, row_number() OVER (ORDER BY c.xid, c.seq ROWS UNBOUNDED PRECEDING) AS place,
               sum(m.bytes) OVER (ORDER BY c.xid, c.seq ROWS UNBOUNDED PRECEDING) - m.bytes AS bytes_before
          FROM chunk c
          LEFT JOIN audience a ON c.target IS NULL AND a.name = c.name AND a.tenant_or_none = c.tenant_or_none
         CROSS JOIN LATERAL (SELECT octet_length(c.body) + 1000 * coalesce(a.endpoints, 1)::integer AS bytes) m
    ), cut AS (
        SELECT (count(*) FILTER (WHERE c.bytes_before < max_bytes))::integer AS events_read, count(*) AS found
          FROM measured c
    ), stopped AS (  -- the last event read, where the window holds more
        SELECT c.xid, c.seq FROM measured c JOIN cut ON c.place = cut.events_read
         WHERE cut.found = max_events OR cut.found > cut.events_read
    ), read AS MATERIALIZED (
        SELECT c.xid, c.seq, c.occurred_at, c.webhook_id, c.horizon, c.ended, c.name, c.body, c.target,
               c.tenant_or_none, webhooks.damage(c.webhook_id, c.body, c.signature, log_key) AS damage
          FROM measured c
         WHERE c.bytes_before < max_bytes
    ), recipient AS (
        SELECT e.*, s.key, s.url, s.secret, s.previous_secret, s.previous_until
          FROM read e
          JOIN subscriber s ON s.name = e.name AND s.tenant_or_none = e.tenant_or_none
         WHERE e.target IS NULL
           AND (e.xid >= s.first_new
             OR EXISTS (SELECT FROM unnest(s.sinces) since WHERE NOT pg_visible_in_snapshot(e.xid, since)))
         UNION ALL
        SELECT e.*, p.*
          FROM read e
         CROSS JOIN LATERAL (
            SELECT p.key, p.url, p.secret, p.previous_secret, p.previous_until FROM webhooks.endpoint p
             WHERE p.key = e.target AND p.active AND p.key % shards = my_shard OFFSET 0) p
         WHERE e.target IS NOT NULL
    ), ready AS (
        SELECT r.xid, r.seq, r.occurred_at, r.webhook_id, r.horizon, r.ended, r.name, r.body, r.damage,
               array_agg(r.key) AS endpoints, array_agg(r.url) AS urls, array_agg(0) AS retry_counts,
               array_agg(webhooks.sign(r.body, r.secret)) AS signatures,
               array_agg(webhooks.standard_signatures(r.webhook_id, now_s, r.body, r.secret, r.previous_secret,
                                                      r.previous_until)) AS signatures_v1
          FROM recipient r
         -- After a take-over: not again what the previous owner had logged or put aside behind its last cursor row.
         -- (The sum keeps the planner from the index on endpoint, under which a busy endpoint has a million rows.)
         WHERE NOT (recovering AND (
                EXISTS (SELECT FROM webhooks.attempt a
                         WHERE a.webhook_id = r.webhook_id AND a.endpoint + 0 = r.key
                           AND a.started_at >= r.occurred_at - interval '1 s')
             OR EXISTS (SELECT FROM webhooks.pending w WHERE w.endpoint = r.key AND w.xid = r.xid AND w.seq = r.seq)))
         GROUP BY r.xid, r.seq, r.occurred_at, r.webhook_id, r.horizon, r.ended, r.name, r.body, r.damage
    )
    SELECT read_to, cut.events_read, stopped.xid, stopped.seq, e.xid, e.seq, e.occurred_at, e.webhook_id,
           e.horizon, e.ended, e.name, e.body, e.damage, now_s,
           e.endpoints, e.urls, e.retry_counts, e.signatures, e.signatures_v1
      FROM cut
      LEFT JOIN stopped ON true
      LEFT JOIN ready e ON true;
END
$$;
COMMENT ON FUNCTION webhooks.fetch(integer, bigint, text, text, xid8, integer, integer, bigint) IS
    'The next events after a position, in commit windows and never twice, each with the active endpoints that it is '
    'for. horizon and ended tell in which order what is about one row happened. events_read counts those, too, that '
    'no active endpoint wants; stopped_xid and stopped_seq are the last one read '
    'where the window holds more, NULL where it is read to its end. window_to is the window read, a new one where '
    'none was given';

CREATE FUNCTION webhooks.fetch_due(shard integer, lease_id bigint,
                                   known_endpoints integer[], rooms integer[], room_for_others integer,
                                   in_flight_endpoints integer[], in_flight_xids xid8[], in_flight_seqs integer[],
                                   max_bytes bigint)
    RETURNS TABLE (next_due_at timestamptz,
                   xid xid8, seq integer, occurred_at timestamptz, webhook_id text, horizon xid8, ended integer,
                   event text, body text, damage text,
                   signed_at bigint, endpoints integer[], urls text[], retry_counts integer[],
                   signatures text[], signatures_v1 text[])
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
    now_at  timestamptz := clock_timestamp();
    now_s   bigint := floor(extract(epoch FROM now_at));
    shards  bigint := (SELECT count(*) FROM webhooks.lease);
    log_key bytea := (SELECT key FROM webhooks.log_key);
BEGIN
    IF NOT EXISTS (SELECT FROM webhooks.holder h
                    WHERE h.shard = fetch_due.shard AND h.lease_id = fetch_due.lease_id) THEN
        PERFORM webhooks.refuse_stale(fetch_due.shard);
    END IF;
    IF EXISTS (SELECT FROM webhooks.retry_request) THEN
        PERFORM webhooks.hasten(fetch_due.shard);
        now_at := clock_timestamp();
    END IF;

    RETURN QUERY
    WITH RECURSIVE waiting AS (  -- the endpoints with something pending, found by stepping along the index
        (SELECT p.endpoint FROM webhooks.pending p ORDER BY p.endpoint LIMIT 1)
         UNION ALL
        SELECT (SELECT p.endpoint FROM webhooks.pending p WHERE p.endpoint > w.endpoint ORDER BY p.endpoint LIMIT 1)
          FROM waiting w WHERE w.endpoint IS NOT NULL
    ), target AS (  -- those of them that may be sent to, and how many more requests each can take
        SELECT e.key, e.url, e.secret, e.previous_secret, e.previous_until,
               coalesce(known.room, room_for_others) AS room
          FROM waiting w
          JOIN webhooks.endpoint e ON e.key = w.endpoint AND e.active AND e.key % shards = fetch_due.shard
          LEFT JOIN unnest(known_endpoints, rooms) AS known (endpoint, room) ON known.endpoint = e.key
         WHERE coalesce(known.room, room_for_others) > 0
    ), candidate AS MATERIALIZED (  -- one more than there is room for: the first that stays says when to come again
        SELECT t.*, p.xid, p.seq, p.occurred_at, p.due_at, p.retry_count,
               row_number() OVER (PARTITION BY t.key ORDER BY p.due_at) AS place
          FROM target t
         CROSS JOIN LATERAL (
            SELECT p.* FROM webhooks.pending p
             WHERE p.endpoint = t.key
               -- NOT IN: hashed once, where NOT EXISTS would go through all for each row of an endpoint that hangs.
               AND (p.endpoint, p.xid, p.seq)
                   NOT IN (SELECT * FROM unnest(in_flight_endpoints, in_flight_xids, in_flight_seqs))
             ORDER BY p.due_at LIMIT t.room + 1) p
    ), due AS MATERIALIZED (
        SELECT c.*, e.webhook_id, e.horizon, e.ended, e.name, e.body, e.signature,
               row_number() OVER (PARTITION BY c.xid, c.seq ORDER BY c.due_at) = 1 AS is_first
          FROM candidate c
          JOIN webhooks.event e ON e.xid = c.xid AND e.seq = c.seq AND e.occurred_at = c.occurred_at
         WHERE c.place <= c.room AND c.due_at <= now_at
    ), measured AS MATERIALIZED (  -- of what is due is read what begins within max_bytes: a body once, 1 kB a delivery
        SELECT d.*, sum(m.bytes) OVER (ORDER BY d.due_at, d.xid, d.seq, d.key ROWS UNBOUNDED PRECEDING) - m.bytes
                    AS bytes_before
          FROM due d
         CROSS JOIN LATERAL (SELECT 1000 + CASE WHEN d.is_first THEN octet_length(d.body) ELSE 0 END AS bytes) m
    ), next AS (  -- when the next one falls due, or fell, of the endpoints that had room before this call
        SELECT min(rest.due_at) AS due_at
          FROM (SELECT c.due_at FROM candidate c WHERE c.place > c.room OR c.due_at > now_at
                 UNION ALL
                SELECT m.due_at FROM measured m WHERE m.bytes_before >= max_bytes) rest
    ), ready AS (
        SELECT m.xid, m.seq, m.occurred_at, m.webhook_id, m.horizon, m.ended, m.name, m.body, m.signature,
               min(m.due_at) AS due_at,
               array_agg(m.key) AS endpoints, array_agg(m.url) AS urls, array_agg(m.retry_count) AS retry_counts,
               array_agg(webhooks.sign(m.body, m.secret)) AS signatures,
               array_agg(webhooks.standard_signatures(m.webhook_id, now_s, m.body, m.secret, m.previous_secret,
                                                      m.previous_until)) AS signatures_v1
          FROM measured m
         WHERE m.bytes_before < max_bytes
         GROUP BY m.xid, m.seq, m.occurred_at, m.webhook_id, m.horizon, m.ended, m.name, m.body, m.signature
    )
    SELECT next.due_at, r.xid, r.seq, r.occurred_at, r.webhook_id, r.horizon, r.ended, r.name, r.body,
           webhooks.damage(r.webhook_id, r.body, r.signature, log_key), now_s,
           r.endpoints, r.urls, r.retry_counts, r.signatures, r.signatures_v1
      FROM next
      LEFT JOIN ready r ON true
     ORDER BY r.due_at;
END
$$;
COMMENT ON FUNCTION
    webhooks.fetch_due(integer, bigint, integer[], integer[], integer, integer[], xid8[], integer[], bigint) IS
    'Pending deliveries that are due, for each endpoint as many as it has room for: rooms for those in '
    'known_endpoints, room_for_others for the others; in_flight_… are those that the sidecar already has in hand. '
    'next_due_at is when to ask again';
