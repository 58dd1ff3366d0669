//! What the sidecar's log says of endpoints: by the id and host that people know, never a line for an attempt.

use std::time::Duration;

use tests::{Answer, Stage, eventually};

const DEADLINE: Duration = Duration::from_secs(20);

/// The lines of the log that name the endpoint.
fn lines(stage: &Stage) -> Vec<String> {
    stage.sidecar.log().lines().filter(|line| line.contains(&stage.endpoint)).map(str::to_owned).collect()
}

#[tokio::test]
async fn an_endpoint_that_begins_to_fail_recovers_or_is_disabled_is_named_with_its_host() {
    let stage = Stage::start().await;
    let host = format!("{} (127.0.0.1:{})", stage.endpoint, stage.receiver.port());
    stage.db.retry_schedule("1h").await;
    stage.receiver.answer("/all", Answer::status(503));
    stage.db.run("SELECT webhooks.emit('order.paid', '{}') FROM generate_series(1, 100)").await;
    stage.sidecar.wait_for_log(&format!("{host} began to fail: HTTP 503 Service Unavailable")).await;
    let failed = "SELECT count(*) FROM webhooks.attempt WHERE outcome = 'retry'";
    eventually(DEADLINE, "all failed", async || (stage.db.one::<i64>(failed).await == 100).then_some(())).await;
    assert_eq!(lines(&stage).len(), 1, "{:?}", lines(&stage));

    stage.receiver.answer("/all", Answer::status(200));
    stage.db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    stage.sidecar.wait_for_log(&format!("{host} recovered after ")).await;

    stage.receiver.answer("/all", Answer::status(410));
    stage.db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    stage.sidecar.wait_for_log(&format!("{host} was disabled: the endpoint answered 410 Gone to wh_")).await;
    let lines = lines(&stage);
    assert!(lines.last().is_some_and(|line| line.ends_with("; 100 deliveries wait")), "{lines:?}");
    assert_eq!(lines.len(), 3, "{lines:?}");
}
