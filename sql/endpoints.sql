-- Registering endpoints and looking after them. All of it runs with the owner's rights behind EXECUTE granted
-- to webhooks_admin, and none of it returns a secret.

CREATE FUNCTION webhooks.endpoint_key(endpoint_id text) RETURNS integer
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_key integer := (SELECT key FROM webhooks.endpoint WHERE id = endpoint_id);
BEGIN
    IF found_key IS NOT NULL THEN
        RETURN found_key;
    ELSIF endpoint_id ~ '^wh_' THEN
        RAISE EXCEPTION '"%" is the id of a message, not of a registered webhook', endpoint_id
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'A wh_… identifies one message (webhook_id in its payload); a registered webhook''s id '
                         'begins with ep_: see webhooks.list().';
    ELSE
        RAISE EXCEPTION 'there is no webhook "%"', coalesce(endpoint_id, 'NULL')
            USING ERRCODE = 'undefined_object', HINT = 'webhooks.list() lists the registered ones.';
    END IF;
END
$$;
COMMENT ON FUNCTION webhooks.endpoint_key(text) IS 'The key of an endpoint, or an error that says why there is none';

CREATE FUNCTION webhooks.register(url text, events text[], secret text = NULL, active boolean = true,
                                  description text = NULL, options jsonb = '{}')
    RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    new_id     text := webhooks.new_endpoint_id();
    new_url    text := webhooks.check_url(url);
    new_events text[] := webhooks.check_events(events);
    new_secret text := webhooks.check_secret(secret);
BEGIN
    INSERT INTO webhooks.endpoint (id, url, events, secret, active, description, disabled_at, disabled_reason,
                                   max_in_flight, max_per_second, timeout_ms)
    SELECT new_id, new_url, new_events, new_secret,
           coalesce(register.active, true), register.description,
           CASE WHEN NOT register.active THEN clock_timestamp() END,
           CASE WHEN NOT register.active THEN 'registered as inactive' END,
           o.max_in_flight, o.max_per_second, o.timeout_ms
      FROM webhooks.merge_options(NULL, NULL, NULL, coalesce(register.options, '{}')::text) o;
    IF new_secret IS NULL THEN
        RAISE NOTICE 'webhook % has no secret: its messages go out unsigned', new_id
            USING HINT = format('SELECT webhooks.update(%L, secret => …) sets one.', new_id);
    END IF;
    RETURN new_id;
END
$$;
COMMENT ON FUNCTION webhooks.register(text, text[], text, boolean, text, jsonb) IS
    'Registers a webhook and returns its ep_… id; events are exact names, product.* or *; options are max_in_flight, '
    'max_per_second and timeout';

CREATE FUNCTION webhooks.update(endpoint_id text, url text = NULL, events text[] = NULL, secret text = NULL,
                                active boolean = NULL, description text = NULL, options jsonb = '{}')
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target_key integer := webhooks.endpoint_key(endpoint_id);
    target     webhooks.endpoint;
BEGIN
    SELECT * INTO target FROM webhooks.endpoint WHERE key = target_key FOR UPDATE;
    IF update.url IS NOT NULL THEN
        target.url := webhooks.check_url(update.url);
    END IF;
    IF update.events IS NOT NULL THEN
        target.events := webhooks.check_events(update.events);
    END IF;
    IF update.secret IS NOT NULL AND webhooks.check_secret(update.secret) IS DISTINCT FROM target.secret THEN
        target.secret := webhooks.check_secret(update.secret);
        target.secret_set_at := clock_timestamp();
        target.previous_secret := NULL;
        target.previous_until := NULL;
    END IF;
    SELECT o.* INTO target.max_in_flight, target.max_per_second, target.timeout_ms
      FROM webhooks.merge_options(target.max_in_flight, target.max_per_second, target.timeout_ms,
                                  coalesce(update.options, '{}')::text) o;
    IF update.active AND NOT target.active THEN
        target.disabled_at := NULL;
        target.disabled_by := NULL;
        target.disabled_reason := NULL;
        INSERT INTO webhooks.retry_request VALUES (target_key, '0', -1, '18446744073709551615', 2147483647, true);
    ELSIF NOT update.active AND target.active THEN
        target.disabled_at := clock_timestamp();
        target.disabled_reason := 'disabled by '
            || coalesce(nullif(current_setting('pg_webhooks.actor', true), ''), session_user);
    END IF;
    UPDATE webhooks.endpoint e
       SET url = target.url, events = target.events, secret = target.secret,
           secret_set_at = target.secret_set_at, previous_secret = target.previous_secret,
           previous_until = target.previous_until,
           active = coalesce(update.active, e.active), description = coalesce(update.description, e.description),
           max_in_flight = target.max_in_flight, max_per_second = target.max_per_second,
           timeout_ms = target.timeout_ms,
           updated_at = clock_timestamp(), disabled_at = target.disabled_at, disabled_by = target.disabled_by,
           disabled_reason = target.disabled_reason
     WHERE e.key = target.key;
    -- What waited for the endpoint may be due now.
    PERFORM webhooks.notify_at_commit();
