//! What should have been an event and was not is counted: once for each change that is committed, with its reason, and shown.

use serde_json::json;
use tests::{Api, Cluster, CommandLine, Database, SECRET};

/// A database whose products have no name any more: no `product.created` can be made.
async fn without_names() -> Database<'static> {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    db.run("ALTER TABLE products DROP name").await;
    db
}

fn insert(skus: std::ops::Range<i32>) -> String {
    format!(
        "INSERT INTO products (sku, price, stock, min_stock) SELECT n, 1, 5, 1 FROM generate_series({}, {}) n",
        skus.start,
        skus.end - 1
    )
}

const REASON: &str = "the table has no column for name of products";
const ROWS: &str = "SELECT format('%s %s %s', table_name, event, changes) FROM webhooks.missed ORDER BY event, changes";

#[tokio::test]
async fn a_transaction_counts_what_it_missed_in_one_row_and_warns_once() {
    let db = without_names().await;
    db.notices();
    db.run(&format!("BEGIN; {}; {}; UPDATE products SET price = 2; COMMIT", insert(0..500), insert(500..1000))).await;
    let warnings: Vec<_> = db.notices().into_iter().map(|notice| notice.message).collect();
    assert_eq!(warnings, [format!("pg_webhooks made no event of a row change: {REASON}")]);
    assert_eq!(db.all::<String>(ROWS).await, ["public.products product.created 1000"]);
    assert_eq!(db.one::<String>("SELECT DISTINCT reason FROM webhooks.missed").await, REASON);
    assert_eq!(db.events().await, ["product.updated"; 1000], "the others are made");
}

#[tokio::test]
async fn what_was_rolled_back_was_not_missed() {
    let db = without_names().await;
    db.run(&format!("BEGIN; {}; ROLLBACK", insert(0..10))).await;
    db.fail(&format!("{}; SELECT 1 / 0", insert(0..10))).await;
    assert_eq!(db.all::<String>(ROWS).await, [""; 0]);
    db.run(&format!(
        "BEGIN; {}; SAVEPOINT one; {}; SAVEPOINT two; {}; RELEASE two; ROLLBACK TO one; {}; RELEASE one; COMMIT",
        insert(0..1),
        insert(1..3),
        insert(3..7),
        insert(7..15)
    ))
    .await;
    assert_eq!(db.all::<String>(ROWS).await, ["public.products product.created 9"]);
    db.run(
        "DO $$ BEGIN FOR i IN 100..109 LOOP
             BEGIN INSERT INTO products (sku, price) VALUES (i, 1); IF i % 2 = 0 THEN RAISE 'undo'; END IF;
             EXCEPTION WHEN raise_exception THEN NULL; END;
         END LOOP; END $$",
    )
    .await;
    assert_eq!(
        db.all::<String>(ROWS).await,
        ["public.products product.created 5", "public.products product.created 9"]
    );
}

#[tokio::test]
async fn a_prepared_transaction_counts_once_it_is_committed() {
    let db = without_names().await;
    db.run(&format!("BEGIN; {}; PREPARE TRANSACTION '{}'", insert(0..3), db.name())).await;
    assert_eq!(db.all::<String>(ROWS).await, [""; 0]);
    db.run(&format!("COMMIT PREPARED '{}'", db.name())).await;
    assert_eq!(db.all::<String>(ROWS).await, ["public.products product.created 3"]);
}

#[tokio::test]
async fn a_role_without_any_rights_is_counted_and_nobody_waits() {
    let db = without_names().await;
    let (app, other) = (db.session_as("app").await, db.session_as("app").await);
    app.run(&format!("BEGIN; SET lock_timeout = '5s'; {}", insert(0..1))).await;
    other.run(&format!("SET lock_timeout = '5s'; BEGIN; {}; COMMIT", insert(1..3))).await;
    app.run("COMMIT").await;
    assert_eq!(app.fail("SELECT * FROM webhooks.missed").await.code, "42501");
    let expected = ["public.products product.created 1", "public.products product.created 2"];
    assert_eq!(db.all::<String>(ROWS).await, expected);
}

