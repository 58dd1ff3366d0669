-- Shards: who owns which. A sidecar owns a shard by a lease, renews it, gives it back; the database says how many are
-- its fair share. Everything that a sidecar does to a shard carries the lease's id, and another one is refused.

CREATE FUNCTION webhooks.acquire(owner text, lease_ms integer, known_lease_id bigint = NULL)
    RETURNS TABLE (shard integer, epoch bigint, lease_id bigint, done text, xid xid8, seq integer, seen text,
                   shards integer)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    -- To fail, and be called again, is better than to wait in silence.
    SET lock_timeout = '2s'
AS $$
#variable_conflict use_column
DECLARE
    lease       webhooks.lease;
    my_lease_id bigint;
BEGIN
    SELECT * INTO lease FROM webhooks.lease l WHERE l.owner = acquire.owner LIMIT 1 FOR UPDATE;
    IF NOT FOUND THEN
        IF cardinality(webhooks.ownerless_shards(lease_ms)) = 0 THEN
            RETURN;
        END IF;
        -- One at a time: each counts what the others hold.
        LOCK TABLE webhooks.lease IN SHARE ROW EXCLUSIVE MODE;
        -- pg_stat_activity is kept for the transaction: it would lack the sessions that came while this one waited.
        PERFORM pg_stat_clear_snapshot();
        IF webhooks.leases_of(owner) >= webhooks.fair_share(owner, lease_ms) THEN
            RETURN;
        END IF;
        SELECT * INTO lease FROM webhooks.lease l
         WHERE l.shard = ANY (webhooks.ownerless_shards(lease_ms)) ORDER BY l.shard LIMIT 1 FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            RETURN;
        END IF;
    ELSE
        -- The same owner comes back after it lost its session: nobody was there in between, so it keeps its lease and
        -- with it the right to report what is still in flight. Unless it has forgotten that, or the server has crashed.
        SELECT h.lease_id INTO my_lease_id FROM webhooks.holder h
         WHERE h.shard = lease.shard AND h.lease_id = known_lease_id;
    END IF;
    -- A session that is stuck asleep would have all writers notify for as long as it lasts, which on a frozen host or
    -- behind a half-open connection is hours; so would the one that this owner has lost without the server's noticing.
    PERFORM pg_terminate_backend(m.pid)
       FROM webhooks.holder h
       JOIN webhooks.member m ON m.pid = h.session AND webhooks.sidecar_of(m.owner) = webhooks.sidecar_of(lease.owner)
       JOIN pg_stat_activity a ON a.pid = m.pid AND a.backend_start = m.backend_start
      WHERE h.shard = lease.shard AND h.session <> pg_backend_pid();
    IF my_lease_id IS NULL THEN
        my_lease_id := hashtextextended(gen_random_uuid()::text, 0);
        UPDATE webhooks.lease l
           SET epoch = l.epoch + 1, owner = acquire.owner, recover_before = pg_snapshot_xmax(pg_current_snapshot())
         WHERE l.shard = lease.shard
        RETURNING l.* INTO lease;
    END IF;

    -- A report under way locks the row that goes, so this waits for it.
    DELETE FROM webhooks.holder h WHERE h.shard = lease.shard;
    INSERT INTO webhooks.holder (shard, lease_id, session, taken_at, expires_at)
    VALUES (lease.shard, my_lease_id, pg_backend_pid(),
            clock_timestamp(), clock_timestamp() + lease_ms * interval '1 ms');
    RETURN QUERY
        SELECT lease.shard, lease.epoch, my_lease_id, c.done::text, c.xid, c.seq, pg_current_snapshot()::text,
               (SELECT count(*)::integer FROM webhooks.lease)
          FROM webhooks.newest_cursor(lease.shard, 0) c;
