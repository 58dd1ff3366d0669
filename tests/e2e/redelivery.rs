//! Sending again: one message by hand, or all of a time that was not delivered.

use std::time::Duration;

use serde_json::Value;
use tests::{Answer, Cluster, Database, Receiver, SECRET, Sidecar, Stage, eventually};

const PRODUCT: &str = "INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1)";
const DEADLINE: Duration = Duration::from_secs(20);
const PENDING: &str = "SELECT count(*) FROM webhooks.pending";

/// Waits until a query gives this number.
async fn until(db: &Database<'_>, query: &str, wanted: i64) {
    eventually(DEADLINE, &format!("{wanted} from {query}"), async || {
        (db.one::<i64>(query).await == wanted).then_some(())
    })
    .await;
}

/// Waits until the message stands so with the endpoint.
async fn until_state(db: &Database<'_>, id: &str, endpoint: &str, state: &str) {
    let count = format!(
        "SELECT count(*) FROM webhooks.deliveries('{id}') WHERE endpoint_id = '{endpoint}' AND state = '{state}'"
    );
    until(db, &count, 1).await;
}

/// Makes an event and returns its id once the stage's endpoint has answered it and that is logged.
async fn deliver(stage: &Stage, sql: &str) -> String {
    let before = stage.receiver.at("/all").len();
    stage.db.run(sql).await;
    let id = stage.receiver.wait_at("/all", before + 1).await[before].webhook_id();
    let attempts = format!("SELECT count(*) FROM webhooks.attempts('{}', webhook_id => '{id}')", stage.endpoint);
    until(&stage.db, &attempts, 1).await;
    id
}

async fn set_active(db: &Database<'_>, endpoint: &str, active: bool) {
    db.run(&format!("SELECT webhooks.update('{endpoint}', active => {active})")).await;
}

async fn replay(db: &Database<'_>, endpoint: &str, rest: &str) -> i64 {
    db.one(&format!("SELECT webhooks.replay('{endpoint}', now() - interval '1 hour'{rest})")).await
}

#[tokio::test]
async fn a_redelivery_is_the_same_message_to_the_byte() {
    let stage = Stage::start().await;
    let id = deliver(&stage, PRODUCT).await;
    assert_eq!(stage.db.one::<i32>(&format!("SELECT webhooks.redeliver('{id}')")).await, 1);
    let received = stage.receiver.wait_at("/all", 2).await;
    assert_eq!(received[0].body, received[1].body);
    assert_eq!(received[0].header("x-webhook-signature"), received[1].header("x-webhook-signature"));
    assert_eq!(received[1].header("webhook-id"), Some(id.as_str()));
    until(&stage.db, PENDING, 0).await;
    assert_eq!(stage.db.events().await.len(), 1, "it is no new event");
}

#[tokio::test]
async fn a_redelivery_to_one_endpoint_leaves_the_others_alone() {
    let stage = Stage::start().await;
    let other = stage.db.register(&stage.receiver.url("/other"), "*", SECRET).await;
    let id = deliver(&stage, PRODUCT).await;
    until_state(&stage.db, &id, &other, "delivered").await;
    stage.db.run(&format!("SELECT webhooks.redeliver('{id}', '{other}')")).await;
    stage.receiver.wait_at("/other", 2).await;
    stage.arrived().await;
    let all = stage.receiver.at("/all");
    assert_eq!(all.iter().filter(|one| one.webhook_id() == id).count(), 1);

    until(&stage.db, PENDING, 0).await;
    assert_eq!(stage.db.one::<i32>(&format!("SELECT webhooks.redeliver('{id}')")).await, 2, "without one, to all");
    stage.receiver.wait_for("both", |all| all.iter().filter(|one| one.webhook_id() == id).count() == 5).await;
}