#[tokio::test]
async fn a_partition_misses_in_the_name_of_its_table() {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    db.run(
        "CREATE TABLE parted (LIKE products) PARTITION BY RANGE (id);
         CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (100);
         SELECT webhooks.attach('parted', 'products'); ALTER TABLE parted DROP min_stock;
         INSERT INTO parted (id, sku, name, price, stock, created_at, updated_at) VALUES (1, 'A', 'a', 1, 1, now(), now())",
    )
    .await;
    assert_eq!(db.all::<String>(ROWS).await, ["public.parted stock.low_alert 1"]);
}

#[tokio::test]
async fn housekeeping_adds_up_and_forgets_after_the_retention() {
    let db = without_names().await;
    for start in 0..3 {
        db.run(&insert(start..start + 1)).await;
    }
    db.run("ALTER TABLE products DROP min_stock").await;
    db.run("INSERT INTO products (sku, price) VALUES ('last', 1)").await;
    db.run("SELECT webhooks.maintain()").await;
    let folded = ["public.products product.created 4", "public.products stock.low_alert 1"];
    assert_eq!(db.all::<String>(ROWS).await, folded);
    db.run(
        "UPDATE webhooks.missed SET first_at = now() - interval '8 days', last_at = now() - interval '8 days'
             WHERE event = 'product.created'; SELECT webhooks.maintain()",
    )
    .await;
    assert_eq!(db.all::<String>(ROWS).await, ["public.products stock.low_alert 1"]);
}

#[tokio::test]
async fn status_doctor_and_metrics_show_what_was_missed() {
    let db = without_names().await;
    db.run(&insert(0..2)).await;
    db.run(&insert(2..3)).await;
    let told = db.json("SELECT missed, missed_reasons FROM webhooks.status()").await.remove(0);
    let line = format!("public.products, product.created: {REASON}");
    assert_eq!(told, json!({"missed": 3, "missed_reasons": [line]}));
    let listed = db.json("SELECT table_name, event, reason, changes FROM webhooks.missed_events()").await;
    let expected = json!({"table_name": "public.products", "event": "product.created", "reason": REASON, "changes": 3});
    assert_eq!(listed, [expected]);

    let cli = CommandLine::new(&db);
    assert!(cli.run(&["status"]).await.stdout.contains("public.products, product.created"));
    let doctor = cli.run(&["doctor"]).await.stdout;
    assert!(doctor.contains("3 row changes of public.products made no product.created"), "{doctor}");
    let metrics = Api::start(&db).await.stranger().get("/metrics").await.text;
    assert!(metrics.contains("\npg_webhooks_missed_changes 3\n"), "{metrics}");
}

#[tokio::test]
async fn a_truncate_of_products_counts_once_where_somebody_wants_deletes() {
    let db = Cluster::shared().await.database().await;
    db.run("TRUNCATE products").await;
    db.register("http://127.0.0.1:9/", "product.created,supplier.*", SECRET).await;
    db.run("TRUNCATE products, suppliers, imports; BEGIN; TRUNCATE products; ROLLBACK").await;
    assert_eq!(db.all::<String>(ROWS).await, [""; 0]);
    db.register("http://127.0.0.1:9/", "product.deleted", SECRET).await;
    db.notices();
    db.run("INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1); TRUNCATE products").await;
    assert_eq!(db.all::<String>(ROWS).await, ["public.products product.deleted 1"]);
    assert!(db.notices()[0].message.contains("TRUNCATE"));
    db.run("SELECT webhooks.detach('products'); TRUNCATE products").await;
    assert_eq!(db.all::<String>(ROWS).await.len(), 1, "detached, it misses nothing");
    let ours = "SELECT count(*) FROM pg_trigger WHERE tgname ~ 'webhooks' AND tgrelid = 'products'::regclass";
    assert_eq!(db.one::<i64>(ours).await, 0);
}
