//! What a delivery that succeeds at once leaves behind: dead rows, and bytes of write-ahead log.

use tests::{Cluster, Database, Sidecar, eventually};

use crate::drain::DEADLINE;
use crate::outboxes::{ADD_OURS, REMOVE_OURS};
use crate::products::database_with_products;
use crate::sink::Sink;
use crate::size::Size;
use crate::table::{Finding, Table, Target};

const HOW: &str = "One UPDATE of all products that makes bodies of about 300 bytes, then the sidecar until all deliveries are logged. WAL is the \
    difference of `pg_current_wal_insert_lsn()` over each, everything included: full page images, cursor, lease, housekeeping; the bare \
    UPDATE's, taken before in the same way, is subtracted. Dead rows are `n_tup_upd + n_tup_del`, which no vacuum takes back, of event, \
    attempt and pending.";

/// Measures both over a drain.
pub async fn measure(cluster: &Cluster, size: Size, table: &mut Table) {
    table.begin(6, "Dead rows and WAL of a delivery that succeeds at once", HOW);
    let db = database_with_products(cluster, size.rows).await;
    let sink = Sink::start().await;
    db.register(&sink.url, "product.updated", "secret").await;
    db.run(REMOVE_OURS).await;
    db.run(&rename("first")).await;
    let bare = update(&db, &rename("other")).await;
    db.run(ADD_OURS).await;
    let captured = update(&db, &rename("third")).await;
    let body: i32 = db.one("SELECT avg(octet_length(body))::integer FROM webhooks.event").await;

    let before = position(&db).await;
    let sidecar = Sidecar::start(&db);
    sink.wait_for(size.rows as usize, DEADLINE).await;
    eventually(DEADLINE, "all is in the log", async || {
        (db.one::<i64>("SELECT count(*) FROM webhooks.attempt").await >= i64::from(size.rows)).then_some(())
    })
    .await;
    assert!(sidecar.terminate().await.success(), "the sidecar stops");
    let delivered = position(&db).await - before;
    // A session hands in its counts when it ends.
    eventually(DEADLINE, "its sessions have ended", async || (db.sessions_of("sidecar").await == 0).then_some(()))
        .await;
    let dead: i64 = db.one(DEAD).await;
    db.discard().await;

    let kilobytes = |bytes: i64| bytes as f64 / f64::from(size.rows) / 1e3;
    let net = kilobytes(captured - bare + delivered);
    let (captured, bare, delivered) = (kilobytes(captured), kilobytes(bare), kilobytes(delivered));
    table.add(Finding {
        what: "dead rows in event, attempt and pending".to_owned(),
        ours: dead.to_string(),
        beside: format!("SKIP LOCKED {}", 2 * size.rows),
        limit: format!("{} deliveries", size.rows),
        target: Target::at_most(dead as f64, 0.0, "0"),
    });
    table.add(Finding {
        what: format!("WAL per delivery, body of {body} bytes, net"),
        ours: format!("{net:.2} kB"),
        beside: format!("capture {:.2}, delivery {delivered:.2}", captured - bare),
        limit: format!("bare UPDATE {bare:.2} kB"),
        target: Target::at_most(net, 1.5, "≤ 1.5 kB"),
    });
}

/// Changes every name, so that the body holds two of them.
fn rename(word: &str) -> String {
    format!("UPDATE products SET name = '{}' || id", format!("{word} ").repeat(6))
}

/// Bytes of write-ahead log that the UPDATE makes.
async fn update(db: &Database<'_>, statement: &str) -> i64 {
    db.run("VACUUM products").await;
    db.run("CHECKPOINT").await;
    let before = position(db).await;
    db.run(statement).await;
    position(db).await - before
}

async fn position(db: &Database<'_>) -> i64 {
    db.one("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").await
}

const DEAD: &str = "SELECT coalesce(sum(n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_all_tables
                     WHERE schemaname = 'webhooks' AND relname ~ '^(event|attempt|pending)'";