#[tokio::test]
async fn what_still_waits_is_not_sent_twice() {
    let stage = Stage::start().await;
    stage.receiver.answer("/all", Answer::status(500));
    let id = deliver(&stage, PRODUCT).await;
    let refused = stage.db.fail(&format!("SELECT webhooks.redeliver('{id}')")).await;
    assert_eq!(refused.code, "55000", "{refused:?}");
    assert!(refused.message.contains(&id) && refused.message.contains(&stage.endpoint), "{refused:?}");
    assert!(!refused.hint.is_empty(), "{refused:?}");
    assert_eq!(stage.db.one::<i64>(PENDING).await, 1, "its retry");
}

#[tokio::test]
async fn a_message_whose_first_attempt_is_to_come_is_not_redelivered() {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    db.run(PRODUCT).await;
    let id: String = db.one("SELECT webhook_id FROM webhooks.events()").await;
    let refused = db.fail(&format!("SELECT webhooks.redeliver('{id}')")).await;
    assert_eq!(refused.code, "55000", "{refused:?}");
    assert!(refused.message.contains("first attempt"), "{refused:?}");
    assert_eq!(db.one::<i64>(PENDING).await, 0);
}

#[tokio::test]
async fn a_disabled_endpoint_gets_a_redelivery_once_it_is_enabled() {
    let stage = Stage::start().await;
    let id = deliver(&stage, PRODUCT).await;
    set_active(&stage.db, &stage.endpoint, false).await;
    stage.db.notices();
    stage.db.run(&format!("SELECT webhooks.redeliver('{id}')")).await;
    let notice = stage.db.notices().pop().expect("a notice");
    assert!(notice.message.contains(&stage.endpoint) && notice.hint.contains("active => true"), "{notice:?}");
    set_active(&stage.db, &stage.endpoint, true).await;
    assert_eq!(stage.receiver.wait_at("/all", 2).await[1].webhook_id(), id);
}

#[tokio::test]
async fn what_an_endpoint_missed_while_it_was_disabled_can_be_redelivered() {
    let stage = Stage::start().await;
    let other = stage.db.register(&stage.receiver.url("/other"), "*", SECRET).await;
    set_active(&stage.db, &other, false).await;
    let id = deliver(&stage, PRODUCT).await;
    until_state(&stage.db, &id, &other, "skipped").await;
    set_active(&stage.db, &other, true).await;
    stage.db.run(&format!("SELECT webhooks.redeliver('{id}', '{other}')")).await;
    assert_eq!(stage.receiver.wait_at("/other", 1).await[0].webhook_id(), id);
}

#[tokio::test]
async fn a_redelivery_that_can_not_be_is_refused() {
    let stage = Stage::start().await;
    let other = stage.db.register(&stage.receiver.url("/other"), "supplier.*", SECRET).await;
    let id = deliver(&stage, PRODUCT).await;
    let unknown = "wh_00000000n40000007shm2fnpb8";
    for (arguments, code, named) in [
        (format!("'{id}', '{other}'"), "22023", other.as_str()),
        (format!("'{}'", stage.endpoint), "22023", "registered webhook"),
        (format!("'{id}', '{id}'"), "22023", id.as_str()),
        (format!("'{unknown}'"), "42704", unknown),
        ("'nonsense'".into(), "42704", "nonsense"),
        (format!("'{id}', 'ep_unknown'"), "42704", "ep_unknown"),
        ("NULL".into(), "42704", "NULL"),
    ] {
        let refused = stage.db.fail(&format!("SELECT webhooks.redeliver({arguments})")).await;
        assert_eq!(refused.code, code, "{arguments}: {refused:?}");
        assert!(refused.message.contains(named) && !refused.hint.is_empty(), "{arguments}: {refused:?}");
    }
    stage.db.run(&format!("SELECT webhooks.delete('{}')", stage.endpoint)).await;
    let gone = stage.db.fail(&format!("SELECT webhooks.redeliver('{id}')")).await;
    assert_eq!(gone.code, "55000", "{gone:?}");
    assert!(gone.message.contains("any more"), "{gone:?}");
    assert_eq!(stage.db.one::<i64>(PENDING).await, 0);
}

