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

CREATE FUNCTION webhooks.partition_name(parent regclass, last_day date) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('webhooks.%I', relname || '_' || coalesce(to_char(last_day, 'YYYYMMDD'), 'later'))
      FROM pg_class WHERE oid = parent
$$;
COMMENT ON FUNCTION webhooks.partition_name(regclass, date) IS
    'What a partition of event or attempt is called: by its last UTC day, or later where it has none';

CREATE FUNCTION webhooks.attach_partition(parent regclass, partition text, first_day date, last_day date) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- ATTACH leaves readers and writers of the other days alone; CREATE … PARTITION OF would lock them out.
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%s)', parent, partition,
                   to_char(first_day, 'YYYY-MM-DD 00:00:00+00'),
                   coalesce(quote_literal(to_char(last_day + 1, 'YYYY-MM-DD 00:00:00+00')), 'MAXVALUE'));
END
$$;
COMMENT ON FUNCTION webhooks.attach_partition(regclass, text, date, date) IS
    'Makes a table the partition of event or attempt for some UTC days';

CREATE FUNCTION webhooks.partitions(parent regclass)
    RETURNS TABLE (partition regclass, first_day date, last_day date)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    -- As the bounds are printed, so are they read.
    SET timezone = 'UTC'
    SET datestyle = 'ISO'
AS $$
    SELECT oid::regclass, bounds[1]::timestamptz::date, bounds[2]::timestamptz::date - 1
      FROM pg_inherits
      JOIN pg_class ON oid = inhrelid
     CROSS JOIN regexp_match(pg_get_expr(relpartbound, oid), $re$FROM \('([^']+)'\) TO \('?([^']+)'?\)$re$) AS found
     CROSS JOIN LATERAL (SELECT ARRAY[found[1], nullif(found[2], 'MAXVALUE')]) AS day (bounds)
     WHERE inhparent = parent
$$;
COMMENT ON FUNCTION webhooks.partitions(regclass) IS
    'The partitions of event or attempt with their UTC days; that of all later days has no last one';

CREATE FUNCTION webhooks.create_partition(parent regclass, first_day date, last_day date) RETURNS regclass
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = warning
AS $$
DECLARE
    partition text := webhooks.partition_name(parent, last_day);
BEGIN
    -- Capture writes heap tuples, whatever default_table_access_method says.
    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL) USING heap', partition, parent);
    PERFORM webhooks.revoke_from_others('TABLE ' || partition, relowner, relacl)
       FROM pg_class WHERE oid = to_regclass(partition);
    PERFORM webhooks.attach_partition(parent, partition, first_day, last_day);
    -- While CREATE EXTENSION runs, all that is created is a member already.
    IF NOT EXISTS (SELECT FROM pg_depend
                    WHERE classid = 'pg_class'::regclass AND objid = to_regclass(partition) AND deptype = 'e') THEN
        EXECUTE format('ALTER EXTENSION pg_webhooks ADD TABLE %s', partition);
    END IF;
    RETURN partition::regclass;
END
$$;
COMMENT ON FUNCTION webhooks.create_partition(regclass, date, date) IS
    'Makes a partition of event or attempt for some UTC days; without a last one it is that of all later days';

CREATE FUNCTION webhooks.create_partition(parent regclass, day date) RETURNS regclass
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(to_regclass(webhooks.partition_name(parent, day)), webhooks.create_partition(parent, day, day))
$$;
COMMENT ON FUNCTION webhooks.create_partition(regclass, date) IS
    'The partition of event or attempt for a UTC day before those that there are, made where it is missing';

CREATE FUNCTION webhooks.make_days(parent regclass) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = warning
    SET lock_timeout = '200ms'
AS $$
DECLARE
    -- Yesterday, too: what began before midnight ends after it, and a clock may be set back by hours.
    time_column CONSTANT name := (SELECT attname FROM pg_attribute WHERE attrelid = parent AND attnum = 1);
    yesterday  date := (clock_timestamp() AT TIME ZONE 'UTC')::date - 1;
    furthest   date := yesterday + 8;
    later      regclass;
    later_from date;
    newest     date;
    bounded    text;
    has_strays boolean := false;
BEGIN
    SELECT partition, first_day INTO later, later_from FROM webhooks.partitions(parent) WHERE last_day IS NULL;
    IF later_from <= furthest THEN
        -- One at a time.
        EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', parent);
        EXECUTE format('SELECT (max(%I) AT TIME ZONE ''UTC'')::date FROM %s', time_column, later) INTO newest;
        -- It becomes the partition of the days that it holds, of those that are over, or of the first it could hold.
        -- What a clock that was ahead has dated beyond tomorrow stays behind them: else they would all last as long.
        has_strays := coalesce(newest > greatest(yesterday + 2, later_from), false);
        newest := greatest(CASE WHEN has_strays THEN yesterday + 2 ELSE newest END, yesterday, later_from);
        bounded := webhooks.partition_name(parent, newest);
        EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', parent, later);
        EXECUTE format('ALTER TABLE %s RENAME TO %I', later, (parse_ident(bounded))[2]);
        IF has_strays THEN
            EXECUTE format('CREATE TEMPORARY TABLE strays ON COMMIT DROP AS SELECT * FROM %s', bounded)
                    || format(' WHERE %I >= %L', time_column, (newest + 1)::timestamp AT TIME ZONE 'UTC');
            EXECUTE format('DELETE FROM %s WHERE %I >= %L', bounded, time_column,
                           (newest + 1)::timestamp AT TIME ZONE 'UTC');
        END IF;
        PERFORM webhooks.attach_partition(parent, bounded, later_from, newest);
        later := NULL;
    END IF;
    PERFORM webhooks.create_partition(parent, day, day)
       FROM (SELECT yesterday + ahead FROM generate_series(0, furthest - yesterday) ahead) AS missing (day)
      WHERE NOT EXISTS (SELECT FROM webhooks.partitions(parent)
                         WHERE day BETWEEN first_day AND coalesce(last_day, 'infinity'));
    IF later IS NULL THEN
        PERFORM webhooks.create_partition(parent, greatest(furthest, max(last_day)) + 1, NULL)
           FROM webhooks.partitions(parent);
    END IF;
    IF has_strays THEN
        EXECUTE format('INSERT INTO %s SELECT * FROM pg_temp.strays', parent);
        DROP TABLE pg_temp.strays;
    END IF;
