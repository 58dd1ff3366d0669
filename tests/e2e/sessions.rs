//! The sidecar's sessions: neither what a role is set to, nor what other roles do, nor a connection that has fallen
//! silent stops delivery.

use std::time::Duration;

use serde_json::json;
use tests::{Api, Cluster, Database, Proxy, Receiver, SECRET, Sidecar, eventually};

const DEADLINE: Duration = Duration::from_secs(20);
const SUPPLIER: &str = "INSERT INTO suppliers (name) VALUES ('s')";

async fn prepare(cluster: &Cluster) -> (Database<'_>, Receiver) {
    let db = cluster.database().await;
    let receiver = Receiver::start().await;
    db.register(&receiver.url("/all"), "*", SECRET).await;
    (db, receiver)
}

/// Through a proxy, with a lease of a second.
fn sidecar_behind(proxy: &Proxy, db: &Database<'_>) -> Sidecar {
    Sidecar::start_with(db, &[("DATABASE_URL", &proxy.url(db, "sidecar")), ("PG_WEBHOOKS_LEASE", "1s")])
}

/// Has the sessions of a role begin with settings under which hardly anything works.
async fn set_traps(db: &Database<'_>, role: &str) {
    for (setting, value) in [
        ("statement_timeout", "3ms"),
        ("lock_timeout", "1ms"),
        ("transaction_timeout", "5ms"),
        ("idle_session_timeout", "200ms"),
        ("idle_in_transaction_session_timeout", "1ms"),
        ("default_transaction_read_only", "on"),
        ("default_transaction_isolation", "serializable"),
        ("default_transaction_deferrable", "on"),
    ] {
        if db.one::<bool>(&format!("SELECT current_setting('{setting}', true) IS NOT NULL")).await {
            db.run(&format!("ALTER ROLE {role} IN DATABASE {} SET {setting} = '{value}'", db.name())).await;
        }
    }
}

#[tokio::test]
async fn events_are_delivered_whatever_the_sidecars_role_is_set_to() {
    let (db, receiver) = prepare(Cluster::shared().await).await;
    set_traps(&db, "sidecar").await;
    let sidecar = Sidecar::start(&db);
    let sessions = "SELECT pid FROM pg_stat_activity
                     WHERE usename = 'sidecar' AND datname = current_database() AND application_name = 'pg-webhooks'
                     ORDER BY pid";
    db.run(SUPPLIER).await;
    receiver.wait_at("/all", 1).await;
    let before: Vec<i32> = db.all(sessions).await;
    let idles = format!(
        "SELECT max(clock_timestamp() - state_change) > '1 s'
                                  FROM pg_stat_activity WHERE pid = ANY (ARRAY{before:?})"
    );
    eventually(DEADLINE, "a session has been idle for longer than it may", async || {
        db.one::<bool>(&idles).await.then_some(())
    })
    .await;
    db.run(&format!("{SUPPLIER}; SELECT pg_sleep(0.01); {SUPPLIER}")).await;
    receiver.wait_at("/all", 3).await;
    assert_eq!(db.all::<i32>(sessions).await, before, "no session was lost");
    assert!(!sidecar.log().contains("cannot deliver"), "{}", sidecar.log());
}

#[tokio::test]
async fn the_api_works_whatever_its_role_is_set_to() {
    let (db, receiver) = prepare(Cluster::shared().await).await;
    set_traps(&db, "server").await;
    let api = Api::start(&db).await;
    let webhook = json!({"url": receiver.url("/api"), "events": ["*"]});
    api.post("/api/v1/webhooks", webhook).await.data(201);
    db.run(SUPPLIER).await;
    receiver.wait_at("/api", 1).await;
}

#[tokio::test]
async fn a_connection_that_lives_and_is_silent_is_replaced_and_the_log_says_so() {
    let (db, receiver) = prepare(Cluster::shared().await).await;
    let proxy = Proxy::start(&db).await;
    let sidecar = sidecar_behind(&proxy, &db);
    db.run(SUPPLIER).await;
    receiver.wait_at("/all", 1).await;
    proxy.fall_silent();
    db.run(SUPPLIER).await;
    receiver.wait_at_most(DEADLINE, "the event behind the silence", |all| all.len() == 2).await;
    let log = sidecar.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("cannot deliver")).collect();
    let names_it = |line: &str| line.contains("webhooks.") && line.contains("has not answered for 11 s");
    assert!(lines.len() == 1 && names_it(lines[0]), "{log}");
}

#[tokio::test]
async fn a_server_process_that_is_stuck_is_replaced() {
    let cluster = Cluster::own().await;
    let (db, receiver) = prepare(&cluster).await;
    let _sidecar = Sidecar::start_with(&db, &[("PG_WEBHOOKS_LEASE", "1s")]);
    db.run(SUPPLIER).await;
    receiver.wait_at("/all", 1).await;
    let session: i32 = db.one("SELECT session FROM webhooks.holder").await;
    cluster.freeze_process(session);
    db.run(SUPPLIER).await;
    receiver.wait_at_most(DEADLINE, "the event that the frozen one should have read", |all| all.len() == 2).await;
    cluster.thaw_process(session);
}

