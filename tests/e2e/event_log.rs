//! What an administrator may do to the event log while events are made: add columns and indexes, rebuild them.

use std::time::Duration;

use tests::{Cluster, Database, SECRET, Session, Stage, eventually};

const PRODUCTS: &str = "INSERT INTO products (sku, name, price) SELECT n::text, 'n', 1 FROM generate_series(1, 3) n";
const REPRICE: &str = "UPDATE products SET price = price + 1 WHERE id = 1";

/// Asserts that the log's indexes lack no event.
async fn assert_indexes_complete(db: &Database<'_>) {
    let indexes = "FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
                   WHERE indrelid IN (SELECT tableoid FROM webhooks.event) AND relkind = 'i'";
    if db.rows("SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'").await.is_empty() {
        return;
    }
    db.run("CREATE EXTENSION IF NOT EXISTS amcheck").await;
    assert!(db.one::<i64>(&format!("SELECT count(bt_index_check(indexrelid, true)) {indexes}")).await > 0);
}

/// Holds the rows of the next statement of `writer` back until the returned session is closed. Until then it knows the log
/// as it is now.
async fn held_back(db: &Database<'_>, writer: &Session) -> Session {
    let gate = db.session().await;
    for _ in 0..3 {
        writer.run(REPRICE).await;
    }
    gate.run("SELECT pg_advisory_lock(1)").await;
    writer.run("BEGIN").await;
    gate
}

/// An update of three products that waits at the gate before its first row.
const GATED: &str = "UPDATE products SET price = price + 1 WHERE pg_advisory_xact_lock_shared(1) IS NOT NULL";

#[tokio::test]
async fn columns_added_to_the_log_and_dropped_again_cost_no_event() {
    let stage = Stage::start().await;
    let open = stage.db.session().await;
    open.run(PRODUCTS).await;
    let changes = [
        ("ADD note text", "note IS NULL"),
        (
            "ADD origin int DEFAULT 7, ADD tags text[] NOT NULL DEFAULT '{new}'",
            "origin = 7 AND tags = '{new}' AND note IS NULL",
        ),
        ("DROP note", "origin = 7 AND tags = '{new}'"),
        ("DROP origin, DROP tags", "true"),
    ];
    for (change, is_right) in changes {
        stage.db.run(&format!("ALTER TABLE webhooks.event {change}")).await;
        open.run(REPRICE).await;
        let new = stage.db.session().await;
        new.run(&format!("{REPRICE}; BEGIN; {REPRICE}; {REPRICE}; COMMIT")).await;
        assert!(open.notices().is_empty() && new.notices().is_empty(), "{change}");
        let wrong = format!("SELECT count(*) FROM webhooks.event WHERE ({is_right}) IS NOT TRUE");
        assert_eq!(stage.db.one::<i64>(&wrong).await, 0, "{change}");
    }
    assert_eq!(stage.arrived().await.len(), 3 + changes.len() * 4);
    stage.assert_each_once().await;
    assert_indexes_complete(&stage.db).await;
}

#[tokio::test]
async fn a_column_that_the_writing_transaction_adds_to_the_log_costs_no_event() {
    let stage = Stage::start().await;
    let writer = stage.db.session().await;
    writer.run(&format!("BEGIN; {PRODUCTS}; ALTER TABLE webhooks.event ADD note text; {REPRICE}; COMMIT")).await;
    assert!(writer.notices().is_empty());
    assert_eq!(stage.arrived().await.len(), 4);
}

#[tokio::test]
async fn a_column_of_another_type_is_converted_to_and_one_that_is_missing_costs_events_and_no_statement() {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    let writer = db.session().await;
    writer.run(PRODUCTS).await;
    // Minor releases differ in whether ALTER … TYPE may be done to a table whose row type a function takes.
    db.run("ALTER TABLE webhooks.event DROP ended, ADD ended bigint").await;
    writer.run(REPRICE).await;
    assert_eq!(db.events().await.last().map(String::as_str), Some("product.updated"));
    db.run("ALTER TABLE webhooks.event DROP signature").await;
    writer.run(REPRICE).await;
    assert!(writer.notices()[0].message.contains("\"signature\""), "it says what is missing");
    assert!(db.one::<bool>("SELECT price = 3 FROM products WHERE id = 1").await);
}

