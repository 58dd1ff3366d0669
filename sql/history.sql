-- What happened: events, the deliveries of each, and the attempts at them, for whoever looks. All of it reads, newest
-- first, in pages: "before" takes the position of the last row seen.

CREATE TYPE webhooks.attempt_line AS (
    "timestamp"      timestamptz,
    endpoint_id      text,
    url              text,
    event            text,
    webhook_id       text,
    outcome          webhooks.outcome,
    http_status      integer,
    response_time_ms integer,
    retry_count      integer,
    error            text,
    response         text,
    next_attempt_at  timestamptz,
    signed_at        bigint,
    "position"       text
);
COMMENT ON TYPE webhooks.attempt_line IS 'A line of the delivery log: one HTTP request, to which endpoint, and what came of it';

CREATE FUNCTION webhooks.attempts(endpoint_id text = NULL, webhook_id text = NULL, event text = NULL, outcome text = NULL,
                                  search text = NULL, since timestamptz = NULL, until timestamptz = NULL,
                                  before text = NULL, max_rows integer = 100)
    RETURNS SETOF webhooks.attempt_line
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    -- Each call has other filters, and each filter its own best index.
    SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_variable
DECLARE
    -- Microseconds since 1970, the endpoint's key, the message: what the log is sorted by.
    place       text[] := regexp_match(before, '^(\d{1,17})\.(\d{1,9})\.(wh_[0-9a-v]{26})$');
    before_at   timestamptz := timestamptz 'epoch' + place[1]::bigint * interval '1 us';
    target        integer := CASE WHEN endpoint_id IS NOT NULL THEN webhooks.endpoint_key(endpoint_id) END;
    family      text := CASE WHEN event LIKE '%*' THEN left(event, -1) END;
BEGIN
    IF before IS NOT NULL AND place IS NULL THEN
        RAISE EXCEPTION 'invalid position "%"', before
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Take it from the last row of the page before.';
    ELSIF outcome IS NOT NULL AND outcome <> 'failed' AND outcome <> ALL (enum_range(NULL::webhooks.outcome)::text[]) THEN
        RAISE EXCEPTION 'unknown outcome "%"', outcome
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'It is ' || array_to_string(enum_range(NULL::webhooks.outcome), ', ') || ', or failed for all but the first.';
    END IF;

    RETURN QUERY
    SELECT a.started_at, e.id, e.url, a.event, a.webhook_id, a.outcome, a.http_status, a.response_time_ms, a.retry_count, a.error,
           a.response, a.next_attempt_at, a.signed_at,
           format('%s.%s.%s', (extract(epoch FROM a.started_at) * 1000000)::bigint, e.key, a.webhook_id)
      FROM webhooks.endpoint e
     CROSS JOIN LATERAL (  -- a page of each endpoint's log, along its index
        SELECT * FROM webhooks.attempt a
         WHERE a.endpoint = e.key
           AND (webhook_id IS NULL OR a.webhook_id = webhook_id)
           AND (event IS NULL OR a.event = event OR starts_with(a.event, family))
           AND (outcome IS NULL OR a.outcome::text = outcome OR outcome = 'failed' AND a.outcome <> 'delivered')
           AND (search IS NULL OR a.webhook_id = search OR strpos(lower(a.error), lower(search)) > 0
                OR strpos(a.event, lower(search)) > 0 OR strpos(lower(e.url), lower(search)) > 0)
           AND (since IS NULL OR a.started_at >= since)
           AND (until IS NULL OR a.started_at < until)
           AND (before IS NULL OR a.started_at <= before_at
                              AND (a.started_at, a.endpoint, a.webhook_id) < (before_at, place[2]::integer, place[3]))
         ORDER BY a.started_at DESC, a.webhook_id DESC
         LIMIT max_rows) a
     WHERE target IS NULL OR e.key = target
     ORDER BY a.started_at DESC, e.key DESC, a.webhook_id DESC
     LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION webhooks.attempts(text, text, text, text, text, timestamptz, timestamptz, text, integer) IS 'The delivery log, newest first: of one webhook or all; of one message, one event or family (product.*), one outcome (failed: all but delivered), a text in the error, event or URL, a time';

