//! When failures disable an endpoint: once it takes no more than it lets run out of retries.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Cluster, Database, SECRET, Stage, eventually};

const DEADLINE: Duration = Duration::from_secs(20);

/// A database whose one endpoint has had the first attempt of a message, which nobody sends again.
async fn prepare() -> (Database<'static>, String) {
    let db = Cluster::shared().await.database().await;
    let endpoint = db.register("http://127.0.0.1:9/", "*", SECRET).await;
    db.run("SELECT webhooks.emit('order.poison', '{}')").await;
    log(&db, "retry", "order.poison", 1, "webhook_id").await;
    (db, endpoint)
}

/// Puts attempts into the log, made now.
async fn log(db: &Database<'_>, outcome: &str, event: &str, count: u32, webhook_id: &str) {
    let sql = format!(
        "INSERT INTO webhooks.attempt (started_at, endpoint, retry_count, response_time_ms, outcome, webhook_id, event)
         SELECT clock_timestamp(), p.key, 0, 1, '{outcome}', {webhook_id}, '{event}'
           FROM webhooks.endpoint p, webhooks.event e, generate_series(1, {count})"
    );
    db.run(&sql).await;
}

/// Reports that the last retry of the message has failed, as a sidecar would.
async fn exhaust(db: &Database<'_>) {
    db.run(
        "SELECT webhooks.report_exceptions(array_agg(jsonb_populate_record(NULL::webhooks.result,
                    jsonb_build_object('endpoint', p.key, 'xid', e.xid::text, 'seq', e.seq, 'occurred_at', e.occurred_at,
                                       'webhook_id', e.webhook_id, 'event', e.name, 'ending', 'attempted',
                                       'started_ms_ago', 0, 'response_time_ms', 0, 'retry_count', 5,
                                       'was_pending', true, 'http_status', 500))), clock_timestamp())
           FROM webhooks.event e, webhooks.endpoint p",
    )
    .await;
}

async fn is_active(db: &Database<'_>) -> bool {
    db.one("SELECT active FROM webhooks.list()").await
}

#[tokio::test]
async fn a_message_that_one_endpoint_never_takes_disables_nobody_who_takes_others() {
    let (db, endpoint) = prepare().await;
    log(&db, "delivered", "order.paid", 250, "'wh_other'").await;
    exhaust(&db).await;
    assert!(is_active(&db).await);
    let outcomes = format!("SELECT count(*) FROM webhooks.logs('{endpoint}', 1000) WHERE outcome = 'exhausted'");
    assert_eq!(db.one::<i64>(&outcomes).await, 1, "it is seen");
}

#[tokio::test]
async fn an_endpoint_that_takes_no_more_than_it_exhausts_is_disabled() {
    for (outcome, event, count) in [
        ("delivered", "order.paid", 1),
        ("delivered", "webhook.test", 9),
        ("retry", "order.paid", 9),
        ("rejected", "order.paid", 9),
    ] {
        let (db, _) = prepare().await;
        log(&db, outcome, event, count, "'wh_other'").await;
        exhaust(&db).await;
        assert!(!is_active(&db).await, "{count} times {outcome}: {event}");
    }
}

#[tokio::test]
async fn what_was_delivered_before_a_message_was_first_tried_does_not_count() {
    let (db, _) = prepare().await;
    log(&db, "delivered", "order.paid", 250, "'wh_other'").await;
    let earlier = "UPDATE webhooks.attempt SET started_at = started_at - interval '10 min' WHERE outcome = 'delivered'";
    db.run(earlier).await;
    exhaust(&db).await;
    assert!(!is_active(&db).await);
}

#[tokio::test]
async fn by_the_letter_of_the_specification_any_message_that_is_exhausted_disables() {
    let (db, _) = prepare().await;
    log(&db, "delivered", "order.paid", 250, "'wh_other'").await;
    db.set("disable", "any").await;
    exhaust(&db).await;
    assert!(!is_active(&db).await);
    let refused = db.fail("SET pg_webhooks.disable = 'sometimes'").await;
    assert!(refused.message.contains("sometimes") && refused.hint.contains("failing"), "{refused:?}");
}

#[tokio::test]
async fn one_poison_message_among_good_ones_ends_as_exhausted() {
    let stage = Stage::start().await;
    stage.db.retry_schedule("1ms, 1ms").await;
    stage.receiver.answer_in_turn("/all", [Answer::status(500), Answer::status(200)]);
    stage.db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    stage.receiver.wait_at("/all", 2).await;
    // Three good ones come between the poison's first attempt and its last.
    stage.db.retry_schedule("1h, 1ms").await;
    stage.receiver.answer_in_turn("/all", [Answer::status(500), Answer::status(200)]);
    stage.db.run("SELECT webhooks.emit('order.poison', '{}')").await;
    let waits = "SELECT count(*) FROM webhooks.pending";
    eventually(DEADLINE, "it waits", async || (stage.db.one::<i64>(waits).await == 1).then_some(())).await;
    stage.db.run("SELECT webhooks.emit('order.paid', '{}') FROM generate_series(1, 3)").await;
    stage.receiver.wait_at("/all", 6).await;
    stage.db.until_all_is_read().await;
    stage.receiver.answer("/all", Answer::status(500));
    stage.db.run("UPDATE webhooks.pending SET due_at = clock_timestamp(); SELECT webhooks.notify_at_commit()").await;
    let ended = "SELECT webhook_id FROM webhooks.attempt WHERE outcome = 'exhausted'";
    eventually(DEADLINE, "it is exhausted", async || stage.db.all::<String>(ended).await.pop()).await;
    let log = stage.db.json("SELECT active, disabled_reason FROM webhooks.list()").await;
    assert_eq!(log, [json!({"active": true, "disabled_reason": Value::Null})]);
}
