//! The command line sends again: one message, or what a webhook missed, and waits until each is delivered or has failed.

use std::time::Duration;

use serde_json::Value;
use tests::{Answer, CommandLine, SECRET, Stage, eventually};

#[tokio::test]
async fn a_redelivered_message_comes_again_where_it_was_sent() {
    let stage = Stage::start().await;
    stage.db.register(&stage.receiver.url("/other"), "*", SECRET).await;
    stage.db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    stage.arrived().await;
    let cli = CommandLine::new(&stage.db);
    let webhook_id = stage.receiver.at("/all")[0].webhook_id();
    let told = cli.run(&["redeliver", &webhook_id, "--to", &stage.endpoint, "--json"]).await.json();
    assert_eq!(told["queued"], 1);
    let times = |path: &'static str, count: usize| {
        let webhook_id = webhook_id.clone();
        move |all: &[tests::Received]| {
            all.iter().filter(|one| one.path == path && one.webhook_id() == webhook_id).count() == count
        }
    };
    stage.receiver.wait_for("it again", times("/all", 2)).await;
    assert!(times("/other", 1)(&stage.receiver.requests()));
    // Until then the one that was sent again is still pending, and the other alone would be queued.
    eventually(Duration::from_secs(20), "the report is in", async || {
        (stage.db.one::<i64>("SELECT count(*) FROM webhooks.pending").await == 0).then_some(())
    })
    .await;
    let told = cli.run(&["redeliver", &webhook_id]).await;
    assert!(told.status == 0 && told.stdout.contains("queued 2 deliveries"), "{told:?}");
    stage.receiver.wait_for("it at both", times("/other", 2)).await;
}

/// A stage whose webhook was disabled while 30 messages were made.
async fn with_messages_missed() -> (Stage, CommandLine) {
    let stage = Stage::start().await;
    let cli = CommandLine::new(&stage.db);
    cli.run(&["webhooks", "disable", &stage.endpoint]).await;
    stage.db.register(&stage.receiver.url("/other"), "*", SECRET).await;
    stage.db.run("SELECT webhooks.emit('order.paid', '{}') FROM generate_series(1, 30)").await;
    stage.receiver.wait_for("the other's", |all| all.len() == 30).await;
    cli.run(&["webhooks", "enable", &stage.endpoint]).await;
    let passed = async || {
        let told = cli.run(&["replay", &stage.endpoint, "--since", "1h", "--dry-run", "--json"]).await.json();
        (told["messages"] == 30).then_some(())
    };
    eventually(Duration::from_secs(20), "the sidecar is past them", passed).await;
    (stage, cli)
}

#[tokio::test]
async fn a_replay_waits_until_all_is_delivered() {
    let (stage, cli) = with_messages_missed().await;
    assert!(stage.receiver.at("/all").is_empty(), "a dry run sends nothing");
    let told = cli.run(&["replay", &stage.endpoint, "--since", "1h"]).await;
    assert_eq!(stage.receiver.at("/all").len(), 30, "when it ends they are there: {told:?}");
    assert!(told.status == 0 && told.stdout == "30 delivered, 0 failed\n", "{told:?}");
    assert!(told.stderr.contains("30 messages not delivered"), "{told:?}");
    let again = cli.run(&["replay", &stage.endpoint, "--since", "1h", "--json"]).await.json();
    assert_eq!(again["messages"], 0);
    let all = cli.run(&["replay", &stage.endpoint, "--since", "1h", "--all", "--no-wait", "--json"]).await.json();
    assert_eq!(all["queued"], 30);
}

#[tokio::test]
async fn a_replay_tells_what_failed_and_what_waits_for_a_disabled_webhook() {
    let (stage, cli) = with_messages_missed().await;
    stage.receiver.answer("/all", Answer::status(400));
    let told = cli.run(&["replay", &stage.endpoint, "--since", "1h", "--json"]).await;
    let tally: Value = serde_json::from_str(&told.stdout).expect("JSON");
    assert_eq!((told.status, &tally["failed"], &tally["waiting"]), (1, &30.into(), &0.into()), "{told:?}");

    stage.receiver.answer("/all", Answer::status(410));
    let told = cli.run(&["replay", &stage.endpoint, "--since", "1h", "--json"]).await;
    let tally: Value = serde_json::from_str(&told.stdout).expect("JSON");
    assert_eq!(told.status, 1, "{told:?}");
    assert_eq!(tally["failed"].as_i64().unwrap() + tally["waiting"].as_i64().unwrap(), 30, "{told:?}");
    assert!(!stage.db.one::<bool>("SELECT active FROM webhooks.endpoint ORDER BY key LIMIT 1").await);
}

#[tokio::test]
async fn a_replay_waits_for_retries_too() {
    let (stage, cli) = with_messages_missed().await;
    stage.db.retry_schedule("50ms, 50ms, 50ms, 50ms, 50ms").await;
    stage.receiver.answer_in_turn("/all", [Answer::status(500), Answer::status(200)]);
    let told = cli.run(&["replay", &stage.endpoint, "--since", "1h"]).await;
    assert!(told.status == 0 && told.stdout == "30 delivered, 0 failed\n", "{told:?}");
    assert_eq!(stage.receiver.at("/all").len(), 31);
}
