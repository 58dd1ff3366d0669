//! Tokens of the REST API: shown once, kept as hashes, ended at will; and which role may execute what.

use tests::{Cluster, Database, SECRET, Stage};

async fn create(db: &Database<'_>, arguments: &str) -> String {
    db.one(&format!("SELECT webhooks.create_token({arguments})")).await
}

/// What a token is good for.
async fn state(db: &Database<'_>, token: &str) -> String {
    db.one(&format!("SELECT state FROM webhooks.authenticate('{token}')")).await
}

/// The functions of the schema that a role may execute.
async fn executable(db: &Database<'_>, role: &str) -> Vec<String> {
    db.all(&format!(
        "SELECT DISTINCT proname::text FROM pg_proc
          WHERE pronamespace = 'webhooks'::regnamespace AND has_function_privilege('{role}', oid, 'EXECUTE') ORDER BY 1"
    ))
    .await
}

#[tokio::test]
async fn a_token_is_shown_once_and_only_its_hash_is_kept() {
    let db = Cluster::shared().await.database().await;
    let token = create(&db, "'ci', 'manage'").await;
    assert!(token.starts_with("pgw_"), "{token}");
    assert_ne!(create(&db, "'ci'").await, token, "a name may be used again");
    let secret = token.rsplit_once('_').expect("two parts").1;
    let kept = db.json("SELECT * FROM webhooks.token").await;
    let shown = db.json("SELECT * FROM webhooks.tokens()").await;
    assert!(!format!("{kept:?}{shown:?}").contains(secret), "{kept:?}");
    let hash = format!("SELECT count(*) FROM webhooks.token WHERE hash = sha256('{token}')");
    assert_eq!(db.one::<i64>(&hash).await, 1);
    let line = "SELECT name || ' ' || role || ' ' || state || ' ' || created_by FROM webhooks.tokens()";
    assert_eq!(db.all::<String>(line).await, ["ci manage valid postgres", "ci read valid postgres"], "read by default");
}

#[tokio::test]
async fn a_valid_token_says_whose_it_is_and_an_altered_one_nothing() {
    let db = Cluster::shared().await.database().await;
    let token = create(&db, "'page', 'read', now() + interval '1 day'").await;
    let known = db.json(&format!("SELECT * FROM webhooks.authenticate('{token}')")).await.remove(0);
    assert_eq!((&known["name"], &known["role"], &known["state"]), (&"page".into(), &"read".into(), &"valid".into()));
    assert!(known["id"].as_str().is_some_and(|id| id.starts_with("tk_")), "{known}");

    let other = create(&db, "'other'").await;
    let (head, tail) = token.split_at(token.len() - 1);
    let altered = format!("{head}{}", if tail == "0" { "1" } else { "0" });
    let swapped = format!("{}_{}", token.rsplit_once('_').expect("parts").0, other.rsplit_once('_').expect("parts").1);
    for wrong in [
        &altered,
        &swapped,
        head,
        "",
        "pgw_",
        &token.to_uppercase(),
        &format!("{token} "),
        known["id"].as_str().expect("an id"),
    ] {
        let answer = db.json(&format!("SELECT * FROM webhooks.authenticate('{wrong}')")).await.remove(0);
        assert_eq!(answer["state"], "unknown", "{wrong}");
        assert!(answer["id"].is_null() && answer["name"].is_null() && answer["role"].is_null(), "{answer}");
    }
    assert_eq!(db.one::<String>("SELECT state FROM webhooks.authenticate(NULL)").await, "unknown");
}

#[tokio::test]
async fn a_token_ends_when_it_expires_or_is_revoked() {
    let db = Cluster::shared().await.database().await;
    let expiring = create(&db, "'e', expires => now() + interval '1 day'").await;
    db.run("UPDATE webhooks.token SET expires_at = now()").await;
    assert_eq!(state(&db, &expiring).await, "expired");

    let [by_id, by_text] = [create(&db, "'by id'").await, create(&db, "'by text'").await];
    let id: String = db.one("SELECT id FROM webhooks.tokens() WHERE name = 'by id'").await;
    db.run(&format!("SELECT webhooks.revoke_token('{id}'), webhooks.revoke_token('{by_text}')")).await;
    assert_eq!([state(&db, &by_id).await, state(&db, &by_text).await], ["revoked", "revoked"]);
    let when = "SELECT array_agg(revoked_at::text ORDER BY id) FROM webhooks.token";
    let revoked_at: Vec<Option<String>> = db.one(when).await;
    db.run(&format!("SELECT webhooks.revoke_token('{id}')")).await;
    assert_eq!(db.one::<Vec<Option<String>>>(when).await, revoked_at, "the first time counts");
    let states = "SELECT state FROM webhooks.tokens() ORDER BY name";
    assert_eq!(db.all::<String>(states).await, ["revoked", "revoked", "expired"]);
}

