//! The command line: each command does in the database, and at the receiver, what it says; JSON is JSON; and a secret is
//! seen where it was made and nowhere else.

use serde_json::Value;
use tests::{Answer, Cluster, CommandLine, Database, Receiver, SECRET, Sidecar, Stage};

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
        r#"{"url":"https://example.com/a","events":["product.*","stock.low_alert"],"active":false,"#.to_owned()
            + r#""description":"the shop","secret":null}"#
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
async fn completions_and_the_manual_know_every_command_and_need_no_database() {
    let cli = CommandLine::at("not a connection string");
    let folder = tempfile::tempdir().expect("a temporary directory");
    let man = cli.run(&["man", folder.path().to_str().unwrap()]).await;
    assert!(man.status == 0 && man.all().trim().is_empty(), "{man:?}");
    let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_else(|_| panic!("no {name}"));
    assert!(page("pg-webhooks.1").contains("EXIT STATUS"));
    for command in ["webhooks-rotate", "replay", "doctor", "verify", "tokens-create", "serve"] {
        assert!(page(&format!("pg-webhooks-{command}.1")).contains("OPTIONS"), "{command}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = cli.run(&["completions", shell]).await;
        assert!(script.status == 0 && script.stdout.contains("rotate") && script.stdout.contains("doctor"), "{shell}");
    }
}