#[tokio::test]
async fn a_lock_on_our_tables_piles_up_no_sessions_and_what_waits_for_it_is_named() {
    let (db, receiver) = prepare(Cluster::shared().await).await;
    let sidecar = Sidecar::start_with(&db, &[("PG_WEBHOOKS_LEASE", "1s")]);
    db.run(SUPPLIER).await;
    receiver.wait_at("/all", 1).await;
    let other = db.session().await;
    other.run("BEGIN; LOCK TABLE webhooks.attempt IN SHARE MODE").await;
    db.run(SUPPLIER).await;
    sidecar.wait_for_log("webhooks.report: canceling statement due to statement timeout").await;
    assert!(db.sessions_of("sidecar").await <= 4, "the server has ended what the sidecar has given up");
    other.run("COMMIT").await;
    let logged = "SELECT count(*) FROM webhooks.attempt";
    eventually(DEADLINE, "all is logged", async || (db.one::<i64>(logged).await == 2).then_some(())).await;
    assert_eq!(receiver.requests().len(), 2, "each came once");
}

#[tokio::test]
async fn housekeeping_that_has_to_wait_holds_nothing_up_and_is_done_later() {
    let (db, receiver) = prepare(Cluster::shared().await).await;
    for log in ["event", "attempt"] {
        db.run(&format!(
            "DO $$ DECLARE ahead text := 'webhooks.{log}' || to_char(timezone('UTC', now()) + interval '2 days', '_YYYYMMDD');
             BEGIN EXECUTE 'ALTER EXTENSION pg_webhooks DROP TABLE ' || ahead; EXECUTE 'DROP TABLE ' || ahead; END $$"
        ))
        .await;
    }
    let is_made = async |log: &str| {
        let day = "to_char(timezone('UTC', now()) + interval '2 days', '_YYYYMMDD')";
        db.one::<bool>(&format!("SELECT to_regclass('webhooks.{log}' || {day}) IS NOT NULL")).await.then_some(())
    };
    let other = db.session().await;
    other.run("BEGIN; LOCK TABLE webhooks.event IN SHARE UPDATE EXCLUSIVE MODE; LOCK TABLE webhooks.missed").await;
    let lease = [("PG_WEBHOOKS_LEASE", "1s")];
    let sidecars = [Sidecar::start_with(&db, &lease), Sidecar::start_with(&db, &lease)];
    eventually(DEADLINE, "the day of the other log is made", async || is_made("attempt").await).await;
    let is_told = "housekeeping is left for later";
    eventually(DEADLINE, "what is left is told", async || {
        sidecars.iter().any(|one| one.log().matches(is_told).count() >= 2).then_some(())
    })
    .await;
    for number in 1..=100 {
        db.run(SUPPLIER).await;
        receiver.wait_at("/all", number).await;
    }
    let logged = "SELECT count(*) FROM webhooks.attempt";
    eventually(DEADLINE, "each is logged, once", async || (db.one::<i64>(logged).await == 100).then_some(())).await;
    assert_eq!(db.one::<i64>("SELECT epoch FROM webhooks.lease").await, 1, "the shard has stayed where it was");
    assert!(is_made("event").await.is_none());
    other.run("COMMIT").await;
    eventually(DEADLINE, "the day is made after all", async || is_made("event").await).await;
    let told: Vec<usize> = sidecars.iter().map(|one| one.log().matches(is_told).count()).collect();
    assert_eq!(told.iter().sum::<usize>(), 2, "each step said so once: {told:?}");
}

#[tokio::test]
async fn housekeeping_by_hand_does_what_it_can_and_names_the_rest() {
    let db = Cluster::shared().await.database().await;
    let other = db.session().await;
    other.run("BEGIN; LOCK TABLE webhooks.missed").await;
    db.run("SELECT webhooks.maintain()").await;
    let told: Vec<String> = db.notices().into_iter().map(|notice| notice.message).collect();
    assert!(told.len() == 1 && told[0].contains("the step rows"), "{told:?}");
    assert_eq!(db.fail("SELECT webhooks.maintain('rows')").await.code, "55P03");
    other.run("COMMIT").await;
    db.run("SELECT webhooks.maintain('rows')").await;
    let error = db.fail("SELECT webhooks.maintain('row')").await;
    assert!(error.code == "22023" && error.message.contains("row") && error.hint.contains("rows, event"), "{error:?}");
}

