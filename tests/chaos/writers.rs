//! Writers, and their book: for each change that they commit, whether its table was attached just then.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tests::{Random, Session};

/// What a writer came to.
#[derive(Default)]
pub struct Written {
    pub transactions: usize,
    /// How often a statement failed, by its SQLSTATE.
    pub failed: BTreeMap<String, usize>,
    /// What capture warned of, each once.
    pub warnings: Vec<String>,
}

/// The book. A change and its line are one transaction's; the change's lock on the table lasts until that ends, so nobody
/// attaches or detaches it between the two.
pub const BOOK: &str =
    "CREATE TABLE book (id bigint, event text, attached boolean, at timestamptz DEFAULT clock_timestamp())";

/// A statement that changes a row of a table and books it. Where a table is partitioned, its own trigger counts: a partition
/// may come, with a trigger, after the statement has taken the snapshot by which it looks.
fn booked(change: &str, event: &str) -> String {
    let table = if change.contains(" parted ") { "'parted'::regclass" } else { "done.tableoid" };
    format!(
        "WITH done AS ({change} RETURNING id, tableoid)
         INSERT INTO book SELECT id, 'product.{event}', EXISTS (
             SELECT FROM pg_trigger WHERE tgrelid = {table} AND tgname = '!webhooks_capture' AND tgenabled <> 'D') FROM done"
    )
}

/// A transaction about one row, which is inserted and then changed or not.
fn transaction(random: &mut Random, table: &str, id: u64) -> String {
    let insert = booked(&format!("INSERT INTO {table} (id, sku) VALUES ({id}, 's{id}')"), "created");
    let update = booked(&format!("UPDATE {table} SET revision = revision + 1 WHERE id = {id}"), "updated");
    let delete = booked(&format!("DELETE FROM {table} WHERE id = {id}"), "deleted");
    match random.below(6) {
        0 => format!("BEGIN; {insert}; {update}; COMMIT; {update}; {delete}"),
        1 => format!("BEGIN; {insert}; {update}; {update}; {delete}; COMMIT"),
        2 => format!("BEGIN; {insert}; SAVEPOINT s; {delete}; ROLLBACK TO s; {update}; COMMIT"),
        3 => format!("BEGIN; {insert}; ROLLBACK; {insert}"),
        _ => insert,
    }
}

/// Writes until told to stop, with a breath between transactions.
pub async fn write(session: Session, number: u64, mut random: Random, is_over: &AtomicBool) -> Written {
    let mut written = Written::default();
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    session.run("SET lock_timeout = '5s'").await;
    for n in 0.. {
        pace.tick().await;
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let table = random.pick(&["products", "products", "parted"]);
        let sql = transaction(&mut random, table, number * 1_000_000 + n);
        written.transactions += 1;
        if let Err(error) = session.try_run(&sql).await {
            let code = error
                .as_db_error()
                .map_or_else(|| error.to_string(), |told| format!("{} {}", told.code().code(), told.message()));
            *written.failed.entry(code).or_default() += 1;
            session.run("ROLLBACK").await;
        }
        for notice in session.notices() {
            if notice.message.starts_with("pg_webhooks") && !written.warnings.contains(&notice.message) {
                written.warnings.push(notice.message);
            }
        }
    }
    session.close().await;
    written
}
