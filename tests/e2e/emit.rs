//! Custom events: what emit returns, and where it may not write.

use tests::{Cluster, Database, SECRET};

const EMIT: &str = "SELECT webhooks.emit('order.paid', '{}')";
const READ_ONLY: &str = "25006";

async fn database() -> (Database<'static>, String) {
    let db = Cluster::shared().await.database().await;
    let endpoint = db.register("http://127.0.0.1:9/", "order.*, product.*", SECRET).await;
    (db, endpoint)
}

#[tokio::test]
async fn emit_returns_null_where_it_makes_no_event() {
    let (db, _) = database().await;
    let made: Option<String> = db.one(EMIT).await;
    assert!(made.is_some_and(|id| id.starts_with("wh_")));
    db.run("BEGIN").await;
    assert_eq!(db.one::<Option<String>>("SELECT webhooks.emit('cart.filled', '{}')").await, None, "nobody subscribes");
    db.run("SET LOCAL pg_webhooks.enabled = off").await;
    assert_eq!(db.one::<Option<String>>(EMIT).await, None, "capture is muted");
    let has_xid = "SELECT pg_current_xact_id_if_assigned() IS NOT NULL";
    assert!(!db.one::<bool>(has_xid).await, "nothing was written");
    db.run("COMMIT").await;
    assert_eq!(db.events().await, ["order.paid"]);
}

#[tokio::test]
async fn nothing_is_written_in_a_read_only_transaction() {
    let (db, endpoint) = database().await;
    for wanted in [EMIT, "SELECT webhooks.emit('cart.filled', '{}')"] {
        db.run("BEGIN READ ONLY").await;
        assert_eq!(db.fail(wanted).await.code, READ_ONLY, "{wanted}");
        db.run("ROLLBACK").await;
    }
    db.run(EMIT).await;
    for call in [
        format!("test('{endpoint}')"),
        format!("trigger('{endpoint}', 'product.created')"),
        format!("replay('{endpoint}', '-infinity', only_failed => false)"),
        format!("update('{endpoint}', active => false)"),
        format!("rotate_secret('{endpoint}')"),
        format!("delete('{endpoint}')"),
        "register('http://127.0.0.1:9/', '{*}')".into(),
        "create_token('t', 'read')".into(),
        "set_shards(2)".into(),
        "attach('products')".into(),
        "detach('products')".into(),
    ] {
        let refused = db.fail(&format!("BEGIN READ ONLY; SELECT webhooks.{call}")).await;
        assert_eq!(refused.code, READ_ONLY, "{call}: {refused:?}");
        db.run("ROLLBACK").await;
    }
    assert_eq!(db.events().await, ["order.paid"]);
}

#[tokio::test]
async fn a_temporary_table_with_a_trigger_of_ours_writes_nothing_in_a_read_only_transaction() {
    let (db, _) = database().await;
    let insert = "INSERT INTO mine (sku, name, price) VALUES ('A', 'a', 1)";
    db.run("CREATE TEMP TABLE mine (LIKE products INCLUDING ALL)").await;
    let trigger = "SELECT replace(pg_get_triggerdef(oid), 'public.products', 'mine') FROM pg_trigger
                    WHERE tgname = '!webhooks_capture' AND tgrelid = 'products'::regclass";
    db.run(&db.one::<String>(trigger).await).await;
    assert_eq!(db.fail(&format!("BEGIN READ ONLY; {insert}")).await.code, READ_ONLY);
    db.run(&format!("ROLLBACK; {insert}")).await;
    assert_eq!(db.events().await, ["product.created"]);
}

#[tokio::test]
async fn nothing_is_written_in_a_parallel_query() {
    let (db, _) = database().await;
    db.run(
        "CREATE FUNCTION paid() RETURNS text LANGUAGE sql PARALLEL SAFE BEGIN ATOMIC SELECT webhooks.emit('order.paid', '{}'); END;
         CREATE TABLE big AS SELECT FROM generate_series(1, 10000);
         SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0",
    )
    .await;
    for leader in ["on", "off"] {
        let refused = db.fail(&format!("SET parallel_leader_participation = {leader}; SELECT paid() FROM big")).await;
        assert_eq!(refused.code, "25000", "{refused:?}");
        assert!(refused.message.contains("webhooks.emit()"), "{refused:?}");
    }
    assert_eq!(db.events().await, [""; 0]);
}
