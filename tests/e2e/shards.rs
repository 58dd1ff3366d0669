//! Many shards, many sidecars: they share evenly, whoever comes and goes and however, and `webhooks.set_shards` loses
//! nothing. No more comes twice than was in flight.

use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

use tests::{Answer, Cluster, Database, Received, Receiver, SECRET, Sidecar, eventually};

const ENDPOINTS: usize = 16;
const IN_FLIGHT: usize = 100;
const DEADLINE: Duration = Duration::from_secs(60);
/// The lease of the others runs out within two seconds, surplus shards are given back within one. With a shorter lease a
/// sidecar that waits for its turn on a busy machine would lose its shards, and what it had in flight would come twice.
const ENVIRONMENT: [(&str, &str); 2] = [("PG_WEBHOOKS_LEASE", "2s"), ("PG_WEBHOOKS_PREFETCH", "100")];
/// What PostgreSQL calls "object not in prerequisite state".
const STALE: &str = "55000";

/// A database with shards and endpoints, of which each shard has some.
async fn prepare(cluster: &Cluster, shards: usize) -> (Database<'_>, Receiver) {
    let db = cluster.database().await;
    let receiver = Receiver::start().await;
    for endpoint in 0..ENDPOINTS {
        db.register(&receiver.url(&format!("/{endpoint}")), "*", SECRET).await;
    }
    db.run(&format!("SELECT webhooks.set_shards({shards})")).await;
    (db, receiver)
}

fn sidecar(db: &Database<'_>) -> Sidecar {
    Sidecar::start_with(db, &ENVIRONMENT)
}

/// Commits one event after another.
async fn write(db: &Database<'_>, events: usize) {
    for event in 0..events {
        db.run(&format!("INSERT INTO suppliers (name) VALUES ('{event}')")).await;
    }
}

/// How many shards each sidecar has, in ascending order.
async fn shares(db: &Database<'_>) -> Vec<i64> {
    let shares = "SELECT count(*) FROM webhooks.lease WHERE owner IS NOT NULL GROUP BY regexp_replace(owner, '/.*', '') ORDER BY 1";
    db.all(shares).await
}

async fn until_shares_are(db: &Database<'_>, wanted: &[i64]) {
    eventually(DEADLINE, &format!("the shares are {wanted:?}"), async || (shares(db).await == wanted).then_some(()))
        .await;
}

/// Waits until every event of the log has arrived at every endpoint, and returns how many deliveries came again.
async fn repeated(db: &Database<'_>, receiver: &Receiver) -> usize {
    let logged: HashSet<String> = db.all("SELECT webhook_id FROM webhooks.event").await.into_iter().collect();
    let delivery = |one: &Received| (one.path.clone(), one.webhook_id());
    let mut arrived = HashSet::new();
    let mut seen = 0;
    receiver
        .wait_at_most(DEADLINE, "every event at every endpoint", |all| {
            arrived.extend(all[seen..].iter().map(delivery));
            seen = all.len();
            arrived.len() >= logged.len() * ENDPOINTS
        })
        .await;
    let logged_by_all = arrived.iter().all(|(_, webhook_id)| logged.contains(webhook_id));
    assert!(logged_by_all && arrived.len() == logged.len() * ENDPOINTS, "what arrived is what was committed");
    // What comes again comes soon after a take-over: a result of the last event says that it has.
    let untried = "SELECT count(*) FROM webhooks.event e CROSS JOIN webhooks.endpoint p
          WHERE NOT EXISTS (SELECT FROM webhooks.attempt a WHERE a.webhook_id = e.webhook_id AND a.endpoint = p.key)";
    eventually(DEADLINE, "all is reported", async || (db.one::<i64>(untried).await == 0).then_some(())).await;
    receiver.requests().len() - arrived.len()
}

#[tokio::test]
async fn one_sidecar_delivers_all_shards() {
    let (db, receiver) = prepare(Cluster::shared().await, 8).await;
    let _sidecar = sidecar(&db);
    write(&db, 50).await;
    assert_eq!(repeated(&db, &receiver).await, 0);
    until_shares_are(&db, &[8]).await;
    // The housekeeping may have a session of its own just now.
    eventually(DEADLINE, "there are three for each shard, and nobody looks for another", async || {
        (db.sessions_of("sidecar").await == 24).then_some(())
    })
    .await;
}

