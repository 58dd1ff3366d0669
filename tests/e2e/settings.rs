//! Settings that nobody could check when they were made: ALTER DATABASE takes anything in a session that has not loaded the
//! library. A value that cannot be read is named, and another counts in its place; nothing stops.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Cluster, CommandLine, Database, Receiver, SECRET, Sidecar, eventually};

const PRODUCT: &str = "INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1)";
const DEADLINE: Duration = Duration::from_secs(20);

/// Sets it in a session that does not know the setting.
async fn set_unchecked(db: &Database<'_>, scope: &str, setting: &str, value: &str) {
    let stranger = db.session().await;
    stranger.run(&format!("ALTER {scope} SET pg_webhooks.{setting} = '{value}'")).await;
    stranger.close().await;
}

async fn setting(db: &Database<'_>, name: &str) -> String {
    db.one(&format!("SELECT webhooks.setting('{name}')")).await
}

/// A database in which no setting can be read.
async fn broken() -> Database<'static> {
    let db = Cluster::shared().await.database().await;
    for (name, value) in [
        ("request_timeout", "30 sexonds"),
        ("retry_schedule", "1 minute; 5 minutes"),
        ("event_retention", "for ever"),
        ("log_retention", ""),
        ("replay_rate", "fast"),
        ("max_body", "much"),
    ] {
        set_unchecked(&db, &format!("DATABASE {}", db.name()), name, value).await;
    }
    db
}

#[tokio::test]
async fn settings_that_cannot_be_read_stop_nothing() {
    let db = broken().await;
    let receiver = Receiver::start().await;
    receiver.answer("/fails", Answer::status(500));
    db.register(&receiver.url("/fails"), "*", SECRET).await;
    let endpoint = db.register(&receiver.url("/all"), "*", SECRET).await;
    let _sidecar = Sidecar::start(&db);
    db.run(PRODUCT).await;
    receiver.wait_at("/all", 1).await;
    let waits = "SELECT round(extract(epoch FROM next_attempt_at - started_at) * 1000 - response_time_ms)::integer
                   FROM webhooks.attempt WHERE outcome = 'retry'";
    let wait = eventually(DEADLINE, "the failure is logged", async || db.all::<i32>(waits).await.pop()).await;
    assert!((60_000..=63_000).contains(&wait), "the first wait of the built-in schedule: {wait}");

    db.session_as("sidecar").await.run("SELECT webhooks.maintain()").await;
    let replay = format!("SELECT webhooks.replay('{endpoint}', now() - interval '1 h', only_failed => false)");
    eventually(DEADLINE, "the message is replayed", async || (db.one::<i64>(&replay).await == 1).then_some(())).await;
    receiver.wait_at("/all", 2).await;
}

#[tokio::test]
async fn a_setting_that_cannot_be_read_is_named_with_the_value_that_counts_instead() {
    let db = broken().await;
    for (name, value, counts, hint) in [
        ("request_timeout", "30 sexonds", "30s", "A duration is"),
        ("retry_schedule", "1 minute; 5 minutes", "1min, 5min, 15min, 1h, 6h", "commas"),
        ("event_retention", "for ever", "7 days", "A duration is"),
        ("log_retention", "", "30 days", "A duration is"),
        ("replay_rate", "fast", "100", "A whole number from 1 to 1000000"),
        ("max_body", "much", "1048576", "from 8kB to 64MB"),
    ] {
        db.notices();
        assert_eq!(setting(&db, name).await, counts);
        let told = db.notices().pop().unwrap_or_else(|| panic!("{name}"));
        let expected = format!("pg_webhooks.{name} cannot be \"{value}\": {counts} counts instead");
        assert_eq!(told.message, expected);
        assert!(told.hint.contains(hint), "{told:?}");
        assert_eq!(setting(&db, name).await, counts);
        assert!(db.notices().is_empty(), "once a session: a sidecar asks for it all the time");
    }
}