END
$$;
COMMENT ON FUNCTION webhooks.acquire(text, integer, bigint) IS
    'Takes a shard whose owner is gone or late, unless the caller''s sidecar already holds its fair share; returns '
    'its lease, its cursor and the number of shards, or no row if there is none to take. An owner that comes back '
    'with the lease that it knows goes on under it, if the server has not crashed. Call it in the session that stays '
    'open';

CREATE FUNCTION webhooks.renew(shard integer, lease_id bigint, lease_ms integer)
    RETURNS TABLE (request_timeout_ms bigint, share integer, give_back boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    my_owner text;
BEGIN
    -- First of all, as DROP EXTENSION locks them (tables.sql).
    PERFORM FROM webhooks.lease l WHERE l.shard = renew.shard;
    UPDATE webhooks.holder h SET expires_at = clock_timestamp() + lease_ms * interval '1 ms'
      FROM webhooks.lease l
     WHERE h.shard = renew.shard AND h.lease_id = renew.lease_id AND l.shard = h.shard
    RETURNING l.owner INTO my_owner;
    IF NOT FOUND THEN
        PERFORM webhooks.refuse_stale(shard);
    END IF;
    share := webhooks.fair_share(my_owner, lease_ms);
    -- Only the highest shards of a sidecar that has too many are surplus, so that not all are given back at once.
    give_back := webhooks.leases_of(my_owner, shard) > share;
    request_timeout_ms := webhooks.duration_ms(webhooks.setting('request_timeout'));
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION webhooks.renew(integer, bigint, integer) IS
    'Extends a lease and returns what the sidecar must follow: the request timeout, how many shards are its fair '
    'share, and whether to give this one back';

CREATE FUNCTION webhooks.release(shard integer, lease_id bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Whoever is just taking the shard comes first; what has become of the lease then shows.
    PERFORM FROM webhooks.lease l WHERE l.shard = release.shard FOR UPDATE;
    DELETE FROM webhooks.holder h WHERE h.shard = release.shard AND h.lease_id = release.lease_id;
    IF FOUND THEN
        UPDATE webhooks.lease l SET owner = NULL WHERE l.shard = release.shard;
    END IF;
END
$$;
COMMENT ON FUNCTION webhooks.release(integer, bigint) IS 'Gives a shard back';

-- Shares ------------------------------------------------------------------------------------------------------------
-- Every session of a sidecar is a row of member while it lasts. So a sidecar that dies is not counted any more at once;
-- one that is stuck, when it has not called for the time of a lease.

CREATE FUNCTION webhooks.sidecar_of(owner text) RETURNS text
    LANGUAGE sql IMMUTABLE
RETURN regexp_replace(owner, '/[^/]*$', '');
COMMENT ON FUNCTION webhooks.sidecar_of(text) IS
    'The name of a sidecar, which is all of an owner before its last slash';

CREATE FUNCTION webhooks.join(sidecar text) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    -- Rows of sessions that have ended go when another begins. (Who deletes one already is not waited for.)
    DELETE FROM webhooks.member m
     WHERE m.ctid = ANY (ARRAY(SELECT d.ctid FROM webhooks.member d
                                WHERE NOT EXISTS (SELECT FROM pg_stat_activity a
                                                   WHERE a.pid = d.pid AND a.backend_start = d.backend_start)
                                   OR d.pid = pg_backend_pid()
                                  FOR UPDATE SKIP LOCKED));
    INSERT INTO webhooks.member (owner, pid, backend_start)
    SELECT sidecar, a.pid, a.backend_start FROM pg_stat_activity a WHERE a.pid = pg_backend_pid()
$$;
COMMENT ON FUNCTION webhooks.join(text) IS
    'Makes the calling session a member: while it lasts, its sidecar gets a share of the shards';

CREATE FUNCTION webhooks.leave(sidecar text) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM webhooks.member m WHERE m.pid = pg_backend_pid() AND m.owner = leave.sidecar
$$;
COMMENT ON FUNCTION webhooks.leave(text) IS
    'Ends what join began: other sidecars may take this one''s shards as they are released';

CREATE FUNCTION webhooks.members() RETURNS TABLE (sidecar text, called_at timestamptz)
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- An unlogged table cannot be read on a standby.
    IF pg_is_in_recovery() THEN
        RETURN;
    END IF;
    RETURN QUERY
        SELECT webhooks.sidecar_of(m.owner), max(coalesce(a.state_change, 'infinity'))
          FROM webhooks.member m
          JOIN pg_stat_activity a ON a.pid = m.pid AND a.backend_start = m.backend_start
         GROUP BY 1;
END
$$;
COMMENT ON FUNCTION webhooks.members() IS
    'The sidecars that have sessions, and when each last called; infinity where the server does not track activities';

CREATE FUNCTION webhooks.ownerless_shards(lease_ms integer) RETURNS integer[]
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH server AS (  -- since when it lets sessions in: the checkpointer begins before recovery, which may take minutes
        SELECT coalesce(max(backend_start), '-infinity') AS started_at
          FROM pg_stat_activity WHERE backend_type = 'walwriter'
    )
    SELECT coalesce(array_agg(l.shard), '{}')
      FROM webhooks.lease l
      LEFT JOIN webhooks.holder h ON h.shard = l.shard
     CROSS JOIN server
     WHERE l.owner IS NULL OR h.expires_at <= clock_timestamp()
        -- After a recovery of the server, which empties holder, its owner has the time of a lease to come back.
        OR h.shard IS NULL AND server.started_at <= clock_timestamp() - lease_ms * interval '1 ms'
        OR NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = h.session)
           -- While a sidecar has other sessions it lives, and is about to come back to this shard.
           AND NOT EXISTS (SELECT FROM webhooks.members() m WHERE m.sidecar = webhooks.sidecar_of(l.owner))
           -- A restart of the server ends all sessions: whoever comes back first is not to take what is the others'.
           AND (h.taken_at > server.started_at OR server.started_at <= clock_timestamp() - interval '3 s')
$$;
COMMENT ON FUNCTION webhooks.ownerless_shards(integer) IS
    'The shards that may be taken: nobody has them, or their owner is gone, or it is stuck and its lease has run out';

CREATE FUNCTION webhooks.leases_of(owner text, up_to_shard integer = NULL) RETURNS bigint
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT count(*) FROM webhooks.lease l
     WHERE webhooks.sidecar_of(l.owner) = webhooks.sidecar_of(leases_of.owner) AND (l.shard <= up_to_shard) IS NOT FALSE
$$;
COMMENT ON FUNCTION webhooks.leases_of(text, integer) IS
    'How many shards the owner''s sidecar holds, all or those up to one';

CREATE FUNCTION webhooks.fair_share(owner text, lease_ms integer) RETURNS integer
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH held AS (  -- the leases of each sidecar; one that is late with a renewal is stuck
        SELECT webhooks.sidecar_of(l.owner) AS sidecar, count(*) AS leases,
               bool_or(h.expires_at <= clock_timestamp()) AS is_late
          FROM webhooks.lease l LEFT JOIN webhooks.holder h ON h.shard = l.shard
         WHERE l.owner IS NOT NULL GROUP BY 1
    ), me AS (
        SELECT webhooks.sidecar_of(owner) AS sidecar, webhooks.leases_of(owner) AS leases
    ), other AS (
        SELECT m.sidecar, coalesce(h.leases, 0) AS leases
          FROM me
          JOIN webhooks.members() m
            ON m.sidecar <> me.sidecar AND m.called_at > clock_timestamp() - lease_ms * interval '1 ms'
          LEFT JOIN held h ON h.sidecar = m.sidecar
         WHERE h.is_late IS NOT TRUE
    ), even AS (
        SELECT (SELECT count(*) FROM webhooks.lease) / (1 + count(*)) AS share,
               (SELECT count(*) FROM webhooks.lease) % (1 + count(*)) AS left_over
          FROM other
    )  -- Each of the shards left over is one sidecar's: whoever came first, and the lower name where too many have one.
    SELECT (even.share + CASE WHEN even.left_over > (
                SELECT count(*) FROM other
                 WHERE other.leases > even.share AND (me.leases <= even.share OR other.sidecar < me.sidecar))
            THEN 1 ELSE 0 END)::integer
      FROM even CROSS JOIN me
$$;
COMMENT ON FUNCTION webhooks.fair_share(text, integer) IS
    'How many shards the owner''s sidecar may hold, so that all sidecars at work hold the same number or one more';

CREATE FUNCTION webhooks.set_shards(shards integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    next_epoch bigint;
    places     webhooks.cursor[];
    common     webhooks.cursor;
BEGIN
    IF shards IS NULL THEN
        RAISE EXCEPTION 'no number of shards was given'
            USING ERRCODE = 'null_value_not_allowed',
                  HINT = 'webhooks.set_shards(8) lets up to eight sidecars share the endpoints.';
    ELSIF shards NOT BETWEEN 1 AND 64 THEN
        RAISE EXCEPTION 'the number of shards cannot be %', shards
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Give a number between 1 and 64: as many as there will be sidecars, or a few times that, '
                         'so that they share evenly.';
    ELSIF current_setting('transaction_isolation') <> 'read committed' THEN
        -- Its snapshot may be older than what has been read.
        RAISE EXCEPTION 'webhooks.set_shards() cannot run at isolation level %',
                        current_setting('transaction_isolation')
            USING ERRCODE = 'invalid_transaction_state', HINT = 'Call it in a transaction at READ COMMITTED.';
    END IF;

    -- Reports under way end before this, and those that come later find their lease gone.
    LOCK TABLE webhooks.lease, webhooks.holder, webhooks.cursor IN EXCLUSIVE MODE;
    IF set_shards.shards = (SELECT count(*) FROM webhooks.lease) THEN
        RETURN;
    END IF;

    SELECT max(epoch) + 1 INTO next_epoch FROM webhooks.lease;
    places := ARRAY(SELECT webhooks.newest_cursor(shard, endpoint)
                      FROM (SELECT DISTINCT shard, endpoint FROM webhooks.cursor) known);
    common := webhooks.common_cursor(ARRAY(SELECT p FROM unnest(places) p WHERE (p).endpoint = 0));

    DELETE FROM webhooks.holder;
    DELETE FROM webhooks.lease;
    INSERT INTO webhooks.lease (shard, epoch, recover_before)
    SELECT shard, next_epoch, pg_snapshot_xmax(pg_current_snapshot())
      FROM generate_series(0, set_shards.shards - 1) shard;
    -- What was delivered beyond what all have done fetch leaves out, as after any take-over.
    DELETE FROM webhooks.cursor;
    INSERT INTO webhooks.cursor (shard, done, xid, seq) SELECT shard, common.done, common.xid, common.seq FROM webhooks.lease;
    INSERT INTO webhooks.cursor (shard, endpoint, done, xid, seq)
    SELECT (p).endpoint % set_shards.shards, (p).endpoint, (p).done, (p).xid, (p).seq
      FROM unnest(places) p WHERE (p).endpoint <> 0 AND (p).done IS NOT NULL;
    -- Owners that sleep are to notice now.
    PERFORM webhooks.notify_at_commit();
END
$$;
COMMENT ON FUNCTION webhooks.set_shards(integer) IS
    'Sets the number of shards, into which the endpoints are divided and which the sidecars share. The sidecars start '
    'over from the shard that is furthest behind: what was in flight is sent twice, and an endpoint that was disabled '
    'and has been enabled since may get events of that time';

CREATE FUNCTION webhooks.refuse_stale(shard integer) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'the lease on shard % is over: another sidecar has it, or the server has recovered from a crash',
                    shard
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'Drop what was read under it and call webhooks.acquire().';
END
$$;
COMMENT ON FUNCTION webhooks.refuse_stale(integer) IS 'Raises the error of a sidecar that lost its lease';
