//! A message that would be longer than `pg_webhooks.max_body` is one that says so, and costs no memory; what `emit` is given
//! may not be longer.

use serde_json::{Value, json};
use tests::{Cluster, Database, Session};

use crate::javascript::assert_stable;

/// A database whose events somebody wants, with a table of products that has more columns, and in another table a text of
/// 120 MB, most of it to be escaped.
async fn prepared() -> Database<'static> {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", "s").await;
    db.run(
        "CREATE TABLE items (id int PRIMARY KEY, sku text, name text, price numeric, stock int, min_stock int,
                             supplier_id int, note text, document jsonb, flags bool[], numbers numeric[], bytes bytea);
         SELECT webhooks.attach('items', 'products');
         INSERT INTO items (id, sku, stock, min_stock) VALUES (1, 'A-1', 9, 1)",
    )
    .await;
    db
}

/// The event that these statements make, parsed.
async fn made(db: &Database<'_>, session: &Session, sql: &str) -> Value {
    let before: i64 = db.one("SELECT count(*) FROM webhooks.event").await;
    session.run(sql).await;
    let bodies: Vec<String> = db.all("SELECT body FROM webhooks.event ORDER BY xid, seq").await;
    assert_eq!(bodies.len() as i64, before + 1, "events of {sql}: {:?}", session.notices());
    assert_stable(&bodies).await;
    serde_json::from_str(bodies.last().expect("an event")).expect("JSON")
}

/// The most memory that a session's process has had, in MB.
async fn peak_memory(session: &Session) -> u64 {
    memory(process(session).await, "VmHWM:") / 1024
}

async fn process(session: &Session) -> i32 {
    session.one("SELECT pg_backend_pid()").await
}

