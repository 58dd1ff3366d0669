//! The extension's life: created with or without the tables, dropped, dumped and restored, kept in order; and what
//! its reading functions show.

use std::time::Duration;

use serde_json::Value;
use tests::{Answer, Cluster, Database, Receiver, SECRET, Sidecar, Stage, eventually};

const SAMPLE: &str = include_str!("../../sql/examples/products_manager.sql");
const PRODUCT: &str = "INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1)";

/// The tables that have a capture trigger.
async fn attached(db: &Database<'_>) -> Vec<String> {
    db.all("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = '!webhooks_capture' ORDER BY 1").await
}

#[tokio::test]
async fn create_extension_attaches_the_tables_that_are_there_and_says_so() {
    let db = Cluster::shared().await.empty_database().await;
    db.run(SAMPLE).await;
    db.run("CREATE EXTENSION pg_webhooks").await;
    assert_eq!(attached(&db).await, ["imports", "products", "suppliers"]);
    let notices: Vec<String> = db.notices().iter().map(|notice| notice.message.clone()).collect();
    for table in ["products", "suppliers", "imports"] {
        assert!(
            notices.iter().any(|notice| notice.contains("attached") && notice.contains(table)),
            "{table}: {notices:?}"
        );
    }
}

#[tokio::test]
async fn create_extension_without_the_tables_says_how_to_attach_them_later() {
    let db = Cluster::shared().await.empty_database().await;
    db.run("CREATE EXTENSION pg_webhooks").await;
    assert!(attached(&db).await.is_empty());
    let notices = db.notices();
    for table in ["products", "suppliers", "imports"] {
        let told = notices.iter().find(|notice| notice.message.contains(table));
        let told = told.unwrap_or_else(|| panic!("{table}: {notices:?}"));
        assert!(told.hint.contains("webhooks.attach"), "{told:?}");
    }
    db.run(SAMPLE).await;
    db.run("SELECT webhooks.attach('suppliers'), webhooks.attach('products')").await;
    assert_eq!(attached(&db).await, ["products", "suppliers"]);
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    db.run(PRODUCT).await;
    assert_eq!(db.events().await, ["product.created"]);
}

#[tokio::test]
async fn create_extension_passes_over_a_table_that_only_has_the_name() {
    let db = Cluster::shared().await.empty_database().await;
    db.run("CREATE TABLE products (id int); CREATE VIEW suppliers AS SELECT 1 AS id; CREATE EXTENSION pg_webhooks")
        .await;
    assert!(attached(&db).await.is_empty());
    let notices = db.notices();
    for (table, why) in [("products", "sku"), ("suppliers", "not a table")] {
        let told = |message: &str| message.contains(table) && message.contains(why);
        assert!(notices.iter().any(|notice| told(&notice.message)), "{table}: {notices:?}");
    }
}

#[tokio::test]
async fn create_extension_calls_no_function_that_a_user_has_put_into_public() {
    let db = Cluster::shared().await.empty_database().await;
    db.run("CREATE TABLE called (name text)").await;
    for planted in ["pg_extension_config_dump(text, text)", "format(text, text, text)", "concat_ws(text, text, text)"] {
        db.run(&format!(
            "CREATE FUNCTION public.{planted} RETURNS text LANGUAGE sql AS
             $$ INSERT INTO public.called VALUES ('{planted}') RETURNING name $$"
        ))
        .await;
    }
    db.run("CREATE EXTENSION pg_webhooks").await;
    assert_eq!(db.all::<String>("SELECT name FROM called").await, [""; 0]);
}

#[tokio::test]
async fn attaching_twice_makes_each_event_once() {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    db.run("SELECT webhooks.attach('products'); SELECT webhooks.attach('products', 'products')").await;
    db.run(PRODUCT).await;
    assert_eq!(db.events().await, ["product.created"]);
    db.run("SELECT webhooks.detach('products'); UPDATE products SET price = 2").await;
    assert_eq!(db.events().await, ["product.created"]);
}

