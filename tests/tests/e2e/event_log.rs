//! What an administrator may do to the event log while events are made: add columns and indexes, rebuild them.

use std::time::Duration;

use tests::{Database, Session, Stage, eventually};

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

/// The index by which events of today are found.
const INDEX_OF_TODAY: &str = "SELECT indexrelid::regclass::text FROM pg_index
                               WHERE indrelid IN (SELECT tableoid FROM webhooks.event)";

/// Waits until a session of the database is in a state.
async fn waiting(db: &Database<'_>, state: &str) {
    let sessions = format!("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND {state}");
    eventually(Duration::from_secs(20), state, async || (!db.rows(&sessions).await.is_empty()).then_some(())).await;
}
