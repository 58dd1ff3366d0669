-- What a sidecar does with the shards that it owns (leases.sql): it sleeps and wakes, reads the event log through the
-- cursor. due.sql reads what waits and is due, report.sql takes what became of it. Role
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
-- (the last three are the endpoint's options, NULL where it has none). signatures is X-Webhook-Signature; webhook_id, signed_at and signatures_v1 are the Standard Webhooks headers; damage
-- says why it is not to be sent. What the call itself has to say is in the first columns, the same in each row; where
-- there is nothing to send, it is in one row whose other columns are NULL.

CREATE FUNCTION webhooks.fetch(shard integer, lease_id bigint,
                               INOUT done text, INOUT part_xids xid8[], INOUT part_seqs integer[],
                               only_endpoints integer[], except_endpoints integer[],
                               retaken_endpoints integer[], retaken_before xid8[],
                               INOUT seen text, max_events integer, max_bytes bigint,
                               OUT events_read integer, OUT is_complete boolean, OUT has_news boolean,
                               OUT left_out integer[],
                               OUT xid xid8, OUT seq integer, OUT occurred_at timestamptz, OUT webhook_id text,
                               OUT key bigint, OUT event text, OUT body text, OUT damage text, OUT signed_at bigint,
                               OUT endpoints integer[], OUT urls text[], OUT retry_counts integer[],
                               OUT signatures text[], OUT signatures_v1 text[], OUT max_in_flight integer[],
                               OUT max_per_second double precision[], OUT timeout_ms integer[])
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
    no_end      CONSTANT xid8 := '18446744073709551615';
    -- To sign a message for a recipient is to go through it: so much of that is done in one call.
    max_signed  CONSTANT bigint := 16777216;
    my_shard    CONSTANT integer := shard;
    my_lease_id CONSTANT bigint := lease_id;
    -- This call reads what seen_now sees and was_done does not.
    was_done    CONSTANT pg_snapshot := done;
    was_seen    CONSTANT pg_snapshot := seen;
    parts_done  CONSTANT xid8[] := part_xids;
    seqs_done   CONSTANT integer[] := part_seqs;
    seen_now    CONSTANT pg_snapshot := pg_current_snapshot();
    now_running CONSTANT xid8[] := ARRAY(SELECT pg_snapshot_xip(seen_now));
    -- New are all transactions from new_from on, and those that ran at was_done and have ended since.
    new_from    CONSTANT xid8 := pg_snapshot_xmax(was_done);
    open_xids   CONSTANT xid8[] := ARRAY(SELECT x FROM pg_snapshot_xip(was_done) x
                                          WHERE pg_visible_in_snapshot(x, seen_now) ORDER BY x);
    low_xids    xid8[] := open_xids || new_from;
    high_xids   xid8[] := open_xids || pg_snapshot_xmax(seen_now);
    chosen      xid8[];
    known_xids  xid8[];
    known_to    xid8;
    now_s       CONSTANT bigint := floor(extract(epoch FROM clock_timestamp()));
    shards      CONSTANT bigint := (SELECT count(*) FROM webhooks.lease);
    log_key     CONSTANT bytea := (SELECT key FROM webhooks.log_key);
    recover_before xid8;
    is_any      boolean := true;
BEGIN
    SELECT l.recover_before INTO recover_before
      FROM webhooks.holder h JOIN webhooks.lease l ON l.shard = h.shard
     WHERE h.shard = my_shard AND h.lease_id = my_lease_id;
    IF NOT FOUND THEN
        PERFORM webhooks.refuse_stale(my_shard);
    END IF;

    seen := seen_now;
    events_read := 0;
    is_complete := true;
    has_news := false;
    left_out := '{}';
    -- No transaction has begun or ended in between: the look of a sidecar that waits for one costs next to nothing.
    IF new_from = pg_snapshot_xmax(seen_now) AND cardinality(open_xids) = 0 THEN
        RETURN NEXT;
        RETURN;
    END IF;
    -- Nor has one that has ended made an event: most look like this where others write much.
    IF NOT EXISTS (SELECT FROM unnest(low_xids, high_xids) AS span (low_xid, high_xid)
                    CROSS JOIN LATERAL (
                       SELECT FROM webhooks.event e
                        WHERE e.xid >= span.low_xid AND e.xid <= span.high_xid AND pg_visible_in_snapshot(e.xid, seen_now)
                        ORDER BY e.xid, e.seq LIMIT 1) unread) THEN
        done := seen_now;
        part_xids := '{}';
        part_seqs := '{}';
        is_any := false;
    END IF;
    has_news := EXISTS (SELECT FROM webhooks.cursor c
                         WHERE c.endpoint <> 0 AND c.report IS NULL AND c.written_by >= pg_snapshot_xmin(was_seen)
                           AND NOT pg_visible_in_snapshot(c.written_by, was_seen) AND c.shard = my_shard);
    IF NOT is_any THEN
        RETURN NEXT;
        RETURN;
    END IF;

    LOOP
        RETURN QUERY
        WITH span AS (  -- the stretches of the index to read
            SELECT s.low_xid, coalesce(p.seq, -1) AS low_seq, s.high_xid
              FROM unnest(low_xids, high_xids) AS s (low_xid, high_xid)
              LEFT JOIN unnest(parts_done, seqs_done) AS p (xid, seq) ON p.xid = s.low_xid
        ), candidate AS MATERIALIZED (  -- one more than may be read: it shows whether there are more
            SELECT unread.*, coalesce(unread.tenant, '') AS tenant_or_none
              FROM span
             CROSS JOIN LATERAL (
                SELECT e.* FROM webhooks.event e
                 WHERE (e.xid, e.seq) > (span.low_xid, span.low_seq) AND e.xid <= span.high_xid
                   AND pg_visible_in_snapshot(e.xid, seen_now)
                 ORDER BY e.xid, e.seq LIMIT max_events + 1) unread
             ORDER BY unread.xid, unread.seq LIMIT max_events + 1
        ), fringe AS MATERIALIZED (
            SELECT count(*) > max_events AS has_more, max(c.xid) AS last_xid, min(c.ended) AS reference
              FROM candidate c
        ), ordered AS (
            SELECT c.*, webhooks.log_position(c.xid, first_value(c.horizon) OVER transaction) AS position,
                   webhooks.ended_after(first_value(c.ended) OVER transaction, f.reference) AS ended_last, f.has_more, f.last_xid
              FROM candidate c CROSS JOIN fringe f
            WINDOW transaction AS (PARTITION BY c.xid ORDER BY c.seq DESC)
        ), subscriber AS MATERIALIZED (  -- who takes the events of a name and tenant, looked up once for each such pair
            SELECT topic.name, topic.tenant_or_none, s.sinces, s.first_new, p.*
              FROM (SELECT DISTINCT c.name, c.tenant_or_none FROM candidate c WHERE c.target IS NULL) topic
             CROSS JOIN LATERAL (
                SELECT s.endpoint, array_agg(s.since) AS sinces, min(pg_snapshot_xmax(s.since)) AS first_new
                  FROM webhooks.subscription s
                 WHERE s.pattern = ANY (webhooks.patterns_of(topic.name))
                   AND (s.tenant IS NULL OR s.tenant = topic.tenant_or_none)
                 GROUP BY s.endpoint) s
             CROSS JOIN LATERAL (
                SELECT p.key AS endpoint_key, p.url, p.secret, p.previous_secret, p.previous_until,
                       p.max_in_flight, p.max_per_second, p.timeout_ms
                  FROM webhooks.endpoint p
                 WHERE p.key = s.endpoint AND p.active AND p.key % shards = my_shard OFFSET 0) p
             WHERE (only_endpoints IS NULL OR p.endpoint_key IN (SELECT unnest(only_endpoints)))
               AND p.endpoint_key NOT IN (SELECT unnest(except_endpoints))
        ), audience AS (
            SELECT s.name, s.tenant_or_none, count(*) AS endpoints FROM subscriber s GROUP BY s.name, s.tenant_or_none
        ), measured AS MATERIALIZED (  -- in the order of the log; a delivery counts as 1 kB
            SELECT o.*, row_number() OVER the_log AS place, sum(m.bytes) OVER the_log - m.bytes AS bytes_before
              FROM ordered o
              LEFT JOIN audience a ON o.target IS NULL AND a.name = o.name AND a.tenant_or_none = o.tenant_or_none
             CROSS JOIN LATERAL (SELECT octet_length(o.body) + 1000 * coalesce(a.endpoints, 1)::integer AS bytes) m
             -- Of what is read by the ids, what comes before all that is not.
             WHERE chosen IS NOT NULL OR NOT o.has_more OR o.xid < o.last_xid AND o.position <= o.last_xid
            WINDOW the_log AS (ORDER BY o.position, o.ended_last, o.xid, o.seq ROWS UNBOUNDED PRECEDING)
        ), whole AS MATERIALIZED (
            SELECT m.xid, min(m.place) AS place,
                   min(m.place) FILTER (WHERE m.bytes_before >= max_bytes OR m.place > max_events) AS too_much_at
              FROM measured m GROUP BY m.xid
        ), cut AS MATERIALIZED (  -- the first transaction that is too much stays for the next time, or is read in part
            SELECT w.xid, w.place = 1 AS is_part, CASE w.place WHEN 1 THEN w.too_much_at ELSE w.place END AS place
              FROM whole w WHERE w.too_much_at IS NOT NULL ORDER BY w.place LIMIT 1
        ), read AS MATERIALIZED (
            SELECT m.xid, m.seq, m.occurred_at, m.webhook_id, m.key, m.name, m.body, m.target, m.tenant_or_none, m.place,
                   webhooks.damage(m.webhook_id, m.body, m.signature, log_key) AS damage
              FROM measured m LEFT JOIN cut ON true
             WHERE m.place < cut.place IS NOT FALSE
        ), outcome AS MATERIALIZED (
            SELECT (SELECT count(*)::integer FROM read) AS events_read,
                   chosen IS NULL AND NOT f.has_more AND NOT EXISTS (SELECT FROM cut) AS is_complete,
                   ARRAY(SELECT w.xid FROM whole w LEFT JOIN cut ON true WHERE w.place < cut.place IS NOT FALSE
                                                                     AND w.xid IS DISTINCT FROM cut.xid) AS read_xids,
                   (SELECT cut.xid FROM cut WHERE cut.is_part) AS part_xid,
                   (SELECT max(r.seq) FROM read r JOIN cut ON cut.is_part AND r.xid = cut.xid) AS part_seq,
                   coalesce(known_xids, ARRAY(SELECT DISTINCT c.xid FROM candidate c)) AS found,
                   coalesce(known_to, CASE WHEN f.has_more THEN f.last_xid ELSE no_end END) AS found_to
              FROM fringe f
             WHERE chosen IS NOT NULL OR NOT f.has_more OR EXISTS (SELECT FROM measured)
        ), progress AS MATERIALIZED (
            SELECT o.*, d.running,
                   CASE WHEN o.is_complete THEN seen_now::text
                        ELSE format('%s:%s:%s', coalesce(d.running[1], d.xmax), d.xmax, array_to_string(d.running, ','))
                        END AS done
              FROM outcome o
             CROSS JOIN LATERAL (
                SELECT n.xmax,
                       ARRAY(SELECT x FROM (SELECT unnest(open_xids) UNION SELECT unnest(now_running)
                                             UNION SELECT unnest(o.found)) AS not_done (x)
                              WHERE x < n.xmax AND x <> ALL (o.read_xids)
                                -- One that has ended and made no event that is not read.
                                AND NOT (x = ANY (open_xids) AND x <= o.found_to AND x <> ALL (o.found))
                              ORDER BY x) AS running
                  FROM (SELECT greatest(new_from, max((x::text::bigint + 1)::text::xid8)) AS xmax
                          FROM unnest(o.read_xids || o.part_xid) AS x) n) d
        ), recipient AS (
            SELECT e.*, s.endpoint_key, s.url, s.secret, s.previous_secret, s.previous_until,
                   s.max_in_flight, s.max_per_second, s.timeout_ms
              FROM read e
              JOIN subscriber s ON s.name = e.name AND s.tenant_or_none = e.tenant_or_none
             WHERE e.target IS NULL
               AND (e.xid >= s.first_new
                 OR EXISTS (SELECT FROM unnest(s.sinces) since WHERE NOT pg_visible_in_snapshot(e.xid, since)))
             UNION ALL
            SELECT e.*, p.*
              FROM read e
             CROSS JOIN LATERAL (
                SELECT p.key AS endpoint_key, p.url, p.secret, p.previous_secret, p.previous_until,
                       p.max_in_flight, p.max_per_second, p.timeout_ms
                  FROM webhooks.endpoint p
                 WHERE p.key = e.target AND p.active AND p.key % shards = my_shard OFFSET 0) p
             WHERE e.target IS NOT NULL
               AND (only_endpoints IS NULL OR p.endpoint_key IN (SELECT unnest(only_endpoints)))
               AND p.endpoint_key NOT IN (SELECT unnest(except_endpoints))
        ), left_out AS MATERIALIZED (  -- endpoints for which a long message with many recipients is not signed now
            SELECT DISTINCT r.endpoint_key
              FROM (SELECT r.endpoint_key, octet_length(r.body) AS bytes,
                           row_number() OVER (PARTITION BY r.place ORDER BY r.endpoint_key) AS number
                      FROM recipient r
                     WHERE r.place IN (SELECT e.place FROM read e
                                         JOIN audience a ON a.name = e.name AND a.tenant_or_none = e.tenant_or_none
                                        WHERE octet_length(e.body) * a.endpoints > max_signed)) r
             WHERE r.number > greatest(max_signed / r.bytes, 1)
        ), ready AS (
            SELECT r.place, r.xid, r.seq, r.occurred_at, r.webhook_id, r.key, r.name, r.body, r.damage,
                   array_agg(r.endpoint_key) AS endpoints, array_agg(r.url) AS urls, array_agg(0) AS retry_counts,
                   array_agg(webhooks.sign(r.body, r.secret)) AS signatures,
                   array_agg(webhooks.standard_signatures(r.webhook_id, now_s, r.body, r.secret, r.previous_secret,
                                                          r.previous_until)) AS signatures_v1,
                   array_agg(r.max_in_flight) AS max_in_flight, array_agg(r.max_per_second) AS max_per_second,
                   array_agg(r.timeout_ms) AS timeout_ms
              FROM recipient r
              LEFT JOIN unnest(retaken_endpoints, retaken_before) AS retaken (endpoint, before)
                     ON retaken.endpoint = r.endpoint_key
             -- After a take-over, or where an endpoint is read anew: not again what is logged or pending already. (The
             -- sum keeps the planner from the index on endpoint, under which a busy endpoint has a million rows.)
             WHERE r.endpoint_key NOT IN (SELECT l.endpoint_key FROM left_out l)
               AND NOT (r.xid < greatest(recover_before, retaken.before) AND (
                    EXISTS (SELECT FROM webhooks.attempt a
                             WHERE a.webhook_id = r.webhook_id AND a.endpoint + 0 = r.endpoint_key
                               AND a.started_at >= r.occurred_at - interval '1 s')
                 OR EXISTS (SELECT FROM webhooks.pending w
                             WHERE w.endpoint = r.endpoint_key AND w.xid = r.xid AND w.seq = r.seq)))
             GROUP BY r.place, r.xid, r.seq, r.occurred_at, r.webhook_id, r.key, r.name, r.body, r.damage
        )
        SELECT p.done,
               CASE WHEN p.is_complete THEN '{}'
                    ELSE ARRAY(SELECT x FROM unnest(parts_done, seqs_done) AS d (x, s)
                                WHERE x = ANY (p.running) AND x IS DISTINCT FROM p.part_xid)
                         || CASE WHEN p.part_xid IS NOT NULL THEN ARRAY[p.part_xid] ELSE '{}' END END,
               CASE WHEN p.is_complete THEN '{}'
                    ELSE ARRAY(SELECT s FROM unnest(parts_done, seqs_done) AS d (x, s)
                                WHERE x = ANY (p.running) AND x IS DISTINCT FROM p.part_xid)
                         || CASE WHEN p.part_xid IS NOT NULL THEN ARRAY[p.part_seq] ELSE '{}' END END,
               seen_now::text, p.events_read, p.is_complete, has_news,
               ARRAY(SELECT l.endpoint_key FROM left_out l),
               e.xid, e.seq, e.occurred_at, e.webhook_id, e.key, e.name, e.body, e.damage, now_s,
               e.endpoints, e.urls, e.retry_counts, e.signatures, e.signatures_v1,
               e.max_in_flight, e.max_per_second, e.timeout_ms
          FROM progress p
         CROSS JOIN LATERAL webhooks.flush_commits(
                ARRAY(SELECT x::text::bigint FROM unnest(p.read_xids || p.part_xid) x WHERE x IS NOT NULL)) flushed
          LEFT JOIN ready e ON true
         ORDER BY e.place;
        EXIT WHEN FOUND;
        SELECT f.looked_at, f.looked_to, f.chosen INTO known_xids, known_to, chosen
          FROM webhooks.first_transactions(open_xids, new_from, seen_now, max_events) f;
        low_xids := chosen;
        high_xids := chosen;
    END LOOP;
END
$$;
COMMENT ON FUNCTION
    webhooks.fetch(integer, bigint, text, xid8[], integer[], integer[], integer[], integer[], xid8[], text, integer,
                   bigint) IS
    'The next events behind a done-set, in the order of the log and never twice, each with the active endpoints that '
    'it is for: of only_endpoints, or of all but except_endpoints. done, part_xids and part_seqs are, as they come, '
    'the done-set with what is read now; is_complete says that there was no more. Of retaken_endpoints and below '
    'retaken_before, what is logged or pending is left out. seen is what the call saw; has_news, that news() has rows '
    'which the seen that was given did not see; left_out are endpoints that get nothing of what is read now, since a '
    'long message has too many recipients to be signed for all at once. events_read counts those, too, that no active endpoint wants';

CREATE FUNCTION webhooks.news(shard integer, lease_id bigint, seen text)
    RETURNS TABLE (endpoint integer, active boolean, moved xid8, done text, xid xid8, seq integer)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '500ms'
AS $$
#variable_conflict use_column
DECLARE
    my_shard CONSTANT integer := shard;
    was_seen CONSTANT pg_snapshot := seen;
BEGIN
    RETURN QUERY
    SELECT told.endpoint, coalesce(p.active, false), c.moved, c.done::text, c.xid, c.seq
      FROM (SELECT DISTINCT c.endpoint FROM webhooks.cursor c
             WHERE c.endpoint <> 0 AND c.report IS NULL AND c.written_by >= pg_snapshot_xmin(was_seen)
               AND NOT pg_visible_in_snapshot(c.written_by, was_seen) AND c.shard = my_shard) told
     CROSS JOIN LATERAL webhooks.newest_cursor(my_shard, told.endpoint) c
      LEFT JOIN webhooks.endpoint p ON p.key = told.endpoint;
END
$$;
COMMENT ON FUNCTION webhooks.news(integer, bigint, text) IS
    'The endpoints whose cursor row a person has written, by disabling, enabling, changing or deleting, or a report '
    'that disabled them, since the snapshot seen: what is queued for them is to be dropped, and read again from there';

CREATE FUNCTION webhooks.cursors(shard integer)
    RETURNS TABLE (endpoint integer, moved xid8, done text, xid xid8, seq integer)
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT own.endpoint, c.moved, c.done::text, c.xid, c.seq
      FROM (SELECT DISTINCT endpoint FROM webhooks.cursor WHERE shard = cursors.shard AND endpoint <> 0) own
      JOIN webhooks.endpoint p ON p.key = own.endpoint AND p.active
     CROSS JOIN LATERAL webhooks.newest_cursor(shard, own.endpoint) c
     WHERE c.done IS NOT NULL
$$;
COMMENT ON FUNCTION webhooks.cursors(integer) IS
    'The active endpoints of a shard that have a cursor row of their own: a sidecar that takes the shard begins there';
