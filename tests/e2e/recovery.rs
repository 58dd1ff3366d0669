//! A server that recovers from a crash has forgotten what was not in its log, transaction ids included, and gives these
//! out again. So a sidecar drops what it kept in memory and reads on from the stored cursor. A restart without a crash
//! forgets nothing, and neither does the sidecar.

use std::collections::HashSet;
use std::time::Duration;

use tests::{Answer, Cluster, Database, Received, Receiver, SECRET, Session, Sidecar, eventually};

const EVENTS: usize = 100;
/// Far more transaction ids than the events need: all of these are given out again.
const ROLLED_BACK: usize = 500;
const DEADLINE: Duration = Duration::from_secs(20);
/// What PostgreSQL calls "object not in prerequisite state".
const STALE: &str = "55000";
/// What is in the operating system's hands: `kill -9` does not undo it.
const WRITTEN: &str = "SELECT pg_current_wal_lsn()::text";
/// Looks often, also while it sleeps, and writes nothing meanwhile.
const ENVIRONMENT: [(&str, &str); 2] = [("PG_WEBHOOKS_BACKSTOP", "100ms"), ("PG_WEBHOOKS_LEASE", "60s")];

/// How the server comes to recover.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// `kill -9` of all its processes.
    Server,
    /// `kill -9` of one session's process.
    Session,
}

/// A cluster in which nobody writes the log but who commits.
async fn cluster_that_forgets() -> Cluster {
    let cluster = Cluster::own_with("autovacuum = off").await;
    let db = cluster.database().await;
    let walwriter: i32 = db.one("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'").await;
    let sleeps = "SELECT wait_event = 'WalWriterMain' FROM pg_stat_activity WHERE backend_type = 'walwriter'";
    // Stopped at work, it would hold a lock that others need.
    eventually(DEADLINE, "the WAL writer is stopped in its sleep", async || {
        cluster.freeze_process(walwriter);
        let sleeps = db.one::<Option<bool>>(sleeps).await.unwrap_or_default();
        if !sleeps {
            cluster.thaw_process(walwriter);
        }
        sleeps.then_some(())
    })
    .await;
    cluster
}

/// Uses up transaction ids whose end nobody writes, until the sidecar has read beyond them. Returns the last of them.
async fn roll_back(db: &Database<'_>) -> i64 {
    loop {
        let written: String = db.one(WRITTEN).await;
        db.run(&"BEGIN; SELECT pg_current_xact_id(); ROLLBACK;".repeat(ROLLED_BACK)).await;
        let last: i64 = db.one("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1").await;
        let at: String = db.one("SELECT clock_timestamp()::text").await;
        let has_looked = format!(
            "SELECT EXISTS (SELECT FROM pg_stat_activity
              WHERE usename = 'sidecar' AND query LIKE '%webhooks.fetch(%' AND query_start > '{at}' AND state = 'idle')"
        );
        eventually(DEADLINE, "the sidecar has looked", async || db.one::<bool>(&has_looked).await.then_some(())).await;
        // Once in a while somebody commits at this very moment.
        if db.one::<String>(WRITTEN).await == written {
            return last;
        }
    }
}

/// Has the server crash and recover.
async fn recover(cluster: &Cluster, db: &mut Database<'_>, fault: Fault, victim: Session) {
    const STARTED: &str = "SELECT backend_start::text FROM pg_stat_activity WHERE backend_type = 'walwriter'";
    const POSTMASTER: &str = "SELECT pg_postmaster_start_time()::text";
    if fault == Fault::Server {
        cluster.kill9();
        cluster.start().await;
        return db.reopen().await;
    }
    let (before, postmaster): (String, String) = (db.one(STARTED).await, db.one(POSTMASTER).await);
    cluster.kill9_session(victim.one("SELECT pg_backend_pid()").await);
    let url = db.url("postgres");
    eventually(DEADLINE, "the server has recovered", async || {
        // One that is let in before the postmaster notices is thrown out again.
        let session = Session::try_open(&url).await.ok()?;
        let started: Vec<String> = session.try_all(STARTED).await.ok()?;
        started.first().is_some_and(|started| *started != before).then_some(())
    })
    .await;
    db.reopen().await;
    assert_eq!(db.one::<String>(POSTMASTER).await, postmaster, "it is the same postmaster");
}

