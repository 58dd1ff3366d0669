-- How far the log is delivered. A cursor row is a done-set: a snapshot, and one transaction that is done in part. It is
-- a floor: all of it is reported or pending for every endpoint that the row stands for, and more may be.

CREATE FUNCTION webhooks.newest_cursor(shard integer, endpoint integer) RETURNS webhooks.cursor
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c FROM webhooks.cursor c
     WHERE c.shard = newest_cursor.shard AND c.endpoint = newest_cursor.endpoint
       AND c.xmin::text::bigint = c.written_by::text::bigint & 4294967295
     ORDER BY c.moved DESC LIMIT 1
$$;
COMMENT ON FUNCTION webhooks.newest_cursor(integer, integer) IS
    'The row that counts, of a shard (endpoint 0) or an endpoint''s own; leaves out what logical replication has brought';

CREATE FUNCTION webhooks.shard_cursors() RETURNS SETOF webhooks.cursor
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.* FROM webhooks.lease l CROSS JOIN LATERAL webhooks.newest_cursor(l.shard, 0) c
$$;
COMMENT ON FUNCTION webhooks.shard_cursors() IS 'The row that counts of each shard';

CREATE FUNCTION webhooks.cursor_of(endpoint integer) RETURNS webhooks.cursor
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    my_shard integer := endpoint % (SELECT count(*) FROM webhooks.lease);
    own      webhooks.cursor := webhooks.newest_cursor(my_shard, endpoint);
BEGIN
    RETURN CASE WHEN own.done IS NOT NULL THEN own ELSE webhooks.newest_cursor(my_shard, 0) END;
END
$$;
COMMENT ON FUNCTION webhooks.cursor_of(integer) IS 'The row that counts for an endpoint: its own, else its shard''s';

CREATE FUNCTION webhooks.is_done(by webhooks.cursor, xid xid8, seq integer) RETURNS boolean
    LANGUAGE sql IMMUTABLE
RETURN pg_visible_in_snapshot(xid, (by).done) OR coalesce(xid = (by).xid AND seq <= (by).seq, false);
COMMENT ON FUNCTION webhooks.is_done(webhooks.cursor, xid8, integer) IS 'Whether an event is in a done-set';

CREATE FUNCTION webhooks.is_read(endpoint integer, xid xid8, seq integer) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    -- What cursor_of() does, in one statement: a list of messages asks for each of their recipients.
    SELECT pg_visible_in_snapshot(is_read.xid, c.done) OR coalesce(c.xid = is_read.xid AND c.seq >= is_read.seq, false)
      FROM (SELECT is_read.endpoint % count(*) AS shard FROM webhooks.lease) own
     CROSS JOIN LATERAL (
        (SELECT c.* FROM webhooks.cursor c
          WHERE c.shard = own.shard AND c.endpoint = is_read.endpoint
            AND c.xmin::text::bigint = c.written_by::text::bigint & 4294967295
          ORDER BY c.moved DESC LIMIT 1)
         UNION ALL
        (SELECT c.* FROM webhooks.cursor c
          WHERE c.shard = own.shard AND c.endpoint = 0
            AND c.xmin::text::bigint = c.written_by::text::bigint & 4294967295
          ORDER BY c.moved DESC LIMIT 1)) c
     WHERE c.done IS NOT NULL
     ORDER BY c.endpoint DESC LIMIT 1
$$;
COMMENT ON FUNCTION webhooks.is_read(integer, xid8, integer) IS
    'Whether the cursor has passed an event for an endpoint: its first attempt is over, or it is pending';

CREATE FUNCTION webhooks.common_cursor(cursors webhooks.cursor[]) RETURNS webhooks.cursor
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    common webhooks.cursor;
    xmax   xid8 := (SELECT min(pg_snapshot_xmax(c.done)) FROM unnest(cursors) c);
    open   xid8[] := ARRAY(SELECT DISTINCT x FROM unnest(cursors) c CROSS JOIN pg_snapshot_xip(c.done) x
                            WHERE x < xmax ORDER BY x);