END
$$;
COMMENT ON FUNCTION webhooks.make_days(regclass) IS
    'Makes the partitions of event or attempt for a week ahead. Behind them there is one for all later days, so a '
    'writer never lacks one; where it has been needed, it becomes the partition of the days that it holds. Fails where '
    'somebody holds the log, or puts a later event into that partition meanwhile: the next round will do';

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
        SELECT p.partition FROM webhooks.partitions(parent) p WHERE last_day < before ORDER BY last_day
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

CREATE FUNCTION webhooks.oldest_day(retention text) RETURNS date
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
AS $$
    -- Yesterday stays, however short: what began before midnight would find no partition, now or ever.
    SELECT least(((clock_timestamp() - webhooks.setting_interval(retention)) AT TIME ZONE 'UTC')::date,
                 (clock_timestamp() AT TIME ZONE 'UTC')::date - 1)
$$;
COMMENT ON FUNCTION webhooks.oldest_day(text) IS
    'The oldest UTC day that event_retention or log_retention keeps';

CREATE FUNCTION webhooks.maintain_rows() RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    oldest_event CONSTANT date := webhooks.oldest_day('event_retention');
BEGIN
    -- What waits for a day that goes, or for an endpoint that is gone, can no longer be sent.
    DELETE FROM webhooks.pending
     WHERE occurred_at < oldest_event::timestamp AT TIME ZONE 'UTC'
        OR NOT EXISTS (SELECT FROM webhooks.endpoint WHERE key = pending.endpoint);
    DELETE FROM webhooks.cursor old
     WHERE moved < (webhooks.newest_cursor(shard, endpoint)).moved OR done IS NULL
        OR endpoint <> 0 AND NOT EXISTS (SELECT FROM webhooks.endpoint WHERE key = old.endpoint);

    -- Whoever restores data alone has triggers disabled meanwhile.
    UPDATE webhooks.endpoint SET events = events WHERE key NOT IN (SELECT endpoint FROM webhooks.subscription);

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
END
$$;
COMMENT ON FUNCTION webhooks.maintain_rows() IS
    'The step of maintain() for what is in tables: deliveries that can no longer be sent, old cursor rows, endpoints '
    'without subscriptions, missed changes added up';

CREATE FUNCTION webhooks.maintain_days(log regclass) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF log = 'webhooks.event'::regclass THEN
        -- After a long outage the sidecar comes back to days that are old and not yet sent: they stay until they are.
        PERFORM webhooks.drop_partitions(log, webhooks.oldest_day('event_retention'), array_agg(done))
           FROM webhooks.shard_cursors();
    ELSE
        PERFORM webhooks.drop_partitions(log, webhooks.oldest_day('log_retention'));
    END IF;
    PERFORM webhooks.make_days(log);
END
$$;
COMMENT ON FUNCTION webhooks.maintain_days(regclass) IS
    'The step of maintain() for the days of event or attempt: drops old ones and makes those to come';

CREATE FUNCTION webhooks.maintain(step text = NULL) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    -- Who waits for a lock has others wait behind it.
    SET lock_timeout = '200ms'
AS $$
DECLARE
    -- From the first drop of a day on nobody reads the log until this commits, and who writes into the last partition
    -- may wait. First event, then attempt: in this order fetch locks the two.
    steps CONSTANT text[] := '{rows,event,attempt}';
    one   text;
BEGIN
    IF step <> ALL (steps) THEN
        RAISE EXCEPTION 'housekeeping has no step %', step
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = format('The steps are %s; without one, webhooks.maintain() takes all of them.',
                                array_to_string(steps, ', '));
    END IF;
    -- First of all, as DROP EXTENSION locks them (tables.sql).
    PERFORM FROM webhooks.lease LIMIT 1;
    FOREACH one IN ARRAY steps LOOP
        CONTINUE WHEN step <> one;
        BEGIN
            IF one = 'rows' THEN
                PERFORM webhooks.maintain_rows();
            ELSE
                PERFORM webhooks.maintain_days(format('webhooks.%I', one)::regclass);
            END IF;
        EXCEPTION
            -- Somebody holds what it wants, or has put an event of a later day into the log meanwhile.
            WHEN lock_not_available OR check_violation THEN
                IF step IS NOT NULL THEN
                    RAISE;
                END IF;
                RAISE WARNING 'housekeeping leaves the step % to the next time: %', one, SQLERRM;
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION webhooks.maintain(text) IS
    'Housekeeping: retention, partitions ahead, old cursor rows; all of it or one step, rows, event or attempt. The '
    'sidecar calls it every few minutes, each step in a transaction of its own. It waits for locks only briefly: what '
    'somebody holds it leaves to the next time';

SELECT webhooks.make_days('webhooks.event'), webhooks.make_days('webhooks.attempt');
