//! The command line: each command does in the database, and at the receiver, what it says; JSON is JSON; and a secret is
//! seen where it was made and nowhere else.

use std::time::Duration;

use serde_json::Value;
use tests::{Answer, Cluster, CommandLine, Database, Receiver, SECRET, Sidecar, Stage, eventually};

use crate::cli_verify::verify;
use crate::verification::assert_accepted;

async fn database() -> (Database<'static>, CommandLine) {
    let db = Cluster::shared().await.database().await;
    let cli = CommandLine::new(&db);
    (db, cli)
}

fn count(answer: &Value) -> usize {
    answer.as_array().expect("an array").len()
}

#[tokio::test]
async fn a_webhook_is_added_changed_switched_and_removed() {
    let (db, cli) = database().await;
    let description = ["--description", "the shop"];
    let added = cli
        .run(
            &[
                &["webhooks", "add", "https://example.com/a", "product.*", "stock.low_alert", "--inactive"],
                &description[..],
            ]
            .concat(),
        )
        .await;
    let id = added.line().to_owned();
    let row = "SELECT url, events, active, description, secret FROM webhooks.endpoint";
    assert_eq!(
        db.json(row).await[0].to_string(),
        r#"{"url":"https://example.com/a","events":["product.*","stock.low_alert"],"active":false,"description":"the shop","secret":null}"#
    );
    cli.run(&["webhooks", "enable", &id]).await.line();
    assert!(db.one::<bool>("SELECT active FROM webhooks.endpoint").await);
    cli.run(&["webhooks", "disable", &id]).await.line();
    assert!(!db.one::<bool>("SELECT active FROM webhooks.endpoint").await);

    let url = "https://example.com/b";
    let changed =
        cli.run(&["webhooks", "update", &id, "--url", url, "--event", "*", "--description", "", "--json"]).await;
    assert_eq!(changed.json()["url"], url);
    let row = db.json(row).await.remove(0);
    assert_eq!((&row["events"][0], &row["description"]), (&"*".into(), &"".into()));

    let listed = cli.run(&["webhooks", "list", "--json"]).await.json();
    assert_eq!((count(&listed), &listed[0]["id"], &listed[0]["has_secret"]), (1, &id.as_str().into(), &false.into()));
    assert!(cli.run(&["webhooks", "list"]).await.stdout.contains(&id));

    let unconfirmed = cli.run(&["webhooks", "remove", &id]).await;
    assert_eq!(unconfirmed.status, 64, "{unconfirmed:?}");
    assert!(unconfirmed.stderr.contains("--yes"), "{unconfirmed:?}");
    cli.run(&["webhooks", "remove", &id, "--yes"]).await.line();
    assert_eq!(db.one::<i64>("SELECT count(*) FROM webhooks.endpoint").await, 0);
    assert_eq!(cli.run(&["webhooks", "list", "--json"]).await.stdout, "[]\n");
}

