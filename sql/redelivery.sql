-- Sending again what was sent, or was not: one message, or all of a time; and sooner what waits. A redelivery is a
-- delivery that is put into pending once more; where it is there already its retry comes anyway, and twice would be
-- once too often.

CREATE FUNCTION webhooks.redeliver(webhook_id text, endpoint_id text = NULL) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    e        webhooks.event := webhooks.event_by_id(webhook_id);
    receiver integer := CASE WHEN endpoint_id IS NOT NULL THEN webhooks.endpoint_key(endpoint_id) END;
    delivery webhooks.delivery_line;
    due      timestamptz;
    waiting  text;
    queued   integer := 0;
BEGIN
    IF receiver IS NOT NULL AND NOT EXISTS (SELECT FROM webhooks.deliveries_of(e, receiver)) THEN
        RAISE EXCEPTION 'message % was not for webhook %', redeliver.webhook_id, redeliver.endpoint_id
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = format('It did not subscribe to %s when that happened.', e.name);
    END IF;
    FOR delivery IN SELECT d.* FROM webhooks.deliveries_of(e, receiver) d LOOP
        IF delivery.state = 'queued' THEN
            waiting := format('the first attempt of %s for webhook %s is still to come',
                              redeliver.webhook_id, delivery.endpoint_id);
            CONTINUE;
        END IF;
        INSERT INTO webhooks.pending (endpoint, xid, seq, occurred_at, due_at, retry_count)
        VALUES (delivery.endpoint, e.xid, e.seq, e.occurred_at, clock_timestamp(), 0)
            ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            SELECT p.due_at INTO due FROM webhooks.pending p
             WHERE p.endpoint = delivery.endpoint AND p.xid = e.xid AND p.seq = e.seq;
            waiting := format('%s already waits for its next attempt for webhook %s, at %s',
                              redeliver.webhook_id, delivery.endpoint_id, due);
            CONTINUE;
        END IF;
        queued := queued + 1;
        IF NOT delivery.active THEN
            RAISE NOTICE 'webhook % is disabled: it gets the message once it is enabled', delivery.endpoint_id
                USING HINT = format('SELECT webhooks.update(%L, active => true) enables it.', delivery.endpoint_id);
        END IF;
    END LOOP;
    IF queued = 0 THEN
        RAISE EXCEPTION '%', coalesce(waiting, format('none of the webhooks that message %s was for exists any more',
                                                      redeliver.webhook_id))
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = CASE WHEN waiting IS NULL THEN 'webhooks.list() lists the registered ones.'
                              WHEN due IS NULL THEN 'It will be sent anyway; webhooks.deliveries() shows its state.'
                              ELSE 'It will be sent anyway; webhooks.retry(endpoint, message) sends it now.' END;
    END IF;
    PERFORM webhooks.notify_at_commit();
    RETURN queued;
END
$$;
COMMENT ON FUNCTION webhooks.redeliver(text, text) IS
    'Sends a message again, same bytes and same webhook_id, to one webhook that it was for or to all of them; '
    'refuses what still waits for an attempt. Returns how many deliveries it queued';

CREATE FUNCTION webhooks.replay(endpoint_id text, since timestamptz, until timestamptz = NULL,
                                only_failed boolean = true, dry_run boolean = false)
    RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    receiver integer := webhooks.endpoint_key(endpoint_id);
    upto     timestamptz := coalesce(until, clock_timestamp());
    patterns text[] := ARRAY(SELECT s.pattern FROM webhooks.subscription s WHERE s.endpoint = receiver);
    rate     integer := webhooks.setting('replay_rate');
    now_at   timestamptz := clock_timestamp();
    read     webhooks.cursor := webhooks.cursor_of(receiver);
    replayed bigint;
BEGIN
    IF since IS NULL OR since >= upto THEN
        RAISE EXCEPTION 'there is no time between % and %', coalesce(since::text, 'NULL'), upto
            USING ERRCODE = 'invalid_parameter_value', HINT = 'since is the earlier of the two; until defaults to now.';
    END IF;
    WITH again AS MATERIALIZED (
        SELECT e.xid, e.seq, e.occurred_at, row_number() OVER (ORDER BY e.xid, e.seq) AS place
          FROM webhooks.event e
         WHERE e.occurred_at >= since AND e.occurred_at < upto
           AND e.name <> 'webhook.test'
           AND (e.target = receiver OR webhooks.patterns_of(e.name) && patterns)
           AND receiver IN (SELECT webhooks.recipients_of(e))
           -- What the cursor has not passed is still to come by itself, and so is what is pending.
           AND webhooks.is_done(read, e.xid, e.seq)
           AND NOT EXISTS (
                SELECT FROM webhooks.pending p WHERE p.endpoint = receiver AND p.xid = e.xid AND p.seq = e.seq)
           AND NOT (only_failed AND EXISTS (
                SELECT FROM webhooks.attempt a
                 WHERE a.webhook_id = e.webhook_id AND a.endpoint + 0 = receiver AND a.outcome = 'delivered'
                   AND a.started_at >= since - interval '1 h'))
    ), queued AS (  -- spread over time: what happens now keeps its place in front
        INSERT INTO webhooks.pending (endpoint, xid, seq, occurred_at, due_at, retry_count)
        SELECT receiver, xid, seq, occurred_at, now_at + (place - 1) * interval '1 s' / rate, 0
          FROM again WHERE NOT dry_run
            ON CONFLICT DO NOTHING
        RETURNING 1
    )
    SELECT CASE WHEN dry_run THEN (SELECT count(*) FROM again) ELSE (SELECT count(*) FROM queued) END INTO replayed;
    IF replayed > 0 AND NOT dry_run THEN
        PERFORM webhooks.notify_at_commit();
        IF NOT (SELECT e.active FROM webhooks.endpoint e WHERE e.key = receiver) THEN
            RAISE NOTICE 'webhook % is disabled: it gets the messages once it is enabled', replay.endpoint_id
                USING HINT = format('SELECT webhooks.update(%L, active => true) enables it.', replay.endpoint_id);
        END IF;
    END IF;
    RETURN replayed;
