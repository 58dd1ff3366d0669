-- What waits for another attempt and is due: a row for each event, as in fetch (sidecar.sql), with the recipients for
-- which it is.

CREATE FUNCTION webhooks.fetch_due(shard integer, lease_id bigint,
                                   known_endpoints integer[], rooms integer[], room_for_others integer,
                                   in_flight_endpoints integer[], in_flight_xids xid8[], in_flight_seqs integer[],
                                   max_bytes bigint)
    RETURNS TABLE (next_due_at timestamptz,
                   xid xid8, seq integer, occurred_at timestamptz, webhook_id text, key bigint,
                   event text, body text, damage text,
                   signed_at bigint, endpoints integer[], urls text[], retry_counts integer[],
                   signatures text[], signatures_v1 text[], max_in_flight integer[],
                   max_per_second double precision[], timeout_ms integer[])
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
               e.max_in_flight, e.max_per_second, e.timeout_ms,
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
        SELECT c.*, e.webhook_id, e.key AS row_key, e.name, e.body, e.signature,
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
        SELECT m.xid, m.seq, m.occurred_at, m.webhook_id, m.row_key, m.name, m.body, m.signature,
               min(m.due_at) AS due_at,
               array_agg(m.key) AS endpoints, array_agg(m.url) AS urls, array_agg(m.retry_count) AS retry_counts,
               array_agg(webhooks.sign(m.body, m.secret)) AS signatures,
               array_agg(webhooks.standard_signatures(m.webhook_id, now_s, m.body, m.secret, m.previous_secret,
                                                      m.previous_until)) AS signatures_v1,
               array_agg(m.max_in_flight) AS max_in_flight, array_agg(m.max_per_second) AS max_per_second,
               array_agg(m.timeout_ms) AS timeout_ms
          FROM measured m
         WHERE m.bytes_before < max_bytes
         GROUP BY m.xid, m.seq, m.occurred_at, m.webhook_id, m.row_key, m.name, m.body, m.signature
    )
    SELECT next.due_at, r.xid, r.seq, r.occurred_at, r.webhook_id, r.row_key, r.name, r.body,
           webhooks.damage(r.webhook_id, r.body, r.signature, log_key), now_s,
           r.endpoints, r.urls, r.retry_counts, r.signatures, r.signatures_v1,
           r.max_in_flight, r.max_per_second, r.timeout_ms
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