#[tokio::test]
async fn sidecars_that_come_and_go_share_evenly_and_lose_and_repeat_nothing() {
    let (db, receiver) = prepare(Cluster::shared().await, 8).await;
    let first = sidecar(&db);
    write(&db, 20).await;
    until_shares_are(&db, &[8]).await;
    let is_over = Cell::new(false);
    let coming_and_going = async {
        let second = sidecar(&db);
        until_shares_are(&db, &[4, 4]).await;
        let third = sidecar(&db);
        until_shares_are(&db, &[2, 3, 3]).await;
        assert!(first.terminate().await.success());
        until_shares_are(&db, &[4, 4]).await;
        is_over.set(true);
        (second, third)
    };
    let writer = db.session().await;
    let writing = async {
        while !is_over.get() {
            // The pace is one that a debug build on a busy machine can follow.
            writer.run("INSERT INTO suppliers (name) VALUES ('meanwhile'); SELECT pg_sleep(0.01)").await;
        }
    };
    let (_running, ()) = tokio::join!(coming_and_going, writing);
    assert_eq!(repeated(&db, &receiver).await, 0);
}

#[tokio::test]
async fn a_spare_sidecar_takes_a_shard_of_one_that_has_two() {
    let (db, _receiver) = prepare(Cluster::shared().await, 5).await;
    let mut running = Vec::new();
    for wanted in [&[5][..], &[2, 3], &[1, 2, 2], &[1, 1, 1, 2], &[1, 1, 1, 1, 1]] {
        running.push(sidecar(&db));
        until_shares_are(&db, wanted).await;
    }
}

#[tokio::test]
async fn a_killed_sidecar_is_replaced_by_the_others_and_nothing_is_lost() {
    let (db, receiver) = prepare(Cluster::shared().await, 8).await;
    (0..ENDPOINTS)
        .for_each(|path| receiver.answer(&format!("/{path}"), Answer::status(200).after(Duration::from_millis(20))));
    let (_first, second) = (sidecar(&db), sidecar(&db));
    until_shares_are(&db, &[4, 4]).await;
    db.run("INSERT INTO suppliers (name) SELECT 's' FROM generate_series(1, 500)").await;
    receiver.wait_count(DEADLINE, 500 * ENDPOINTS / 4).await;
    second.kill9();
    assert!(receiver.requests().len() < 500 * ENDPOINTS, "killed in the middle");
    until_shares_are(&db, &[8]).await;
    let again = repeated(&db, &receiver).await;
    assert!(again <= IN_FLIGHT, "{again} came twice");
}

#[tokio::test]
async fn a_stuck_sidecar_loses_its_shards_to_the_others_and_gets_its_share_again() {
    let (db, receiver) = prepare(Cluster::shared().await, 8).await;
    let (_first, second) = (sidecar(&db), sidecar(&db));
    until_shares_are(&db, &[4, 4]).await;
    second.freeze();
    until_shares_are(&db, &[8]).await;
    write(&db, 20).await;
    assert_eq!(repeated(&db, &receiver).await, 0);
    second.thaw();
    until_shares_are(&db, &[4, 4]).await;
}

#[tokio::test]
async fn a_sidecar_that_stops_and_waits_for_an_answer_leaves_its_other_shards_at_once() {
    let (db, receiver) = prepare(Cluster::shared().await, 8).await;
    let stopping = Sidecar::start_with(&db, &[ENVIRONMENT[0], ("PG_WEBHOOKS_GRACE", "15s")]);
    until_shares_are(&db, &[8]).await;
    let _other = sidecar(&db);
    until_shares_are(&db, &[4, 4]).await;
    // The surplus that was given back were the highest: shard 0 is still the first one's.
    let path = db.one::<i32>("SELECT min(key) - 1 FROM webhooks.endpoint WHERE key % 8 = 0").await;
    receiver.answer(&format!("/{path}"), Answer::status(200).after(Duration::from_secs(5)));
    write(&db, 1).await;
    receiver.wait_at(&format!("/{path}"), 1).await;
    let (status, ()) = tokio::join!(stopping.terminate(), until_shares_are(&db, &[1, 7]));
    assert!(status.success());
    until_shares_are(&db, &[8]).await;
    assert_eq!(repeated(&db, &receiver).await, 0);
}

#[tokio::test]
async fn after_a_crash_of_postgres_each_sidecar_has_the_shards_that_it_had() {
    each_sidecar_gets_the_shards_that_it_had_after(Cluster::crash).await;
}

#[tokio::test]
async fn after_a_restart_of_postgres_each_sidecar_has_the_shards_that_it_had() {
    each_sidecar_gets_the_shards_that_it_had_after(Cluster::stop).await;
}

