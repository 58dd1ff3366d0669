//! `stock.low_alert` fires when stock falls below its threshold, and not again until it has been back.

use tests::{Cluster, Database, Receiver};

/// Whether a statement made an alert.
async fn alerts(db: &Database<'_>, sql: &str) -> bool {
    let count = "SELECT count(*) FROM webhooks.event WHERE name = 'stock.low_alert'";
    let before: i64 = db.one(count).await;
    db.run(sql).await;
    let made = db.one::<i64>(count).await - before;
    assert!(made <= 1, "{made} alerts from {sql}");
    made == 1
}

async fn subscribed() -> Database<'static> {
    let db = Cluster::shared().await.database().await;
    let receiver = Receiver::start().await;
    db.register(&receiver.url("/"), "stock.low_alert", "s").await;
    db
}

fn insert(sku: &str, stock: i32, threshold: i32) -> String {
    format!("INSERT INTO products (sku, name, price, stock, min_stock) VALUES ('{sku}', 'p', 1, {stock}, {threshold})")
}

#[tokio::test]
async fn an_alert_fires_at_the_crossing_and_not_again_until_stock_was_back() {
    let db = subscribed().await;
    assert!(!alerts(&db, &insert("A", 11, 10)).await);
    let steps =
        [(10, false), (9, true), (8, false), (3, false), (10, false), (9, true), (9, false), (50, false), (0, true)];
    for (stock, fires) in steps {
        assert_eq!(alerts(&db, &format!("UPDATE products SET stock = {stock}")).await, fires, "stock {stock}");
    }
}

#[tokio::test]
async fn an_insert_below_the_threshold_alerts() {
    let db = subscribed().await;
    assert!(alerts(&db, &insert("A", 5, 10)).await);
    assert!(!alerts(&db, &insert("B", 10, 10)).await, "at the threshold is not below it");
    assert!(!alerts(&db, &insert("C", 0, 0)).await);
    assert!(!alerts(&db, "UPDATE products SET stock = 4 WHERE sku = 'A'").await, "it was below already");
}

#[tokio::test]
async fn a_raised_threshold_alerts_when_it_passes_the_stock() {
    let db = subscribed().await;
    db.run(&insert("A", 15, 10)).await;
    assert!(!alerts(&db, "UPDATE products SET min_stock = 15").await);
    assert!(alerts(&db, "UPDATE products SET min_stock = 16").await);
    assert!(!alerts(&db, "UPDATE products SET min_stock = 30").await, "it was below already");
    assert!(!alerts(&db, "UPDATE products SET min_stock = 40, stock = 39").await, "below before, below after");
    assert!(!alerts(&db, "UPDATE products SET min_stock = 5").await);
    assert!(alerts(&db, "UPDATE products SET min_stock = 40").await, "it had been back");
}

#[tokio::test]
async fn what_does_not_touch_stock_alerts_nobody() {
    let db = subscribed().await;
    db.run(&insert("A", 5, 10)).await;
    assert!(!alerts(&db, "UPDATE products SET name = 'q'").await);
    assert!(!alerts(&db, "DELETE FROM products").await);
}
