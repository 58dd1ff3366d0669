-- Who may use the REST API and the page: tokens, shown once and kept as hashes.

CREATE FUNCTION webhooks.create_token(name text, role text = 'read', expires timestamptz = NULL) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    made record;
BEGIN
    IF coalesce(btrim(name), '') = '' THEN
        RAISE EXCEPTION 'a token needs a name'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Say who or what it is for: that is how you will recognise it in webhooks.tokens().';
    ELSIF role IS NULL OR role NOT IN ('read', 'manage') THEN
        RAISE EXCEPTION 'unknown role "%"', coalesce(role, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A token''s role is read or manage.';
    ELSIF expires <= clock_timestamp() THEN
        RAISE EXCEPTION 'the token would already have expired at %', expires
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'For example expires => now() + interval ''90 days''; NULL means never.';
    END IF;
    SELECT * INTO made FROM webhooks.new_token();
    INSERT INTO webhooks.token (id, name, role, hash, expires_at)
    VALUES (made.id, create_token.name, create_token.role, made.hash, expires);
    RETURN made.token;
END
$$;
COMMENT ON FUNCTION webhooks.create_token(text, text, timestamptz) IS
    'Creates a token for the REST API and the page and returns it, only this once; role read may look, manage may '
    'also change things';

CREATE FUNCTION webhooks.revoke_token(token_id text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- The token itself will do, for whoever finds it where it should not be.
    UPDATE webhooks.token t SET revoked_at = coalesce(t.revoked_at, clock_timestamp())
     WHERE t.id = coalesce(webhooks.token_id(revoke_token.token_id), revoke_token.token_id);
    IF NOT FOUND THEN
        -- What has not the form of an id may be a secret that was mistyped.
        RAISE EXCEPTION '%', CASE WHEN token_id ~ '^tk_' THEN format('there is no token "%s"', token_id)
                                  ELSE 'there is no such token' END
            USING ERRCODE = 'undefined_object', HINT = 'webhooks.tokens() lists the tokens; their ids begin with tk_.';
    END IF;
END
$$;
COMMENT ON FUNCTION webhooks.revoke_token(text) IS 'Revokes a token, given its tk_… id or the token itself';

CREATE FUNCTION webhooks.tokens()
    RETURNS TABLE (id text, name text, role text, state text, created_at timestamptz, created_by text,
                   expires_at timestamptz, revoked_at timestamptz, last_used_at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT id, name, role,
           CASE WHEN revoked_at IS NOT NULL THEN 'revoked'
                WHEN expires_at <= clock_timestamp() THEN 'expired'
                ELSE 'valid' END,
           created_at, created_by, expires_at, revoked_at, last_used_at
      FROM webhooks.token
     ORDER BY created_at, id
$$;
COMMENT ON FUNCTION webhooks.tokens() IS 'The tokens, oldest first, and when each was last used, to the minute';

CREATE FUNCTION webhooks.authenticate(token text) RETURNS TABLE (id text, name text, role text, state text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    known webhooks.token;
BEGIN
    SELECT t.* INTO known FROM webhooks.token t WHERE t.id = webhooks.token_id(token);
    IF NOT FOUND OR NOT webhooks.is_token(token, known.hash) THEN
        RETURN QUERY SELECT NULL::text, NULL::text, NULL::text, 'unknown';
        RETURN;
    END IF;
    -- A write a minute at the most, however often it is used, and none where nothing can be written.
    IF (known.last_used_at < clock_timestamp() - interval '1 min') IS NOT FALSE
       AND current_setting('transaction_read_only') = 'off' THEN
        UPDATE webhooks.token t SET last_used_at = clock_timestamp()
         WHERE t.id = known.id AND (t.last_used_at < clock_timestamp() - interval '1 min') IS NOT FALSE;
    END IF;
    RETURN QUERY SELECT t.id, t.name, t.role, t.state FROM webhooks.tokens() t WHERE t.id = known.id;
END
$$;
COMMENT ON FUNCTION webhooks.authenticate(text) IS
    'Whose token it is and what for; state is valid, expired, revoked or unknown. Called by the REST API';