#[tokio::test]
async fn the_last_use_is_written_once_a_minute_at_most() {
    let db = Cluster::shared().await.database().await;
    let token = create(&db, "'t'").await;
    let used = "SELECT coalesce(last_used_at::text, 'never') FROM webhooks.tokens()";
    let version = "SELECT xmin::text || ctid::text FROM webhooks.token";
    assert_eq!(db.one::<String>(used).await, "never");
    assert_eq!(state(&db, &token).await, "valid");
    let (first, written) = (db.one::<String>(used).await, db.one::<String>(version).await);
    assert_ne!(first, "never");
    state(&db, &token).await;
    assert_eq!(db.one::<String>(version).await, written, "no write");
    db.run("UPDATE webhooks.token SET last_used_at = last_used_at - interval '61 s'").await;
    state(&db, &token).await;
    assert!(db.one::<bool>(&format!("SELECT last_used_at > '{first}' FROM webhooks.tokens()")).await);
}

#[tokio::test]
async fn a_token_is_good_where_nothing_can_be_written() {
    let db = Cluster::shared().await.database().await;
    let token = create(&db, "'t'").await;
    db.run("BEGIN READ ONLY").await;
    assert_eq!(state(&db, &token).await, "valid");
    db.run("COMMIT").await;
}

#[tokio::test]
async fn a_token_that_can_not_be_is_refused() {
    let db = Cluster::shared().await.database().await;
    let token = create(&db, "'t'").await;
    let mistyped = format!("{}x", &token[..token.len() - 1]);
    for (call, code, named) in [
        ("create_token(NULL)", "22023", "name"),
        ("create_token('  ')", "22023", "name"),
        ("create_token('t', 'admin')", "22023", "admin"),
        ("create_token('t', NULL)", "22023", "NULL"),
        ("create_token('t', 'read', '2020-01-01')", "22023", "2020-01-01"),
        ("create_token('t', 'read', '-infinity')", "22023", "infinity"),
        ("revoke_token('tk_unknown')", "42704", "tk_unknown"),
        ("revoke_token(NULL)", "42704", "token"),
        (&format!("revoke_token('{mistyped}')"), "42704", "token"),
    ] {
        let refused = db.fail(&format!("SELECT webhooks.{call}")).await;
        assert_eq!(refused.code, code, "{call}: {refused:?}");
        assert!(refused.message.contains(named) && !refused.hint.is_empty(), "{call}: {refused:?}");
        assert!(!refused.message.contains(&mistyped), "a secret is not repeated: {refused:?}");
    }
    assert_eq!(db.one::<i64>("SELECT count(*) FROM webhooks.tokens() WHERE state = 'valid'").await, 1);
}

#[tokio::test]
async fn a_dump_carries_tokens_and_rotations() {
    let stage = Stage::start().await;
    let token = create(&stage.db, "'t', 'manage'").await;
    let revoked = create(&stage.db, "'gone'").await;
    stage
        .db
        .run(&format!("SELECT webhooks.revoke_token('{revoked}'), webhooks.rotate_secret('{}')", stage.endpoint))
        .await;
    stage.sidecar.terminate().await;

    let restored = Cluster::shared().await.empty_database().await;
    restored.restore(&stage.db.dump().await).await;
    assert_eq!([state(&restored, &token).await, state(&restored, &revoked).await], ["valid", "revoked"]);
    let endpoints = "SELECT * FROM webhooks.endpoint";
    assert_eq!(restored.json(endpoints).await, stage.db.json(endpoints).await);
    let _sidecar = tests::Sidecar::start(&restored);
    restored.run("INSERT INTO suppliers (name) VALUES ('after')").await;
    let received = stage.receiver.wait_at("/all", 1).await.remove(0);
    let signatures = received.header("webhook-signature").expect("signed");
    assert_eq!(signatures.split(' ').count(), 2, "the overlap goes on: {signatures}");
}