/// What Linux says of a process's memory, in kB.
fn memory(process: i32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the session runs");
    let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Lets a session's process have only so many more kB. A process of its own user says so: others may not everywhere.
async fn limit_memory(db: &Database<'_>, session: &Session, more: u64) {
    let process = process(session).await;
    let most = (memory(process, "VmSize:") + more) * 1024;
    db.run(&format!("COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; prlimit --pid {process} --as={most}'")).await;
}

#[tokio::test]
async fn a_text_of_120_mb_makes_its_event_and_costs_no_memory() {
    let db = prepared().await;
    db.run("UPDATE items SET note = repeat(E'\\x01', 120000000)").await;
    let session = db.session().await;
    made(&db, &session, "UPDATE items SET stock = 8").await;
    let before = peak_memory(&session).await;

    let updated = made(&db, &session, "UPDATE items SET note = NULL, stock = 7").await;
    assert_eq!(updated["event"], "product.updated");
    assert_eq!(updated["data"], json!({"product_id": 1, "sku": "A-1", "truncated": true}));
    assert_eq!(updated.as_object().map(|message| message.len()), Some(4));
    let grown = peak_memory(&session).await - before;
    assert!(grown < 8, "{grown} MB more");
    assert!(session.notices().is_empty());
}

#[tokio::test]
async fn a_key_that_is_too_long_is_left_out_of_a_truncated_message() {
    let db = prepared().await;
    db.run("UPDATE items SET sku = repeat('x', 120000000)").await;
    let session = db.session().await;
    made(&db, &session, "UPDATE items SET stock = 8, name = 'n'").await;
    let before = peak_memory(&session).await;
    let deleted = made(&db, &session, "DELETE FROM items").await;
    assert_eq!(deleted["event"], "product.deleted");
    assert_eq!(deleted["data"], json!({"product_id": 1, "sku": null, "truncated": true}));
    let grown = peak_memory(&session).await - before;
    assert!(grown < 8, "{grown} MB more");
}

#[tokio::test]
async fn what_is_too_long_together_or_once_written_is_truncated() {
    let db = prepared().await;
    for (set, is_truncated) in [
        ("note = repeat('x', 1000000)", false),
        ("note = repeat('y', 1048576)", true),
        ("note = NULL", true),
        ("note = repeat(E'\\x02', 200000)", true),
        ("note = NULL", true),
        ("note = repeat('x', 400000), name = repeat('x', 400000)", false),
        ("note = repeat('y', 400000)", false),
        ("note = repeat('x', 400000), name = repeat('y', 400000)", true),
        ("note = NULL, name = NULL", false),
        ("flags = array_fill(false, ARRAY[100000])", false),
        ("flags = array_fill(true, ARRAY[300000])", true),
        ("flags = NULL", true),
        ("numbers = array_fill(1e131071, ARRAY[50000])", true),
        ("numbers = '{1}'", true),
        ("document = to_jsonb(array_fill(1e1000, ARRAY[2000]))", true),
        ("document = '[]'", true),
        ("bytes = decode(repeat('ff', 600000), 'hex')", true),
        ("bytes = decode(repeat('ff', 500000), 'hex')", true),
        ("bytes = NULL", false),
    ] {
        let session = db.session().await;
        let event = made(&db, &session, &format!("UPDATE items SET {set}")).await;
        assert_eq!(event["data"].get("truncated").is_some(), is_truncated, "{set}");
        let peak = peak_memory(&session).await;
        assert!(peak < 150, "{set}: {peak} MB");
    }
}

#[tokio::test]
async fn max_body_is_a_setting_in_postgres_units_of_memory() {
    let db = prepared().await;
    assert_eq!(db.one::<String>("SHOW pg_webhooks.max_body").await, "1MB");
    db.run("SET pg_webhooks.max_body = '8kB'").await;
    let event = made(&db, &db, "UPDATE items SET note = repeat('x', 9000)").await;
    assert_eq!(event["data"]["truncated"], true);
    db.run("SET pg_webhooks.max_body = '2MB'; UPDATE items SET note = repeat('y', 1900000)").await;
    db.run("SET pg_webhooks.max_body = 10000; UPDATE items SET note = 'z'").await;
    for value in ["1kB", "65MB", "-1", "much"] {
        let error = db.fail(&format!("SET pg_webhooks.max_body = '{value}'")).await;
        assert_eq!(error.code, "22023", "{value}: {}", error.message);
    }
    let app = db.session_as("app").await;
    app.run("INSERT INTO suppliers (name) VALUES ('s')").await;
    let error = app.fail("SET pg_webhooks.max_body = '8kB'").await;
    assert_eq!(error.code, "42501");
}

#[tokio::test]
async fn an_emitted_event_that_is_too_long_is_an_error() {
    let db = prepared().await;
    let emit =
        |bytes: u32| format!("SELECT webhooks.emit('order.paid', jsonb_build_object('x', repeat('y', {bytes})))");
    db.run(&emit(1_000_000)).await;
    for bytes in [1_048_570, 5_000_000] {
        let error = db.fail(&emit(bytes)).await;
        assert_eq!(error.code, "54000");
        assert!(error.message.contains("order.paid") && error.message.contains("1MB"), "{}", error.message);
        assert!(error.hint.contains("pg_webhooks.max_body"), "{}", error.hint);
    }
    let error = db.fail("SELECT webhooks.emit('order.paid', to_jsonb(repeat('y', 100000000)))").await;
    assert!(error.message.len() < 1000, "an error shows the beginning of what is wrong");
}

#[tokio::test]
async fn an_actor_or_a_supplier_with_a_name_that_long_is_no_danger() {
    let db = prepared().await;
    let session = db.session().await;
    session.run("SELECT set_config('pg_webhooks.actor', repeat('a', 2000000), false)").await;
    let event = made(&db, &session, "UPDATE items SET stock = 5").await;
    assert_eq!(event["data"], json!({"product_id": 1, "sku": "A-1", "truncated": true}));
    db.run(
        "ALTER TABLE suppliers DISABLE TRIGGER ALL; INSERT INTO suppliers (id, name) VALUES (7, repeat('n', 50000000))",
    )
    .await;
    let event = made(&db, &db, "INSERT INTO imports (supplier_id, status) VALUES (7, 'running')").await;
    assert_eq!(event["data"]["supplier_name"], Value::Null);
}

#[tokio::test]
async fn where_there_is_no_memory_the_statement_fails_and_nobody_elses() {
    let cluster = Cluster::own().await;
    let db = cluster.database().await;
    db.register("http://127.0.0.1:9/", "*", "s").await;
    db.run("INSERT INTO products (sku, name, price) VALUES ('A', repeat(E'\\x01', 170000), 1)").await;
    let session = db.session().await;
    session.run("UPDATE products SET stock = 5").await;
    session.run("SET pg_webhooks.max_body = '64MB'; SET work_mem = '64kB'").await;
    db.run("UPDATE products SET name = repeat(E'\\x01', 10000000)").await;
    limit_memory(&db, &session, 20_000).await;
    let error = session.fail("UPDATE products SET name = 'small'").await;
    assert_eq!(error.code, "53200", "{}", error.message);
    session.run("UPDATE products SET stock = 6").await;
    assert_eq!(db.one::<i64>("SELECT count(*) FROM products WHERE stock = 6 AND name <> 'small'").await, 1);
}
