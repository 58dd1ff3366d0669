//! Administrators: what they do meanwhile, each one thing after the other, in an order of chance.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tests::{Random, Session};

/// To the attached tables.
pub const TABLES: &[&str] = &[
    "SELECT webhooks.attach('products', 'products')",
    "SELECT webhooks.detach('products')",
    "SELECT webhooks.detach('products'); SELECT webhooks.attach('products', 'products')",
    "BEGIN; SELECT webhooks.detach('products'); ROLLBACK",
    "ALTER TABLE products ADD note text DEFAULT 'n'",
    "ALTER TABLE products RENAME note TO remark",
    "ALTER TABLE products RENAME remark TO note",
    "ALTER TABLE products DROP note",
    "ALTER TABLE products RENAME name TO title; SELECT pg_sleep(0.3); ALTER TABLE products RENAME title TO name",
    "ALTER TABLE products DROP name; SELECT pg_sleep(0.3); ALTER TABLE products ADD name text DEFAULT 'n'",
    "ALTER TABLE products ALTER price TYPE bigint",
    "ALTER TABLE products ALTER price TYPE numeric(12, 2)",
    "ALTER TABLE products DROP stock; SELECT pg_sleep(0.3); ALTER TABLE products ADD stock int",
    "VACUUM FULL products",
    "ANALYZE products",
    "REINDEX TABLE CONCURRENTLY products",
    "BEGIN; ALTER TABLE products RENAME TO former_{n}; CREATE TABLE products (LIKE former_{n} INCLUDING ALL);
     SELECT webhooks.attach('products', 'products'); COMMIT",
    "ALTER TABLE products DISABLE TRIGGER USER; ALTER TABLE products ENABLE TRIGGER USER",
];

/// To a partitioned one.
pub const PARTITIONS: &[&str] = &[
    "SELECT webhooks.attach('parted', 'products')",
    "SELECT webhooks.detach('parted')",
    "ALTER TABLE parted DETACH PARTITION parted_1",
    "ALTER TABLE parted DETACH PARTITION parted_1 CONCURRENTLY",
    "ALTER TABLE parted ATTACH PARTITION parted_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    "TRUNCATE parted_1",
    "ALTER TABLE parted ADD note text; ALTER TABLE parted DROP note",
    "VACUUM FULL parted_0",
];

/// To the log; `{today}` is the day's partition.
pub const LOG: &[&str] = &[
    "REINDEX TABLE CONCURRENTLY {today}",
    "REINDEX TABLE {today}",
    "CREATE INDEX CONCURRENTLY log_name ON {today} (name)",
    "DROP INDEX IF EXISTS webhooks.log_name",
    "VACUUM FULL {today}",
    "ANALYZE webhooks.event",
    "ALTER TABLE webhooks.event ADD note text",
    "ALTER TABLE webhooks.event DROP note",
    "ALTER TABLE webhooks.event ADD CONSTRAINT counted CHECK (seq >= 0)",
    "ALTER TABLE webhooks.event DROP CONSTRAINT counted",
    "REINDEX TABLE CONCURRENTLY webhooks.subscription",
    "SELECT webhooks.maintain()",
];

/// To endpoints and shards.
pub const ENDPOINTS: &[&str] = &[
    "SELECT webhooks.register('http://127.0.0.1:9/none', '{product.created}', 's')",
    "SELECT webhooks.delete(id) FROM webhooks.list() WHERE url LIKE '%/none'",
    "SELECT webhooks.update(id, events => '{*}') FROM webhooks.list() WHERE url LIKE '%/none'",
    "SELECT webhooks.update(id, active => false) FROM webhooks.list() WHERE url LIKE '%/none'",
    "SELECT webhooks.set_shards(1)",
    "SELECT webhooks.set_shards(3)",
];

/// To the extension, whose log is kept. Whoever writes waits meanwhile, or finds no trigger.
pub const EXTENSION: &[&str] = &[
    "BEGIN; LOCK TABLE products, parted, book; {keep}; DROP EXTENSION pg_webhooks; CREATE EXTENSION pg_webhooks;
     SELECT webhooks.register('http://127.0.0.1:9/', '{*}', 's');
     SELECT webhooks.attach('parted', 'products'); COMMIT",
    "BEGIN; LOCK TABLE products, parted, book; {keep}; DROP EXTENSION pg_webhooks; COMMIT; SELECT pg_sleep(0.1);
     BEGIN; LOCK TABLE products, parted, book; CREATE EXTENSION pg_webhooks;
     SELECT webhooks.register('http://127.0.0.1:9/', '{*}', 's');
     SELECT webhooks.attach('parted', 'products'); COMMIT",
];

const KEEP: &str = "INSERT INTO kept SELECT (body::jsonb #>> '{data,product_id}')::bigint, name FROM webhooks.event \
                     WHERE name IN ('product.created', 'product.updated', 'product.deleted'); \
                    INSERT INTO kept_missed SELECT event, changes FROM webhooks.missed";

/// Does things until told to stop; returns how often each was done, and what errors it met.
pub async fn administer(
    session: Session,
    things: &[&'static str],
    mut random: Random,
    is_over: &AtomicBool,
) -> (BTreeMap<&'static str, usize>, BTreeMap<String, usize>) {
    let (mut done, mut failed) = (BTreeMap::new(), BTreeMap::new());
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    session.run("SET lock_timeout = '1s'; SET client_min_messages = error").await;
    for n in 0.. {
        pace.tick().await;
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let thing = *random.pick(things);
        let today = "SELECT 'webhooks.event_' || to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYYMMDD')";
        let today: String = session.one(today).await;
        let sql = thing.replace("{n}", &n.to_string()).replace("{today}", &today).replace("{keep}", KEEP);
        let Err(error) = one_by_one(&session, &sql).await else {
            *done.entry(thing).or_default() += 1;
            continue;
        };
        *failed.entry(error).or_default() += 1;
        session.run("ROLLBACK").await;
    }
    session.close().await;
    (done, failed)
}

/// Each statement is sent by itself: some refuse to be one of many.
async fn one_by_one(session: &Session, sql: &str) -> Result<(), String> {
    for statement in sql.split("; ").flat_map(|part| part.split(";\n")) {
        session.try_run(statement).await.map_err(|error| match error.as_db_error() {
            Some(told) => format!("{} {}", told.code().code(), told.message()),
            None => error.to_string(),
        })?;
    }
    Ok(())
}
