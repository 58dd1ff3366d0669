//! `pg-webhooks doctor` finds what somebody broke, says how to fix it, and finds nothing where nothing is.

use serde_json::Value;
use std::time::Duration;
use tests::{Cluster, CommandLine, Database, Pooler, Receiver, SECRET, Sidecar, Stage, eventually};

/// The findings of a level above ok.
async fn findings(cli: &CommandLine) -> Vec<Value> {
    let told = cli.run(&["doctor", "--json"]).await;
    let report: Value = serde_json::from_str(&told.stdout).unwrap_or_else(|error| panic!("{error}: {told:?}"));
    assert_eq!(told.status, i32::from(report["problems"] != 0), "{told:?}");
    let all = report["findings"].as_array().expect("an array");
    all.iter().filter(|finding| finding["level"] != "ok").cloned().collect()
}

/// Asserts that there is a finding of this level with these words, and this in its fix.
#[track_caller]
fn assert_found(found: &[Value], level: &str, message: &str, fix: &str) {
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let is_it = |finding: &&Value| text(finding, "message").contains(message) && finding["level"] == level;
    let finding = found.iter().find(is_it).unwrap_or_else(|| panic!("{level}, {message}: {found:#?}"));
    assert!(text(finding, "fix").contains(fix), "{finding}");
}

/// A database in which all is well but what every test cluster has: it does not sync, and receivers speak plain http.
async fn sound() -> (Stage, CommandLine) {
    let stage = Stage::start().await;
    let cli = CommandLine::new(&stage.db);
    cli.run(&["webhooks", "test", &stage.endpoint, "--wait"]).await;
    (stage, cli)
}

async fn database() -> (Database<'static>, CommandLine) {
    let db = Cluster::shared().await.database().await;
    let cli = CommandLine::new(&db);
    (db, cli)
}

#[tokio::test]
async fn where_all_is_well_it_finds_nothing_else() {
    let (stage, cli) = sound().await;
    let found = findings(&cli).await;
    assert_found(&found, "warning", "fsync is off", "ALTER SYSTEM RESET fsync");
    assert_eq!(found.len(), 1, "what is sent over plain http stays on this machine: {found:#?}");
    let told = cli.run(&["doctor"]).await;
    assert_eq!(told.status, 0);
    assert!(told.stdout.contains("0 problems, 1 warning") && told.stdout.contains("fix: ALTER SYSTEM"), "{told:?}");
    assert_eq!(stage.receiver.requests().len(), 1, "it sends no request");
}

#[tokio::test]
async fn what_goes_over_a_network_in_plain_http_is_named() {
    let (db, cli) = database().await;
    let sql = "SELECT webhooks.register('http://partner.example/in', '{*}', 'secret', active => false)";
    let endpoint: String = db.one(sql).await;
    let fix = format!("update {endpoint} --url 'https://partner.example/in'");
    assert_found(&findings(&cli).await, "warning", "plain http", &fix);
}

#[tokio::test]
async fn a_sidecar_that_was_stopped_is_missed() {
    let (stage, cli) = sound().await;
    stage.sidecar.terminate().await;
    assert_found(&findings(&cli).await, "problem", "none is running", "pg-webhooks serve");
}

#[tokio::test]
async fn a_role_without_rights_is_told_which_it_needs() {
    let (db, _) = database().await;
    let found = findings(&CommandLine::of(&db, "app")).await;
    assert_found(&found, "problem", "app is a member of none", "GRANT webhooks_admin TO app");
    let found = findings(&CommandLine::of(&db, "sidecar")).await;
    assert_found(&found, "warning", "may deliver and not manage", "GRANT webhooks_admin TO sidecar");
}

#[tokio::test]
async fn a_role_that_is_gone_is_missed() {
    let cluster = Cluster::own().await;
    let db = cluster.database().await;
    db.run("DROP OWNED BY webhooks_sidecar").await;
    db.run("ALTER ROLE webhooks_sidecar RENAME TO gone").await;
    let found = findings(&CommandLine::new(&db)).await;
    assert_found(&found, "problem", "role webhooks_sidecar does not exist", "CREATE ROLE webhooks_sidecar");
    // The names of roles are the cluster's.
    db.run("ALTER ROLE gone RENAME TO webhooks_sidecar; REVOKE webhooks_sidecar FROM sidecar, server").await;
    let found = findings(&CommandLine::new(&db)).await;
    assert_found(&found, "warning", "no role that can log in is a member of webhooks_sidecar", "LOGIN PASSWORD");
}