BEGIN
    common.done := format('%s:%s:%s', coalesce(open[1], xmax), xmax, array_to_string(open, ','));
    -- Of the lowest transaction that is done in part everywhere, or in part here and wholly there, what is done everywhere.
    SELECT p.xid, min(CASE WHEN pg_visible_in_snapshot(p.xid, c.done) THEN p.seq WHEN c.xid = p.xid THEN c.seq END)
      INTO common.xid, common.seq
      FROM unnest(cursors) p CROSS JOIN unnest(cursors) c
     WHERE p.xid IS NOT NULL
     GROUP BY p.xid
    HAVING bool_and(pg_visible_in_snapshot(p.xid, c.done) OR c.xid IS NOT DISTINCT FROM p.xid)
     ORDER BY p.xid LIMIT 1;
    RETURN common;
END
$$;
COMMENT ON FUNCTION webhooks.common_cursor(webhooks.cursor[]) IS
    'What all of the done-sets have: snapshots of one cluster need not nest, since a chunk ends where it fits';

CREATE FUNCTION webhooks.snapshot_before_this() RETURNS pg_snapshot
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    now_seen CONSTANT pg_snapshot := webhooks.latest_snapshot();
    own      CONSTANT xid8 := pg_current_xact_id();
BEGIN
    -- A snapshot does not list its own transaction, so it may seem to have ended.
    IF NOT pg_visible_in_snapshot(own, now_seen) THEN
        RETURN now_seen;
    END IF;
    RETURN format('%s:%s:%s', least(own, pg_snapshot_xmin(now_seen)), pg_snapshot_xmax(now_seen),
                  (SELECT string_agg(x::text, ',' ORDER BY x)
                     FROM (SELECT pg_snapshot_xip(now_seen) UNION ALL SELECT own) AS running (x)));
END
$$;
COMMENT ON FUNCTION webhooks.snapshot_before_this() IS
    'What is committed by now, the calling transaction not included';

-- An endpoint that is disabled stands still, and goes on from where it stood if a failure disabled it. One that somebody
-- disabled goes on from now. Where the URL or the secret changes, what the sidecar has queued is of the old ones: it is
-- to read that again.
CREATE FUNCTION webhooks.follow_endpoint() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    my_shard integer := OLD.key % (SELECT count(*) FROM webhooks.lease);
    place    webhooks.cursor := webhooks.cursor_of(OLD.key);
BEGIN
    IF TG_OP = 'DELETE' THEN
        place.done := NULL;
    ELSIF NEW.active AND NOT OLD.active AND OLD.disabled_by IS NULL THEN
        place.done := webhooks.snapshot_before_this();
        place.xid := NULL;
    ELSIF NOT NEW.active AND NOT OLD.active THEN
        RETURN NULL;
    END IF;
    INSERT INTO webhooks.cursor (shard, endpoint, moved, done, xid, seq)
    VALUES (my_shard, OLD.key,
            -- The id of this transaction may be lower than that of the one that wrote the row before.
            greatest(pg_current_xact_id(),
                     ((webhooks.newest_cursor(my_shard, OLD.key)).moved::text::bigint + 1)::text::xid8),
            place.done, place.xid, place.seq);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION webhooks.follow_endpoint() IS
    'Keeps the place of an endpoint that is disabled, enabled, changed or deleted, and tells the sidecar';

CREATE TRIGGER follow_endpoint AFTER UPDATE OF active, url, secret, previous_secret OR DELETE ON webhooks.endpoint
    FOR EACH ROW EXECUTE FUNCTION webhooks.follow_endpoint();

-- The order of the log is that in which what is about one row happened. (xid, seq) is not: a transaction takes its id
-- before it waits for the row. What had ended when its last event was captured is: whoever had the row before is among
-- that. It gives a transaction a position beyond its own id, so what is read by the ids comes in order up to the first
-- id that is not read.

