//! Wake-up: writers notify only a sidecar that sleeps, a sidecar that falls asleep misses nothing, and correctness
//! does not depend on NOTIFY.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tests::{Cluster, Random, SECRET, Sidecar, Stage, eventually};
use tokio::sync::Barrier;

/// No slow poll stands under the wake-up: what a notification does not bring does not come.
const NO_BACKSTOP: [(&str, &str); 1] = [("PG_WEBHOOKS_BACKSTOP", "1h")];

/// The most that an event may be late on a busy machine.
const PROMPT: Duration = Duration::from_secs(5);

/// A session that hears the notifications of the stage's database.
async fn listen(stage: &Stage) -> tests::Session {
    let listener = stage.db.session().await;
    listener.run("LISTEN pg_webhooks").await;
    listener
}

#[tokio::test]
async fn nobody_is_notified_while_the_sidecar_is_awake() {
    let stage = Stage::start_with(&NO_BACKSTOP).await;
    let listener = listen(&stage).await;
    stage.db.run("INSERT INTO suppliers (name) VALUES ('s')").await;
    let commits = 3_000;
    for commit in 0..commits {
        stage.db.run(&format!("UPDATE suppliers SET name = '{commit}'")).await;
    }
    listener.run("SELECT").await;
    let heard = listener.notifications();
    assert!(heard * 20 <= commits, "{heard} notifications for {commits} commits");
    stage.receiver.wait_at("/all", commits + 1).await;
}

#[tokio::test]
async fn nobody_is_notified_where_there_is_no_sidecar() {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    let listener = db.session().await;
    listener.run("LISTEN pg_webhooks").await;
    for commit in 0..100 {
        db.run(&format!("INSERT INTO suppliers (name) VALUES ('{commit}')")).await;
    }
    listener.run("SELECT").await;
    assert_eq!(listener.notifications(), 0);
}

#[tokio::test]
async fn a_sleeping_sidecar_is_woken_by_the_first_commit() {
    let stage = Stage::start_with(&NO_BACKSTOP).await;
    stage.db.run("INSERT INTO suppliers (name) VALUES ('s')").await;
    for commit in 1..20 {
        stage.receiver.wait_at("/all", commit).await;
        asleep(&stage).await;
        stage.db.run(&format!("UPDATE suppliers SET name = '{commit}'")).await;
        let committed = Instant::now();
        let late = stage.receiver.wait_at("/all", commit + 1).await[commit].at.saturating_duration_since(committed);
        assert!(late < PROMPT, "{late:?} late");
    }
}

#[tokio::test]
async fn a_sidecar_that_freezes_asleep_leaves_its_lock_with_its_shard() {
    let stage = Stage::start_with(&[("PG_WEBHOOKS_LEASE", "1s")]).await;
    asleep(&stage).await;
    let frozen: i32 = stage.db.one("SELECT session FROM webhooks.holder").await;
    stage.sidecar.freeze();
    let _other = Sidecar::start(&stage.db);
    let left = format!("SELECT count(*) FROM pg_locks WHERE relation = 'webhooks.wakeup'::regclass AND pid = {frozen}");
    eventually(Duration::from_secs(20), "the frozen one holds no lock any more", async || {
        (stage.db.one::<i64>(&left).await == 0).then_some(())
    })
    .await;
    stage.db.run("INSERT INTO suppliers (name) VALUES ('s')").await;
    stage.receiver.wait_at("/all", 1).await;
}

/// Counts the locks that make writers notify.
const SLEEPERS: &str =
    "SELECT count(*) FROM pg_locks WHERE relation = 'webhooks.wakeup'::regclass AND mode = 'ShareLock' AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Waits until the sidecar holds the lock that makes writers notify.
