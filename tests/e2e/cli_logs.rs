//! The command line shows what happened: the log as it is and as it grows, messages, and one in all its detail.

use std::time::Duration;

use serde_json::Value;
use tests::{Answer, CommandLine, SECRET, Stage, eventually};

fn count(answer: &Value) -> usize {
    answer.as_array().expect("an array").len()
}

#[tokio::test]
async fn logs_show_what_was_asked_for_the_newest_last() {
    let stage = Stage::start().await;
    let bad = stage.db.register(&stage.receiver.url("/bad"), "product.created", SECRET).await;
    stage.receiver.answer("/bad", Answer::status(400).body("no such\nthing"));
    stage.db.run("INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1)").await;
    stage.db.run("UPDATE products SET price = 2").await;
    stage.arrived().await;
    let cli = CommandLine::new(&stage.db);
    let logs = async |arguments: &[&str]| cli.run(&[&["logs", "--json"], arguments].concat()).await.json();
    let all = logs(&[]).await;
    assert_eq!(count(&all), 4, "with the marker: {all}");
    let times: Vec<&str> = all.as_array().unwrap().iter().map(|line| line["timestamp"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    for (arguments, expected) in [
        (&[bad.as_str()][..], 1),
        (&["--outcome", "failed"], 1),
        (&["--outcome", "rejected", &stage.endpoint], 0),
        (&["--event", "product.*"], 3),
        (&["--event", "product.updated"], 1),
        (&["--search", "/bad"], 1),
        (&["--since", "1h"], 4),
        (&["--until", "1h"], 0),
        (&["--since", "2020-01-01T00:00:00Z", "--limit", "2"], 2),
    ] {
        assert_eq!(count(&logs(arguments).await), expected, "{arguments:?}");
    }
    let rejected = logs(&[&bad]).await;
    assert_eq!((&rejected[0]["http_status"], &rejected[0]["outcome"]), (&400.into(), &"rejected".into()));
    let plain = cli.run(&["logs", &bad]).await;
    assert_eq!(plain.line(), plain.stdout.trim_end(), "an attempt is a line: {plain:?}");
    assert!(plain.stdout.contains("rejected  400") && plain.stdout.contains("no such thing"), "{plain:?}");
}

#[tokio::test]
async fn follow_shows_each_attempt_once_also_one_that_took_long() {
    let stage = Stage::start().await;
    stage.db.register(&stage.receiver.url("/slow"), "order.paid", SECRET).await;
    let cli = CommandLine::new(&stage.db);
    cli.run(&["webhooks", "test", &stage.endpoint, "--wait"]).await;
    let mut follow = cli.start(&["logs", "--follow", "--json"]);
    let mut seen: Vec<Value> = vec![serde_json::from_str(&follow.line().await).expect("a line of JSON")];
    assert_eq!(seen[0]["event"], "webhook.test", "what is there comes first");

    // It begins before the others and is logged after them: more than a shallow look goes back.
    stage.receiver.answer("/slow", Answer::status(200).after(Duration::from_secs(7)));
    stage.db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    stage.receiver.wait_for("the slow request", |all| all.iter().any(|one| one.path == "/slow")).await;
    for _ in 0..20 {
        stage.db.run("SELECT webhooks.emit('order.made', '{}')").await;
    }
    for _ in 0..22 {
        seen.push(serde_json::from_str(&follow.line().await).expect("a line of JSON"));
    }
    let slow = |line: &&Value| line["url"].as_str().unwrap().ends_with("/slow");
    assert_eq!(seen.iter().filter(slow).count(), 1, "{seen:#?}");
    assert!(slow(&seen.last().unwrap()), "the slow one is known last");
    stage.db.run("SELECT webhooks.emit('order.sent', '{}')").await;
    seen.push(serde_json::from_str(&follow.line().await).expect("a line of JSON"));
    assert_eq!(seen.last().unwrap()["event"], "order.sent", "and nothing was shown again before it");
    let mut positions: Vec<&str> = seen.iter().map(|line| line["position"].as_str().unwrap()).collect();
    positions.sort_unstable();
    positions.dedup();
    assert_eq!(positions.len(), seen.len(), "each once");
}

#[tokio::test]
async fn a_message_is_shown_with_its_deliveries_and_attempts_and_its_body_exactly() {
    let stage = Stage::start().await;
    stage.db.retry_schedule("20ms, 1h, 1h, 1h, 1h").await;
    let bad = stage.db.register(&stage.receiver.url("/bad"), "product.created", SECRET).await;
    stage.receiver.answer("/bad", Answer::status(500));
    stage.db.run("INSERT INTO products (sku, name, price) VALUES ('é', 'a', 1.50)").await;
    stage.receiver.wait_for("two attempts", |all| all.iter().filter(|one| one.path == "/bad").count() == 2).await;
    stage.receiver.wait_for("the other", |all| all.iter().any(|one| one.path == "/all")).await;
    let cli = CommandLine::new(&stage.db);
    let waiting = async || {
        let events = cli.run(&["events", "--state", "waiting", "--endpoint", &bad, "--json"]).await.json();
        let webhook_id = events[0]["webhook_id"].as_str()?.to_owned();
        let attempts = cli.run(&["event", &webhook_id, "--json"]).await.json()["attempts"].clone();
        (count(&attempts) == 3).then_some(webhook_id)
    };
    let webhook_id = eventually(Duration::from_secs(20), "all is in the log", waiting).await;

    let received = stage.receiver.at("/all").remove(0);
    assert_eq!(cli.run(&["event", &webhook_id, "--body"]).await.stdout, received.body, "to the byte");
    let told = cli.run(&["event", &webhook_id, "--json"]).await.json();
    assert_eq!((&told["event"], &told["body"]), (&"product.created".into(), &received.body.into()));
    let state = |id: &str| {
        let deliveries = told["deliveries"].as_array().unwrap();
        deliveries.iter().find(|one| one["endpoint_id"] == id).map(|one| one["state"].clone())
    };
    assert_eq!((state(&stage.endpoint), state(&bad)), (Some("delivered".into()), Some("waiting".into())));
    let shown = cli.run(&["event", &webhook_id]).await.stdout;
    for part in ["\"sku\": \"é\"", "delivered", "waiting (", "retry", &stage.endpoint, &bad] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(cli.run(&["events"]).await.stdout.contains(&webhook_id));
    assert_eq!(count(&cli.run(&["events", "--event", "supplier.*", "--json"]).await.json()), 0);
}
