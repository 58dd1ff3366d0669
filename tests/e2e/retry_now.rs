//! What waits for a retry goes out at once when somebody asks, or enables its endpoint.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Api, Cluster, CommandLine, SECRET, Stage, eventually};

const DEADLINE: Duration = Duration::from_secs(20);

/// A stage where `count` messages have failed once and wait for an hour; the receiver takes them from now on.
async fn prepare(count: i64) -> Stage {
    let stage = Stage::start().await;
    stage.db.retry_schedule("1h, 1h").await;
    stage.receiver.answer("/all", Answer::status(500));
    stage.db.run(&format!("SELECT webhooks.emit('order.paid', '{{}}') FROM generate_series(1, {count})")).await;
    let waits = "SELECT count(*) FROM webhooks.pending WHERE due_at > clock_timestamp() + interval '50 min'";
    eventually(DEADLINE, "they wait", async || (stage.db.one::<i64>(waits).await == count).then_some(())).await;
    stage.receiver.answer("/all", Answer::status(200));
    stage
}

async fn until_delivered(stage: &Stage, count: i64) {
    let delivered = "SELECT count(*) FROM webhooks.attempt WHERE outcome = 'delivered'";
    eventually(DEADLINE, "they are delivered", async || (stage.db.one::<i64>(delivered).await == count).then_some(()))
        .await;
}

async fn retry(stage: &Stage, arguments: &str) -> i64 {
    stage.db.one(&format!("SELECT webhooks.retry('{}'{arguments})", stage.endpoint)).await
}

#[tokio::test]
async fn what_waits_is_sent_at_once_when_somebody_asks() {
    let stage = prepare(3).await;
    let other = stage.db.register(&stage.receiver.url("/other"), "none.such", SECRET).await;
    assert_eq!(stage.db.one::<i64>(&format!("SELECT webhooks.retry('{other}')")).await, 0, "nothing waits for it");
    assert_eq!(retry(&stage, "").await, 3);
    until_delivered(&stage, 3).await;
    let log = stage.db.all::<i32>("SELECT retry_count FROM webhooks.attempt WHERE outcome = 'delivered'").await;
    assert_eq!(log, [1, 1, 1], "an early retry is the one that would have come");
    assert_eq!(stage.db.one::<i64>("SELECT count(*) FROM webhooks.pending").await, 0);
}

#[tokio::test]
async fn one_message_is_retried_alone() {
    let stage = prepare(3).await;
    let id: String = stage.db.one("SELECT webhook_id FROM webhooks.event ORDER BY xid, seq OFFSET 1 LIMIT 1").await;
    assert_eq!(retry(&stage, &format!(", '{id}'")).await, 1);
    until_delivered(&stage, 1).await;
    let delivered = stage.db.all::<String>("SELECT webhook_id FROM webhooks.attempt WHERE outcome = 'delivered'").await;
    assert_eq!(delivered, std::slice::from_ref(&id));
    let refused = stage.db.fail(&format!("SELECT webhooks.retry('{}', '{id}')", stage.endpoint)).await;
    assert_eq!(refused.code, "55000", "{refused:?}");
    assert!(refused.message.contains(&id) && refused.hint.contains("redeliver"), "{refused:?}");
}

#[tokio::test]
async fn what_fails_again_waits_as_ever() {
    let stage = prepare(2).await;
    stage.receiver.answer("/all", Answer::status(503));
    retry(&stage, "").await;
    let waits = "SELECT count(*) FROM webhooks.pending
                  WHERE retry_count = 2 AND due_at > clock_timestamp() + interval '50 min'";
    eventually(DEADLINE, "both wait again", async || (stage.db.one::<i64>(waits).await == 2).then_some(())).await;
    assert_eq!(stage.receiver.at("/all").len(), 4, "one request each");
    assert_eq!(stage.db.one::<i64>("SELECT count(*) FROM webhooks.retry_request").await, 0, "it is asked once");
}

#[tokio::test]
async fn enabling_sends_what_waited_at_once_and_counts_its_retries_anew() {
    let stage = prepare(2).await;
    let switch =
        async |active| stage.db.run(&format!("SELECT webhooks.update('{}', active => {active})", stage.endpoint)).await;
    switch(false).await;
    let refused = stage.db.fail(&format!("SELECT webhooks.retry('{}')", stage.endpoint)).await;
    assert!(refused.message.contains("disabled") && refused.hint.contains("active => true"), "{refused:?}");
    switch(true).await;
    until_delivered(&stage, 2).await;
    let log = stage.db.all::<i32>("SELECT retry_count FROM webhooks.attempt WHERE outcome = 'delivered'").await;
    assert_eq!(log, [0, 0]);
}

#[tokio::test]
async fn who_asks_and_does_not_commit_holds_nobody_up() {
    let stage = prepare(2).await;
    let open = stage.db.session().await;
    open.run(&format!("BEGIN; SELECT webhooks.retry('{}')", stage.endpoint)).await;
    stage.db.run("UPDATE webhooks.pending SET due_at = clock_timestamp(); SELECT webhooks.notify_at_commit()").await;
    until_delivered(&stage, 2).await;
    open.run("COMMIT").await;
    assert_eq!(stage.receiver.at("/all").len(), 4, "each once more");
}

#[tokio::test]
async fn the_api_and_the_command_line_retry_now() {
    let stage = prepare(2).await;
    let api = Api::start(&stage.db).await;
    let api = api.caller(&stage.db.token("operator", "manage").await);
    let id: String = stage.db.one("SELECT webhook_id FROM webhooks.event ORDER BY xid, seq LIMIT 1").await;
    let path = format!("/api/v1/webhooks/{}/retry", stage.endpoint);
    assert_eq!(api.post(&path, json!({"webhook_id": id})).await.data(202), json!({"deliveries": 1}));
    until_delivered(&stage, 1).await;
    api.post(&path, json!({"webhook_id": id})).await.error(409);
    let told: Value = CommandLine::new(&stage.db).run(&["retry", &stage.endpoint, "--json"]).await.json();
    assert_eq!(told, json!({"endpoint_id": stage.endpoint, "deliveries": 1}));
    until_delivered(&stage, 2).await;
}

#[tokio::test]
async fn a_backlog_is_made_due_in_batches_and_each_delivery_once() {
    let db = Cluster::shared().await.database().await;
    let endpoint = db.register("http://127.0.0.1:9/", "*", SECRET).await;
    db.run(
        "INSERT INTO webhooks.pending (endpoint, xid, seq, occurred_at, due_at, retry_count)
         SELECT key, (100 + i % 3)::text::xid8, i, now(), 'infinity', 3 FROM webhooks.endpoint, generate_series(1, 25000) i",
    )
    .await;
    assert_eq!(db.one::<i64>(&format!("SELECT webhooks.retry('{endpoint}')")).await, 25_000);
    let due = "SELECT count(*) FROM webhooks.pending WHERE due_at <= clock_timestamp()";
    for count in [10_000, 20_000, 25_000] {
        db.run("SELECT webhooks.hasten(0)").await;
        assert_eq!(db.one::<i64>(due).await, count);
    }
    db.run("UPDATE webhooks.pending SET due_at = 'infinity'; SELECT webhooks.hasten(0)").await;
    assert_eq!(db.one::<i64>(due).await, 0);
    assert_eq!(db.one::<i64>("SELECT count(*) FROM webhooks.retry_request").await, 0);
}