#[tokio::test]
async fn a_redelivery_that_fails_is_retried_on_schedule() {
    let stage = Stage::start().await;
    let id = deliver(&stage, PRODUCT).await;
    stage.receiver.answer("/all", Answer::status(500));
    stage.db.run(&format!("SELECT webhooks.redeliver('{id}')")).await;
    let failed = format!(
        "SELECT outcome, retry_count, extract(epoch FROM next_attempt_at - \"timestamp\") * 1000 - response_time_ms AS wait_ms
           FROM webhooks.attempts(webhook_id => '{id}') WHERE http_status = 500"
    );
    let failed = eventually(DEADLINE, "it is logged", async || stage.db.json(&failed).await.pop()).await;
    assert_eq!((&failed["outcome"], &failed["retry_count"]), (&Value::from("retry"), &Value::from(0)), "{failed}");
    assert!(failed["wait_ms"].as_f64().is_some_and(|wait| (60_000.0..=63_000.0).contains(&wait)), "{failed}");
    until_state(&stage.db, &id, &stage.endpoint, "waiting").await;
    stage.receiver.answer("/all", Answer::status(200));
    stage.db.run("UPDATE webhooks.pending SET due_at = clock_timestamp(); SELECT webhooks.notify_at_commit()").await;
    stage.receiver.wait_at("/all", 3).await;
    until_state(&stage.db, &id, &stage.endpoint, "delivered").await;
}

#[tokio::test]
async fn replay_sends_what_happened_while_the_endpoint_was_disabled_and_nothing_else() {
    let stage = Stage::start().await;
    let delivered = deliver(&stage, PRODUCT).await;
    let witness = stage.db.register(&stage.receiver.url("/witness"), "*", SECRET).await;
    set_active(&stage.db, &stage.endpoint, false).await;
    stage.db.run("UPDATE products SET price = 2").await;
    stage.db.run("UPDATE products SET price = 3").await;
    let mut missed: Vec<String> =
        stage.receiver.wait_at("/witness", 2).await.iter().map(|one| one.webhook_id()).collect();
    for id in &missed {
        until_state(&stage.db, id, &witness, "delivered").await;
        until_state(&stage.db, id, &stage.endpoint, "skipped").await;
    }
    set_active(&stage.db, &stage.endpoint, true).await;

    assert_eq!(replay(&stage.db, &stage.endpoint, ", dry_run => true").await, 2);
    assert_eq!(stage.db.one::<i64>(PENDING).await, 0, "a dry run only counts");
    assert_eq!(replay(&stage.db, &stage.endpoint, "").await, 2);
    let received = stage.receiver.wait_at("/all", 3).await;
    let mut replayed: Vec<String> = received[1..].iter().map(|one| one.webhook_id()).collect();
    // A hundredth of a second apart, they may be sent at once, and then arrive in either order.
    replayed.sort();
    missed.sort();
    assert_eq!((received[0].webhook_id(), replayed), (delivered, missed));
    until(&stage.db, PENDING, 0).await;
    assert_eq!(replay(&stage.db, &stage.endpoint, "").await, 0, "now they are delivered");
    assert_eq!(stage.receiver.at("/witness").len(), 2, "it is for one endpoint");
}

#[tokio::test]
async fn replay_sends_what_was_refused_and_with_only_failed_off_everything() {
    let stage = Stage::start().await;
    deliver(&stage, PRODUCT).await;
    stage.receiver.answer("/all", Answer::status(400));
    let refused = deliver(&stage, "UPDATE products SET price = 2").await;
    stage.receiver.answer("/all", Answer::status(200));
    assert_eq!(replay(&stage.db, &stage.endpoint, "").await, 1);
    assert_eq!(stage.receiver.wait_at("/all", 3).await[2].webhook_id(), refused);
    until(&stage.db, PENDING, 0).await;
    assert_eq!(replay(&stage.db, &stage.endpoint, ", only_failed => false").await, 2);
    stage.receiver.wait_at("/all", 5).await;
}