async fn nothing_is_lost_where_transaction_ids_are_given_out_again(fault: Fault) {
    let cluster = cluster_that_forgets().await;
    let mut db = cluster.database().await;
    let receiver = Receiver::start().await;
    db.register(&receiver.url("/"), "*", SECRET).await;
    let sidecar = Sidecar::start_with(&db, &ENVIRONMENT);
    db.run("INSERT INTO suppliers (name) VALUES ('before')").await;
    receiver.wait_at("/", 1).await;

    let victim = db.session().await;
    let last = roll_back(&db).await;
    // The application is back before the sidecar.
    sidecar.freeze();
    recover(&cluster, &mut db, fault, victim).await;
    for event in 0..EVENTS {
        db.run(&format!("INSERT INTO suppliers (name) VALUES ('{event}')")).await;
    }
    let newest: i64 = db.one("SELECT max(xid)::text::bigint FROM webhooks.event").await;
    assert!(newest < last, "ids up to {last} were forgotten, and {newest} is the newest now");
    sidecar.thaw();
    let logged: HashSet<String> = db.all("SELECT webhook_id FROM webhooks.event").await.into_iter().collect();
    let missing = |all: &[Received]| {
        let arrived: HashSet<String> = all.iter().map(Received::webhook_id).collect();
        logged.difference(&arrived).count()
    };
    receiver.wait_for(&format!("each of {} events", logged.len()), |all| missing(all) == 0).await;
}

#[tokio::test]
async fn nothing_is_lost_where_a_killed_server_gives_transaction_ids_out_again() {
    nothing_is_lost_where_transaction_ids_are_given_out_again(Fault::Server).await;
}

#[tokio::test]
async fn nothing_is_lost_where_a_killed_session_has_the_server_give_transaction_ids_out_again() {
    nothing_is_lost_where_transaction_ids_are_given_out_again(Fault::Session).await;
}

#[tokio::test]
async fn over_a_restart_without_a_crash_a_sidecar_keeps_what_is_in_flight() {
    let cluster = Cluster::own().await;
    let mut db = cluster.database().await;
    let receiver = Receiver::start().await;
    receiver.answer("/", Answer::status(200).after(Duration::from_secs(2)));
    db.register(&receiver.url("/"), "*", SECRET).await;
    let _sidecar = Sidecar::start(&db);
    let leases = "SELECT shard || ' ' || epoch || ' ' || owner FROM webhooks.leases() WHERE is_held";
    db.run("INSERT INTO suppliers (name) SELECT 's' FROM generate_series(1, 20)").await;
    receiver.wait_at("/", 20).await;
    let before: Vec<String> = db.all(leases).await;
    cluster.stop();
    cluster.start().await;
    db.reopen().await;
    let reported = "SELECT count(*) FROM webhooks.attempt WHERE outcome = 'delivered'";
    eventually(DEADLINE, "all is reported", async || (db.one::<i64>(reported).await == 20).then_some(())).await;
    assert_eq!(db.all::<String>(leases).await, before);
    db.run("INSERT INTO suppliers (name) VALUES ('after')").await;
    assert_eq!(receiver.wait_at("/", 21).await.len(), 21, "none came twice");
}

/// Epoch, lease and position of an acquire.
async fn acquire(session: &Session, owner: &str, known: Option<i64>) -> (i64, i64) {
    let known = known.map_or("NULL".to_owned(), |id| id.to_string());
    let row = session.row(&format!("SELECT epoch, lease_id FROM webhooks.acquire('{owner}', 60000, {known})")).await;
    (row.get("epoch"), row.get("lease_id"))
}

/// Asserts that nothing can be done under a lease.
async fn assert_over(session: &Session, lease_id: i64) {
    let snapshot: String = session.one("SELECT pg_current_snapshot()::text").await;
    for call in [
        format!(
            "fetch(0, {lease_id}, '{snapshot}', '{{}}', '{{}}', NULL, '{{}}', '{{}}', '{{}}', '{snapshot}', 10, 1000)"
        ),
        format!("fetch_due(0, {lease_id}, '{{}}', '{{}}', 10, '{{}}', '{{}}', '{{}}', 1000000)"),
        format!("report(0, {lease_id}, 1, '{{}}', '{{}}')"),
        format!("renew(0, {lease_id}, 60000)"),
    ] {
        assert_eq!(session.fail(&format!("SELECT * FROM webhooks.{call}")).await.code, STALE, "{call}");
    }
}