async fn asleep(stage: &Stage) {
    eventually(Duration::from_secs(10), "the sidecar sleeps", async || {
        (stage.db.one::<i64>(SLEEPERS).await > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_sleeper_that_is_killed_leaves_no_lock_behind() {
    let stage = Stage::start_with(&NO_BACKSTOP).await;
    asleep(&stage).await;
    let Stage { db, sidecar, .. } = stage;
    sidecar.kill9();
    // A table lock that a session left behind would be nobody's, and DROP EXTENSION would wait for it for ever.
    eventually(Duration::from_secs(10), "the lock is gone", async || {
        (db.one::<i64>(SLEEPERS).await == 0).then_some(())
    })
    .await;
    db.run("DROP EXTENSION pg_webhooks").await;
}

#[tokio::test]
async fn a_sleeper_lets_a_drop_of_the_extension_through() {
    // It looks for work between two checks for a deadlock, while it holds the lock that the DROP must wait for.
    let stage = Stage::start_with(&[("PG_WEBHOOKS_BACKSTOP", "700ms")]).await;
    asleep(&stage).await;
    stage.db.run("SET statement_timeout = '30s'").await;
    stage.db.run("DROP EXTENSION pg_webhooks").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_missed_when_the_sidecar_falls_asleep_in_a_storm_of_short_transactions() {
    const SESSIONS: usize = 4;
    const ROUNDS: usize = 10_000;
    const BURST: usize = 12;
    let stage = Stage::start_with(&NO_BACKSTOP).await;
    let listener = listen(&stage).await;
    let commits = Arc::new(Mutex::new(HashMap::new()));
    let barrier = Arc::new(Barrier::new(SESSIONS));
    let mut writers = Vec::new();
    for number in 0..SESSIONS {
        let session = stage.db.session().await;
        let (commits, barrier) = (commits.clone(), barrier.clone());
        writers.push(tokio::spawn(async move {
            let mut random = Random::seeded(number as u64);
            // All pause together for about as long as the sidecar stays awake, so that it is falling asleep just then.
            let mut pauses = Random::seeded(99);
            for round in 0..ROUNDS / SESSIONS {
                if round % BURST == 0 {
                    barrier.wait().await;
                    tokio::time::sleep(Duration::from_micros(40_000 + pauses.below(25_000) + random.below(8_000)))
                        .await;
                }
                let sku = format!("{number}-{round}");
                let insert = "INSERT INTO products (sku, name, price) VALUES ($1, 'p', 1)";
                session.run_with(insert, &[&sku]).await;
                commits.lock().expect("nobody panics under it").insert(sku, Instant::now());
                if random.below(4) == 0 {
                    tokio::time::sleep(Duration::from_micros(random.below(3_000))).await;
                }
            }
        }));
    }
    for writer in writers {
        writer.await.expect("it writes");
    }
    stage
        .receiver
        .wait_at_most(Duration::from_secs(30), "all rounds", |all| all.len() >= SESSIONS * (ROUNDS / SESSIONS))
        .await;
    let commits = commits.lock().expect("nobody panics under it").clone();
    for one in stage.receiver.requests() {
        let data = one.data();
        let sku = data["sku"].as_str().expect("a sku");
        let late = one.at.saturating_duration_since(commits[sku]);
        assert!(late < PROMPT, "{sku} came {late:?} late");
    }
    stage.assert_each_once().await;
    listener.run("SELECT").await;
    assert!(listener.notifications() >= 20, "it slept {} times at most: no storm met it", listener.notifications());
}

#[tokio::test]
async fn a_prepared_transaction_is_sent_after_its_commit_and_not_before() {
    let stage = Stage::start().await;
    let name = stage.db.one::<String>("SELECT current_database()::text").await;
    stage.db.run("BEGIN; INSERT INTO suppliers (name) VALUES ('prepared')").await;
    stage.db.run(&format!("PREPARE TRANSACTION '{name}'")).await;
    stage.db.run("INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1)").await;
    assert_eq!(stage.arrived_events().await, ["product.created"]);
    stage.db.run(&format!("COMMIT PREPARED '{name}'")).await;
    stage.receiver.wait_for("the prepared one", |all| all.iter().any(|one| one.event() == "supplier.created")).await;
    stage.assert_each_once().await;
}

#[tokio::test]
async fn a_prepared_transaction_is_sent_to_a_sidecar_that_slept() {
    let stage = Stage::start().await;
    let name = stage.db.one::<String>("SELECT current_database()::text").await;
    asleep(&stage).await;
    stage.db.run("BEGIN; INSERT INTO suppliers (name) VALUES ('prepared')").await;
    stage.db.run(&format!("PREPARE TRANSACTION '{name}'")).await;
    stage.db.run(&format!("COMMIT PREPARED '{name}'")).await;
    assert_eq!(stage.receiver.wait_at("/all", 1).await[0].event(), "supplier.created");
}

#[tokio::test]
async fn a_prepared_transaction_that_is_rolled_back_sends_nothing() {
    let stage = Stage::start().await;
    let name = stage.db.one::<String>("SELECT current_database()::text").await;
    stage.db.run("BEGIN; INSERT INTO suppliers (name) VALUES ('prepared')").await;
    stage.db.run(&format!("PREPARE TRANSACTION '{name}'")).await;
    stage.db.run(&format!("ROLLBACK PREPARED '{name}'")).await;
    assert!(stage.arrived().await.is_empty());
}

#[tokio::test]
async fn a_drop_of_the_extension_that_waits_for_a_call_holds_nothing_that_the_call_wants() {
    let db = Cluster::shared().await.database().await;
    for begins in ["webhooks.lease", "webhooks.holder"] {
        let call = db.session().await;
        call.run(&format!("BEGIN; SELECT FROM {begins}")).await;
        let dropper = db.session().await;
        let held = "SELECT coalesce(array_agg(DISTINCT k.relation::regclass::text), '{}')
                      FROM pg_locks k JOIN pg_class c ON c.oid = k.relation AND c.relnamespace = 'webhooks'::regnamespace
                     WHERE k.granted AND k.mode = 'AccessExclusiveLock' AND c.relkind <> 'i'
                       AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'BEGIN; DROP%'
                        AND wait_event_type = 'Lock'";
        let finds = async {
            eventually(Duration::from_secs(10), "it waits", async || (!db.rows(waits).await.is_empty()).then_some(()))
                .await;
            let mut held: Vec<String> = db.one(held).await;
            held.retain(|table| !["webhooks.wakeup", "webhooks.lease"].contains(&table.as_str()));
            assert_eq!(held, [""; 0], "before {begins}");
            call.run("COMMIT").await;
        };
        tokio::join!(dropper.run("BEGIN; DROP EXTENSION pg_webhooks; ROLLBACK"), finds);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_of_the_extension_beside_an_idle_sidecar_never_ends_in_a_deadlock() {
    let mut drops = Vec::new();
    for _ in 0..8 {
        // Renews its lease often, and looks often.
        let stage = Stage::start_with(&[("PG_WEBHOOKS_LEASE", "1s"), ("PG_WEBHOOKS_BACKSTOP", "150ms")]).await;
        asleep(&stage).await;
        drops.push(tokio::spawn(async move {
            stage.db.run("SET statement_timeout = '60s'").await;
            stage.db.run("DROP EXTENSION pg_webhooks").await;
        }));
    }
    for drop in drops {
        drop.await.expect("the extension is dropped");
    }
}

#[tokio::test]
async fn no_call_that_waits_for_a_drop_of_the_extension_holds_what_the_drop_wants() {
    let db = Cluster::shared().await.database().await;
    for function in ["acquire", "maintain"] {
        db.run(&format!("ALTER FUNCTION webhooks.{function} SET lock_timeout = '1min'")).await;
    }
    let call = db.session_as("sidecar").await;
    let pid: i32 = call.one("SELECT pg_backend_pid()").await;
    let waits = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event_type = 'Lock'");
    let held = format!(
        "SELECT coalesce(array_agg(DISTINCT c.relname::text), '{{}}') FROM pg_locks k JOIN pg_class c ON c.oid = k.relation
          WHERE k.pid = {pid} AND k.granted AND c.relnamespace = 'webhooks'::regnamespace"
    );
    for called in
        ["acquire('me/1', 60000)", "renew(0, 1, 60000)", "release(0, 1)", "maintain('rows')", "maintain('event')"]
    {
        // What DROP EXTENSION locks after the sleeper's lock.
        let dropper = db.session().await;
        dropper.run("BEGIN; LOCK TABLE webhooks.lease").await;
        let finds = async {
            let lock = eventually(Duration::from_secs(10), called, async || {
                let is_waiting = db.one::<i64>(&waits).await == 1;
                if is_waiting { Some(db.one::<Vec<String>>(&held).await) } else { None }
            })
            .await;
            dropper.run("ROLLBACK").await;
            lock
        };
        let statement = format!("SELECT webhooks.{called}");
        let (_, held) = tokio::join!(call.try_all::<String>(&statement), finds);
        assert_eq!(held, [""; 0], "held by {called} while it waits");
    }
}