#[tokio::test]
async fn drop_extension_needs_no_cascade_and_leaves_the_tables_working() {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    let open = db.session().await;
    open.run(PRODUCT).await;
    db.run("DROP EXTENSION pg_webhooks").await;
    assert!(attached(&db).await.is_empty());
    for session in [&open, &db.session().await] {
        session.run("UPDATE products SET price = price + 1; INSERT INTO suppliers (name) VALUES ('s'); DELETE FROM suppliers").await;
    }
    assert!(db.one::<bool>("SELECT price = 3 FROM products").await);

    db.run("CREATE EXTENSION pg_webhooks").await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    open.run("UPDATE products SET price = 9").await;
    assert_eq!(db.events().await, ["product.updated"]);
}

#[tokio::test]
async fn a_dropped_extension_leaves_a_partitioned_table_working() {
    let db = Cluster::shared().await.database().await;
    db.run(
        "CREATE TABLE parted (LIKE products INCLUDING DEFAULTS) PARTITION BY RANGE (id);
         CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (100);
         SELECT webhooks.attach('parted', 'products');
         DROP EXTENSION pg_webhooks;
         INSERT INTO parted (id, sku, name, price) VALUES (1, 'A', 'a', 1)",
    )
    .await;
    assert!(attached(&db).await.is_empty());
}

#[tokio::test]
async fn dump_and_restore_keep_endpoints_and_triggers_and_send_nothing_old() {
    let stage = Stage::start().await;
    stage.receiver.answer("/fails", Answer::status(500));
    let failing = stage.db.register(&stage.receiver.url("/fails"), "product.*", SECRET).await;
    stage.db.run(PRODUCT).await;
    stage.receiver.wait_at("/all", 1).await;
    eventually(Duration::from_secs(20), "one is pending", async || {
        (stage.db.one::<i64>("SELECT count(*) FROM webhooks.pending").await == 1).then_some(())
    })
    .await;
    stage.sidecar.terminate().await;
    stage.db.run("INSERT INTO suppliers (name) VALUES ('never sent')").await;

    let restored = Cluster::shared().await.empty_database().await;
    restored.restore(&stage.db.dump().await).await;
    assert_eq!(attached(&restored).await, ["imports", "products", "suppliers"]);
    let list = "SELECT id, url, events, active, has_secret FROM webhooks.list()";
    assert_eq!(restored.json(list).await, stage.db.json(list).await);
    for table in ["event", "pending", "attempt"] {
        assert_eq!(restored.one::<i64>(&format!("SELECT count(*) FROM webhooks.{table}")).await, 0, "{table}");
    }

    let before = stage.receiver.requests().len();
    let sidecar = Sidecar::start(&restored);
    restored.run("UPDATE products SET price = 2").await;
    stage.receiver.wait_for("the new change, at both", |all| all.len() >= before + 2).await;
    let new = stage.receiver.requests().split_off(before);
    assert!(new.iter().all(|one| one.event() == "product.updated"), "{new:?}");
    assert!(new.iter().all(|one| one.header("x-webhook-signature").is_some()), "the secrets came along");

    let fresh = restored.register(&stage.receiver.url("/fresh"), "*", SECRET).await;
    assert!(fresh != failing && fresh != stage.endpoint, "new endpoints get new keys");
    sidecar.terminate().await;
    restored.run("DROP EXTENSION pg_webhooks").await;
    restored.run(&PRODUCT.replace("'A'", "'B'")).await;
}

#[tokio::test]
async fn nothing_that_reads_shows_a_secret() {
    let stage = Stage::start().await;
    stage.receiver.answer("/all", Answer::status(400).body("no"));
    let hidden = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let id = stage.db.register(&stage.receiver.url("/two"), "*", hidden).await;
    stage.db.run(PRODUCT).await;
    stage.arrived().await;
    let mut shown = String::new();
    for sql in [
        "webhooks.list()".into(),
        format!("webhooks.get('{id}')"),
        format!("webhooks.logs('{id}')"),
        format!("webhooks.logs('{}')", stage.endpoint),
    ] {
        let rows = stage.db.json(&format!("SELECT * FROM {sql}")).await;
        assert!(!rows.is_empty(), "{sql}");
        shown += &format!("{rows:?}");
    }
    assert!(!shown.contains(SECRET) && !shown.contains(&hidden[6..]), "{shown}");
    let listed = stage.db.json("SELECT * FROM webhooks.list()").await;
    let keys: Vec<&String> = listed[0].as_object().expect("a row").keys().collect();
    let contract = [
        "id",
        "url",
        "events",
        "active",
        "description",
        "has_secret",
        "options",
        "created_at",
        "updated_at",
        "disabled_at",
        "disabled_reason",
    ];
    assert_eq!(keys, contract);
    assert_eq!(listed[0]["has_secret"], true);
}