#[tokio::test]
async fn after_a_crash_the_owner_comes_back_at_once_under_a_new_lease_and_the_old_one_is_over() {
    let cluster = Cluster::own().await;
    let mut db = cluster.database().await;
    let (epoch, lease_id) = acquire(&db.session_as("sidecar").await, "me/1", None).await;
    cluster.crash();
    cluster.start().await;
    db.reopen().await;
    let session = db.session_as("sidecar").await;
    let unheld = "SELECT count(*) FROM webhooks.acquire('other/1', 60000)";
    assert_eq!(session.one::<i64>(unheld).await, 0, "the others wait");
    assert_over(&session, lease_id).await;
    let (next_epoch, next_id) = acquire(&session, "me/1", Some(lease_id)).await;
    assert!(next_epoch > epoch && next_id != lease_id, "{next_epoch} {next_id} after {epoch} {lease_id}");
    assert_over(&session, lease_id).await;
    assert_eq!(acquire(&session, "me/1", Some(next_id)).await, (next_epoch, next_id), "no crash came between");
}

#[tokio::test]
async fn a_lease_that_a_crash_undid_is_over_though_its_epoch_is_given_out_again() {
    let cluster = cluster_that_forgets().await;
    let mut db = cluster.database().await;
    let session = db.session_as("sidecar").await;
    let (epoch, lease_id) = loop {
        db.run("CHECKPOINT").await;
        session.run("SET synchronous_commit = off").await;
        let written: String = db.one(WRITTEN).await;
        let (epoch, lease_id) = acquire(&session, "me/1", None).await;
        if db.one::<String>(WRITTEN).await == written {
            break (epoch, lease_id);
        }
        session.run(&format!("SELECT webhooks.release(0, {lease_id})")).await;
    };
    cluster.kill9();
    cluster.start().await;
    db.reopen().await;
    let session = db.session_as("sidecar").await;
    let (again, other_id) = acquire(&session, "other/1", None).await;
    assert_eq!(again, epoch);
    assert_ne!(other_id, lease_id);
    assert_over(&session, lease_id).await;
}

#[tokio::test]
async fn what_is_sent_outlives_a_crash_also_where_its_writer_does_not_wait_for_the_disk() {
    let cluster = cluster_that_forgets().await;
    let mut db = cluster.database().await;
    let receiver = Receiver::start().await;
    // Nor does the sidecar: its reports would put on disk what was committed before.
    db.run("ALTER ROLE sidecar SET synchronous_commit = off").await;
    db.register(&receiver.url("/"), "*", SECRET).await;
    let _sidecar = Sidecar::start(&db);
    let writer = db.session().await;
    writer.run("SET synchronous_commit = off; INSERT INTO suppliers (name) VALUES ('sent')").await;
    let sent = receiver.wait_at("/", 1).await[0].webhook_id();
    cluster.kill9();
    cluster.start().await;
    db.reopen().await;
    assert_eq!(db.all::<String>("SELECT webhook_id FROM webhooks.event").await, [sent]);
    assert_eq!(db.one::<i64>("SELECT count(*) FROM suppliers").await, 1);
}

#[tokio::test]
async fn a_standby_shows_the_state_of_delivery_and_when_promoted_begins_at_the_stored_cursor() {
    let cluster = Cluster::own().await;
    let mut db = cluster.database().await;
    let receiver = Receiver::start().await;
    db.register(&receiver.url("/"), "*", SECRET).await;
    let (epoch, lease_id) = acquire(&db.session_as("sidecar").await, "me/1", None).await;
    cluster.stop();
    cluster.make_standby();
    cluster.start().await;
    db.reopen().await;
    assert!(db.one::<bool>("SELECT pg_is_in_recovery()").await);
    let lease = db.row("SELECT owner, epoch, is_held FROM webhooks.leases()").await;
    assert_eq!((lease.get("owner"), lease.get("epoch")), (Some("me/1".to_owned()), epoch));
    assert!(!lease.get::<_, bool>("is_held"), "nobody delivers from a standby");
    let status = db.row("SELECT endpoints, shards, shards_held FROM webhooks.status()").await;
    assert_eq!((status.get("endpoints"), status.get("shards"), status.get("shards_held")), (1, 1, 0));

    db.run("SELECT pg_promote()").await;
    let session = db.session_as("sidecar").await;
    assert_over(&session, lease_id).await;
    assert_ne!(acquire(&session, "me/1", Some(lease_id)).await.1, lease_id);
}
