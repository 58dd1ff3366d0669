//! The retry schedule: its exact waits by the stored times, what ends it, and how an endpoint comes back.

use std::time::Duration;

use serde_json::Value;
use tests::{Answer, Received, Sidecar, Stage, eventually};

const PRODUCT: &str = "INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1)";

/// The row of the log with this retry count, once it is there.
async fn attempt(stage: &Stage, retry: i32) -> Value {
    let sql = format!(
        "SELECT *, extract(epoch FROM next_attempt_at - \"timestamp\") * 1000 - response_time_ms AS wait_ms,
                extract(epoch FROM \"timestamp\") AS at
           FROM webhooks.logs('{}') WHERE retry_count = {retry}",
        stage.endpoint
    );
    let what = format!("retry {retry} is logged");
    eventually(Duration::from_secs(20), &what, async || stage.db.json(&sql).await.pop()).await
}

/// Lets what is pending fall due now, in place of waiting for it.
async fn hurry(stage: &Stage) {
    stage.db.run("UPDATE webhooks.pending SET due_at = clock_timestamp(); SELECT webhooks.notify_at_commit()").await;
}

async fn endpoint(stage: &Stage) -> Value {
    stage.db.json(&format!("SELECT * FROM webhooks.get('{}')", stage.endpoint)).await.remove(0)
}

#[tokio::test]
async fn the_default_schedule_is_1_5_15_60_and_360_minutes_then_the_endpoint_is_disabled() {
    let stage = Stage::start().await;
    stage.db.set("retry_jitter", "0").await;
    stage.receiver.answer("/all", Answer::status(500));
    let id: String = stage.db.one(&format!("SELECT webhooks.test('{}')", stage.endpoint)).await;
    for (retry, minutes) in [1, 5, 15, 60, 360].into_iter().enumerate() {
        let row = attempt(&stage, retry as i32).await;
        assert_eq!(row["wait_ms"].as_f64(), Some(f64::from(minutes) * 60_000.0), "after attempt {retry}: {row}");
        assert_eq!(row["outcome"], "retry");
        assert_eq!(endpoint(&stage).await["active"], true);
        assert_eq!(stage.receiver.at("/all").len(), retry + 1, "not before it is due");
        // The first attempt's second is to be over when the last one is made.
        let later = "SELECT clock_timestamp() > min(started_at) + interval '1 s' FROM webhooks.attempt";
        eventually(Duration::from_secs(20), "a second", async || stage.db.one::<bool>(later).await.then_some(())).await;
        hurry(&stage).await;
    }
    let last = attempt(&stage, 5).await;
    assert_eq!(last["outcome"], "exhausted", "{last}");
    assert!(last["next_attempt_at"].is_null());

    let disabled = endpoint(&stage).await;
    assert_eq!(disabled["active"], false, "{disabled}");
    let why = disabled["disabled_reason"].as_str().expect("why");
    assert!(why.contains(&id) && why.contains("500"), "{why}");
    let when = "SELECT abs(extract(epoch FROM disabled_at - (SELECT max(started_at) FROM webhooks.attempt))) < 5 FROM webhooks.list()";
    assert!(stage.db.one::<bool>(when).await, "disabled when the last retry failed");

    let received = stage.receiver.at("/all");
    assert_eq!(received.len(), 6, "at once and five retries");
    assert!(received.iter().all(|one| one.body == received[0].body), "each retry is the same message");
    let signed_anew = received[5].header("webhook-timestamp") > received[0].header("webhook-timestamp");
    assert!(signed_anew, "webhook-timestamp is the attempt's");
}

#[tokio::test]
async fn after_it_was_disabled_and_enabled_again_what_waited_arrives() {
    let stage = Stage::start().await;
    stage.db.retry_schedule("20ms, 20ms, 20ms, 20ms, 1h").await;
    stage.receiver.answer("/all", Answer::status(503));
    stage.db.run(PRODUCT).await;
    attempt(&stage, 4).await;
    // The first waits an hour for its last retry; the second is at its beginning.
    stage.db.run("UPDATE products SET price = 2").await;
    eventually(Duration::from_secs(20), "both wait an hour", async || {
        let waiting =
            "SELECT count(*) FROM webhooks.pending WHERE retry_count = 5 AND due_at > now() + interval '1 min'";
        (stage.db.one::<i64>(waiting).await == 2).then_some(())
    })
    .await;
    let created = stage.receiver.requests()[0].webhook_id();
    stage.db.run("UPDATE webhooks.pending SET due_at = clock_timestamp() WHERE xid = (SELECT min(xid) FROM webhooks.pending)").await;
    stage.db.run("SELECT webhooks.notify_at_commit()").await;
    eventually(Duration::from_secs(20), "the endpoint is disabled", async || {
        (endpoint(&stage).await["active"] == false).then_some(())
    })
    .await;
    assert!(endpoint(&stage).await["disabled_reason"].as_str().is_some_and(|why| why.contains(&created)));
    assert_eq!(stage.db.one::<i64>("SELECT count(*) FROM webhooks.pending").await, 1, "the other waits");

    stage.receiver.answer("/all", Answer::status(200));
    hurry(&stage).await;
    stage.db.run(&format!("SELECT webhooks.update('{}', active => true)", stage.endpoint)).await;
    eventually(Duration::from_secs(20), "it is delivered", async || {
        let delivered = "SELECT count(*) FROM webhooks.attempt WHERE outcome = 'delivered'";
        (stage.db.one::<i64>(delivered).await == 1).then_some(())
    })
    .await;
    let last = stage.receiver.requests().pop().expect("requests");
    assert_eq!(last.event(), "product.updated");
    assert!(endpoint(&stage).await["disabled_at"].is_null(), "its past is forgotten");
    assert_eq!(stage.db.one::<i64>("SELECT count(*) FROM webhooks.pending").await, 0);
}

#[tokio::test]
async fn a_failure_that_recovers_is_delivered_on_the_retry() {
    let stage = Stage::start().await;
    stage.db.retry_schedule("30ms, 30ms, 30ms, 30ms, 30ms").await;
    // The reset meets a fresh connection: nothing is sent again at once.
    let failed = Answer::status(500).header("Connection", "close");
    stage.receiver.answer_in_turn("/all", [failed, Answer::reset(), Answer::status(429), Answer::status(200)]);
    stage.db.run(PRODUCT).await;
    assert_eq!(attempt(&stage, 3).await["outcome"], "delivered");
    let received = stage.receiver.at("/all");
    assert_eq!(received.len(), 4);
    for pair in received.windows(2) {
        assert!(pair[1].at - pair[0].at >= Duration::from_millis(29), "never before its time");
    }
    let log = stage.db.json(&format!("SELECT * FROM webhooks.logs('{}')", stage.endpoint)).await;
    let statuses: Vec<_> = log.iter().map(|row| row["http_status"].as_i64()).collect();
    assert_eq!(statuses, [Some(200), Some(429), None, Some(500)], "newest first");
    assert_eq!(stage.db.one::<i64>("SELECT count(*) FROM webhooks.pending").await, 0);
}

#[tokio::test]
async fn a_changed_schedule_is_followed_without_a_restart() {
    let stage = Stage::start().await;
    stage.db.set("retry_jitter", "0").await;
    stage.receiver.answer("/all", Answer::status(500));
    stage.db.run(PRODUCT).await;
    assert_eq!(attempt(&stage, 0).await["wait_ms"].as_f64(), Some(60_000.0));
    stage.db.retry_schedule("1s, 2min").await;
    hurry(&stage).await;
    assert_eq!(attempt(&stage, 1).await["wait_ms"].as_f64(), Some(120_000.0));
    hurry(&stage).await;
    assert_eq!(attempt(&stage, 2).await["outcome"], "exhausted", "a schedule of two has two retries");
}

#[tokio::test]
async fn what_fails_together_does_not_come_back_together() {
    let stage = Stage::start().await;
    stage.db.retry_schedule("10min").await;
    stage.receiver.answer("/all", Answer::status(500));
    stage.db.run("SELECT webhooks.emit('order.paid', '{}') FROM generate_series(1, 50)").await;
    let all = "SELECT count(*) FROM webhooks.attempt";
    eventually(Duration::from_secs(20), "all failed", async || (stage.db.one::<i64>(all).await == 50).then_some(()))
        .await;
    let waits = "SELECT min(wait)::float8 AS least, max(wait)::float8 AS most, max(wait)::float8 - min(wait)::float8 > 5 AS spread,
                        count(*) FILTER (WHERE retry_count = 1) AS spent
                   FROM (SELECT p.retry_count, extract(epoch FROM a.next_attempt_at - a.started_at) - a.response_time_ms / 1000.0 AS wait
                           FROM webhooks.pending p, webhooks.event e, webhooks.attempt a
                          WHERE e.xid = p.xid AND e.seq = p.seq AND a.webhook_id = e.webhook_id) waits";
    let waits = stage.db.json(waits).await.remove(0);
    assert!(waits["least"].as_f64() >= Some(600.0) && waits["most"].as_f64() <= Some(630.0), "{waits}");
    assert_eq!((&waits["spread"], &waits["spent"]), (&Value::from(true), &Value::from(50)), "{waits}");
}

#[tokio::test]
async fn retries_survive_a_restart_of_the_sidecar() {
    let mut stage = Stage::start().await;
    stage.receiver.answer_in_turn("/all", [Answer::status(500), Answer::status(200)]);
    stage.db.run(PRODUCT).await;
    attempt(&stage, 0).await;
    let restarted = Sidecar::start(&stage.db);
    std::mem::replace(&mut stage.sidecar, restarted).kill9();
    hurry(&stage).await;
    assert_eq!(attempt(&stage, 1).await["outcome"], "delivered");
}

#[tokio::test]
async fn first_attempts_do_not_wait_behind_retries() {
    let stage = Stage::start().await;
    stage.receiver.answer("/all", Answer::status(500));
    stage.db.retry_schedule("1ms, 1ms, 1ms, 1ms, 1h").await;
    // In one transaction: however slow the machine is, the supplier comes right behind a hundred other first attempts.
    stage
        .db
        .run(
            "BEGIN; INSERT INTO products (sku, name, price) SELECT i, 'p', 1 FROM generate_series(1, 100) i;
             INSERT INTO suppliers (name) VALUES ('s'); COMMIT",
        )
        .await;
    let is_it = |one: &Received| one.event() == "supplier.created";
    stage.receiver.wait_for("the supplier", |all| all.iter().any(is_it)).await;
    let before = stage.receiver.requests().iter().position(is_it).expect("it came");
    assert!(before < 300, "{before} requests came before it, of the 500 that there are with all retries");
}