#[tokio::test]
async fn tables_that_are_detached_and_triggers_that_are_disabled_are_found() {
    let (db, cli) = database().await;
    db.run("SELECT webhooks.detach('products')").await;
    db.run("ALTER TABLE suppliers DISABLE TRIGGER \"!webhooks_capture\"").await;
    db.run("ALTER TABLE imports ENABLE ALWAYS TRIGGER \"!webhooks_capture\"").await;
    db.run("CREATE SCHEMA \"Other\"; CREATE TABLE \"Other\".imports (id int)").await;
    let found = findings(&cli).await;
    assert_found(&found, "warning", "products is not attached", "SELECT webhooks.attach('products');");
    assert_found(&found, "warning", "\"Other\".imports is not attached", "webhooks.attach('\"Other\".imports')");
    assert_found(
        &found,
        "problem",
        "suppliers is disabled",
        "ALTER TABLE suppliers ENABLE TRIGGER \"!webhooks_capture\";",
    );
    assert_found(&found, "warning", "imports fires for replicated rows, too", "ALTER TABLE imports ENABLE TRIGGER");
    db.run("SELECT webhooks.attach('products'); ALTER TABLE suppliers ENABLE TRIGGER \"!webhooks_capture\"").await;
    let tables = |found: &[Value]| found.iter().filter(|one| one["check"] == "tables").count();
    assert_eq!(tables(&findings(&cli).await), 2, "what was fixed is not found again");
}

#[tokio::test]
async fn capture_that_is_switched_off_by_a_setting_is_found() {
    let (db, cli) = database().await;
    db.set("enabled", "off").await;
    let found = findings(&cli).await;
    let fix = format!("ALTER DATABASE {} RESET pg_webhooks.enabled;", db.name());
    assert_found(&found, "problem", "pg_webhooks.enabled is off for everybody", &fix);
    db.run(&format!("ALTER DATABASE {} RESET pg_webhooks.enabled", db.name())).await;
    db.run(&format!("ALTER ROLE app IN DATABASE {} SET session_replication_role = replica", db.name())).await;
    let fix = format!("ALTER ROLE app IN DATABASE {} RESET session_replication_role;", db.name());
    assert_found(&findings(&cli).await, "warning", "session_replication_role is replica for role app", &fix);
}

#[tokio::test]
async fn a_day_that_is_missing_is_found() {
    let (db, cli) = database().await;
    let day = async |ahead: i32| {
        let days = format!("(clock_timestamp() AT TIME ZONE 'UTC')::date + {ahead}");
        db.one::<String>(&format!("SELECT to_char({days}, 'YYYYMMDD')")).await
    };
    let drop = async |table: String| {
        db.run(&format!("ALTER EXTENSION pg_webhooks DROP TABLE {table}; DROP TABLE {table}")).await;
    };
    drop(format!("webhooks.event_{}", day(1).await)).await;
    drop(format!("webhooks.attempt_{}", day(0).await)).await;
    let later = "webhooks.attempt_later takes its rows";
    assert_found(&findings(&cli).await, "warning", later, "SELECT webhooks.maintain();");
    drop("webhooks.attempt_later".into()).await;
    let found = findings(&cli).await;
    assert_found(&found, "warning", "webhooks.event has no partition for 20", "SELECT webhooks.maintain();");
    assert_found(&found, "problem", "webhooks.attempt has no partition for today", "SELECT webhooks.maintain();");
    db.run("SELECT webhooks.maintain()").await;
    assert!(findings(&cli).await.iter().all(|finding| finding["check"] != "partitions"));
}

#[tokio::test]
async fn a_receiver_that_may_not_or_can_not_be_reached_is_found() {
    let (db, cli) = database().await;
    let receiver = Receiver::start().await;
    let private = db.register("https://10.1.2.3/hook", "*", SECRET).await;
    db.register("https://no-such-host.invalid/", "*", SECRET).await;
    db.register(&receiver.url("/fine"), "*", SECRET).await;
    db.register("http://127.0.0.1:1/", "*", SECRET).await;
    let found = findings(&cli).await;
    assert_found(&found, "problem", &private, "PG_WEBHOOKS_ALLOW_NETS=10.1.2.3");
    assert_found(&found, "problem", "no-such-host.invalid", "getent hosts");
    assert_found(&found, "problem", "no connection: Connection refused", "curl -v http://127.0.0.1:1/");
    let port = format!(":{} ", receiver.port());
    assert!(found.iter().all(|finding| finding["check"] != "receivers" || !finding.to_string().contains(&port)));
    assert!(receiver.requests().is_empty(), "it sends no request");
    let allowed = cli.run(&["doctor", "--json", "--allow-nets", "192.0.2.0/24"]).await;
    assert!(allowed.stdout.contains("refused to connect to 127.0.0.1"), "a network that is not given is refused");
}

#[tokio::test]
async fn a_webhook_that_is_disabled_or_unsigned_is_found() {
    let (db, cli) = database().await;
    assert_found(&findings(&cli).await, "warning", "none is registered", "pg-webhooks webhooks add");
    let id: String = db.one("SELECT webhooks.register('https://192.0.2.1/it''s', '{*}', active => false)").await;
    let found = findings(&cli).await;
    assert_found(&found, "warning", "is disabled (registered as inactive)", &format!("webhooks enable {id}"));
    assert_found(&found, "warning", "has no secret", &format!("update {id} --generate-secret"));
    assert!(found.iter().all(|finding| finding["check"] != "receivers"), "what is disabled is not dialled");
}

