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
    ours             boolean,
    "position"       text
);
COMMENT ON TYPE webhooks.attempt_line IS
    'A line of the delivery log: one HTTP request, to which endpoint, and what came of it; ours says that the sidecar '
    'or its machine failed, not the endpoint';

CREATE FUNCTION webhooks.checked_limit(argument text, rows integer) RETURNS integer
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF rows IS NULL OR rows < 0 THEN
        RAISE EXCEPTION '% cannot be %', argument, coalesce(rows::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It is how many rows to return at most, such as 100.';
    END IF;
    RETURN rows;
END
$$;
COMMENT ON FUNCTION webhooks.checked_limit(text, integer) IS
    'A number of rows that an argument asks for, or an error that says why it cannot';

CREATE FUNCTION webhooks.attempts(endpoint_id text = NULL, webhook_id text = NULL, event text = NULL,
                                  outcome text = NULL, search text = NULL,
                                  since timestamptz = NULL, until timestamptz = NULL,
                                  before text = NULL, max_rows integer = 100)
    RETURNS SETOF webhooks.attempt_line
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    -- Each call has other filters, and each filter its own best index.
    SET plan_cache_mode = force_custom_plan
    -- A page takes less than compiling its plan.
    SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
    -- Microseconds since 1970, the endpoint's key, the message: what the log is sorted by.
    place       text[] := regexp_match(before, '^(\d{1,17})\.(\d{1,10})\.(wh_[0-9a-v]{26})$');
    before_at   timestamptz := timestamptz 'epoch' + place[1]::bigint * interval '1 us';
    target      integer := CASE WHEN endpoint_id IS NOT NULL THEN webhooks.endpoint_key(endpoint_id) END;
    page_size   integer := webhooks.checked_limit('max_rows', max_rows);
    family      text := CASE WHEN event LIKE '%*' THEN left(event, -1) END;
    -- An id is looked up, any other text looked for.
    search_id   text := CASE WHEN EXISTS (SELECT FROM webhooks.position_of(search)) THEN search END;
    search_text text := CASE WHEN search_id IS NULL THEN lower(search) END;
    one_outcome webhooks.outcome;
BEGIN
    IF before IS NOT NULL AND place IS NULL THEN
        RAISE EXCEPTION 'invalid position "%"', before
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Take it from the last row of the previous page.';
    ELSIF outcome IS NOT NULL AND outcome <> 'failed'
          AND outcome <> ALL (enum_range(NULL::webhooks.outcome)::text[]) THEN
        RAISE EXCEPTION 'unknown outcome "%"', outcome
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'An outcome is ' || array_to_string(enum_range(NULL::webhooks.outcome), ', ')
                         || ', or failed for all but the first.';
    END IF;
    one_outcome := nullif(outcome, 'failed');

    RETURN QUERY
    SELECT a.started_at, e.id, e.url, a.event, a.webhook_id,
           a.outcome, a.http_status, a.response_time_ms, a.retry_count, a.error,
           a.response, a.next_attempt_at, a.signed_at, coalesce(a.ours, false),
           format('%s.%s.%s', (extract(epoch FROM a.started_at) * 1000000)::bigint, e.key, a.webhook_id)
      FROM (SELECT *, search_text IS NULL OR strpos(lower(url), search_text) > 0 AS is_found
              FROM webhooks.endpoint
             WHERE target IS NULL OR key = target
            OFFSET 0) e  -- looked into once, not for each row of its log
     CROSS JOIN LATERAL (  -- a page of each endpoint's log, along its index
        SELECT * FROM webhooks.attempt a
         WHERE a.endpoint = e.key
           AND (webhook_id IS NULL OR a.webhook_id = webhook_id)
           AND (search_id IS NULL OR a.webhook_id = search_id)
           AND (event IS NULL OR family IS NOT NULL OR a.event = event)
           AND (family IS NULL OR starts_with(a.event, family))
           -- As conditions on the column itself, from which the planner sees that the index on failures will do.
           AND (one_outcome IS NULL OR a.outcome = one_outcome)
           AND (outcome IS DISTINCT FROM 'failed' OR a.outcome <> 'delivered')
           AND (e.is_found OR strpos(a.event, search_text) > 0 OR strpos(lower(a.error), search_text) > 0)
           AND (since IS NULL OR a.started_at >= since)
           AND (until IS NULL OR a.started_at < until)
           AND (before IS NULL OR a.started_at <= before_at
                              AND (a.started_at, a.endpoint, a.webhook_id) < (before_at, place[2]::bigint, place[3]))
         ORDER BY a.started_at DESC, a.webhook_id DESC
         LIMIT page_size) a
     ORDER BY a.started_at DESC, e.key DESC, a.webhook_id DESC
     LIMIT page_size;
END
$$;
COMMENT ON FUNCTION webhooks.attempts(text, text, text, text, text, timestamptz, timestamptz, text, integer) IS
    'The delivery log, newest first, filtered by webhook, message, event or family (product.*), outcome (failed: all '
    'but delivered), a text in the error, event or URL, and time';

CREATE FUNCTION webhooks.logs(endpoint_id text, max_rows integer = 100)
    RETURNS TABLE ("timestamp" timestamptz, event text, http_status integer, response_time_ms integer,
                   retry_count integer, error text, webhook_id text, outcome webhooks.outcome,
                   next_attempt_at timestamptz, response text, ours boolean)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a."timestamp", a.event, a.http_status, a.response_time_ms, a.retry_count, a.error, a.webhook_id, a.outcome,
           a.next_attempt_at, a.response, a.ours
      FROM webhooks.attempts(coalesce(logs.endpoint_id, 'NULL'), max_rows => logs.max_rows) a
$$;
COMMENT ON FUNCTION webhooks.logs(text, integer) IS 'The attempts made for a webhook, newest first';

-- One message -------------------------------------------------------------------------------------------------------

CREATE FUNCTION webhooks.event_by_id(webhook_id text) RETURNS webhooks.event
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET jit = off
AS $$
DECLARE
    found_event webhooks.event;
BEGIN
    SELECT e.* INTO found_event
      FROM webhooks.position_of(webhook_id) AS at
      JOIN webhooks.event e ON e.xid = at.xid::text::xid8 AND e.seq = at.seq AND e.webhook_id = event_by_id.webhook_id;
    IF FOUND THEN
        RETURN found_event;
    ELSIF webhook_id ~ '^ep_' THEN
        RAISE EXCEPTION '"%" is the id of a registered webhook, not of a message', webhook_id
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'A message''s id, webhook_id in its payload, begins with wh_: see webhooks.events().';
    ELSE
        RAISE EXCEPTION 'there is no message "%"', coalesce(webhook_id, 'NULL')
            USING ERRCODE = 'undefined_object',
                  HINT = format('Messages are kept for %s (pg_webhooks.event_retention); webhooks.events() lists them.',
                                webhooks.setting('event_retention'));
    END IF;
END
$$;
COMMENT ON FUNCTION webhooks.event_by_id(text) IS 'The event with this id, or an error that says why there is none';

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
COMMENT ON TYPE webhooks.delivery_line IS
    'The state of one event at one endpoint: queued (not tried yet), waiting (for its next attempt), delivered, '
    'failed, or skipped (the endpoint was disabled when its turn came: webhooks.replay recovers it)';

-- The names in the functions that follow are resolved here, so they need no search path of their own, and the planner
-- can make them part of their callers.

CREATE FUNCTION webhooks.recipients_of(e webhooks.event) RETURNS SETOF integer
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT s.endpoint
      FROM webhooks.subscription s
     WHERE e.target IS NULL
       AND s.pattern = ANY ((SELECT webhooks.patterns_of(e.name))::text[]) AND (s.tenant IS NULL OR s.tenant = e.tenant)
       AND NOT pg_visible_in_snapshot(e.xid, s.since)
     UNION
    SELECT e.target WHERE e.target IS NOT NULL;
END;
COMMENT ON FUNCTION webhooks.recipients_of(webhooks.event) IS
    'The endpoints that an event is for, by what they subscribe to now';

CREATE FUNCTION webhooks.states_of(e webhooks.event, one integer)
    RETURNS TABLE (endpoint integer, state text, attempts integer, last_at timestamptz)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    -- A list asks for each of its messages: the plan is made once, and is no part of the list's, which may not sort.
    SET plan_cache_mode = force_generic_plan
    SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT r.key,
           -- A scalar, which is looked up by index for each; EXISTS may read all that is pending instead.
           CASE WHEN (SELECT true FROM webhooks.pending w WHERE w.endpoint = r.key AND w.xid = e.xid AND w.seq = e.seq)
                     THEN 'waiting'
                WHEN r.delivered_at = r.last_at THEN 'delivered'
                WHEN r.attempts > 0 THEN 'failed'
                WHEN NOT p.active AND p.disabled_by IS NULL OR webhooks.is_read(r.key, e.xid, e.seq) THEN 'skipped'
                ELSE 'queued' END,
           r.attempts, r.last_at
      FROM (SELECT x.key, count(x.at)::integer AS attempts, max(x.at) AS last_at,
                   max(x.at) FILTER (WHERE x.outcome = 'delivered') AS delivered_at
              -- One that has changed what it subscribes to has had it all the same.
              FROM (SELECT s.key, NULL::timestamptz, NULL::webhooks.outcome FROM webhooks.recipients_of(e) AS s (key)
                     UNION ALL
                    -- The sum keeps the planner from the index on endpoint, under which a day has millions of rows.
                    SELECT a.endpoint + 0, a.started_at, a.outcome FROM webhooks.attempt a
                     WHERE a.webhook_id = e.webhook_id
                       -- Clocks may differ; it spares the partitions of the days before.
                       AND a.started_at >= e.occurred_at - interval '1 h') x (key, at, outcome)
             WHERE one IS NULL OR x.key = one
             GROUP BY x.key) r
      JOIN webhooks.endpoint p ON p.key = r.key;
END
$$;
COMMENT ON FUNCTION webhooks.states_of(webhooks.event, integer) IS
    'The state of an event at each of its recipients, or at one, and how many attempts were made';

CREATE FUNCTION webhooks.deliveries_of(e webhooks.event, one integer) RETURNS SETOF webhooks.delivery_line
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    -- The planner does not know how many recipients there are, and would compare each with each.
    SET enable_nestloop = off
    SET jit = off
AS $$
    SELECT p.id, p.url, p.active, s.state, s.attempts, latest.http_status, latest.error, s.last_at,
           (SELECT w.due_at FROM webhooks.pending w WHERE w.endpoint = p.key AND w.xid = e.xid AND w.seq = e.seq), p.key
      FROM webhooks.states_of(e, one) s
      JOIN webhooks.endpoint p ON p.key = s.endpoint
      LEFT JOIN (SELECT DISTINCT ON (a.endpoint + 0) a.endpoint + 0 AS key, a.http_status, a.error
                   FROM webhooks.attempt a
                  WHERE a.webhook_id = e.webhook_id AND (one IS NULL OR a.endpoint + 0 = one)
                    AND a.started_at >= e.occurred_at - interval '1 h'
                  ORDER BY a.endpoint + 0, a.started_at DESC) latest ON latest.key = p.key
     ORDER BY p.key
$$;
COMMENT ON FUNCTION webhooks.deliveries_of(webhooks.event, integer) IS
    'The deliveries of an event, to each of its recipients or to one';

CREATE FUNCTION webhooks.deliveries(webhook_id text) RETURNS SETOF webhooks.delivery_line
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$ SELECT * FROM webhooks.deliveries_of(webhooks.event_by_id(webhook_id), NULL) $$;
COMMENT ON FUNCTION webhooks.deliveries(text) IS 'The state of a message at each webhook that it is for';

CREATE FUNCTION webhooks.message(webhook_id text)
    RETURNS TABLE (event text, occurred_at timestamptz, body text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT webhooks.legible(e.name), e.occurred_at, webhooks.legible(e.body) FROM webhooks.event_by_id(webhook_id) e
$$;
COMMENT ON FUNCTION webhooks.message(text) IS
    'One message: the exact bytes that are sent; of one that is damaged, and not sent, what can be read';

CREATE FUNCTION webhooks.signatures(webhook_id text, endpoint_id text, signed_at bigint)
    RETURNS TABLE (signature text, signature_v1 text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT webhooks.sign(e.body, p.secret),
           webhooks.standard_signatures(e.webhook_id, signed_at, e.body, p.secret, p.previous_secret, p.previous_until)
      FROM webhooks.event_by_id(webhook_id) e
     CROSS JOIN webhooks.endpoint_key(endpoint_id) AS wanted
      JOIN webhooks.endpoint p ON p.key = wanted
     -- To the second: of what was signed in the one in which the secret changed nobody knows with which.
     WHERE p.secret_set_at IS NULL OR to_timestamp(signed_at) >= p.secret_set_at
$$;
COMMENT ON FUNCTION webhooks.signatures(text, text, bigint) IS
    'The signatures that an attempt carried, made again; no row if the secret has been changed since';

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
COMMENT ON TYPE webhooks.event_line IS
    'A message and the state of its deliveries, which is the worst of theirs: failed, waiting, queued, skipped, '
    'delivered';

CREATE FUNCTION webhooks.summary_of(e webhooks.event, target integer) RETURNS SETOF webhooks.event_line
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT webhooks.legible(e.webhook_id), webhooks.legible(e.name), e.occurred_at,
           CASE WHEN count(*) FILTER (WHERE d.state = 'failed') > 0 THEN 'failed'
                WHEN count(*) FILTER (WHERE d.state = 'waiting') > 0 THEN 'waiting'
                WHEN count(*) FILTER (WHERE d.state = 'queued') > 0 THEN 'queued'
                WHEN count(*) = count(*) FILTER (WHERE d.state = 'delivered') AND count(*) > 0 THEN 'delivered'
                ELSE 'skipped' END,
           count(*)::integer,
           (count(*) FILTER (WHERE d.state = 'delivered'))::integer,
           (count(*) FILTER (WHERE d.state = 'waiting'))::integer,
           (count(*) FILTER (WHERE d.state = 'failed'))::integer,
           (count(*) FILTER (WHERE d.state = 'skipped'))::integer
      FROM webhooks.states_of(e, target) d;
END;
COMMENT ON FUNCTION webhooks.summary_of(webhooks.event, integer) IS
    'The state of an event at all of its recipients, or at one';

CREATE FUNCTION webhooks.events(event text = NULL, endpoint_id text = NULL, state text = NULL,
                                since timestamptz = NULL, until timestamptz = NULL, before text = NULL,
                                max_rows integer = 100)
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
    target    integer := CASE WHEN endpoint_id IS NOT NULL THEN webhooks.endpoint_key(endpoint_id) END;
    page_size integer := webhooks.checked_limit('max_rows', max_rows);
    family    text := CASE WHEN event LIKE '%*' THEN left(event, -1) END;
    target_patterns text[] := ARRAY(SELECT s.pattern FROM webhooks.subscription s WHERE s.endpoint = target);
    at_xid    xid8;
    at_seq    integer;
    -- All below it is read for every endpoint.
    unread_xid xid8 := (SELECT min(pg_snapshot_xmin(done)) FROM webhooks.cursor WHERE done IS NOT NULL);
BEGIN
    SELECT p.xid::text::xid8, p.seq INTO at_xid, at_seq FROM webhooks.position_of(before) p;
    IF before IS NOT NULL AND at_xid IS NULL THEN
        RAISE EXCEPTION 'invalid position "%"', before
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'It is the webhook_id of the last row of the previous page.';
    ELSIF state NOT IN ('queued', 'waiting', 'delivered', 'failed', 'skipped') THEN
        RAISE EXCEPTION 'unknown state "%"', state
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'A state is queued, waiting, delivered, failed or skipped.';
    END IF;

    IF state IN ('waiting', 'failed') THEN
        -- Few of many: from what is pending and what failed for good to the events, not along the log.
        RETURN QUERY
        WITH candidate AS (
            SELECT p.xid, p.seq FROM webhooks.pending p
             WHERE state = 'waiting' AND (target IS NULL OR p.endpoint = target)
             UNION
            SELECT at.xid::text::xid8, at.seq FROM webhooks.attempt a CROSS JOIN webhooks.position_of(a.webhook_id) at
             WHERE state = 'failed' AND a.outcome <> 'delivered' AND a.next_attempt_at IS NULL
               AND (target IS NULL OR a.endpoint = target)
        )
        SELECT line.*
          FROM (SELECT * FROM candidate c
                 WHERE before IS NULL OR (c.xid, c.seq) < (at_xid, at_seq)
                 ORDER BY c.xid DESC, c.seq DESC) c
         -- OFFSET 0: one look-up for each, in this order, until the page is full.
         CROSS JOIN LATERAL (SELECT * FROM webhooks.event e WHERE e.xid = c.xid AND e.seq = c.seq OFFSET 0) e
         CROSS JOIN LATERAL webhooks.summary_of(e, target) line
         WHERE line.state = events.state
       AND (event IS NULL OR family IS NOT NULL OR e.name = event)
       AND (family IS NULL OR starts_with(e.name, family))
       AND (target IS NULL OR line.deliveries > 0)
       AND (since IS NULL OR e.occurred_at >= since)
       AND (until IS NULL OR e.occurred_at < until)
         ORDER BY c.xid DESC, c.seq DESC
         LIMIT page_size;
        RETURN;
    END IF;

    RETURN QUERY
    SELECT line.*
      FROM webhooks.event e
     CROSS JOIN LATERAL webhooks.summary_of(e, target) line
     WHERE (state IS NULL OR line.state = state)
       AND (state IS DISTINCT FROM 'queued' OR e.xid >= unread_xid)
       AND (before IS NULL OR (e.xid, e.seq) < (at_xid, at_seq))
       AND (event IS NULL OR family IS NOT NULL OR e.name = event)
       AND (family IS NULL OR starts_with(e.name, family))
       -- What could be for it, before what is.
       AND (target IS NULL OR e.target = target OR webhooks.patterns_of(e.name) && target_patterns)
       AND (target IS NULL OR line.deliveries > 0)
       AND (since IS NULL OR e.occurred_at >= since)
       AND (until IS NULL OR e.occurred_at < until)
     ORDER BY e.xid DESC, e.seq DESC
     LIMIT page_size;
END
$$;
COMMENT ON FUNCTION webhooks.events(text, text, text, timestamptz, timestamptz, text, integer) IS
    'Messages, newest first, filtered by event or family (product.*), webhook, state and time';
