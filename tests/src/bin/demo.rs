//! `make demo`: the whole of it on a private Postgres, seen working. Ordinary SQL makes every event of the
//! specification, a receiver checks both signatures, and the delivery log says what happened.
//!
//! Ends with an error if anything did not arrive or did not verify; leaves nothing running.

use std::time::Duration;

use serde_json::Value;
use tests::{Cluster, Database, Listener, Sidecar, eventually};

const SECRET: &str = "whsec_ZGVtbyBzZWNyZXQgZGVtbyBzZWNyZXQh";
const PATIENCE: Duration = Duration::from_secs(30);

/// Each statement with the event that it makes.
const STATEMENTS: [(&str, &str); 9] = [
    ("INSERT INTO suppliers (name, import_type) VALUES ('Fournisseur XYZ', 'api')", "supplier.created"),
    ("UPDATE suppliers SET import_schedule = 'hourly' WHERE id = 1", "supplier.updated"),
    (
        "INSERT INTO products (sku, name, price, stock, min_stock, supplier_id)\n       VALUES ('PROD-NEW-001', 'Nouveau Produit', 49.99, 100, 10, 1)",
        "product.created",
    ),
    ("UPDATE products SET price = 39.99 WHERE sku = 'PROD-NEW-001'", "product.updated"),
    ("UPDATE products SET stock = 5 WHERE sku = 'PROD-NEW-001'", "stock.low_alert"),
    (
        "INSERT INTO imports (supplier_id, status, total_products, started_at) VALUES (1, 'running', 5000, now())",
        "import.started",
    ),
    (
        "UPDATE imports SET status = 'completed', created = 150, updated = 4800, errors = 50,\n                           finished_at = started_at + interval '45 min' WHERE id = 1",
        "import.completed",
    ),
    (
        "INSERT INTO imports (supplier_id, status, error_code, error_message, started_at, finished_at)\n       VALUES (1, 'failed', 'FILE_NOT_FOUND', 'Unable to download file', now(), now() + interval '30 s')",
        "import.failed",
    ),
    ("DELETE FROM products WHERE sku = 'PROD-NEW-001'", "product.deleted"),
];

#[tokio::main]
async fn main() {
    println!(
        "A private Postgres with the sample tables (sql/examples/products_manager.sql), CREATE EXTENSION pg_webhooks, a sidecar."
    );
    let cluster = Cluster::own().await;
    let db = cluster.database().await;
    let _sidecar = Sidecar::start(&db);
    every_event(&db).await;
    a_retry(&db).await;
    println!("\nAll arrived, all verified. Next: README.md, \"The first webhook\".");
}

async fn every_event(db: &Database<'_>) {
    heading("Every event, from ordinary SQL");
    let mut listener = Listener::start(SECRET, &[]).await;
    let endpoint = register(db, &listener, "*").await;
    for (statement, event) in STATEMENTS {
        println!("  SQL> {statement};   -- {event}");
        db.run(statement).await;
    }
    println!("  SQL> SELECT webhooks.test('{endpoint}');   -- webhook.test");
    db.run(&format!("SELECT webhooks.test('{endpoint}')")).await;

    heading("What the receiver got");
    // The stock fell by an update, which is an event of its own besides the alert.
    let expected = STATEMENTS.iter().map(|(_, event)| *event).chain(["product.updated", "webhook.test"]);
    let expected: Vec<&str> = expected.collect();
    let arrived = listener.take(expected.len(), PATIENCE).await;
    show_arrived(&arrived);
    let mut missing = expected;
    for message in &arrived {
        let place = missing.iter().position(|event| message["event"] == **event);
        missing.swap_remove(place.unwrap_or_else(|| panic!("nobody expected {message}")));
        assert_eq!(
            (&message["signature"], &message["standard_signature"]),
            (&"valid".into(), &"valid".into()),
            "{message}"
        );
    }
    assert!(missing.is_empty(), "did not arrive: {missing:?}");
    println!("\n  One body, as it came:\n  {}", arrived[3]["body"].as_str().unwrap_or_default());
    show_log(db, &endpoint, arrived.len()).await;
    db.run(&format!("SELECT webhooks.delete('{endpoint}')")).await;
}

async fn a_retry(db: &Database<'_>) {
    heading("A receiver that fails once: the delivery is tried again (schedule cut from minutes to half a second)");
    db.retry_schedule("500ms, 500ms").await;
    let mut listener = Listener::start(SECRET, &["--fail-first", "1"]).await;
    let endpoint = register(db, &listener, "supplier.*").await;
    let statement = "UPDATE suppliers SET import_schedule = 'daily' WHERE id = 1";
    println!("  SQL> {statement};");
    db.run(statement).await;
    let arrived = listener.take(2, PATIENCE).await;
    show_arrived(&arrived);
    assert_eq!(arrived[0]["webhook_id"], arrived[1]["webhook_id"], "a retry carries the same webhook_id");
    assert_eq!((&arrived[0]["status"], &arrived[1]["status"]), (&500.into(), &200.into()));
    show_log(db, &endpoint, 2).await;
}

async fn register(db: &Database<'_>, listener: &Listener, events: &str) -> String {
    let statement = format!("SELECT webhooks.register('{}/hook', ARRAY['{events}'], '{SECRET}')", listener.url);
    println!("  SQL> {statement};");
    let endpoint: String = db.one(&statement).await;
    println!("       {endpoint}");
    endpoint
}

fn show_arrived(arrived: &[Value]) {
    println!("  {:<18} {:<31} {:<20} {:<18} answer", "event", "webhook_id", "X-Webhook-Signature", "webhook-signature");
    for message in arrived {
        let text = |field: &str| message[field].as_str().unwrap_or_default().to_owned();
        println!(
            "  {:<18} {:<31} {:<20} {:<18} {}",
            text("event"),
            text("webhook_id"),
            text("signature"),
            text("standard_signature"),
            message["status"]
        );
    }
}

/// Prints the log once it has all the attempts: it is written after the answer came.
async fn show_log(db: &Database<'_>, endpoint: &str, attempts: usize) {
    heading(&format!("SELECT * FROM webhooks.logs('{endpoint}')"));
    let query = format!(
        "SELECT to_char(\"timestamp\", 'HH24:MI:SS.MS'), event, coalesce(http_status::text, '-'), response_time_ms || ' ms',
                retry_count::text, outcome::text, coalesce(error, '')
           FROM webhooks.logs('{endpoint}')"
    );
    let rows = eventually(PATIENCE, "every attempt is in the log", async || {
        let rows = db.rows(&query).await;
        (rows.len() >= attempts).then_some(rows)
    })
    .await;
    println!(
        "  {:<13} {:<18} {:<7} {:<9} {:<6} {:<10} error",
        "timestamp", "event", "status", "took", "retry", "outcome"
    );
    for row in rows {
        let cell = |index: usize| row.get::<_, String>(index);
        println!(
            "  {:<13} {:<18} {:<7} {:<9} {:<6} {:<10} {}",
            cell(0),
            cell(1),
            cell(2),
            cell(3),
            cell(4),
            cell(5),
            cell(6)
        );
    }
}

fn heading(text: &str) {
    println!("\n── {text}");
}