#[tokio::test]
async fn status_and_doctor_name_the_settings_that_cannot_be_read() {
    let db = broken().await;
    let name = db.name().to_owned();
    set_unchecked(&db, &format!("ROLE sidecar IN DATABASE {name}"), "request_timeout", "0s").await;
    let status = db.json("SELECT invalid_settings FROM webhooks.status()").await.remove(0);
    let expected = ["event_retention", "log_retention", "max_body", "replay_rate", "request_timeout", "retry_schedule"];
    assert_eq!(status["invalid_settings"], json!(expected.map(|name| format!("pg_webhooks.{name}"))));

    let cli = CommandLine::new(&db);
    assert!(cli.run(&["status"]).await.stdout.contains("pg_webhooks.retry_schedule"));
    let told = cli.run(&["doctor", "--json"]).await;
    let report: Value = serde_json::from_str(&told.stdout).unwrap_or_else(|error| panic!("{error}: {told:?}"));
    let findings = report["findings"].as_array().expect("an array");
    for (message, fix) in [
        (
            "pg_webhooks.replay_rate = fast is not valid",
            format!("ALTER DATABASE {name} RESET pg_webhooks.replay_rate;"),
        ),
        ("pg_webhooks.request_timeout = 0s", format!("ALTER ROLE sidecar IN DATABASE {name} RESET")),
    ] {
        let found = findings.iter().find(|one| one["message"].as_str().is_some_and(|text| text.contains(message)));
        let found = found.unwrap_or_else(|| panic!("{message}: {report:#}"));
        assert_eq!(found["level"], "problem");
        assert!(found["fix"].as_str().is_some_and(|text| text.contains(&fix)), "{found}");
    }

    db.run(&format!("ALTER DATABASE {name} RESET ALL; ALTER ROLE sidecar IN DATABASE {name} RESET ALL")).await;
    assert_eq!(db.one::<i64>("SELECT count(*) FROM webhooks.invalid_settings()").await, 0);
}

#[tokio::test]
async fn a_setting_of_the_role_counts_before_that_of_the_database_and_at_once() {
    let db = Cluster::shared().await.database().await;
    let name = db.name();
    db.run("CREATE ROLE settler SUPERUSER LOGIN").await;
    let settler = db.session_as("settler").await;
    let timeout = async || settler.one::<String>("SELECT webhooks.setting('request_timeout')").await;
    assert_eq!(timeout().await, "30s");
    for (scope, value) in [
        (format!("DATABASE {name}"), "20s"),
        ("ROLE settler".to_owned(), "10s"),
        (format!("ROLE settler IN DATABASE {name}"), "5 secs"),
    ] {
        db.run(&format!("ALTER {scope} SET pg_webhooks.request_timeout = '{value}'")).await;
        assert_eq!(timeout().await, value, "{scope}");
    }
    assert_eq!(setting(&db, "request_timeout").await, "20s", "another role's is not ours");
    settler.close().await;
    db.run("DROP ROLE settler").await;
}

#[tokio::test]
async fn a_setting_that_is_refused_says_what_would_do() {
    let db = Cluster::shared().await.database().await;
    db.run("LOAD 'pg_webhooks'").await;
    for (assignment, hint) in [
        ("request_timeout = '30'", "A duration is a number and a unit"),
        ("request_timeout = '0s'", "more than no time"),
        ("retry_schedule = '1min; 5min'", "commas"),
    ] {
        let refused = db.fail(&format!("SET pg_webhooks.{assignment}")).await;
        assert_eq!(refused.code, "22023");
        assert!(refused.hint.contains(hint), "{refused:?}");
    }
    db.run("SET pg_webhooks.request_timeout = '1 Minute 30 secs'; SET pg_webhooks.log_retention = '1.5 weeks'").await;
}

#[tokio::test]
async fn a_name_that_no_setting_has_is_refused_and_shown_where_it_could_not_be() {
    let db = Cluster::shared().await.database().await;
    db.run("LOAD 'pg_webhooks'").await;
    for typo in [
        "SET pg_webhooks.enabld = off".to_owned(),
        format!("ALTER DATABASE {} SET pg_webhooks.enabld = off", db.name()),
    ] {
        let refused = db.fail(&typo).await;
        assert!(refused.message.contains("pg_webhooks.enabld"), "{typo}: {refused:?}");
    }
    let database = format!("DATABASE {}", db.name());
    set_unchecked(&db, &database, "enabld", "off").await;
    set_unchecked(&db, &database, "enabled", "offf").await;

    let session = db.session().await;
    session.run(PRODUCT).await;
    let told = session.notices();
    assert!(told.iter().any(|notice| notice.message.contains("pg_webhooks.enabld")), "{told:?}");
    let shown = session.all::<Vec<String>>("SELECT invalid_settings FROM webhooks.status()").await;
    assert_eq!(shown, [["pg_webhooks.enabld", "pg_webhooks.enabled"]]);
    for fix in session.all::<String>("SELECT fix FROM webhooks.invalid_settings()").await {
        session.run(&fix).await;
    }
    assert_eq!(session.one::<i64>("SELECT count(*) FROM webhooks.invalid_settings()").await, 0);
    set_unchecked(&db, &database, "enabld", "off").await;
    session.run("DROP EXTENSION pg_webhooks; CREATE EXTENSION pg_webhooks").await;
}
