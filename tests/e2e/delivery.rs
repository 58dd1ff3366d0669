//! What is committed arrives, once, soon, and whatever other transactions, endpoints and sidecars do meanwhile.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::{Answer, Cluster, Receiver, SECRET, Sidecar, Stage, eventually, open_files_limits};

const PRODUCT: &str = "INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1)";

#[tokio::test]
async fn each_committed_change_arrives_once() {
    let stage = Stage::start().await;
    stage.db.run(PRODUCT).await;
    for price in 2..50 {
        stage.db.run(&format!("UPDATE products SET price = {price}")).await;
    }
    assert_eq!(stage.arrived().await.len(), 49);
    stage.assert_each_once().await;
    let logged: i64 = stage.db.one("SELECT count(*) FROM webhooks.attempt WHERE event <> 'marker.made'").await;
    assert_eq!(logged, 49, "one attempt each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_thousand_rows_in_one_update_arrive_once_each() {
    let stage = Stage::start().await;
    stage.db.run("BEGIN; SET LOCAL pg_webhooks.enabled = off").await;
    stage
        .db
        .run("INSERT INTO products (sku, name, price) SELECT i, 'p', 1 FROM generate_series(1, 50000) i; COMMIT")
        .await;
    stage.db.run("UPDATE products SET price = 2").await;
    stage.receiver.wait_count(Duration::from_secs(120), 50_000).await;
    assert_eq!(stage.db.events().await.len(), 50_000);
    stage.assert_each_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sidecars_at_once_deliver_once_each() {
    let stage = Stage::start().await;
    let _second = Sidecar::start(&stage.db);
    let (one, two) = (stage.db.session().await, stage.db.session().await);
    stage.db.run("INSERT INTO products (sku, name, price) SELECT i, 'p', 1 FROM generate_series(1, 2000) i").await;
    for group in 0..200 {
        let repriced = format!("UPDATE products SET price = price + 1 WHERE id % 200 = {group}");
        let restocked = format!("UPDATE products SET stock = stock + 1 WHERE id % 200 = {}", 199 - group);
        tokio::join!(one.run(&repriced), two.run(&restocked));
    }
    stage.assert_each_once().await;
}

#[tokio::test]
async fn a_standby_takes_over_when_the_owner_stops() {
    let mut stage = Stage::start().await;
    stage.db.run(PRODUCT).await;
    stage.receiver.wait_at("/all", 1).await;
    for price in 2..6 {
        let standby = Sidecar::start(&stage.db);
        std::mem::replace(&mut stage.sidecar, standby).terminate().await;
        stage.db.run(&format!("UPDATE products SET price = {price}")).await;
        stage.receiver.wait_at("/all", price).await;
    }
    stage.assert_each_once().await;
}

#[tokio::test]
async fn an_open_transaction_delays_nobody_else_and_its_own_arrive_after_its_commit() {
    let stage = Stage::start().await;
    let long = stage.db.session().await;
    long.run("BEGIN; INSERT INTO suppliers (name) VALUES ('open for long')").await;
    let began = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_millis(250));
    let mut made = 0;
    while began.elapsed() < Duration::from_secs(30) {
        pace.tick().await;
        stage.db.run("INSERT INTO products (sku, name, price) VALUES (gen_random_uuid(), 'p', 1)").await;
        made += 1;
        let committed = Instant::now();
        let arrived = stage.receiver.wait_at("/all", made).await;
        let late = arrived[made - 1].at.saturating_duration_since(committed);
        assert!(late < Duration::from_secs(5), "{late:?} late after {:?}", began.elapsed());
    }
    assert!(stage.receiver.requests().iter().all(|one| one.event() == "product.created"), "it is open still");
    long.run("COMMIT").await;
    let arrived = stage.receiver.wait_at("/all", made + 1).await;
    assert_eq!(arrived[made].event(), "supplier.created");
    stage.assert_each_once().await;
}

#[tokio::test]
async fn transactions_that_overlap_in_every_way_arrive_once_each() {
    let stage = Stage::start().await;
    let mut open = Vec::new();
    for round in 0..60 {
        let session = stage.db.session().await;
        session.run("BEGIN; INSERT INTO suppliers (name) VALUES ('first')").await;
        open.push(session);
        if open.len() > 10 {
            // Neither the oldest nor the newest: their order of commit is not that of their beginning.
            let session = open.swap_remove(round % open.len());
            session.run("SAVEPOINT s; INSERT INTO suppliers (name) VALUES ('second'); COMMIT").await;
        }
    }
    for session in &open {
        session.run("COMMIT").await;
    }
    assert_eq!(stage.arrived().await.len(), 60 + 50);
    stage.assert_each_once().await;
}

#[tokio::test]
async fn an_emitted_event_arrives_with_its_data() {
    let stage = Stage::start().await;
    let data = r#"{"order": {"total": 12.50, "lines": [1, 2]}, "a": null}"#;
    let id: String = stage.db.one(&format!("SELECT webhooks.emit('order.paid', '{data}')")).await;
    let received = stage.receiver.wait_at("/all", 1).await.remove(0);
    assert_eq!(received.webhook_id(), id);
    assert_eq!(received.event(), "order.paid");
    assert_eq!(received.data(), json!({"order": {"total": 12.5, "lines": [1, 2]}, "a": null}));
}

#[tokio::test]
async fn custom_events_are_subscribed_to_by_name_and_family() {
    let stage = Stage::start().await;
    for (path, events) in [("/name", "order.paid"), ("/family", "order.*"), ("/other", "billing.*,product.*")] {
        stage.db.register(&stage.receiver.url(path), events, SECRET).await;
    }
    stage.db.run("SELECT webhooks.emit('order.paid', '{}'), webhooks.emit('order.sent', '{}')").await;
    stage.arrived().await;
    let count = |path: &str| stage.receiver.at(path).len();
    stage.receiver.wait_for("five requests and the marker", |all| all.len() == 6).await;
    assert_eq!([count("/name"), count("/family"), count("/other")], [1, 2, 0]);
}

#[tokio::test]
async fn a_test_goes_to_its_endpoint_alone_whatever_it_subscribed_to() {
    let stage = Stage::start().await;
    let one: String = stage.db.register(&stage.receiver.url("/one"), "import.failed", SECRET).await;
    stage.db.run(&format!("SELECT webhooks.test('{one}')")).await;
    assert_eq!(stage.receiver.wait_at("/one", 1).await[0].event(), "webhook.test");
    assert!(stage.arrived().await.iter().all(|one| one.path == "/one"));
}

#[tokio::test]
async fn a_disabled_endpoint_gets_nothing_and_what_waited_for_it_resumes() {
    let stage = Stage::start().await;
    stage.db.run(&format!("SELECT webhooks.delete('{}')", stage.endpoint)).await;
    let endpoint = stage.db.register(&stage.receiver.url("/one"), "product.*", SECRET).await;
    stage.db.register(&stage.receiver.url("/all"), "marker.*,supplier.*", SECRET).await;
    stage.receiver.answer_in_turn("/one", [Answer::status(500), Answer::status(200)]);
    stage.db.run(PRODUCT).await;
    eventually(Duration::from_secs(20), "the failure is pending", async || {
        (stage.db.one::<i64>("SELECT count(*) FROM webhooks.pending").await == 1).then_some(())
    })
    .await;
    stage.db.run(&format!("SELECT webhooks.update('{endpoint}', active => false)")).await;
    stage.db.run("UPDATE webhooks.pending SET due_at = now(); SELECT webhooks.notify_at_commit()").await;
    stage.db.run("UPDATE products SET price = 2; INSERT INTO suppliers (name) VALUES ('s')").await;
    stage.receiver.wait_at("/all", 1).await;
    assert_eq!(stage.receiver.at("/one").len(), 1, "nothing while it is disabled");
    assert_eq!(stage.db.events().await.len(), 3, "what it misses is in the log");

    stage.db.run(&format!("SELECT webhooks.update('{endpoint}', active => true)")).await;
    let received = stage.receiver.wait_at("/one", 2).await;
    assert_eq!(received[0].webhook_id(), received[1].webhook_id(), "what waited is what was tried before");
    assert_eq!(received[0].body, received[1].body);
}

#[tokio::test]
async fn an_endpoint_registered_as_inactive_gets_nothing_until_it_is_enabled() {
    let stage = Stage::start().await;
    let url = stage.receiver.url("/later");
    let endpoint: String = stage.db.one(&format!("SELECT webhooks.register('{url}', '{{*}}', 's', false)")).await;
    stage.db.run(PRODUCT).await;
    stage.receiver.wait_at("/all", 1).await;
    stage.db.run(&format!("SELECT webhooks.update('{endpoint}', active => true)")).await;
    stage.db.run("UPDATE products SET price = 2").await;
    assert_eq!(stage.receiver.wait_at("/later", 1).await[0].event(), "product.updated");
}

#[tokio::test]
async fn a_hanging_endpoint_delays_no_other() {
    let stage = Stage::start().await;
    stage.receiver.answer("/hangs", Answer::hang());
    stage.db.register(&stage.receiver.url("/hangs"), "*", SECRET).await;
    stage.db.run(PRODUCT).await;
    let began = Instant::now();
    for price in 2..302 {
        stage.db.run(&format!("UPDATE products SET price = {price}")).await;
    }
    stage.db.run("INSERT INTO products (sku, name, price) SELECT i, 'p', 1 FROM generate_series(1, 2000) i").await;
    stage.receiver.wait_at("/all", 2_301).await;
    assert!(began.elapsed() < Duration::from_secs(20), "no hanging request was waited for");
    assert!(!stage.receiver.at("/hangs").is_empty());
}

#[tokio::test]
async fn a_slow_endpoint_gets_all_of_a_burst_once_each() {
    let stage = Stage::start().await;
    stage.receiver.answer("/all", Answer::status(200).after(Duration::from_millis(50)));
    stage.db.run("INSERT INTO products (sku, name, price) SELECT i, 'p', 1 FROM generate_series(1, 2000) i").await;
    stage.receiver.wait_count(Duration::from_secs(60), 2000).await;
    stage.assert_each_once().await;
}

#[tokio::test]
async fn what_happened_while_an_endpoint_was_disabled_is_not_sent_after_a_restart_either() {
    let stage = Stage::start().await;
    let off = format!("SELECT webhooks.update('{}', active => false)", stage.endpoint);
    stage.db.run(&off).await;
    stage.db.run("INSERT INTO suppliers (name) VALUES ('meanwhile')").await;
    let passed = "SELECT (SELECT bool_and(pg_visible_in_snapshot(xid, done)) FROM webhooks.event)
                    FROM webhooks.shard_cursors()";
    eventually(Duration::from_secs(20), "the cursor has passed it", async || {
        stage.db.one::<bool>(passed).await.then_some(())
    })
    .await;
    let Stage { db, receiver, endpoint, sidecar } = stage;
    sidecar.kill9();
    db.run(&format!("SELECT webhooks.update('{endpoint}', active => true)")).await;
    db.run("INSERT INTO suppliers (name) VALUES ('afterwards')").await;
    let _sidecar = Sidecar::start(&db);
    assert_eq!(receiver.wait_at("/all", 1).await[0].data()["name"], "afterwards");
}

/// While a change of an endpoint is open, what it answers is reported and no report waits; after `end`, 410 disables it.
async fn an_open_change_delays_nobody(change: impl Fn(&str) -> String, end: &str) {
    let stage = Stage::start().await;
    stage.receiver.answer_in_turn("/gone", [Answer::status(500), Answer::status(410)]);
    let gone = stage.db.register(&stage.receiver.url("/gone"), "product.*", SECRET).await;
    stage.db.run(PRODUCT).await;
    let until_one = async |what: &str, count: &str| {
        eventually(Duration::from_secs(20), what, async || (stage.db.one::<i64>(count).await == 1).then_some(())).await;
    };
    until_one("the failure is pending", "SELECT count(*) FROM webhooks.pending").await;

    let admin = stage.db.session_as("manager").await;
    admin.run(&format!("BEGIN; SELECT webhooks.{}", change(&gone))).await;
    // Its retry falls due now.
    stage
        .db
        .run("SET lock_timeout = '10s'; UPDATE webhooks.pending SET due_at = now(); SELECT webhooks.notify_at_commit()")
        .await;
    until_one("its 410 is logged", "SELECT count(*) FROM webhooks.attempt WHERE outcome = 'gone'").await;
    stage.db.run("INSERT INTO suppliers (name) VALUES ('meanwhile')").await;
    let arrived = stage.arrived().await;
    assert!(arrived.iter().any(|one| one.path == "/all" && one.event() == "supplier.created"), "{arrived:?}");

    let disabled =
        format!("SELECT count(*) FROM webhooks.get('{gone}') WHERE NOT active AND disabled_reason LIKE '%410%'");
    assert_eq!(stage.db.one::<i64>(&disabled).await, 0, "not while it is changed");
    admin.run(end).await;
    stage.db.run("UPDATE products SET price = 2").await;
    until_one("its next 410 disables it", &disabled).await;
}

#[tokio::test]
async fn an_open_update_of_an_endpoint_that_is_gone_delays_no_other() {
    an_open_change_delays_nobody(|gone| format!("update('{gone}', description => 'x')"), "COMMIT").await;
}

#[tokio::test]
async fn an_open_delete_of_an_endpoint_that_is_gone_delays_no_other() {
    an_open_change_delays_nobody(|gone| format!("delete('{gone}')"), "ROLLBACK").await;
}

#[tokio::test]
async fn the_sidecar_reads_at_read_committed_where_the_default_is_serializable() {
    let db = Cluster::shared().await.database().await;
    let receiver = Receiver::start().await;
    db.register(&receiver.url("/all"), "*", SECRET).await;
    db.run(&format!("ALTER DATABASE {} SET default_transaction_isolation = 'serializable'", db.name())).await;
    // While this one is open, what another serializable transaction has read stays locked, after its end too.
    let open = db.session().await;
    open.run("BEGIN; SELECT count(*) FROM imports").await;
    let _sidecar = Sidecar::start(&db);
    let writer = db.session().await;
    for name in 0..20 {
        writer.run(&format!("INSERT INTO suppliers (name) VALUES ('{name}')")).await;
    }
    receiver.wait_at("/all", 20).await;
    let read_by = |role: &str| {
        format!(
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
              WHERE mode = 'SIReadLock' AND datname = current_database() AND usename = '{role}'"
        )
    };
    assert_ne!(db.one::<i64>(&read_by("postgres")).await, 0, "the open one");
    assert_eq!(db.one::<i64>(&read_by("sidecar")).await, 0);
}

#[tokio::test]
async fn the_sidecar_opens_as_many_files_as_the_system_permits() {
    let db = Cluster::shared().await.database().await;
    let sidecar = Sidecar::start_with_open_files(&db, 256);
    sidecar.wait_for_log("delivering").await;
    let (soft, hard) = open_files_limits(sidecar.pid());
    assert!(hard > 256, "the system permits more");
    assert_eq!(soft, hard);
}