END
$$;
COMMENT ON FUNCTION webhooks.replay(text, timestamptz, timestamptz, boolean, boolean) IS
    'Sends a webhook the messages of a period again, those that no attempt has delivered or all, at '
    'pg_webhooks.replay_rate messages a second. Leaves out tests and what still waits for an attempt. Returns how '
    'many messages it queued or, with dry_run, would queue';

CREATE FUNCTION webhooks.retry(endpoint_id text, webhook_id text = NULL) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    receiver CONSTANT integer := webhooks.endpoint_key(endpoint_id);
    asked    webhooks.retry_request :=
        (receiver, '0'::xid8, -1, '18446744073709551615'::xid8, 2147483647, false)::webhooks.retry_request;
    message  webhooks.event;
    waiting  bigint;
BEGIN
    IF NOT (SELECT e.active FROM webhooks.endpoint e WHERE e.key = receiver) THEN
        RAISE EXCEPTION 'webhook % is disabled: nothing is sent to it', retry.endpoint_id
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = format('SELECT webhooks.update(%L, active => true) enables it, and sends what waits at once.',
                                retry.endpoint_id);
    END IF;
    IF webhook_id IS NOT NULL THEN
        message := webhooks.event_by_id(webhook_id);
        asked := (receiver, message.xid, message.seq - 1, message.xid, message.seq, false);
    END IF;
    SELECT count(*) INTO waiting FROM webhooks.pending p
     WHERE p.endpoint = receiver
       AND (p.xid, p.seq) > (asked.after_xid, asked.after_seq) AND (p.xid, p.seq) <= (asked.until_xid, asked.until_seq);
    IF waiting = 0 AND webhook_id IS NOT NULL THEN
        RAISE EXCEPTION 'message % does not wait for a retry for webhook %', retry.webhook_id, retry.endpoint_id
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'webhooks.deliveries() shows its state; webhooks.redeliver() sends again what is over.';
    END IF;
    IF waiting > 0 THEN
        INSERT INTO webhooks.retry_request VALUES (asked.*);
        PERFORM webhooks.notify_at_commit();
    END IF;
    RETURN waiting;
END
$$;
COMMENT ON FUNCTION webhooks.retry(text, text) IS
    'Has what waits for a webhook, or one message of it, sent now instead of at its time; the retries that are left '
    'stay as they are. Returns how many deliveries wait';

CREATE FUNCTION webhooks.hasten(shard integer) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
    batch   CONSTANT integer := 10000;
    asked   record;
    passed  record;
BEGIN
    FOR asked IN
        SELECT r.ctid AS at, r.* FROM webhooks.retry_request r
         WHERE r.endpoint % (SELECT count(*) FROM webhooks.lease) = hasten.shard
           FOR UPDATE SKIP LOCKED
    LOOP
        WITH due AS MATERIALIZED (  -- what a report is changing was tried just now; to wait for it could be a deadlock
            SELECT p.endpoint, p.xid, p.seq FROM webhooks.pending p
             WHERE p.endpoint = asked.endpoint
               AND (p.xid, p.seq) > (asked.after_xid, asked.after_seq)
               AND (p.xid, p.seq) <= (asked.until_xid, asked.until_seq)
             ORDER BY p.xid, p.seq LIMIT batch FOR UPDATE SKIP LOCKED
        ), hastened AS (
            UPDATE webhooks.pending p
               SET due_at = least(p.due_at, clock_timestamp()),
                   retry_count = CASE WHEN asked.is_anew THEN 0 ELSE p.retry_count END
              FROM due
             WHERE p.endpoint = due.endpoint AND p.xid = due.xid AND p.seq = due.seq
               AND (p.due_at > clock_timestamp() OR asked.is_anew AND p.retry_count > 0)
        )
        SELECT d.xid, d.seq, count(*) OVER () = batch AS has_more INTO passed
          FROM due d ORDER BY d.xid DESC, d.seq DESC LIMIT 1;
        IF passed.has_more THEN
            -- Each row is passed once: what fails again meanwhile waits by the schedule.
            UPDATE webhooks.retry_request r SET after_xid = passed.xid, after_seq = passed.seq WHERE r.ctid = asked.at;
        ELSE
            DELETE FROM webhooks.retry_request r WHERE r.ctid = asked.at;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION webhooks.hasten(integer) IS
    'Makes due what somebody asked for with retry or by enabling an endpoint of the shard, up to 10,000 deliveries of '
    'each; a sidecar calls it before it asks what is due';
