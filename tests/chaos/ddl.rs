//! DDL under traffic: each committed change of a table that was attached just then is one event, or is counted as missed.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tests::{Cluster, Database, Random, Received, Stage, eventually};

use crate::administrators::{self, ENDPOINTS, EXTENSION, LOG, PARTITIONS, TABLES};
use crate::writers::{self, BOOK};

const WRITERS: u64 = 16;

const OURS: &str = "
    DROP TABLE products;
    CREATE TABLE products (id bigint PRIMARY KEY, sku text, name text DEFAULT 'n', price numeric(12, 2) DEFAULT 1, stock int,
                           min_stock int, supplier_id int, revision int DEFAULT 0);
    CREATE TABLE parted (LIKE products INCLUDING ALL) PARTITION BY HASH (id);
    CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    SELECT webhooks.attach('products');
    SELECT webhooks.attach('parted', 'products')";

/// For each event: how many changes that were booked as attached are no event, how many events no change, and how many of it
/// were counted as missed, together with those of no event in particular.
const BALANCE: &str = "
    WITH booked AS (SELECT id, event, count(*) FILTER (WHERE attached) AS times FROM book GROUP BY id, event),
         logged AS (SELECT id, event, count(*) AS times
                      FROM (SELECT (body::jsonb #>> '{data,product_id}')::bigint, name FROM webhooks.event
                             WHERE name IN ('product.created', 'product.updated', 'product.deleted')
                             UNION ALL SELECT id, event FROM kept) AS all_of (id, event)
                     GROUP BY id, event),
         balance AS (SELECT id, event, coalesce(booked.times, 0) - coalesce(logged.times, 0) AS lost
                       FROM booked FULL JOIN logged USING (id, event)),
         missed AS (SELECT event, changes FROM webhooks.missed UNION ALL SELECT event, changes FROM kept_missed)
    SELECT event, sum(greatest(lost, 0))::bigint AS lost, sum(greatest(- lost, 0))::bigint AS invented,
           coalesce((SELECT sum(changes) FROM missed m WHERE m.event = b.event), 0)::bigint AS missed,
           coalesce((SELECT sum(changes) FROM missed m WHERE m.event = '*'), 0)::bigint AS missed_all,
           array_agg(id) FILTER (WHERE lost <> 0)
      FROM balance b GROUP BY event ORDER BY event";

/// The log of an extension that was dropped.
const KEPT: &str = "CREATE TABLE kept (id bigint, event text); CREATE TABLE kept_missed (event text, changes bigint)";

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// Lets writers and administrators at a database for the time of a run, and says what they did.
async fn let_loose(db: &Database<'_>, jobs: &[&[&'static str]]) {
    let seed = setting("PG_WEBHOOKS_CHAOS_SEED", u64::from(std::process::id()));
    let seconds = setting("PG_WEBHOOKS_CHAOS_SECONDS", 20);
    println!("PG_WEBHOOKS_CHAOS_SEED={seed}");
    let is_over = AtomicBool::new(false);
    let random = |number: u64| Random::seeded(seed.wrapping_mul(1_000).wrapping_add(number));
    let writers = join_all((1..=WRITERS).map(async |number| {
        let session = db.session().await;
        writers::write(session, number, random(number), &is_over).await
    }));
    let administrators = join_all(jobs.iter().zip(100..).map(async |(things, number)| {
        let session = db.session().await;
        administrators::administer(session, things, random(number), &is_over).await
    }));
    let ended = async {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        is_over.store(true, Ordering::Relaxed);
    };
    let (written, done, ()) = tokio::join!(writers, administrators, ended);
    println!("{} transactions", written.iter().map(|one| one.transactions).sum::<usize>());
    for one in &written {
        println!("  failed {:?}, warned {:?}", one.failed, one.warnings);
    }
    for (done, failed) in done {
        println!("did {done:#?}\nfailed {failed:#?}");
        assert!(!done.is_empty(), "an administrator gets something done");
    }
}

/// Asserts that each change is an event or counted as missed, and each event a change.
async fn assert_balanced(db: &Database<'_>) {
    let mut wrong = Vec::new();
    for row in db.rows(BALANCE).await {
        let event: String = row.get("event");
        let [lost, invented, missed, missed_all] =
            ["lost", "invented", "missed", "missed_all"].map(|name| row.get::<_, i64>(name));
        let line = format!("{event}: lost {lost}, invented {invented}, missed {missed}, or any event {missed_all}");
        println!("{line}");
        if invented > 0 || lost < missed || lost > missed + missed_all {
            wrong.push(format!("{line}, ids {:?}", row.get::<_, Option<Vec<i64>>>(5)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(db.one::<bool>("SELECT count(*) > 100 FROM book WHERE attached").await, "writers write");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_of_an_attached_table_is_one_event_whatever_is_done_to_tables_and_log() {
    let stage = Stage::start().await;
    stage.db.run(&format!("{BOOK}; {KEPT}; {OURS}")).await;
    let_loose(&stage.db, &[TABLES, TABLES, PARTITIONS, LOG, LOG, ENDPOINTS]).await;

    assert_balanced(&stage.db).await;
    let logged: HashSet<String> = stage.db.all("SELECT webhook_id FROM webhooks.event").await.into_iter().collect();
    println!("{} events", logged.len());
    eventually(Duration::from_secs(120), "each event has arrived", async || {
        let arrived: HashSet<String> = stage.receiver.at("/all").iter().map(Received::webhook_id).collect();
        logged.is_subset(&arrived).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extension_that_is_dropped_and_created_anew_logs_what_comes_after_it() {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", "s").await;
    db.run(&format!("{BOOK}; {KEPT}; {OURS}")).await;
    let_loose(&db, &[EXTENSION]).await;
    assert_balanced(&db).await;
}
