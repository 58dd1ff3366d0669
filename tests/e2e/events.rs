//! Each event of the specification, made by plain SQL and received over HTTP, equals the specification's example: its
//! keys, their order, their types, and the values where SQL can make them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tests::{Received, Stage};

/// A supplier that the specification's imports and products belong to.
const SUPPLIER: &str = "INSERT INTO suppliers (id, name) VALUES (42, 'Fournisseur XYZ')";

/// The envelope is the specification's, and `data` is `example`, a JSON text with the same keys in the same order.
fn assert_is_example(received: &Received, event: &str, example: &str) {
    let body = received.json();
    let keys: Vec<&String> = body.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["event", "timestamp", "webhook_id", "data"]);
    assert_eq!(body["event"], event);
    let id = body["webhook_id"].as_str().expect("a string");
    assert!(id.starts_with("wh_") && !id.contains('.') && id.len() > 8, "webhook_id {id}");
    assert_just_now(body["timestamp"].as_str().expect("a string"));

    let example: Value = serde_json::from_str(example).expect("the example is JSON");
    let pretty = |value: &Value| serde_json::to_string_pretty(value).expect("JSON");
    assert_eq!(pretty(&body["data"]), pretty(&example), "data of {event}");
}

/// `2025-10-05T10:30:00Z`, and not more than a minute ago.
fn assert_just_now(timestamp: &str) {
    let shape: String = timestamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00Z", "{timestamp}");
    let number = |from: usize, to: usize| timestamp[from..to].parse::<i64>().expect("digits");
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let seconds = number(11, 13) * 3600 + number(14, 16) * 60 + number(17, 19);
    // Days from the civil calendar: years begin in March, so that the leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let age = now.as_secs() as i64 - (days * 86_400 + seconds);
    assert!((-1..60).contains(&age), "{timestamp} is {age} s ago");
}

/// Runs `before`, whose events are of no interest, then `sql`, and returns what the stage receives of `event`.
async fn receive(before: &str, sql: &str, event: &str) -> Received {
    let stage = Stage::start().await;
    stage.db.run(&format!("BEGIN; SET LOCAL pg_webhooks.enabled = off; {before}; COMMIT")).await;
    stage.db.run(sql).await;
    let arrived = stage.arrived().await;
    let mut of_interest = arrived.iter().filter(|one| one.event() == event);
    let received = of_interest.next().unwrap_or_else(|| panic!("no {event}, but {arrived:?}")).clone();
    assert_eq!(of_interest.count(), 0, "one {event}");
    received
}

#[tokio::test]
async fn import_started_is_the_specifications() {
    let received = receive(
        &format!(
            "{SUPPLIER}; INSERT INTO imports (id, supplier_id, total_products, started_by)
             VALUES (12345, 42, 5000, 'user@example.com')"
        ),
        "UPDATE imports SET status = 'running', started_at = now()",
        "import.started",
    )
    .await;
    let example = r#"{
        "job_id": 12345,
        "supplier_id": 42,
        "supplier_name": "Fournisseur XYZ",
        "import_type": "full",
        "total_products": 5000,
        "started_by": "user@example.com"
    }"#;
    assert_is_example(&received, "import.started", example);
}

#[tokio::test]
async fn import_completed_is_the_specifications() {
    let received = receive(
        &format!(
            "{SUPPLIER}; INSERT INTO imports (id, supplier_id, status, started_at)
             VALUES (12345, 42, 'running', '2025-10-05T10:30:00Z')"
        ),
        "UPDATE imports SET status = 'completed', total_products = 5000, created = 150, updated = 4800, errors = 50,
                            finished_at = '2025-10-05T11:15:00Z'",
        "import.completed",
    )
    .await;
    let example = r#"{
        "job_id": 12345,
        "supplier_id": 42,
        "supplier_name": "Fournisseur XYZ",
        "duration_seconds": 2700,
        "stats": {
            "total_products": 5000,
            "created": 150,
            "updated": 4800,
            "errors": 50
        },
        "status": "completed"
    }"#;
    assert_is_example(&received, "import.completed", example);
}

#[tokio::test]
async fn import_failed_is_the_specifications() {
    let received = receive(
        &format!(
            "{SUPPLIER}; INSERT INTO imports (id, supplier_id, status, started_at)
             VALUES (12345, 42, 'running', '2025-10-05T10:44:30Z')"
        ),
        "UPDATE imports SET status = 'failed', error_code = 'FILE_NOT_FOUND', finished_at = '2025-10-05T10:45:00Z',
                            error_message = 'Unable to download file from FTP server',
                            error_details = 'Connection timeout after 30 seconds'",
        "import.failed",
    )
    .await;
    let example = r#"{
        "job_id": 12345,
        "supplier_id": 42,
        "supplier_name": "Fournisseur XYZ",
        "error": {
            "code": "FILE_NOT_FOUND",
            "message": "Unable to download file from FTP server",
            "details": "Connection timeout after 30 seconds"
        },
        "duration_seconds": 30
    }"#;
    assert_is_example(&received, "import.failed", example);
}

