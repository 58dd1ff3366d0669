//! Who gets an event is looked up when it is read: a writer pays nothing for a subscriber, and each subscriber gets what
//! was committed since its registration, no more and no less.

use serde_json::json;
use tests::{Cluster, Database, Receiver, SECRET, Sidecar};

const PRODUCT: &str = "INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1)";
const REPRICE: &str = "UPDATE products SET price = price + 1";

async fn database() -> (Database<'static>, Receiver) {
    (Cluster::shared().await.database().await, Receiver::start().await)
}

#[tokio::test]
async fn a_row_of_the_log_is_as_long_for_a_thousand_webhooks_as_for_one() {
    let (db, _) = database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    db.run(&format!("{PRODUCT}; {REPRICE}")).await;
    db.run("SELECT webhooks.register('http://127.0.0.1:9/' || i, '{product.*}', 's') FROM generate_series(1, 1000) i")
        .await;
    db.run(REPRICE).await;
    let lengths = "SELECT DISTINCT pg_column_size(e.*) FROM webhooks.event e WHERE name = 'product.updated'";
    assert_eq!(db.all::<i32>(lengths).await.len(), 1);
}

#[tokio::test]
async fn what_was_committed_before_a_registration_is_not_for_it_and_what_comes_after_is() {
    let (db, receiver) = database().await;
    db.register(&receiver.url("/first"), "*", SECRET).await;
    db.run(PRODUCT).await;
    // This one commits after the registration, but nobody can say that it came before.
    let open = db.session().await;
    open.run(&format!("BEGIN; {REPRICE}")).await;
    db.register(&receiver.url("/second"), "*", SECRET).await;
    open.run("COMMIT").await;
    db.run("DELETE FROM products").await;
    let _sidecar = Sidecar::start(&db);
    receiver.wait_at("/first", 3).await;
    receiver.wait_at("/second", 2).await;
    db.until_all_is_read().await;
    assert_eq!(receiver.at("/second").len(), 2, "not the insert");
}

#[tokio::test]
async fn a_registration_in_a_repeatable_read_transaction_is_not_for_what_was_committed_before_it() {
    let (db, receiver) = database().await;
    db.register(&receiver.url("/first"), "*", SECRET).await;
    let open = db.session().await;
    open.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM products").await;
    db.run(PRODUCT).await;
    let register = format!("SELECT webhooks.register('{}', '{{*}}', 's')", receiver.url("/second"));
    open.run(&format!("{register}; COMMIT")).await;
    db.run(REPRICE).await;
    let _sidecar = Sidecar::start(&db);
    receiver.wait_at("/first", 2).await;
    receiver.wait_at("/second", 1).await;
    db.until_all_is_read().await;
    assert_eq!(receiver.at("/second")[0].json()["event"], "product.updated");
}

#[tokio::test]
async fn endpoints_restored_as_data_alone_are_subscribed_again_by_housekeeping() {
    let (db, receiver) = database().await;
    let insert = |id: &str| {
        format!(
            "INSERT INTO webhooks.endpoint (id, url, events) VALUES ('{id}', '{}', '{{product.*}}')",
            receiver.url("/all")
        )
    };
    db.run(&format!("SET session_replication_role = replica; {}; RESET session_replication_role", insert("ep_1")))
        .await;
    assert_eq!(db.one::<i64>("SELECT count(*) FROM webhooks.subscription").await, 1, "in a replica's session, too");
    // As pg_dump --data-only --disable-triggers has it.
    db.run(&format!(
        "ALTER TABLE webhooks.endpoint DISABLE TRIGGER ALL; {}; ALTER TABLE webhooks.endpoint ENABLE TRIGGER ALL",
        insert("ep_2")
    ))
    .await;
    db.run("SELECT webhooks.maintain()").await;
    db.run(PRODUCT).await;
    let _sidecar = Sidecar::start(&db);
    receiver.wait_at("/all", 2).await;
}

#[tokio::test]
async fn a_transaction_that_rolls_a_registration_back_has_changed_nothing() {
    let (db, _) = database().await;
    db.run("BEGIN; SELECT webhooks.register('http://127.0.0.1:9/', '{*}', 's'); ROLLBACK").await;
    db.run(PRODUCT).await;
    assert_eq!(db.one::<i64>("SELECT count(*) FROM webhooks.event").await, 0);
    assert_eq!(db.one::<i64>("SELECT count(*) FROM webhooks.subscription").await, 0);
}

#[tokio::test]
async fn a_pattern_that_is_added_leaves_the_backlog_of_the_others_and_one_that_is_removed_takes_its_own_along() {
    let (db, receiver) = database().await;
    let kept = db.register(&receiver.url("/kept"), "product.created", SECRET).await;
    let removed = db.register(&receiver.url("/removed"), "product.created", SECRET).await;
    db.run(PRODUCT).await;
    db.run(&format!("SELECT webhooks.update('{kept}', events => '{{product.created,supplier.*}}')")).await;
    db.run(&format!("SELECT webhooks.update('{removed}', events => '{{supplier.*}}')")).await;
    db.run("INSERT INTO suppliers (name) VALUES ('s')").await;
    let _sidecar = Sidecar::start(&db);
    receiver.wait_at("/kept", 2).await;
    receiver.wait_at("/removed", 1).await;
    db.until_all_is_read().await;
    assert_eq!(receiver.at("/removed")[0].json()["event"], "supplier.created");
}

