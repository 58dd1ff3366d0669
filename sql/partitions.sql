-- The two logs, event and attempt, are partitioned by UTC day, so that old days are dropped whole. Each
-- partition is made a member of the extension: otherwise pg_dump would carry it, rows and all.

CREATE FUNCTION webhooks.revoke_from_others(object text, owner oid, privileges aclitem[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    other oid;
BEGIN
    FOR other IN SELECT DISTINCT grantee FROM aclexplode(privileges) WHERE grantee <> owner LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s CASCADE', object,
                       CASE other WHEN 0 THEN 'PUBLIC' ELSE other::regrole::text END);
    END LOOP;
END
$$;
COMMENT ON FUNCTION webhooks.revoke_from_others(text, oid, aclitem[]) IS
    'Leaves an object to its owner alone: default privileges (ALTER DEFAULT PRIVILEGES … GRANT) may have opened it '
    'as it was made. object is its kind and name, as in TABLE webhooks.event';

CREATE FUNCTION webhooks.create_partition(parent regclass, day date) RETURNS regclass
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = warning
AS $$
DECLARE
    partition text := format('webhooks.%I',
                             (SELECT relname FROM pg_class WHERE oid = parent) || to_char(day, '_YYYYMMDD'));
BEGIN
    IF to_regclass(partition) IS NULL THEN
        -- Two sessions may miss the same day at once; the second waits here, then finds it made.
        EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', parent);
    END IF;
    IF to_regclass(partition) IS NULL THEN
        -- Capture writes heap tuples, whatever default_table_access_method says.
        EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL) USING heap', partition, parent);
        PERFORM webhooks.revoke_from_others('TABLE ' || partition, relowner, relacl)
           FROM pg_class WHERE oid = to_regclass(partition);
        -- ATTACH leaves readers and writers of the other days alone; CREATE … PARTITION OF would lock them out.
        EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
                       parent, partition,
                       to_char(day, 'YYYY-MM-DD 00:00:00+00'), to_char(day + 1, 'YYYY-MM-DD 00:00:00+00'));
        -- While CREATE EXTENSION runs, all that is created is a member already.
        IF NOT EXISTS (SELECT FROM pg_depend
                        WHERE classid = 'pg_class'::regclass AND objid = to_regclass(partition) AND deptype = 'e') THEN
            EXECUTE format('ALTER EXTENSION pg_webhooks ADD TABLE %s', partition);
        END IF;
    END IF;
    RETURN partition::regclass;
END
$$;
COMMENT ON FUNCTION webhooks.create_partition(regclass, date) IS
    'The partition of event or attempt for a UTC day, created when it is missing';

CREATE FUNCTION webhooks.drop_partitions(parent regclass, before date, read_up_to pg_snapshot[] = '{}') RETURNS integer
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '200ms'
    -- Whether a day is read its index says; a scan of the day would keep the sidecar's next renewal waiting behind
    -- this.
    SET enable_seqscan = off
AS $$
DECLARE
    partition regclass;
    is_unread boolean;
    dropped   integer := 0;
BEGIN
    FOR partition IN
        SELECT inhrelid::regclass FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
         WHERE inhparent = parent AND to_date(right(relname, 8), 'YYYYMMDD') < before
         ORDER BY relname
    LOOP
        IF cardinality(read_up_to) > 0 THEN
            EXECUTE format('SELECT EXISTS (SELECT FROM unnest($1) AS read
                                             JOIN %s ON xid >= pg_snapshot_xmin(read)
                                                    AND NOT pg_visible_in_snapshot(xid, read))', partition)
               INTO is_unread USING read_up_to;
            CONTINUE WHEN is_unread;
        END IF;
        -- Whoever holds the table keeps it for now: a waiting lock would hold up every writer behind it.
        BEGIN
            EXECUTE format('ALTER EXTENSION pg_webhooks DROP TABLE %s', partition);
            EXECUTE format('DROP TABLE %s', partition);
            dropped := dropped + 1;
        EXCEPTION WHEN lock_not_available THEN
            RETURN dropped;
        END;
    END LOOP;
    RETURN dropped;
END
$$;
COMMENT ON FUNCTION webhooks.drop_partitions(regclass, date, pg_snapshot[]) IS
    'Drops the partitions of event or attempt for the UTC days before a date; leaves for the next round those in use '
    'and those with events that one of the snapshots does not see';

CREATE FUNCTION webhooks.maintain() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    today         date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    oldest_event  date := (clock_timestamp() - webhooks.setting_interval('event_retention')) AT TIME ZONE 'UTC';
    -- Yesterday stays, however short: a report of an attempt made before midnight would find no partition, now or ever.
    oldest_log    date := least(
        ((clock_timestamp() - webhooks.setting_interval('log_retention')) AT TIME ZONE 'UTC')::date, today - 1);
BEGIN
    PERFORM webhooks.create_partition(parent, today + ahead)
       FROM unnest(ARRAY['webhooks.event', 'webhooks.attempt']::regclass[]) parent, generate_series(0, 2) ahead;

    -- What waits for a day that goes, or for an endpoint that is gone, can no longer be sent.
    DELETE FROM webhooks.pending
     WHERE occurred_at < oldest_event::timestamp AT TIME ZONE 'UTC'
        OR NOT EXISTS (SELECT FROM webhooks.endpoint WHERE key = pending.endpoint);
    DELETE FROM webhooks.cursor old
     WHERE moved < (SELECT newest.moved FROM webhooks.cursor newest
                     WHERE newest.shard = old.shard ORDER BY newest.moved DESC LIMIT 1);

    WITH horizon AS (
        SELECT clock_timestamp() - webhooks.setting_interval('event_retention') AS oldest
    ), known AS (
        SELECT table_name, event, reason FROM webhooks.missed, horizon
         GROUP BY table_name, event, reason, oldest HAVING count(*) > 1 OR max(last_at) < oldest
    ), taken AS (
        DELETE FROM webhooks.missed m USING known k
         WHERE (m.table_name, m.event, m.reason) = (k.table_name, k.event, k.reason) RETURNING m.*
    )
    INSERT INTO webhooks.missed
    SELECT min(first_at), max(last_at), table_name, event, reason, sum(changes)
      FROM taken, horizon GROUP BY table_name, event, reason, oldest HAVING max(last_at) >= oldest;

    -- Last, for from the first drop on nobody reads the log until this commits.
    -- After a long outage the sidecar comes back to days that are old and not yet sent: they stay until they are.
    PERFORM webhooks.drop_partitions('webhooks.event', oldest_event, array_agg(window_from))
       FROM (SELECT DISTINCT ON (shard) window_from FROM webhooks.cursor ORDER BY shard, moved DESC) newest;
    PERFORM webhooks.drop_partitions('webhooks.attempt', oldest_log);
END
$$;
COMMENT ON FUNCTION webhooks.maintain() IS
    'Housekeeping, called by the sidecar every few minutes: partitions ahead, retention, old cursor rows';

SELECT webhooks.create_partition(parent, (clock_timestamp() AT TIME ZONE 'UTC')::date + ahead)
  FROM unnest(ARRAY['webhooks.event', 'webhooks.attempt']::regclass[]) parent, generate_series(0, 2) ahead;