async fn each_sidecar_gets_the_shards_that_it_had_after(stop: impl FnOnce(&Cluster)) {
    let cluster = Cluster::own().await;
    let (mut db, receiver) = prepare(&cluster, 8).await;
    let _first = Sidecar::start(&db);
    until_shares_are(&db, &[8]).await;
    let _second = Sidecar::start(&db);
    until_shares_are(&db, &[4, 4]).await;
    let owners = "SELECT shard || ' ' || owner FROM webhooks.lease ORDER BY shard";
    let before: Vec<String> = db.all(owners).await;
    stop(&cluster);
    cluster.start().await;
    db.reopen().await;
    write(&db, 20).await;
    assert_eq!(repeated(&db, &receiver).await, 0);
    assert_eq!(db.all::<String>(owners).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn set_shards_under_load_loses_nothing() {
    const EVENTS: usize = 1_500;
    let (db, receiver) = prepare(Cluster::shared().await, 1).await;
    let _sidecars = (sidecar(&db), sidecar(&db));
    let writer = async {
        let session = db.session().await;
        for event in 0..EVENTS {
            session.run(&format!("INSERT INTO suppliers (name) VALUES ('{event}')")).await;
        }
    };
    let changes = [(8, &[4, 4][..]), (3, &[1, 2]), (8, &[4, 4])];
    let admin = async {
        for (number, (shards, wanted)) in changes.into_iter().enumerate() {
            receiver.wait_count(DEADLINE, (number + 1) * EVENTS * ENDPOINTS / 8).await;
            db.run(&format!("SELECT webhooks.set_shards({shards})")).await;
            until_shares_are(&db, wanted).await;
        }
    };
    tokio::join!(writer, admin);
    let again = repeated(&db, &receiver).await;
    assert!(again <= 2 * IN_FLIGHT * changes.len(), "{again} came twice");
}

#[tokio::test]
async fn an_owner_from_before_set_shards_is_refused_even_when_its_shard_comes_back() {
    let (db, _receiver) = prepare(Cluster::shared().await, 2).await;
    let old = db.session_as("sidecar").await;
    let acquire = |worker: i32| format!("SELECT shard, epoch, lease_id FROM webhooks.acquire('me/{worker}', 60000)");
    for _ in 0..5 {
        let row = old.row(&acquire(1)).await;
        let (shard, lease_id): (i32, i64) = (row.get("shard"), row.get("lease_id"));
        old.run(&format!("SELECT webhooks.release({shard}, {lease_id})")).await;
    }
    let before = [old.row(&acquire(1)).await, old.row(&acquire(2)).await];
    assert_eq!(before.each_ref().map(|row| row.get::<_, i32>("shard")), [0, 1]);
    let epochs = before.each_ref().map(|row| row.get::<_, i64>("epoch"));
    db.run("SELECT webhooks.set_shards(1); SELECT webhooks.set_shards(2)").await;
    let snapshot: String = db.one("SELECT pg_current_snapshot()::text").await;
    let new = [old.row(&acquire(1)).await, old.row(&acquire(2)).await].map(|row| row.get::<_, i64>("epoch"));
    for (shard, row) in before.iter().enumerate() {
        assert!(new[shard] > epochs[0].max(epochs[1]), "{new:?} after {epochs:?}");
        let lease_id: i64 = row.get("lease_id");
        for call in [
            format!(
                "fetch({shard}, {lease_id}, '{snapshot}', '{{}}', '{{}}', NULL, '{{}}', '{{}}', '{{}}', '{snapshot}', 1, 1)"
            ),
            format!("report({shard}, {lease_id}, 1, '{{}}', '{{}}')"),
            format!("renew({shard}, {lease_id}, 60000)"),
            format!("fetch_due({shard}, {lease_id}, '{{}}', '{{}}', 10, '{{}}', '{{}}', '{{}}', 1000000)"),
        ] {
            assert_eq!(old.fail(&format!("SELECT * FROM webhooks.{call}")).await.code, STALE, "{call}");
        }
    }
}

#[tokio::test]
async fn set_shards_refuses_what_makes_no_sense_and_leaves_the_owners_alone_where_nothing_changes() {
    let (db, _receiver) = prepare(Cluster::shared().await, 4).await;
    let _sidecar = sidecar(&db);
    until_shares_are(&db, &[4]).await;
    let owners = "SELECT shard || ' ' || epoch || ' ' || owner FROM webhooks.lease ORDER BY shard";
    let before: Vec<String> = db.all(owners).await;
    let manager = db.session_as("manager").await;
    for (shards, code, named) in
        [("0", "22023", "0"), ("65", "22023", "65"), ("-1", "22023", "-1"), ("NULL", "22004", "")]
    {
        let error = manager.fail(&format!("SELECT webhooks.set_shards({shards})")).await;
        assert_eq!(error.code, code, "{error:?}");
        assert!(error.message.contains(named) && !error.hint.is_empty(), "{error:?}");
    }
    let error = manager.fail("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT webhooks.set_shards(2)").await;
    assert!(error.code == "25000" && error.message.contains("repeatable read") && !error.hint.is_empty(), "{error:?}");
    manager.run("ROLLBACK; SELECT webhooks.set_shards(4)").await;
    for role in ["app", "sidecar"] {
        assert_eq!(db.session_as(role).await.fail("SELECT webhooks.set_shards(2)").await.code, "42501", "{role}");
    }
    assert_eq!(db.all::<String>(owners).await, before);
    manager.run("SELECT webhooks.set_shards(2)").await;
    until_shares_are(&db, &[2]).await;
}
