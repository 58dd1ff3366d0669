//! `import.*` fires on a change of status, once for each change.

use tests::{Cluster, Database, Receiver};

/// A database with a supplier, whose events are of no interest, and a subscriber to imports.
async fn subscribed() -> Database<'static> {
    let db = Cluster::shared().await.database().await;
    let receiver = Receiver::start().await;
    db.register(&receiver.url("/"), "import.*", "s").await;
    db.run("INSERT INTO suppliers (id, name) VALUES (42, 's')").await;
    db
}

/// Sets an import's status and returns the last event then.
async fn becomes(db: &Database<'_>, status: &str) -> Vec<String> {
    db.run(&format!("UPDATE imports SET status = '{status}'")).await;
    db.events().await
}

#[tokio::test]
async fn each_change_of_status_is_one_event() {
    let db = subscribed().await;
    db.run("INSERT INTO imports (supplier_id) VALUES (42)").await;
    assert!(db.events().await.is_empty(), "a pending import has not started");
    assert_eq!(becomes(&db, "running").await, ["import.started"]);
    assert_eq!(becomes(&db, "running").await, ["import.started"], "it had started already");
    db.run("UPDATE imports SET created = 10, total_products = 50").await;
    assert_eq!(db.events().await, ["import.started"], "progress is no change of status");
    assert_eq!(becomes(&db, "failed").await, ["import.started", "import.failed"]);
    assert_eq!(becomes(&db, "pending").await.len(), 2, "put back, it has not started");
    assert_eq!(becomes(&db, "running").await.split_off(2), ["import.started"]);
    assert_eq!(becomes(&db, "completed").await.split_off(3), ["import.completed"]);
}

#[tokio::test]
async fn an_import_inserted_with_a_status_is_in_it_from_then_on() {
    let db = subscribed().await;
    for (status, event) in
        [("running", "import.started"), ("completed", "import.completed"), ("failed", "import.failed")]
    {
        db.run(&format!("INSERT INTO imports (supplier_id, status) VALUES (42, '{status}')")).await;
        assert_eq!(db.events().await.pop().as_deref(), Some(event));
    }
    db.run("DELETE FROM imports").await;
    assert_eq!(db.events().await.len(), 3, "a deleted import is no event");
}

#[tokio::test]
async fn a_failed_import_without_details_says_so_with_nulls() {
    let db = subscribed().await;
    db.run("INSERT INTO imports (supplier_id, status, error_code) VALUES (42, 'failed', 'X')").await;
    let body: String = db.one("SELECT body FROM webhooks.event").await;
    assert!(body.contains(r#""error":{"code":"X","message":null,"details":null}"#), "{body}");
}

#[tokio::test]
async fn a_status_of_any_textual_type_is_compared_as_sql_compares_it() {
    let db = subscribed().await;
    db.run(
        "CREATE EXTENSION citext;
         CREATE DOMAIN padded AS character(12);
         CREATE DOMAIN loose AS citext;
         CREATE TYPE state AS ENUM ('pending', 'running', 'completed', 'failed');
         CREATE TYPE short_state AS ENUM ('pending', 'completed')",
    )
    .await;
    // A server may be built without ICU.
    let caseless = "CREATE COLLATION caseless (PROVIDER = icu, LOCALE = 'und-u-ks-level2', DETERMINISTIC = false)";
    let has_icu = db.try_run(caseless).await.is_ok();
    let all = ["import.started", "import.completed"];
    let expected: [(&str, [&str; 2], &[&str]); 11] = [
        ("char(12)", ["running", "completed"], &all),
        ("padded", ["running", "completed"], &all),
        ("citext", ["Running", "COMPLETED"], &all),
        ("loose", ["Running", "COMPLETED"], &all),
        ("text COLLATE caseless", ["Running", "COMPLETED"], &all),
        ("text", ["Running", "completed"], &all[1..]),
        ("varchar(12)", ["running ", "completed"], &all[1..]),
        ("name", ["running", "completed"], &all),
        ("state", ["running", "completed"], &all),
        ("short_state", ["pending", "completed"], &all[1..]),
        ("\"char\"", ["r", "c"], &[]),
    ];
    for (at, (status, values, events)) in expected.into_iter().enumerate() {
        if status.contains("caseless") && !has_icu {
            continue;
        }
        let before = db.events().await.len();
        db.run(&format!(
            "CREATE TABLE jobs{at} (LIKE imports);
             ALTER TABLE jobs{at} DROP status, ADD status {status};
             SELECT webhooks.attach('jobs{at}', 'imports');
             INSERT INTO jobs{at} (id, supplier_id, import_type, total_products, created, updated, errors)
             VALUES (1, 42, 'full', 0, 0, 0, 0)"
        ))
        .await;
        for value in values {
            db.run(&format!("UPDATE jobs{at} SET status = '{value}'")).await;
        }
        assert_eq!(db.events().await.split_off(before), events, "{status}");
    }
}

#[tokio::test]
async fn a_duration_is_whole_seconds_and_null_where_it_has_no_end() {
    let db = subscribed().await;
    for (from, to, expected) in [
        ("2025-10-05 10:00", "2025-10-05 10:45:00.9", "2700"),
        ("2025-10-05 10:00:01.5", "2025-10-05 10:00", "-1"),
        ("-infinity", "infinity", "null"),
        ("-infinity", "2025-10-05", "null"),
        ("2025-10-05", "infinity", "null"),
        ("infinity", "infinity", "null"),
        ("4714-11-24 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00", "9435184819199"),
    ] {
        db.run(&format!(
            "INSERT INTO imports (supplier_id, status, started_at, finished_at) VALUES (42, 'completed', '{from}', '{to}')"
        ))
        .await;
        let body: String = db.one("SELECT body FROM webhooks.event ORDER BY xid DESC LIMIT 1").await;
        let expected = format!(r#""duration_seconds":{expected},"#);
        assert!(body.contains(&expected), "{from} to {to}: {body}");
    }
}