CREATE FUNCTION webhooks.logs(endpoint_id text, max_rows integer = 100)
    RETURNS TABLE ("timestamp" timestamptz, event text, http_status integer, response_time_ms integer,
                   retry_count integer, error text, webhook_id text, outcome webhooks.outcome,
                   next_attempt_at timestamptz, response text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a."timestamp", a.event, a.http_status, a.response_time_ms, a.retry_count, a.error, a.webhook_id, a.outcome,
           a.next_attempt_at, a.response
      FROM webhooks.attempts(coalesce(logs.endpoint_id, 'NULL'), max_rows => logs.max_rows) a
$$;
COMMENT ON FUNCTION webhooks.logs(text, integer) IS 'The attempts made for a webhook, newest first';

-- One message -------------------------------------------------------------------------------------------------------

CREATE FUNCTION webhooks.locate(webhook_id text) RETURNS webhooks.event
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
AS $$
DECLARE
    found_event webhooks.event;
BEGIN
    SELECT e.* INTO found_event
      FROM webhooks.position_of(webhook_id) AS at
      JOIN webhooks.event e ON e.xid = at.xid::text::xid8 AND e.seq = at.seq AND e.webhook_id = locate.webhook_id;
    IF FOUND THEN
        RETURN found_event;
    ELSIF webhook_id ~ '^ep_' THEN
        RAISE EXCEPTION '"%" is the id of a registered webhook, not of a message', webhook_id
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A message''s id, webhook_id in its payload, begins with wh_: see webhooks.events().';
    ELSE
        RAISE EXCEPTION 'there is no message "%"', coalesce(webhook_id, 'NULL')
            USING ERRCODE = 'undefined_object',
                  HINT = format('Messages are kept for %s (pg_webhooks.event_retention); webhooks.events() shows those there are.', webhooks.setting('event_retention'));
    END IF;
END
$$;
COMMENT ON FUNCTION webhooks.locate(text) IS 'The event with this id, or an error that says why there is none';

CREATE FUNCTION webhooks.is_read(endpoint integer, xid xid8, seq integer) RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT pg_visible_in_snapshot(xid, c.window_from)
        OR coalesce(pg_visible_in_snapshot(xid, c.window_to) AND (xid, seq) <= (c.xid, c.seq), false)
      FROM webhooks.cursor c
     WHERE c.shard = endpoint % (SELECT count(*) FROM webhooks.lease)
     ORDER BY c.moved DESC LIMIT 1
$$;
COMMENT ON FUNCTION webhooks.is_read(integer, xid8, integer) IS 'Whether the cursor has passed an event for an endpoint: its first attempt is over, or it is pending';

CREATE TYPE webhooks.delivery_line AS (
    endpoint_id      text,
    url              text,
    active           boolean,
    state            text,
    attempts         integer,
    http_status      integer,
    error            text,
    last_attempt_at  timestamptz,
    next_attempt_at  timestamptz,
    endpoint         integer
);
COMMENT ON TYPE webhooks.delivery_line IS 'How one event stands with one endpoint; state is queued (not tried yet), waiting (for its next attempt), delivered, failed, or skipped (the endpoint was disabled when its turn came: webhooks.replay recovers it)';

CREATE FUNCTION webhooks.deliveries_of(e webhooks.event) RETURNS SETOF webhooks.delivery_line
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.id, p.url, p.active,
           CASE WHEN w.endpoint IS NOT NULL THEN 'waiting'
                WHEN made.last_outcome = 'delivered' THEN 'delivered'
                WHEN made.attempts > 0 THEN 'failed'
                WHEN webhooks.is_read(p.key, e.xid, e.seq) THEN 'skipped'
                ELSE 'queued' END,
           made.attempts, made.http_status, made.error, made.last_at, w.due_at, p.key
      FROM unnest(e.endpoints) AS recipient
      JOIN webhooks.endpoint p ON p.key = recipient
      LEFT JOIN webhooks.pending w ON w.endpoint = p.key AND w.xid = e.xid AND w.seq = e.seq
     CROSS JOIN LATERAL (
        SELECT count(*)::integer AS attempts, max(a.started_at) AS last_at,
               (array_agg(a.outcome ORDER BY a.started_at DESC))[1] AS last_outcome,
               (array_agg(a.http_status ORDER BY a.started_at DESC))[1] AS http_status,
               (array_agg(a.error ORDER BY a.started_at DESC))[1] AS error
          FROM webhooks.attempt a
         WHERE a.webhook_id = e.webhook_id AND a.endpoint = p.key
           -- Clocks may differ; it spares the partitions of the days before.
           AND a.started_at >= e.occurred_at - interval '1 h') made
     ORDER BY p.key
$$;
COMMENT ON FUNCTION webhooks.deliveries_of(webhooks.event) IS 'How an event stands with each of its recipients';

CREATE FUNCTION webhooks.deliveries(webhook_id text) RETURNS SETOF webhooks.delivery_line
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$ SELECT * FROM webhooks.deliveries_of(webhooks.locate(webhook_id)) $$;
COMMENT ON FUNCTION webhooks.deliveries(text) IS 'How a message stands with each webhook that it is for';

CREATE FUNCTION webhooks.message(webhook_id text)
    RETURNS TABLE (event text, occurred_at timestamptz, body text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$ SELECT e.name, e.occurred_at, e.body FROM webhooks.locate(webhook_id) e $$;
COMMENT ON FUNCTION webhooks.message(text) IS 'One message: the exact bytes that are sent';

CREATE FUNCTION webhooks.signatures(webhook_id text, endpoint_id text, signed_at bigint)
    RETURNS TABLE (signature text, signature_v1 text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT webhooks.sign(e.body, p.secret),
           webhooks.standard_signatures(e.webhook_id, signed_at, e.body, p.secret, p.previous_secret, p.previous_until)
      FROM webhooks.locate(webhook_id) e
      JOIN webhooks.endpoint p ON p.key = webhooks.endpoint_key(endpoint_id)
     WHERE to_timestamp(signed_at) >= p.secret_set_at
$$;
COMMENT ON FUNCTION webhooks.signatures(text, text, bigint) IS 'The signatures that an attempt carried, made again; no row where the secret has been changed since';

-- Messages ----------------------------------------------------------------------------------------------------------

CREATE TYPE webhooks.event_line AS (
    webhook_id  text,
    event       text,
    occurred_at timestamptz,
    state       text,
    deliveries  integer,
    delivered   integer,
    waiting     integer,
    failed      integer,
    skipped     integer
);
COMMENT ON TYPE webhooks.event_line IS 'A message and how its deliveries stand; state is the worst of theirs: failed, waiting, queued, skipped, delivered';

CREATE FUNCTION webhooks.events(event text = NULL, endpoint_id text = NULL, state text = NULL,
                                since timestamptz = NULL, until timestamptz = NULL, before text = NULL, max_rows integer = 100)
    RETURNS SETOF webhooks.event_line
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_custom_plan
    -- Along the index, newest first, until the page is full; nothing is worth a sort of the whole log.
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET enable_sort = off
    SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
    target   integer := CASE WHEN endpoint_id IS NOT NULL THEN webhooks.endpoint_key(endpoint_id) END;
    family text := CASE WHEN event LIKE '%*' THEN left(event, -1) END;
    at_xid xid8;
    at_seq integer;
BEGIN
    SELECT p.xid::text::xid8, p.seq INTO at_xid, at_seq FROM webhooks.position_of(before) p;
    IF before IS NOT NULL AND at_xid IS NULL THEN
        RAISE EXCEPTION 'invalid position "%"', before
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It is the webhook_id of the last row of the page before.';
    ELSIF state NOT IN ('queued', 'waiting', 'delivered', 'failed', 'skipped') THEN
        RAISE EXCEPTION 'unknown state "%"', state
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It is queued, waiting, delivered, failed or skipped.';
    END IF;

    RETURN QUERY
    SELECT e.webhook_id, e.name, e.occurred_at, sum.state, sum.deliveries, sum.delivered, sum.waiting, sum.failed, sum.skipped
      FROM webhooks.event e
     CROSS JOIN LATERAL (
        SELECT CASE WHEN count(*) FILTER (WHERE d.state = 'failed') > 0 THEN 'failed'
                    WHEN count(*) FILTER (WHERE d.state = 'waiting') > 0 THEN 'waiting'
                    WHEN count(*) FILTER (WHERE d.state = 'queued') > 0 THEN 'queued'
                    WHEN count(*) FILTER (WHERE d.state = 'delivered') = 0 THEN 'skipped'
                    ELSE 'delivered' END AS state,
               count(*)::integer AS deliveries,
               (count(*) FILTER (WHERE d.state = 'delivered'))::integer AS delivered,
               (count(*) FILTER (WHERE d.state = 'waiting'))::integer AS waiting,
               (count(*) FILTER (WHERE d.state = 'failed'))::integer AS failed,
               (count(*) FILTER (WHERE d.state = 'skipped'))::integer AS skipped
          FROM webhooks.deliveries_of(e) d WHERE target IS NULL OR d.endpoint = target) AS sum
     WHERE (event IS NULL OR e.name = event OR starts_with(e.name, family))
       AND (target IS NULL OR target = ANY (e.endpoints))
       AND (since IS NULL OR e.occurred_at >= since)
       AND (until IS NULL OR e.occurred_at < until)
       AND (before IS NULL OR (e.xid, e.seq) < (at_xid, at_seq))
       AND (state IS NULL OR sum.state = state)
     ORDER BY e.xid DESC, e.seq DESC
     LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION webhooks.events(text, text, text, timestamptz, timestamptz, text, integer) IS 'Messages, newest first: of one event or family (product.*), for one webhook, in one state, of a time';