END
$$;
COMMENT ON FUNCTION webhooks.update(text, text, text[], text, boolean, text, jsonb) IS
    'Changes a webhook: NULL keeps a value, secret '''' removes the secret, a null in options removes one; '
    'active => true sends what waited at once, its retries counted anew';

CREATE FUNCTION webhooks.rotate_secret(endpoint_id text, new_secret text = NULL, overlap interval = '24 hours')
    RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target      integer := webhooks.endpoint_key(endpoint_id);
    made_secret text := CASE WHEN new_secret IS NULL THEN webhooks.generate_secret() END;
    next_secret text := coalesce(made_secret, webhooks.check_secret(new_secret));
BEGIN
    IF next_secret IS NULL THEN
        RAISE EXCEPTION 'the new secret is empty'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = format('Leave new_secret out to have one generated; '
                                'SELECT webhooks.update(%L, secret => '''') removes the secret.', endpoint_id);
    ELSIF overlap IS NULL OR overlap < interval '0' OR overlap > interval '30 days' THEN
        RAISE EXCEPTION 'the overlap must be between 0 and 30 days, not %', coalesce(overlap::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'The overlap is how long receivers may keep using the previous secret.';
    END IF;
    -- The same secret once more is no rotation: the previous one goes on as it did, but without an overlap it ends now.
    UPDATE webhooks.endpoint e
       SET secret = next_secret, secret_set_at = clock_timestamp(), updated_at = clock_timestamp(),
           previous_secret = CASE WHEN overlap > interval '0' THEN e.secret END,
           previous_until = CASE WHEN overlap > interval '0' AND e.secret IS NOT NULL
                                 THEN clock_timestamp() + overlap END
     WHERE e.key = target
       AND (e.secret IS DISTINCT FROM next_secret OR overlap = interval '0' AND e.previous_secret IS NOT NULL);
    RETURN made_secret;
END
$$;
COMMENT ON FUNCTION webhooks.rotate_secret(text, text, interval) IS
    'Replaces a webhook''s secret; during the overlap webhook-signature carries both signatures. Returns a generated '
    'secret, only this once; NULL if one was given';

CREATE FUNCTION webhooks.delete(endpoint_id text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target integer := webhooks.endpoint_key(endpoint_id);
BEGIN
    -- What is pending nobody fetches any more, and maintain() removes: to delete it here would have reports wait for
    -- an open transaction.
    DELETE FROM webhooks.endpoint WHERE key = target;
END
$$;
COMMENT ON FUNCTION webhooks.delete(text) IS 'Deletes a webhook; what waits for it is never sent';

CREATE FUNCTION webhooks.options_of(e webhooks.endpoint) RETURNS jsonb
    LANGUAGE sql STABLE
RETURN jsonb_strip_nulls(jsonb_build_object(
    'max_in_flight', (e).max_in_flight, 'max_per_second', (e).max_per_second,
    'timeout', CASE WHEN (e).timeout_ms % 1000 = 0 THEN (e).timeout_ms / 1000 || 's' ELSE (e).timeout_ms || 'ms' END));
COMMENT ON FUNCTION webhooks.options_of(webhooks.endpoint) IS
    'The options of an endpoint, as register and update take them';

CREATE FUNCTION webhooks.list()
    RETURNS TABLE (id text, url text, events text[], active boolean, description text, has_secret boolean,
                   options jsonb, created_at timestamptz, updated_at timestamptz, disabled_at timestamptz,
                   disabled_reason text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT e.id, e.url, e.events, e.active, e.description, e.secret IS NOT NULL, webhooks.options_of(e),
           e.created_at, e.updated_at, e.disabled_at, e.disabled_reason
      FROM webhooks.endpoint e
     ORDER BY e.key
$$;
COMMENT ON FUNCTION webhooks.list() IS 'The registered webhooks, oldest first';

CREATE FUNCTION webhooks.get(endpoint_id text)
    RETURNS TABLE (id text, url text, events text[], active boolean, description text, has_secret boolean,
                   options jsonb, created_at timestamptz, updated_at timestamptz, disabled_at timestamptz,
                   disabled_reason text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    -- The id first: where there is no endpoint at all, a WHERE would never ask for its key.
    SELECT e.id, e.url, e.events, e.active, e.description, e.secret IS NOT NULL,
           webhooks.options_of(e), e.created_at, e.updated_at, e.disabled_at, e.disabled_reason
      FROM (SELECT webhooks.endpoint_key(endpoint_id) AS key OFFSET 0) AS wanted
      LEFT JOIN webhooks.endpoint e ON e.key = wanted.key
$$;
COMMENT ON FUNCTION webhooks.get(text) IS 'One registered webhook';