#[tokio::test]
async fn an_index_rebuilt_concurrently_during_a_statement_has_that_statements_events() {
    let stage = Stage::start().await;
    let writer = stage.db.session().await;
    writer.run(PRODUCTS).await;
    let index: String = stage.db.one(INDEX_OF_TODAY).await;
    let gate = held_back(&stage.db, &writer).await;
    let rebuilder = stage.db.session().await;
    let rebuild = format!("REINDEX INDEX CONCURRENTLY {index}");
    let rebuilt = async {
        waiting(&stage.db, "query LIKE 'UPDATE%' AND wait_event = 'advisory'").await;
        rebuilder.run(&rebuild).await;
    };
    let written = writer.run(GATED);
    let opened = async {
        // The new index is in use by now: what is written from here on is not copied to it from the table.
        let phase = "SELECT 1 FROM pg_stat_progress_create_index
                      WHERE datname = current_database() AND phase = 'waiting for old snapshots'";
        eventually(Duration::from_secs(20), "the index is validated", async || {
            (!stage.db.rows(phase).await.is_empty()).then_some(())
        })
        .await;
        gate.close().await;
    };
    tokio::join!(rebuilt, async {
        tokio::join!(written, opened);
        writer.run("COMMIT").await;
    });
    assert!(writer.notices().is_empty());
    assert_indexes_complete(&stage.db).await;
    assert_eq!(stage.arrived().await.len(), 9, "those of the statement, too");
    stage.assert_each_once().await;
}

#[tokio::test]
async fn an_index_added_during_a_statement_has_that_statements_events() {
    let stage = Stage::start().await;
    let writer = stage.db.session().await;
    writer.run(PRODUCTS).await;
    let gate = held_back(&stage.db, &writer).await;
    let added = async {
        waiting(&stage.db, "query LIKE 'UPDATE%' AND wait_event = 'advisory'").await;
        stage.db.run("CREATE INDEX ON webhooks.event (webhook_id)").await;
        gate.close().await;
    };
    tokio::join!(writer.run(GATED), added);
    writer.run("COMMIT").await;
    assert!(writer.notices().is_empty());
    assert_indexes_complete(&stage.db).await;
    assert_eq!(stage.arrived().await.len(), 9);
    stage.assert_each_once().await;
}

#[tokio::test]
async fn another_index_in_the_place_of_the_logs_own_has_the_events_that_come_after_it() {
    let stage = Stage::start().await;
    let writer = stage.db.session().await;
    writer.run(PRODUCTS).await;
    stage
        .db
        .run(
            "DROP INDEX webhooks.event_position;
             CREATE INDEX ON webhooks.event (seq, xid)",
        )
        .await;
    writer.run(REPRICE).await;
    assert!(writer.notices().is_empty());
    assert_indexes_complete(&stage.db).await;
    stage.db.run("CREATE INDEX ON webhooks.event (xid, seq)").await;
    assert_eq!(stage.arrived().await.len(), 4);
}

/// The index by which events of today are found.
const INDEX_OF_TODAY: &str = "SELECT indexrelid::regclass::text FROM pg_index
                               WHERE indrelid IN (SELECT tableoid FROM webhooks.event)";

/// Waits until a session of the database is in a state.
async fn waiting(db: &Database<'_>, state: &str) {
    let sessions = format!("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND {state}");
    eventually(Duration::from_secs(20), state, async || (!db.rows(&sessions).await.is_empty()).then_some(())).await;
}

#[tokio::test]
async fn a_day_is_locked_again_after_a_savepoint_that_took_its_locks_along() {
    let db = Cluster::shared().await.database().await;
    db.run(PRODUCTS).await;
    db.register("http://127.0.0.1:9/", "{*}", SECRET).await;
    let session = db.session().await;
    let locked = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND mode = 'RowExclusiveLock'
                     AND relation::regclass::text LIKE '%event\\_2%'";
    session.run(REPRICE).await;
    session.run("BEGIN").await;
    for (statement, left) in
        [("SAVEPOINT s", 0), ("ROLLBACK TO s", 0), ("RELEASE s", 2), ("SAVEPOINT t", 2), ("ROLLBACK TO t", 2)]
    {
        session.run(statement).await;
        assert_eq!(session.one::<i64>(locked).await, left, "{statement}");
        session.run(REPRICE).await;
        assert_eq!(session.one::<i64>(locked).await, 2, "the day and its index after {statement}");
    }
}
