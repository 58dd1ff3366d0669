//! A table of statements: whatever changes a row, its events are made, once and in their order, or the outcome is one that
//! the documentation names.
//!
//! Each case has a schema of its own with two attached tables. What it should make is written as in a log:
//! `created 1 a` is product 1 with SKU a, `updated 1 price=2` what an update changed.

mod constraints;
mod functions;
mod roles;
mod tables;
mod transactions;
mod writing;

use tests::{Cluster, Database, Session};

/// Statements and the events that they make.
struct Case {
    /// What is tried.
    name: &'static str,
    /// Made beforehand, with capture off.
    before: &'static str,
    /// Each is a message to the server of its own.
    run: &'static [&'static str],
    /// The events, in the log's order, separated by semicolons.
    makes: &'static str,
    /// The warning of ours, "" for none.
    warns: &'static str,
    /// The first server that knows the statements.
    since: i32,
}

const CASE: Case = Case { name: "", before: "", run: &[], makes: "", warns: "", since: 15 };

const TABLES: &str = "
    DROP SCHEMA IF EXISTS trial CASCADE;
    CREATE SCHEMA trial;
    SET search_path = trial;
    CREATE TABLE suppliers (id int PRIMARY KEY, name text DEFAULT 'n', import_type text, import_schedule text);
    CREATE TABLE products (id int PRIMARY KEY, sku text UNIQUE, name text DEFAULT 'n', price numeric DEFAULT 1, stock int,
                           min_stock int, supplier_id int);
    SELECT webhooks.attach('products');
    SELECT webhooks.attach('suppliers');
    GRANT USAGE ON SCHEMA trial TO app;
    GRANT SELECT, INSERT, UPDATE, DELETE ON products, suppliers TO app;
    SET pg_webhooks.enabled = off;";

const MADE: &str = "
    SELECT replace(name, 'product.', '')
           || ' ' || coalesce(data ->> 'product_id', data ->> 'job_id', data ->> 'supplier_id')
           || ' ' || coalesce((SELECT string_agg(key || '=' || coalesce(change ->> 'new', 'null'), ',' ORDER BY key)
                                 FROM jsonb_each(data -> 'changes') AS changed (key, change)),
                              data ->> 'sku', data ->> 'supplier_name', data ->> 'name', '-')
      FROM (SELECT name, xid, seq, body::jsonb -> 'data' AS data FROM webhooks.event
             WHERE occurred_at >= clock_timestamp() - interval '10 minutes') made
     WHERE (xid, seq) > (SELECT xid, seq FROM seen ORDER BY xid DESC, seq DESC LIMIT 1)
     ORDER BY xid, seq";

/// Tries the cases one after the other, each in a new session, and names all that went wrong.
async fn assert_makes(cases: &[Case]) {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", "s").await;
    db.run("CREATE TABLE seen (xid xid8, seq int); INSERT INTO seen VALUES ('0', 0)").await;
    let version = db.one::<i32>("SELECT current_setting('server_version_num')::int / 10000").await;
    let mut wrong = String::new();
    for case in cases.iter().filter(|case| case.since <= version) {
        if let Err(why) = attempt(&db, case).await {
            wrong += &format!("\n{}: {why}", case.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

async fn attempt(db: &Database<'_>, case: &Case) -> Result<(), String> {
    let session = db.session().await;
    let told = |error: tests::Error| match error.as_db_error() {
        Some(told) => format!("{}: {}", told.code().code(), told.message()),
        None => error.to_string(),
    };
    session.run(TABLES).await;
    session.try_run(case.before).await.map_err(told)?;
    session.run("SET pg_webhooks.enabled = on").await;
    for sql in case.run {
        session.try_run(sql).await.map_err(|error| format!("{sql}: {}", told(error)))?;
    }
    let made = made(db).await;
    let warnings: Vec<_> = session.notices().into_iter().map(|notice| notice.message).collect();
    session.close().await;
    if made != case.makes {
        return Err(format!("made  {made:?}\n    instead of {:?}", case.makes));
    }
    let warning = warnings.iter().find(|message| message.starts_with("pg_webhooks"));
    match warning.map_or("", String::as_str) {
        warning if warning == case.warns => Ok(()),
        warning => Err(format!("warns {warning:?} instead of {:?}", case.warns)),
    }
}

/// What was made since the last call.
async fn made(db: &Database<'_>) -> String {
    let made: Vec<String> = db.all(MADE).await;
    db.run("INSERT INTO seen SELECT xid, seq FROM webhooks.event ORDER BY xid DESC, seq DESC LIMIT 1").await;
    made.join("; ")
}

/// A database of one case that a table has no room for.
async fn tried() -> (Database<'static>, Session) {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", "s").await;
    db.run("CREATE TABLE seen (xid xid8, seq int); INSERT INTO seen VALUES ('0', 0)").await;
    let session = db.session().await;
    session.run(TABLES).await;
    session.run("SET pg_webhooks.enabled = on").await;
    session.notices();
    (db, session)
}