#[tokio::test]
async fn a_secret_that_was_made_is_alone_on_stdout_signs_and_is_not_shown_again() {
    let (db, cli) = database().await;
    let (receiver, _sidecar) = (Receiver::start().await, Sidecar::start(&db));
    let added = cli.run(&["webhooks", "add", &receiver.url("/hook"), "*", "--generate-secret"]).await;
    let secret = added.line().to_owned();
    assert!(secret.starts_with("whsec_") && !added.stderr.contains(&secret), "{added:?}");
    let id: String = db.one("SELECT id FROM webhooks.endpoint").await;
    assert!(added.stderr.contains(&id), "{added:?}");

    let tested = cli.run(&["webhooks", "test", &id, "--wait", "--json"]).await;
    assert_eq!(tested.json()["delivery"]["state"], "delivered");
    let received = receiver.requests().remove(0);
    assert_accepted("node", "verify.mjs", &[(received.clone(), secret.clone())]).await;

    let webhook_id = received.webhook_id();
    for arguments in [
        &["webhooks", "list"][..],
        &["webhooks", "list", "--json"],
        &["webhooks", "update", &id, "--description", "x", "--json"],
        &["webhooks", "disable", &id, "--json"],
        &["webhooks", "enable", &id],
        &["logs", "--json"],
        &["event", &webhook_id, "--json"],
        &["status", "--json"],
        &["doctor", "--json"],
    ] {
        let told = cli.run(arguments).await;
        assert!(!told.all().contains(&secret), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_secret_that_was_given_is_set_and_never_shown() {
    let (db, cli) = database().await;
    let secret = "given on stdin, with  blanks ";
    let added = cli.run_with(&format!("{secret}\n"), &["webhooks", "add", "https://h/", "*", "--secret-stdin"]).await;
    let id = added.line().to_owned();
    assert!(id.starts_with("ep_") && !added.all().contains("given on"), "{added:?}");
    let kept = async || db.one::<Option<String>>("SELECT secret FROM webhooks.endpoint").await;
    assert_eq!(kept().await.as_deref(), Some(secret));

    let told = cli.run(&["webhooks", "update", &id, "--secret", "given as argument"]).await;
    assert!(kept().await.as_deref() == Some("given as argument") && !told.all().contains("given as"), "{told:?}");
    let made = cli.run(&["webhooks", "update", &id, "--generate-secret"]).await;
    assert_eq!(kept().await.as_deref(), Some(made.line()));
    let told = cli.run_with("rotated in\r\n", &["webhooks", "rotate", &id, "--secret-stdin"]).await;
    assert!(kept().await.as_deref() == Some("rotated in") && !told.all().contains("rotated in"), "{told:?}");
    cli.run(&["webhooks", "update", &id, "--no-secret"]).await.line();
    assert_eq!(kept().await, None);
    assert_eq!(cli.run(&["webhooks", "update", &id, "--secret-stdin"]).await.status, 64, "stdin is empty");
    assert_eq!(cli.run(&["webhooks", "update", &id, "--no-secret", "--secret", "x"]).await.status, 64);
}

#[tokio::test]
async fn a_rotated_secret_signs_beside_the_previous_one() {
    let stage = Stage::start().await;
    let cli = CommandLine::new(&stage.db);
    let rotated = cli.run(&["webhooks", "rotate", &stage.endpoint, "--overlap", "1h"]).await;
    let secret = rotated.line();
    cli.run(&["trigger", "product.updated", &stage.endpoint, "--wait"]).await;
    let received = stage.receiver.requests().remove(0);
    assert_eq!(received.header("webhook-signature").unwrap().split(' ').count(), 2);
    for secret in [secret, SECRET] {
        assert_eq!(verify(&cli, &received, "webhook-signature", &received.body, secret).await.status, 0);
    }
    let left = "SELECT extract(epoch FROM previous_until - clock_timestamp())::float8 FROM webhooks.endpoint";
    assert!((3_500.0..=3_600.0).contains(&stage.db.one::<f64>(left).await));
}

#[tokio::test]
async fn what_the_database_says_is_told_with_its_hint() {
    let (_db, cli) = database().await;
    let unsigned = cli.run(&["webhooks", "add", "https://example.com/", "*"]).await;
    assert!(unsigned.stdout.starts_with("ep_") && unsigned.stdout.lines().count() == 1, "{unsigned:?}");
    assert!(unsigned.stderr.contains("has no secret") && unsigned.stderr.contains("hint:"), "{unsigned:?}");
    for (arguments, message, hint) in [
        (&["webhooks", "add", "https://h/", "product.crated"][..], "unknown event", "Did you mean product.created"),
        (&["webhooks", "add", "ftp://h/", "*"], "ftp", "https://"),
        (&["webhooks", "test", "ep_x"], "there is no webhook \"ep_x\"", "webhooks.list()"),
        (&["webhooks", "remove", "ep_x", "--yes"], "there is no webhook", "webhooks.list()"),
        (&["webhooks", "rotate", "wh_x"], "id of a message", "ep_"),
        (&["logs", "ep_x"], "there is no webhook", "webhooks.list()"),
        (&["logs", "--outcome", "lost"], "unknown outcome", "delivered"),
        (&["events", "--state", "lost"], "unknown state", "queued"),
        (&["event", "wh_x"], "there is no message", "event_retention"),
        (&["redeliver", "wh_x"], "there is no message", "event_retention"),
        (&["replay", "ep_x", "--since", "1h"], "there is no webhook", "webhooks.list()"),
        (&["tokens", "revoke", "tk_x"], "there is no token", "webhooks.tokens()"),
        (&["tokens", "create", " "], "needs a name", "webhooks.tokens()"),
    ] {
        let told = cli.run(arguments).await;
        assert_eq!((told.status, told.stdout.as_str()), (1, ""), "{arguments:?}: {told:?}");
        assert!(told.stderr.contains(message) && told.stderr.contains(hint), "{arguments:?}: {told:?}");
        assert!(!told.stderr.contains("panicked") && !told.stderr.contains("backtrace"), "{told:?}");
    }
}

#[tokio::test]
async fn what_makes_no_sense_ends_with_64_and_says_why() {
    let (db, cli) = database().await;
    for (arguments, named) in [
        (&["webhooks", "add", "https://h/"][..], "EVENT"),
        (&["webhooks", "update", "ep_x"], "--url"),
        (&["logs", "--since", "yesterday"], "yesterday"),
        (&["logs", "--follow", "--until", "1h"], "--until"),
        (&["replay", "ep_x"], "--since"),
        (&["tokens", "create", "x", "--expires", "soon"], "soon"),
        (&["webhooks", "test", "ep_x", "--timeout", "1s"], "--wait"),
        (&["completions", "cmd"], "cmd"),
        (&["no-such-command"], "no-such-command"),
    ] {
        let told = cli.run(arguments).await;
        assert!(told.status == 64 && told.stderr.contains(named), "{arguments:?}: {told:?}");
    }
    let malformed = CommandLine::at("postgres://app:hunter2@db:port/shop").run(&["webhooks", "list"]).await;
    assert!(malformed.status == 64 && !malformed.all().contains("hunter2"), "{malformed:?}");
    let nobody = CommandLine::at("postgres://manager@127.0.0.1:1/shop").run(&["status"]).await;
    assert!(nobody.status == 1 && nobody.stderr.contains("Connection refused"), "{nobody:?}");
    let stranger = CommandLine::of(&db, "app").run(&["webhooks", "list"]).await;
    assert!(stranger.status == 1 && stranger.stderr.contains("webhooks_admin"), "{stranger:?}");
}

#[tokio::test]
async fn a_test_that_waits_succeeds_only_when_it_was_delivered() {
    let stage = Stage::start().await;
    let cli = CommandLine::new(&stage.db);
    let told = cli.run(&["webhooks", "test", &stage.endpoint, "--wait"]).await;
    assert!(told.status == 0 && told.stdout.contains("delivered, HTTP 200"), "{told:?}");
    stage.receiver.answer("/all", Answer::status(503));
    let told = cli.run(&["webhooks", "test", &stage.endpoint, "--wait"]).await;
    assert!(told.status == 1 && told.stdout.contains("HTTP 503") && told.stdout.contains("next attempt"), "{told:?}");

    stage.sidecar.terminate().await;
    let told = cli.run(&["webhooks", "test", &stage.endpoint, "--wait", "--timeout", "10ms"]).await;
    assert!(told.status == 1 && told.stderr.contains("no sidecar") && told.stderr.contains("doctor"), "{told:?}");
}

#[tokio::test]
async fn a_trigger_sends_a_sample_to_one_webhook() {
    let stage = Stage::start().await;
    stage.db.register(&stage.receiver.url("/other"), "*", SECRET).await;
    let cli = CommandLine::new(&stage.db);
    let webhook_id = cli.run(&["trigger", "import.failed", &stage.endpoint]).await.line().to_owned();
    stage.receiver.wait_for("the sample", |all| !all.is_empty()).await;
    let received = stage.arrived().await;
    let received = received.iter().find(|one| one.webhook_id() == webhook_id).expect("it came");
    assert_eq!((received.event().as_str(), received.path.as_str()), ("import.failed", "/all"));
    assert!(stage.receiver.at("/other").iter().all(|one| one.webhook_id() != webhook_id));
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
    let delivered = async || {
        let told = cli.run(&["redeliver", &webhook_id]).await;
        (told.status == 0).then_some(told)
    };
    let told = eventually(Duration::from_secs(20), "the report is in", delivered).await;
    assert!(told.stdout.contains("queued 2 deliveries"), "{told:?}");
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

#[tokio::test]
async fn a_token_is_shown_once_holds_and_is_revoked() {
    let (db, cli) = database().await;
    let token = cli.run(&["tokens", "create", "dashboard", "--manage", "--expires", "90d"]).await.line().to_owned();
    let state =
        async || db.json(&format!("SELECT name, role, state FROM webhooks.authenticate('{token}')")).await.remove(0);
    assert_eq!(state().await.to_string(), r#"{"name":"dashboard","role":"manage","state":"valid"}"#);
    let listed = cli.run(&["tokens", "list", "--json"]).await;
    assert_eq!(listed.json()[0]["name"], "dashboard");
    let days = "SELECT extract(epoch FROM expires_at - clock_timestamp())::float8 / 86400 FROM webhooks.token";
    assert!((89.9..=90.0).contains(&db.one::<f64>(days).await));
    let plain = cli.run(&["tokens", "list"]).await;
    assert!(!listed.all().contains(&token) && !plain.all().contains(&token));
    let revoked = cli.run(&["tokens", "revoke", listed.json()[0]["id"].as_str().unwrap()]).await;
    assert_eq!(revoked.line(), "revoked");
    assert_eq!(state().await["state"], "revoked");
    let reader = cli.run(&["tokens", "create", "reader", "--json"]).await.json();
    assert_eq!((&reader["role"], &reader["expires_at"]), (&"read".into(), &Value::Null));
    assert!(!cli.run(&["tokens", "revoke", reader["token"].as_str().unwrap()]).await.all().contains("pgw_"));
}

#[tokio::test]
async fn status_is_the_databases() {
    let stage = Stage::start().await;
    let cli = CommandLine::new(&stage.db);
    cli.run(&["webhooks", "test", &stage.endpoint, "--wait"]).await;
    let status = cli.run(&["status", "--json"]).await.json();
    assert_eq!((&status["sidecars"], &status["shards_held"], &status["endpoints"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!((&status["leases"][0]["is_held"], &status["health"][0]["state"]), (&true.into(), &"healthy".into()));
    let shown = cli.run(&["status"]).await.stdout;
    assert!(shown.contains("holding 1 of 1 shards") && shown.contains("healthy"), "{shown}");
}

#[tokio::test]
async fn completions_and_the_manual_page_know_every_command_and_need_no_database() {
    let cli = CommandLine::at("not a connection string");
    let man = cli.run(&["man"]).await;
    for command in ["webhooks rotate", "replay", "doctor", "verify", "tokens create", "serve"] {
        assert!(man.stdout.contains(&format!("pg-webhooks {command}")), "{command}");
    }
    assert!(man.status == 0 && man.stdout.contains("EXIT STATUS"), "{man:?}");
    for shell in ["bash", "zsh", "fish"] {
        let script = cli.run(&["completions", shell]).await;
        assert!(script.status == 0 && script.stdout.contains("rotate") && script.stdout.contains("doctor"), "{shell}");
    }
}
