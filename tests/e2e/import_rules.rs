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