#[tokio::test]
async fn a_database_without_the_extension_and_one_that_is_not_there_are_told() {
    let db = Cluster::shared().await.empty_database().await;
    let found = findings(&CommandLine::of(&db, "postgres")).await;
    assert_found(&found, "problem", "pg_webhooks is not installed", "CREATE EXTENSION pg_webhooks;");
    let found = findings(&CommandLine::at("postgres://app@127.0.0.1:1/shop")).await;
    assert_found(&found, "problem", "Connection refused", "psql");
}

#[tokio::test]
async fn a_version_that_differs_is_found() {
    let (db, cli) = database().await;
    db.run("UPDATE pg_extension SET extversion = '0.0.9' WHERE extname = 'pg_webhooks'").await;
    let found = findings(&cli).await;
    assert_found(&found, "problem", "pg_webhooks is 0.0.9", "ALTER EXTENSION pg_webhooks UPDATE TO '0.1.0';");
}

#[tokio::test]
async fn odd_settings_are_found() {
    let (db, cli) = database().await;
    for setting in ["synchronous_commit = off", "log_statement = 'all'"] {
        db.run(&format!("ALTER DATABASE {} SET {setting}", db.name())).await;
    }
    db.set("log_retention", "1 day").await;
    let found = findings(&cli).await;
    for (message, fix) in [
        ("synchronous_commit is off", "SET synchronous_commit = on"),
        ("log_statement is all", "log_parameter_max_length"),
        ("log_retention is shorter", "pg_webhooks.log_retention"),
    ] {
        assert_found(&found, "warning", message, fix);
    }
}

#[tokio::test]
async fn a_sidecar_that_is_far_behind_is_found() {
    let (db, cli) = database().await;
    // Frozen, it is to keep its shard however long the doctor takes.
    let sidecar = Sidecar::start_with(&db, &[("PG_WEBHOOKS_LEASE", "10min")]);
    db.register("https://192.0.2.1/", "*", SECRET).await;
    let held = async || {
        let status = cli.run(&["status", "--json"]).await.json();
        (status["shards_held"] == 1).then_some(())
    };
    eventually(Duration::from_secs(20), "it holds the shard", held).await;
    sidecar.freeze();
    let due =
        "INSERT INTO webhooks.pending SELECT key, '1', 0, now(), now() - interval '1 min', 0 FROM webhooks.endpoint";
    db.run(due).await;
    let found = findings(&cli).await;
    sidecar.thaw();
    assert_found(&found, "warning", "behind: 0 unread, 1 due", "pg-webhooks status");
}

#[tokio::test]
async fn a_pooler_in_transaction_mode_is_found() {
    let (db, _) = database().await;
    let pooler = Pooler::start(&db).await;
    let found = findings(&CommandLine::at(&pooler.url(&db, "manager"))).await;
    assert_found(&found, "problem", "a pooler in transaction mode", "pool_mode = session");
}

#[tokio::test]
async fn a_right_that_somebody_was_given_on_our_tables_is_found() {
    let (db, cli) = database().await;
    let rights = |found: &[Value]| found.iter().filter(|one| one["check"] == "rights").count();
    assert_eq!(rights(&findings(&cli).await), 0);
    db.run("GRANT USAGE ON SCHEMA webhooks TO app; GRANT EXECUTE ON FUNCTION webhooks.emit(text, jsonb) TO app").await;
    assert_eq!(rights(&findings(&cli).await), 0, "the guide says so");
    db.run(
        "GRANT SELECT (secret) ON webhooks.endpoint TO app;
         GRANT SELECT ON webhooks.event TO PUBLIC;
         GRANT USAGE ON webhooks.endpoint_key_seq TO webhooks_sidecar;
         GRANT EXECUTE ON FUNCTION webhooks.rotate_secret TO app;
         GRANT CREATE ON SCHEMA webhooks TO app;
         ALTER DEFAULT PRIVILEGES IN SCHEMA webhooks GRANT SELECT ON TABLES TO app",
    )
    .await;
    let found = findings(&cli).await;
    for (level, message, fix) in [
        ("problem", "app has SELECT on TABLE webhooks.endpoint", "REVOKE ALL ON TABLE webhooks.endpoint FROM app;"),
        ("problem", "app has CREATE on SCHEMA webhooks", "REVOKE ALL ON SCHEMA webhooks FROM app;"),
        ("warning", "PUBLIC has SELECT on TABLE webhooks.event", "REVOKE ALL ON TABLE webhooks.event FROM PUBLIC;"),
        ("warning", "webhooks_sidecar has USAGE on SEQUENCE", "REVOKE ALL ON SEQUENCE webhooks.endpoint_key_seq"),
        (
            "warning",
            "app has EXECUTE on FUNCTION webhooks.rotate_secret",
            "REVOKE ALL ON FUNCTION webhooks.rotate_secret(",
        ),
        ("warning", "app has SELECT on what is made", "ALTER DEFAULT PRIVILEGES IN SCHEMA webhooks"),
    ] {
        assert_found(&found, level, message, fix);
    }
    for one in found.iter().filter(|one| one["check"] == "rights") {
        let fix = one["fix"].as_str().expect("a fix");
        db.run(&fix.replace("FROM …", "FROM app").replace("\\ddp", "")).await;
    }
    assert_eq!(rights(&findings(&cli).await), 0);
}