#[tokio::test]
async fn replay_leaves_out_tests_and_what_waits_already() {
    let stage = Stage::start().await;
    deliver(&stage, &format!("SELECT webhooks.test('{}')", stage.endpoint)).await;
    stage.receiver.answer("/all", Answer::status(500));
    deliver(&stage, PRODUCT).await;
    stage.sidecar.terminate().await;
    stage.db.run("UPDATE products SET price = 2").await;
    for rest in ["", ", only_failed => false"] {
        assert_eq!(replay(&stage.db, &stage.endpoint, rest).await, 0, "one is a test, one is retried, one is to come");
    }
}

#[tokio::test]
async fn replay_takes_a_time_and_leaves_out_what_is_beyond_it() {
    let stage = Stage::start().await;
    deliver(&stage, PRODUCT).await;
    let between: String = stage.db.one("SELECT clock_timestamp()::text").await;
    deliver(&stage, "UPDATE products SET price = 2").await;
    let count = async |range: &str| {
        let sql =
            format!("SELECT webhooks.replay('{}', {range}, only_failed => false, dry_run => true)", stage.endpoint);
        stage.db.one::<i64>(&sql).await
    };
    assert_eq!(count(&format!("'{between}'")).await, 1);
    assert_eq!(count(&format!("'-infinity', '{between}'")).await, 1);
    assert_eq!(count("'-infinity'").await, 2);
    for (range, named) in
        [("NULL", "NULL"), ("now() + interval '1 year'", "no time"), ("'2020-01-02', '2020-01-01'", "2020-01-02")]
    {
        let refused = stage.db.fail(&format!("SELECT webhooks.replay('{}', {range})", stage.endpoint)).await;
        assert_eq!(refused.code, "22023", "{range}: {refused:?}");
        assert!(refused.message.contains(named) && !refused.hint.is_empty(), "{range}: {refused:?}");
    }
    let unknown = stage.db.fail("SELECT webhooks.replay('ep_unknown', now())").await;
    assert_eq!(unknown.code, "42704", "{unknown:?}");
}

#[tokio::test]
async fn replay_is_spread_over_time_and_holds_up_nothing_that_happens_now() {
    let db = Cluster::shared().await.database().await;
    let receiver = Receiver::start().await;
    let endpoint = db.register(&receiver.url("/all"), "*", SECRET).await;
    let _sidecar = Sidecar::start(&db);
    db.run("INSERT INTO products (sku, name, price) SELECT i, 'p', 1 FROM generate_series(1, 50) i").await;
    until(&db, "SELECT count(*) FROM webhooks.attempt", 50).await;
    // Fifty seconds for all of it.
    db.set("replay_rate", "1").await;
    assert_eq!(replay(&db, &endpoint, ", only_failed => false").await, 50);
    // Of those that are left, however many have been sent by now.
    let spread = "SELECT extract(epoch FROM max(due_at) - min(due_at))::bigint + 1 - count(*) FROM webhooks.pending";
    assert_eq!(db.one::<i64>(spread).await, 0, "one a second");
    let steps = "SELECT count(*) FROM (SELECT due_at - lag(due_at) OVER (ORDER BY xid, seq) AS step FROM webhooks.pending) s WHERE step <> interval '1 s'";
    assert_eq!(db.one::<i64>(steps).await, 0, "evenly, in the order of the log");

    db.run("INSERT INTO suppliers (name) VALUES ('now')").await;
    receiver.wait_for("what happens now", |all| all.iter().any(|one| one.event() == "supplier.created")).await;
    assert!(db.one::<i64>(PENDING).await > 25, "most of the replay is still to come");
}