#[tokio::test]
async fn a_webhook_that_has_two_patterns_for_an_event_gets_it_once() {
    let (db, receiver) = database().await;
    db.run(&format!("SELECT webhooks.register('{}', '{{*,product.*,product.created}}', 's')", receiver.url("/all")))
        .await;
    db.run(PRODUCT).await;
    let _sidecar = Sidecar::start(&db);
    receiver.wait_at("/all", 1).await;
    db.until_all_is_read().await;
    assert_eq!(receiver.at("/all").len(), 1);
}

#[tokio::test]
async fn a_deleted_webhook_leaves_no_subscription_and_writers_log_nothing_for_it() {
    let (db, _) = database().await;
    let id = db.register("http://127.0.0.1:9/", "*", SECRET).await;
    let writer = db.session().await;
    writer.run(PRODUCT).await;
    db.run(&format!("SELECT webhooks.delete('{id}')")).await;
    writer.run(REPRICE).await;
    assert_eq!(db.events().await, ["product.created"]);
    assert_eq!(db.one::<i64>("SELECT count(*) FROM webhooks.subscription").await, 0);
}

#[tokio::test]
async fn of_two_writers_of_a_row_the_one_that_had_it_first_is_told_of_first() {
    let (db, _) = database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    db.run(&format!("{PRODUCT}; TRUNCATE webhooks.event")).await;
    let (first, second) = (db.session().await, db.session().await);
    // It takes its id before the other one, and the row after it.
    second.run("BEGIN; SELECT pg_current_xact_id()").await;
    first.run("UPDATE products SET price = 2").await;
    second.run("UPDATE products SET price = 3; COMMIT").await;
    let prices = |order: &str| {
        format!("SELECT body::jsonb #>> '{{data,changes,price,new}}' FROM webhooks.event ORDER BY {order}")
    };
    assert_eq!(db.all::<String>(&prices("xid, seq")).await, ["3", "2"], "the log's own order inverts them");
    let happened = "greatest(xid::text::bigint + 1, horizon::text::bigint), ended";
    assert_eq!(db.all::<String>(&prices(happened)).await, ["2", "3"]);
    assert_eq!(db.one::<i64>("SELECT count(DISTINCT key) FROM webhooks.event").await, 1, "one row, one ordering key");
}

#[tokio::test]
async fn all_events_of_a_row_have_its_ordering_key_whatever_partition_it_is_in() {
    let (db, _) = database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    db.run("INSERT INTO products (sku, name, price, stock, min_stock) VALUES ('A', 'a', 1, 9, 5), ('B', 'b', 1, 9, 5)")
        .await;
    db.run("UPDATE products SET stock = 1 WHERE sku = 'A'; DELETE FROM products WHERE sku = 'A'").await;
    let keys = "SELECT count(DISTINCT key) FROM webhooks.event WHERE body LIKE '%\"A\"%'";
    assert_eq!(db.one::<i64>(keys).await, 1);
    assert_eq!(db.one::<i64>("SELECT count(DISTINCT key) FROM webhooks.event").await, 2);
    // A partition with its columns in another order.
    db.run(
        "CREATE TABLE parts (id int, part int, sku text, name text, price numeric, stock int, min_stock int, supplier_id int,
                             PRIMARY KEY (id, part)) PARTITION BY LIST (part);
         CREATE TABLE part_1 PARTITION OF parts FOR VALUES IN (1);
         CREATE TABLE part_2 (supplier_id int, part int NOT NULL, name text, id int NOT NULL, price numeric, sku text, stock int,
                              min_stock int);
         ALTER TABLE parts ATTACH PARTITION part_2 FOR VALUES IN (2);
         TRUNCATE webhooks.event; SELECT webhooks.attach('parts', 'products')",
    )
    .await;
    for part in [1_i64, 2] {
        let row = format!("INSERT INTO parts (id, part, sku, name, price) VALUES (7, {part}, 's', 'n', 1)");
        db.run(&format!("{row}; UPDATE parts SET price = 2 WHERE part = {part}")).await;
        let keys = "SELECT count(DISTINCT key) FROM webhooks.event";
        assert_eq!(db.one::<i64>(keys).await, part, "a key for each row");
    }
}

#[tokio::test]
async fn a_row_of_the_log_that_somebody_has_written_or_changed_is_set_aside_and_never_sent() {
    let (db, receiver) = database().await;
    db.register(&receiver.url("/all"), "*", SECRET).await;
    db.run("SELECT webhooks.emit('order.paid', '{\"total\": 1}'), webhooks.emit('order.paid', '{\"total\": 2}')").await;
    db.run("UPDATE webhooks.event SET body = replace(body, '\"total\":2', '\"total\":9')").await;
    db.run(
        "INSERT INTO webhooks.event (occurred_at, xid, seq, ended, horizon, webhook_id, name, signature, body)
         SELECT occurred_at, xid, 7, ended, horizon, 'wh_forged', name, signature, body FROM webhooks.event LIMIT 1",
    )
    .await;
    let _sidecar = Sidecar::start(&db);
    receiver.wait_at("/all", 1).await;
    db.until_all_is_read().await;
    assert_eq!(receiver.requests().len(), 1);
    let logged = db
        .json(
            "SELECT outcome, http_status, error LIKE '%signature does not match%' AS says_why
                 FROM webhooks.attempts(outcome => 'failed')",
        )
        .await;
    let aside = json!({"outcome": "unreadable", "http_status": null, "says_why": true});
    assert_eq!(logged, [aside.clone(), aside]);
    assert_eq!(db.one::<i32>("SELECT cardinality(unreadable) FROM webhooks.status()").await, 2);
}