#[tokio::test]
async fn update_keeps_what_is_null_and_an_empty_secret_removes_it() {
    let db = Cluster::shared().await.database().await;
    let id = db.register("http://127.0.0.1:9/x", "product.*", SECRET).await;
    let get = format!("SELECT url, events, active, description, has_secret FROM webhooks.get('{id}')");
    let before = db.json(&get).await;
    db.run(&format!("SELECT webhooks.update('{id}')")).await;
    assert_eq!(db.json(&get).await, before);
    db.run(&format!("SELECT webhooks.update('{id}', events => '{{import.completed,import.failed}}', description => 'd', secret => '')")).await;
    let after = db.json(&get).await.remove(0);
    assert_eq!(after["events"], serde_json::json!(["import.completed", "import.failed"]));
    assert_eq!((&after["description"], &after["has_secret"]), (&Value::from("d"), &Value::from(false)));
    assert_eq!(after["url"], before[0]["url"]);
    db.run(&format!("SELECT webhooks.update('{id}', active => false)")).await;
    let disabled = "SELECT disabled_at IS NOT NULL AND disabled_reason LIKE '%postgres%' FROM webhooks.list()";
    assert!(db.one::<bool>(disabled).await, "when and why");
}

#[tokio::test]
async fn logs_are_newest_first_and_no_more_than_asked_for() {
    let stage = Stage::start().await;
    stage.db.run(PRODUCT).await;
    for price in 2..=150 {
        stage.db.run(&format!("UPDATE products SET price = {price}")).await;
    }
    stage.assert_each_once().await;
    let logs = |rest: &str| format!("SELECT * FROM webhooks.logs('{}'{rest})", stage.endpoint);
    assert_eq!(stage.db.json(&logs("")).await.len(), 100);
    let five = stage.db.json(&logs(", 5")).await;
    let times: Vec<&str> = five.iter().map(|row| row["timestamp"].as_str().expect("a time")).collect();
    assert_eq!(times.len(), 5);
    assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
    let keys: Vec<&String> = five[0].as_object().expect("a row").keys().take(7).collect();
    assert_eq!(keys, ["timestamp", "event", "http_status", "response_time_ms", "retry_count", "error", "webhook_id"]);
    let all = stage.db.json(&logs(", 1000")).await;
    let created: Vec<_> = all.iter().filter(|row| row["event"] == "product.created").collect();
    assert_eq!((created.len(), &created[0]["http_status"]), (1, &Value::from(200)));
}

#[tokio::test]
async fn an_index_that_was_added_to_the_log_has_the_events_that_come_after_it() {
    let stage = Stage::start().await;
    let open = stage.db.session().await;
    open.run(PRODUCT).await;
    stage.db.run("CREATE INDEX ON webhooks.event (name)").await;
    for session in [&open, &stage.db.session().await] {
        session.run("UPDATE products SET price = price + 1").await;
    }
    assert_eq!(stage.arrived().await.len(), 3);
    stage.assert_each_once().await;
    stage.db.run("SET enable_seqscan = off; SET enable_bitmapscan = off").await;
    let found = "SELECT count(*) FROM webhooks.event WHERE name = 'product.updated'";
    let plan = stage.db.all::<String>(&format!("EXPLAIN {found}")).await.join("\n");
    assert!(plan.contains("_name_idx"), "{plan}");
    assert_eq!(stage.db.one::<i64>(found).await, 2);
}

#[tokio::test]
async fn two_databases_of_a_cluster_have_nothing_in_common() {
    let receiver = Receiver::start().await;
    let (one, two) = (Cluster::shared().await.database().await, Cluster::shared().await.database().await);
    one.register(&receiver.url("/one"), "*", SECRET).await;
    two.register(&receiver.url("/two"), "*", SECRET).await;
    let (_first, _second) = (Sidecar::start(&one), Sidecar::start(&two));
    one.run(PRODUCT).await;
    two.run("INSERT INTO suppliers (name) VALUES ('s')").await;
    assert_eq!(receiver.wait_at("/one", 1).await[0].event(), "product.created");
    assert_eq!(receiver.wait_at("/two", 1).await[0].event(), "supplier.created");
    assert_eq!(receiver.requests().len(), 2);
}