CREATE FUNCTION webhooks.flush_commits(xids bigint[]) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'flush_commits_wrapper';
COMMENT ON FUNCTION webhooks.flush_commits(bigint[]) IS
    'Waits until the commits of these transactions are on disk (synchronous_commit = off): a crash cannot undo what has '
    'been sent';

CREATE FUNCTION webhooks.log_position(xid xid8, horizon xid8) RETURNS xid8
    LANGUAGE sql IMMUTABLE
RETURN greatest((xid::text::bigint + 1)::text::xid8, horizon);
COMMENT ON FUNCTION webhooks.log_position(xid8, xid8) IS
    'The position of a transaction in the order of the log, by the horizon of its last event';

CREATE FUNCTION webhooks.ended_after(ended integer, reference integer) RETURNS bigint
    LANGUAGE sql IMMUTABLE
RETURN (ended::bigint - reference + 6442450944) % 4294967296;
COMMENT ON FUNCTION webhooks.ended_after(integer, integer) IS
    'Orders counts of ended transactions that are near to each other: only their low 32 bits are kept';

CREATE FUNCTION webhooks.first_transactions(open_xids xid8[], new_from xid8, seen_now pg_snapshot, max_events integer,
                                            OUT looked_at xid8[], OUT looked_to xid8, OUT chosen xid8[])
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET plan_cache_mode = force_generic_plan
    SET jit = off
AS $$
DECLARE
    no_end    CONSTANT xid8 := '18446744073709551615';
    at_xid    xid8;
    position  xid8;
    positions xid8[] := '{}';
    ends      integer[] := '{}';
    counts    integer[] := '{}';
    nearest   xid8 := no_end;
    nearest_count integer;
    last_seq  integer;
    last_horizon xid8;
    last_ended integer;
BEGIN
    looked_at := '{}';
    LOOP
        IF cardinality(open_xids) > 0 THEN
            at_xid := open_xids[1];
            open_xids := open_xids[2:];
        ELSE
            SELECT e.xid INTO at_xid FROM webhooks.event e
             WHERE e.xid >= new_from AND (e.xid, e.seq) > (coalesce(at_xid, '0'), 2147483647)
               AND pg_visible_in_snapshot(e.xid, seen_now)
             ORDER BY e.xid, e.seq LIMIT 1;
            IF NOT FOUND THEN
                looked_to := no_end;
                EXIT;
            END IF;
        END IF;
        SELECT e.seq, e.horizon, e.ended INTO last_seq, last_horizon, last_ended FROM webhooks.event e
         WHERE e.xid = at_xid ORDER BY e.xid DESC, e.seq DESC LIMIT 1;
        CONTINUE WHEN NOT FOUND;
        position := webhooks.log_position(at_xid, last_horizon);
        looked_at := looked_at || at_xid;
        positions := positions || position;
        ends := ends || last_ended;
        counts := counts || last_seq + 1;
        IF position < nearest THEN
            nearest := position;
            nearest_count := last_seq + 1;
        END IF;
        looked_to := at_xid;
        -- Whatever comes behind is later than the first ones, and these are enough.
        EXIT WHEN nearest <= at_xid AND (nearest_count >= max_events OR cardinality(looked_at) >= max_events);
    END LOOP;

    SELECT array_agg(t.xid) INTO chosen
      FROM (SELECT f.xid, f.position,
                   row_number() OVER the_order AS place, sum(f.count) OVER the_order AS total
              FROM unnest(looked_at, positions, ends, counts) AS f (xid, position, ended, count)
            WINDOW the_order AS (ORDER BY f.position, webhooks.ended_after(f.ended, ends[1]), f.xid
                                 ROWS UNBOUNDED PRECEDING)) t
     WHERE t.position <= looked_to AND (t.place = 1 OR t.total <= max_events);
END
$$;
COMMENT ON FUNCTION webhooks.first_transactions(xid8[], xid8, pg_snapshot, integer) IS
    'The first transactions in the order of the log, whatever lies between them by their ids: chosen, as many as make '
    'max_events or one that makes more. looked_at are all that it went through, up to the id looked_to';
