-- The rules that are code: written in Rust, tested there without a server, called from the SQL around them.

CREATE FUNCTION webhooks.sign(payload text, secret text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sign_wrapper';
COMMENT ON FUNCTION webhooks.sign(text, text) IS
    'The X-Webhook-Signature of a payload: sha256= and the HMAC-SHA256 in hex, keyed with the secret''s UTF-8 bytes';

CREATE FUNCTION webhooks.verify(payload text, signature text, secret text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'verify_wrapper';
COMMENT ON FUNCTION webhooks.verify(text, text, text) IS
    'Whether signature is the X-Webhook-Signature of payload, compared in constant time';

CREATE FUNCTION webhooks.sign_standard(webhook_id text, "timestamp" bigint, payload text, secret text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'sign_standard_wrapper';
COMMENT ON FUNCTION webhooks.sign_standard(text, bigint, text, text) IS
    'The Standard Webhooks signature, v1,<base64>, over id.timestamp.payload; timestamp in Unix seconds';

CREATE FUNCTION webhooks.log_signature(webhook_id text, body text, key bytea) RETURNS bytea
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'log_signature_wrapper';
COMMENT ON FUNCTION webhooks.log_signature(text, text, bytea) IS
    'What capture signs a row of the log with: HMAC-SHA256 of webhook_id, a dot and body';

CREATE FUNCTION webhooks.legible(text text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'legible_wrapper';
COMMENT ON FUNCTION webhooks.legible(text) IS
    'The text with U+FFFD in the place of bytes that are no UTF-8: no client takes those';

CREATE FUNCTION webhooks.check_url(url text) RETURNS text
    LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'check_url_wrapper';
COMMENT ON FUNCTION webhooks.check_url(text) IS
    'The URL in its normal form, or an error that says what is wrong with it; looks at the text alone';

CREATE FUNCTION webhooks.check_events(events text[]) RETURNS text[]
    LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'check_events_wrapper';
COMMENT ON FUNCTION webhooks.check_events(text[]) IS
    'The event patterns without duplicates, or an error that names the unknown one';

CREATE FUNCTION webhooks.patterns_of(event text) RETURNS text[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'patterns_of_wrapper';
COMMENT ON FUNCTION webhooks.patterns_of(text) IS
    'The patterns that take an event: its name, product.* for its family, and *';

CREATE FUNCTION webhooks.check_secret(secret text) RETURNS text
    LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'check_secret_wrapper';
COMMENT ON FUNCTION webhooks.check_secret(text) IS
    'The secret, NULL for an empty one, or an error when it begins with whsec_ but is not base64 after that';

CREATE FUNCTION webhooks.generate_secret() RETURNS text
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'generate_secret_wrapper';
COMMENT ON FUNCTION webhooks.generate_secret() IS 'A fresh secret of 192 random bits, whsec_… as in Standard Webhooks';

-- Of 192 random bits.
INSERT INTO webhooks.log_key SELECT sha256(convert_to(webhooks.generate_secret(), 'UTF8'));

CREATE FUNCTION webhooks.new_endpoint_id() RETURNS text
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'new_endpoint_id_wrapper';
COMMENT ON FUNCTION webhooks.new_endpoint_id() IS 'A fresh random ep_… id';

CREATE FUNCTION webhooks.new_token() RETURNS TABLE (id text, token text, hash bytea)
    LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'new_token_wrapper';
COMMENT ON FUNCTION webhooks.new_token() IS 'A fresh random token with the id that it carries, tk_…, and its hash';

CREATE FUNCTION webhooks.token_id(token text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'token_id_wrapper';
COMMENT ON FUNCTION webhooks.token_id(text) IS 'The id that a token carries; NULL for anything that is not a token';

CREATE FUNCTION webhooks.is_token(token text, hash bytea) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'is_token_wrapper';
COMMENT ON FUNCTION webhooks.is_token(text, bytea) IS
    'Whether the hash is that of the token, compared in constant time';

CREATE FUNCTION webhooks.event_types() RETURNS TABLE (event text, description text, schema json, sample json)
    LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'event_types_wrapper';
COMMENT ON FUNCTION webhooks.event_types() IS
    'The built-in events: when each occurs, the JSON Schema of its message, and a realistic one';

CREATE FUNCTION webhooks.position_of(webhook_id text) RETURNS TABLE (xid bigint, seq integer)
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 1 AS 'MODULE_PATHNAME', 'position_of_wrapper';
COMMENT ON FUNCTION webhooks.position_of(text) IS 'The position in the log that an event''s id carries';

CREATE FUNCTION webhooks.kinds() RETURNS SETOF text
    LANGUAGE c STABLE ROWS 3 AS 'MODULE_PATHNAME', 'kinds_wrapper';
COMMENT ON FUNCTION webhooks.kinds() IS 'The kinds of table that events come from, such as products';

CREATE FUNCTION webhooks.fields(kind text) RETURNS TABLE (field text, required boolean)
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'fields_wrapper';
COMMENT ON FUNCTION webhooks.fields(text) IS
    'The columns that one of webhooks.kinds() has, by the specification''s names';

CREATE FUNCTION webhooks.events_of(kind text) RETURNS SETOF text
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'events_of_wrapper';
COMMENT ON FUNCTION webhooks.events_of(text) IS 'The events that the rows of one of webhooks.kinds() make';

CREATE FUNCTION webhooks.attached_fields(target regclass, attachment text)
    RETURNS TABLE (field text, attnum smallint)
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'attached_fields_wrapper';
COMMENT ON FUNCTION webhooks.attached_fields(regclass, text) IS
    'The columns that an attached table has for its fields now; attachment is its trigger''s argument';

CREATE FUNCTION webhooks.left_out_columns(target regclass, attachment text) RETURNS SETOF smallint
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'left_out_columns_wrapper';
COMMENT ON FUNCTION webhooks.left_out_columns(regclass, text) IS
    'The columns of an attached table whose changes are told to nobody now; attachment is its trigger''s argument';

CREATE FUNCTION webhooks.looks_like_secret(name text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'looks_like_secret_wrapper';
COMMENT ON FUNCTION webhooks.looks_like_secret(text) IS
    'Whether a column of this name looks like it holds a secret: a password, a token, a private key …';

CREATE FUNCTION webhooks.merge_options(max_in_flight integer, max_per_second double precision, timeout_ms integer,
                                       options text)
    RETURNS TABLE (max_in_flight integer, max_per_second double precision, timeout_ms integer)
    LANGUAGE c STABLE ROWS 1 AS 'MODULE_PATHNAME', 'merge_options_wrapper';
COMMENT ON FUNCTION webhooks.merge_options(integer, double precision, integer, text) IS
    'The options of an endpoint as a JSON Merge Patch changes them: absent keeps, null removes; or an error that names '
    'the key that is not known or the value that is not valid';

CREATE FUNCTION webhooks.classify_attempt(http_status integer, retry_after text, retry_count integer,
                                          ours_for_ms bigint, retry_schedule text,
                                          jitter double precision)
    RETURNS TABLE (outcome text, wait_ms bigint, next_retry integer)
    LANGUAGE c STABLE ROWS 1 AS 'MODULE_PATHNAME', 'classify_attempt_wrapper';
COMMENT ON FUNCTION webhooks.classify_attempt(integer, text, integer, bigint, text, double precision) IS
    'What an attempt''s result leads to (a webhooks.outcome) and, for a retry, how long after the failure and which '
    'one it is; http_status is NULL if no response came. ours_for_ms is NULL where it was no fault of ours, else for '
    'how long such faults have kept the delivery back: until it is a day they spend no retry. jitter is the share of '
    'the wait that is added to it, up to a minute';

CREATE FUNCTION webhooks.duration_ms(duration text) RETURNS bigint
    LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'duration_ms_wrapper';
COMMENT ON FUNCTION webhooks.duration_ms(text) IS 'Milliseconds of a duration such as 250ms, 30s, 1.5h, 7 days';

CREATE FUNCTION webhooks.notify_at_commit() RETURNS void
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'notify_at_commit_wrapper';
COMMENT ON FUNCTION webhooks.notify_at_commit() IS
    'Makes the sidecar look for work when the calling transaction commits';

-- Settings ----------------------------------------------------------------------------------------------------------
-- A session keeps the settings of ALTER DATABASE and ALTER ROLE that it began with. The sidecar's sessions live for
-- weeks, so the policies ask the catalogue and follow a change at once. There nobody has checked a value: ALTER takes
-- any where the library is not loaded.

CREATE FUNCTION webhooks.effective_setting(name text, stored text) RETURNS text
    LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'effective_setting_wrapper';
COMMENT ON FUNCTION webhooks.effective_setting(text, text) IS
    'stored, if it is a valid value of pg_webhooks.<name>; else, with a warning unless it is NULL, the value that '
    'this session has';

CREATE FUNCTION webhooks.is_valid_setting(name text, value text) RETURNS boolean
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'is_valid_setting_wrapper';
COMMENT ON FUNCTION webhooks.is_valid_setting(text, text) IS 'Whether pg_webhooks.<name> may have this value';

CREATE FUNCTION webhooks.stored_settings() RETURNS TABLE (name text, value text, role oid, database oid)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT substr(split_part(assignment, '=', 1), length('pg_webhooks.') + 1),
           substr(assignment, strpos(assignment, '=') + 1),
           setrole, setdatabase
      FROM pg_db_role_setting
     CROSS JOIN unnest(setconfig) AS assignment
     WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
       AND starts_with(assignment, 'pg_webhooks.')
$$;
COMMENT ON FUNCTION webhooks.stored_settings() IS
    'What ALTER DATABASE and ALTER ROLE say of pg_webhooks.… for this database, valid or not; role and database are '
    '0 where they say it for all';

CREATE FUNCTION webhooks.setting(name text) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT webhooks.effective_setting(name, (
        -- In Postgres' own order: of the role in the database, of the role, of the database, of all.
        SELECT s.value FROM webhooks.stored_settings() s
         WHERE s.name = setting.name AND s.role IN (0, to_regrole(quote_ident(session_user)))
         ORDER BY s.role = 0, s.database = 0 LIMIT 1))
$$;
COMMENT ON FUNCTION webhooks.setting(text) IS
    'The value of pg_webhooks.<name>: as ALTER ROLE or ALTER DATABASE sets it now, if that is valid, else this '
    'session''s';

CREATE FUNCTION webhooks.setting_interval(name text) RETURNS interval
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$ SELECT webhooks.duration_ms(webhooks.setting(name)) * interval '1 ms' $$;
COMMENT ON FUNCTION webhooks.setting_interval(text) IS 'The duration in pg_webhooks.<name>';

CREATE FUNCTION webhooks.invalid_settings() RETURNS TABLE (setting text, value text, fix text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'pg_webhooks.' || s.name, s.value,
           format('ALTER %s RESET pg_webhooks.%s;', concat_ws(' IN ',
               CASE WHEN s.role <> 0 THEN 'ROLE ' || s.role::regrole WHEN s.database = 0 THEN 'ROLE ALL' END,
               CASE WHEN s.database <> 0 THEN 'DATABASE ' || quote_ident(current_database()) END), s.name)
      FROM webhooks.stored_settings() s
     WHERE NOT webhooks.is_valid_setting(s.name, s.value)
     ORDER BY s.name, s.role, s.database
$$;
COMMENT ON FUNCTION webhooks.invalid_settings() IS
    'What ALTER DATABASE and ALTER ROLE say of pg_webhooks.… and is not valid, so that another value counts; fix '
    'takes it back';