#[tokio::test]
async fn a_role_without_rights_stops_nothing_with_advisory_locks() {
    let (db, receiver) = prepare(Cluster::shared().await).await;
    db.run("SELECT webhooks.set_shards(4)").await;
    let ours: Vec<i64> = db.all("SELECT oid::bigint FROM pg_class WHERE relnamespace = 'webhooks'::regnamespace").await;
    let stranger = db.session_as("app").await;
    stranger.run(&format!("SELECT pg_advisory_lock(oid) FROM unnest(ARRAY{ours:?}) oid")).await;
    let sidecar = Sidecar::start_with(&db, &[("PG_WEBHOOKS_LEASE", "1s")]);
    let held = "SELECT count(*) FROM webhooks.leases() WHERE is_held";
    let holds_all = async || (db.one::<i64>(held).await == 4).then_some(());
    eventually(DEADLINE, "it holds all shards", holds_all).await;

    // Fifty sidecars that are none, each with a call just now.
    let pretend = format!(
        "SELECT pg_advisory_lock_shared((oid::bit(32))::integer, number)
           FROM unnest(ARRAY{ours:?}) oid, generate_series(1, 50) number"
    );
    let renewed = "SELECT min(expires_at)::text FROM webhooks.holder";
    for _ in 0..3 {
        let before: String = db.one(renewed).await;
        stranger.run(&pretend).await;
        eventually(DEADLINE, "the leases are renewed", async || {
            (db.one::<Option<String>>(renewed).await.as_ref() != Some(&before)).then_some(())
        })
        .await;
    }
    assert_eq!(db.one::<i32>("SELECT sidecars FROM webhooks.status()").await, 1);
    db.run(SUPPLIER).await;
    receiver.wait_at("/all", 1).await;
    assert!(!sidecar.log().contains("giving the shard back"), "{}", sidecar.log());
}

#[tokio::test]
async fn an_acquire_that_finds_a_lock_fails_soon_and_is_made_again() {
    let (db, receiver) = prepare(Cluster::shared().await).await;
    let other = db.session().await;
    other.run("BEGIN; LOCK TABLE webhooks.lease IN SHARE MODE").await;
    let sidecar = Sidecar::start(&db);
    sidecar.wait_for_log("lock timeout").await;
    other.run("COMMIT").await;
    db.run(SUPPLIER).await;
    receiver.wait_at("/all", 1).await;
}

#[tokio::test]
async fn an_owner_that_comes_back_ends_the_session_that_it_lost_asleep() {
    let (db, receiver) = prepare(Cluster::shared().await).await;
    let proxy = Proxy::start(&db).await;
    let _sidecar = sidecar_behind(&proxy, &db);
    db.run(SUPPLIER).await;
    receiver.wait_at("/all", 1).await;
    let lost: i32 = db.one("SELECT session FROM webhooks.holder").await;
    let sleeps = format!(
        "SELECT count(*) FROM pg_locks WHERE pid = {lost} AND relation = 'webhooks.wakeup'::regclass AND mode = 'ShareLock'"
    );
    eventually(DEADLINE, "it sleeps", async || (db.one::<i64>(&sleeps).await == 1).then_some(())).await;
    proxy.fall_silent();
    let lives = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {lost}");
    eventually(DEADLINE, "the lost session is ended, and its lock is free", async || {
        (db.one::<i64>(&lives).await == 0).then_some(())
    })
    .await;
    assert_eq!(db.one::<i64>("SELECT epoch FROM webhooks.lease").await, 1, "its owner has come back");
}

/// Makes the cluster of a prepared database a standby.
async fn become_standby(cluster: &Cluster) {
    cluster.stop();
    cluster.make_standby();
    cluster.start().await;
}

#[tokio::test]
async fn a_standby_is_named_and_delivers_soon_after_its_promotion() {
    let cluster = Cluster::own().await;
    let (mut db, receiver) = prepare(&cluster).await;
    become_standby(&cluster).await;
    db.reopen().await;
    let sidecar = Sidecar::start(&db);
    sidecar.wait_for_log("this server is read-only: is it a standby?").await;
    db.run("SELECT pg_promote()").await;
    db.run(SUPPLIER).await;
    receiver.wait_at("/all", 1).await;
    assert_eq!(sidecar.log().matches("cannot deliver").count(), 1, "{}", sidecar.log());
}

#[tokio::test]
async fn of_several_hosts_the_one_that_takes_writes_is_chosen_and_another_after_a_fail_over() {
    let clusters = [Cluster::own().await, Cluster::own().await];
    let (mut standby, standbys_receiver) = prepare(&clusters[0]).await;
    let (primary, primarys_receiver) = prepare(&clusters[1]).await;
    become_standby(&clusters[0]).await;
    standby.reopen().await;
    let host = |db: &Database<'_>| db.url("sidecar").split(['@', '/']).nth(3).expect("a host").to_owned();
    let hosts = format!("{},{}", host(&standby), host(&primary));
    assert_eq!(standby.name(), primary.name());
    let url = format!("postgres://sidecar@{hosts}/{}?target_session_attrs=primary", primary.name());
    let sidecar = Sidecar::start_with(&primary, &[("DATABASE_URL", &url)]);
    primary.run(SUPPLIER).await;
    primarys_receiver.wait_at("/all", 1).await;
    clusters[1].crash();
    sidecar.wait_for_log("cannot deliver").await;
    standby.run("SELECT pg_promote()").await;
    standby.run(SUPPLIER).await;
    standbys_receiver.wait_at("/all", 1).await;
}