#[tokio::test]
async fn product_created_is_the_specifications() {
    let received = receive(
        SUPPLIER,
        "INSERT INTO products (id, sku, name, price, stock, min_stock, supplier_id, created_by)
         VALUES (9876, 'PROD-NEW-001', 'Nouveau Produit', 49.99, 100, 10, 42, 'import_job_12345')",
        "product.created",
    )
    .await;
    let example = r#"{
        "product_id": 9876,
        "sku": "PROD-NEW-001",
        "name": "Nouveau Produit",
        "price": 49.99,
        "supplier_id": 42,
        "created_by": "import_job_12345"
    }"#;
    assert_is_example(&received, "product.created", example);
}

#[tokio::test]
async fn product_updated_is_the_specifications() {
    let received = receive(
        "INSERT INTO products (id, sku, name, price, stock) VALUES (9876, 'PROD-NEW-001', 'Nouveau Produit', 49.99, 100)",
        "UPDATE products SET price = 39.99, stock = 250, updated_by = 'import_job_12345' WHERE id = 9876",
        "product.updated",
    )
    .await;
    let example = r#"{
        "product_id": 9876,
        "sku": "PROD-NEW-001",
        "changes": {
            "price": {
                "old": 49.99,
                "new": 39.99
            },
            "stock": {
                "old": 100,
                "new": 250
            }
        },
        "updated_by": "import_job_12345"
    }"#;
    assert_is_example(&received, "product.updated", example);
}

#[tokio::test]
async fn product_deleted_is_the_specifications() {
    let received = receive(
        "INSERT INTO products (id, sku, name, price) VALUES (9876, 'PROD-NEW-001', 'Nouveau Produit', 49.99)",
        "BEGIN; SET LOCAL pg_webhooks.actor = 'user@example.com'; SET LOCAL pg_webhooks.reason = 'discontinued';
         DELETE FROM products WHERE id = 9876; COMMIT",
        "product.deleted",
    )
    .await;
    let example = r#"{
        "product_id": 9876,
        "sku": "PROD-NEW-001",
        "deleted_by": "user@example.com",
        "reason": "discontinued"
    }"#;
    assert_is_example(&received, "product.deleted", example);
}

#[tokio::test]
async fn supplier_created_is_the_specifications() {
    let received = receive(
        "SELECT",
        "INSERT INTO suppliers (id, name, import_type, created_by)
         VALUES (43, 'Nouveau Fournisseur', 'api', 'admin@example.com')",
        "supplier.created",
    )
    .await;
    let example = r#"{
        "supplier_id": 43,
        "name": "Nouveau Fournisseur",
        "import_type": "api",
        "created_by": "admin@example.com"
    }"#;
    assert_is_example(&received, "supplier.created", example);
}

#[tokio::test]
async fn supplier_updated_is_the_specifications() {
    let received = receive(
        "INSERT INTO suppliers (id, name, import_schedule) VALUES (43, 'Nouveau Fournisseur', 'daily')",
        "UPDATE suppliers SET import_schedule = 'hourly', updated_by = 'admin@example.com', updated_at = now()",
        "supplier.updated",
    )
    .await;
    let example = r#"{
        "supplier_id": 43,
        "changes": {
            "import_schedule": {
                "old": "daily",
                "new": "hourly"
            }
        },
        "updated_by": "admin@example.com"
    }"#;
    assert_is_example(&received, "supplier.updated", example);
}

#[tokio::test]
async fn stock_low_alert_is_the_specifications() {
    let received = receive(
        &format!(
            "{SUPPLIER}; INSERT INTO products (id, sku, name, price, stock, min_stock, supplier_id)
             VALUES (1234, 'PROD-001', 'Produit en Rupture', 1, 10, 10, 42)"
        ),
        "UPDATE products SET stock = stock - 5 WHERE sku = 'PROD-001'",
        "stock.low_alert",
    )
    .await;
    let example = r#"{
        "product_id": 1234,
        "sku": "PROD-001",
        "name": "Produit en Rupture",
        "current_stock": 5,
        "threshold": 10,
        "supplier_id": 42
    }"#;
    assert_is_example(&received, "stock.low_alert", example);
}

#[tokio::test]
async fn webhook_test_is_the_specifications() {
    let stage = Stage::start().await;
    let id: String = stage.db.one(&format!("SELECT webhooks.test('{}')", stage.endpoint)).await;
    let received = stage.receiver.wait_at("/all", 1).await.remove(0);
    assert_is_example(&received, "webhook.test", r#"{"message": "This is a test webhook from Products Manager"}"#);
    assert_eq!(received.webhook_id(), id, "test returns the message's id");
}

#[tokio::test]
async fn the_timestamp_is_when_the_row_changed_and_not_when_its_transaction_began() {
    let stage = Stage::start().await;
    stage.db.run("BEGIN").await;
    tests::eventually(Duration::from_secs(5), "a second passes", async || {
        stage.db.one::<bool>("SELECT clock_timestamp() > now() + interval '1.1 s'").await.then_some(())
    })
    .await;
    stage.db.run(SUPPLIER).await;
    let began: String = stage.db.one(r#"SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"#).await;
    stage.db.run("COMMIT").await;
    let received = stage.receiver.wait_at("/all", 1).await.remove(0);
    let timestamp = received.json()["timestamp"].as_str().expect("a string").to_string();
    assert!(timestamp > began, "{timestamp} is after {began}");
}