#[tokio::test]
async fn each_role_may_execute_its_own_functions_and_no_more() {
    let db = Cluster::shared().await.database().await;
    let api = executable(&db, "webhooks_api").await;
    for needed in [
        "authenticate",
        "register",
        "update",
        "rotate_secret",
        "generate_secret",
        "delete",
        "get",
        "list",
        "test",
        "trigger",
        "event_types",
        "logs",
        "attempts",
        "events",
        "message",
        "deliveries",
        "signatures",
        "redeliver",
        "retry",
        "replay",
        "status",
        "leases",
        "health",
        "activity",
    ] {
        assert!(api.iter().any(|name| name == needed), "the API needs {needed}: {api:?}");
    }
    for forbidden in
        ["create_token", "revoke_token", "tokens", "emit", "fetch", "report", "set_shards", "sign", "event_by_id"]
    {
        assert!(!api.iter().any(|name| name == forbidden), "the API may not {forbidden}");
    }
    let admin = executable(&db, "webhooks_admin").await;
    for name in
        api.iter().map(String::as_str).chain(["create_token", "revoke_token", "tokens", "attach", "emit", "set_shards"])
    {
        assert!(admin.iter().any(|known| known == name), "the administrator may {name}: {admin:?}");
    }
    let sidecar = executable(&db, "webhooks_sidecar").await;
    assert!(
        sidecar.iter().any(|name| name == "fetch") && !sidecar.iter().any(|name| name == "authenticate"),
        "{sidecar:?}"
    );
    let everybody = executable(&db, "app").await;
    let clauses: Vec<String> = db.all("SELECT 'wanted_' || kind FROM webhooks.kinds() kind ORDER BY 1").await;
    assert_eq!(everybody, clauses, "everybody else");
}

#[tokio::test]
async fn no_role_touches_the_tables() {
    let db = Cluster::shared().await.database().await;
    let rights = "SELECT r || ' ' || c.oid::regclass FROM pg_class c, unnest('{webhooks_admin,webhooks_api,webhooks_sidecar,app}'::text[]) r
                   WHERE relnamespace = 'webhooks'::regnamespace AND relkind IN ('r', 'p', 'S')
                     AND CASE relkind WHEN 'S' THEN has_sequence_privilege(r, c.oid, 'USAGE, SELECT, UPDATE')
                              ELSE has_table_privilege(r, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') END";
    assert_eq!(db.all::<String>(rights).await, [""; 0]);
}

#[tokio::test]
async fn the_api_does_all_it_needs_with_its_role_alone() {
    let stage = Stage::start().await;
    let token = create(&stage.db, "'t'").await;
    stage.db.run("INSERT INTO suppliers (name) VALUES ('s')").await;
    let id = stage.receiver.wait_at("/all", 1).await[0].webhook_id();
    stage.arrived().await;
    let api = stage.db.session().await;
    api.run("SET ROLE webhooks_api").await;
    let one: String = api.one(&format!("SELECT webhooks.register('http://127.0.0.1:9/', '{{*}}', '{SECRET}')")).await;
    for call in [
        format!("authenticate('{token}')"),
        format!("update('{one}', description => 'd')"),
        format!("rotate_secret('{one}')"),
        "generate_secret()".into(),
        format!("get('{one}')"),
        "list()".into(),
        format!("test('{one}')"),
        format!("trigger('{one}', 'product.created')"),
        "event_types()".into(),
        format!("logs('{}')", stage.endpoint),
        "attempts(search => 's')".into(),
        "events()".into(),
        "events(state => 'failed')".into(),
        format!("message('{id}')"),
        format!("deliveries('{id}')"),
        format!("signatures('{id}', '{}', 1)", stage.endpoint),
        format!("redeliver('{id}')"),
        format!("retry('{}')", stage.endpoint),
        format!("replay('{}', now() - interval '1 h', dry_run => true)", stage.endpoint),
        "status()".into(),
        "leases()".into(),
        "health()".into(),
        "activity(now() - interval '1 h', now(), '1 min')".into(),
        format!("delete('{one}')"),
    ] {
        api.run(&format!("SELECT * FROM webhooks.{call}")).await;
    }
    for refused in [
        "SELECT webhooks.create_token('t')",
        "SELECT * FROM webhooks.tokens()",
        "SELECT secret FROM webhooks.endpoint",
        "SELECT * FROM webhooks.token",
    ] {
        assert_eq!(api.fail(refused).await.code, "42501", "{refused}");
    }
}
