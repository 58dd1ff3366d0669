//! A message whose bytes are no UTF-8, as a damaged disk or another program may leave it: it is set aside, and everybody
//! gets everything else.

use std::time::Duration;

use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::Sha256;
use tests::{Answer, Cluster, CommandLine, Database, Receiver, SECRET, Sidecar, eventually};

const DEADLINE: Duration = Duration::from_secs(20);
/// Postgres takes no such text from anybody; this makes one out of bytes.
const UNCHECKED: &str = "CREATE CAST (bytea AS text) WITHOUT FUNCTION";
const NO_UTF8: &str = r"('\x7bff7d'::bytea)::text";

/// Events for two webhooks, and nobody who delivers.
async fn prepare() -> (Database<'static>, Receiver) {
    let db = Cluster::shared().await.database().await;
    let receiver = Receiver::start().await;
    db.run(UNCHECKED).await;
    for path in ["/one", "/two"] {
        db.register(&receiver.url(path), "*", SECRET).await;
    }
    (db, receiver)
}

/// Commits an event, and puts other bytes in the place of a column's.
async fn broken(db: &Database<'_>, column: &str) -> String {
    let id: String = db.one("SELECT webhooks.emit('broken.made', '{}')").await;
    db.run(&format!("UPDATE webhooks.event SET {column} = {NO_UTF8} WHERE webhook_id = '{id}'")).await;
    id
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_set_aside_and_the_others_are_delivered() {
    let (db, receiver) = prepare().await;
    db.run("SELECT webhooks.emit('sound.made', '{}')").await;
    let unreadable = broken(&db, "body").await;
    broken(&db, "name").await;
    broken(&db, "webhook_id").await;
    db.run("SELECT webhooks.emit('sound.made', '{}')").await;
    let sidecar = Sidecar::start(&db);
    for path in ["/one", "/two"] {
        receiver.wait_at(path, 2).await;
    }
    db.until_all_is_read().await;
    assert_eq!(receiver.requests().len(), 4, "what cannot be read is not sent");

    let logged = db
        .json(&format!(
            "SELECT outcome, http_status, next_attempt_at, error LIKE '%body%UTF-8%' AS says_why
               FROM webhooks.attempts(webhook_id => '{unreadable}')"
        ))
        .await;
    let line = json!({"outcome": "unreadable", "http_status": null, "next_attempt_at": null, "says_why": true});
    assert_eq!(logged, [line.clone(), line], "it has failed for good, at both");
    assert_eq!(db.one::<i64>("SELECT count(*) FROM webhooks.attempts(outcome => 'unreadable')").await, 6);
    assert!(db.one::<bool>("SELECT bool_and(active) FROM webhooks.list()").await, "nobody is disabled for it");
    let states: Vec<String> = db.all(&format!("SELECT state FROM webhooks.deliveries('{unreadable}')")).await;
    assert_eq!(states, ["failed", "failed"]);

    let named: Vec<String> = db.all("SELECT unnest(unreadable) FROM webhooks.status()").await;
    assert!(named.len() == 3 && named.contains(&unreadable), "{named:?}");
    let cli = CommandLine::new(&db);
    for command in ["status", "doctor"] {
        let told = cli.run(&[command]).await;
        assert!(told.stdout.contains(&unreadable), "{command}: {told:?}");
    }
    let told = cli.run(&["events", "--json"]).await;
    assert!(told.status == 0 && told.stdout.contains(&unreadable), "the list has the others, too: {told:?}");
    assert_eq!(db.one::<String>(&format!("SELECT body FROM webhooks.message('{unreadable}')")).await, "{\u{fffd}}");
    assert!(sidecar.terminate().await.success());
}

#[tokio::test]
async fn a_retry_that_cannot_be_read_any_more_is_the_last() {
    let (db, receiver) = prepare().await;
    db.retry_schedule("1s, 1s, 1s, 1s, 1s").await;
    receiver.answer("/one", Answer::status(503));
    let _sidecar = Sidecar::start(&db);
    let id: String = db.one("SELECT webhooks.emit('sound.made', '{}')").await;
    receiver.wait_at("/one", 1).await;
    db.run(&format!("UPDATE webhooks.event SET body = {NO_UTF8}")).await;
    let last = format!(
        "SELECT outcome::text FROM webhooks.attempts(webhook_id => '{id}') WHERE outcome <> 'delivered' LIMIT 1"
    );
    eventually(DEADLINE, "it is set aside", async || (db.all::<String>(&last).await == ["unreadable"]).then_some(()))
        .await;
    assert_eq!(db.one::<i64>("SELECT count(*) FROM webhooks.pending").await, 0);
}

#[tokio::test]
async fn bytes_that_are_no_utf_8_are_signed_as_they_are() {
    let (db, _) = prepare().await;
    let mac = |secret: &[u8]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of any length");
        mac.update(b"{\xff}");
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let signed: String = db.one(&format!("SELECT webhooks.sign({NO_UTF8}, 'secret')")).await;
    assert_eq!(signed, format!("sha256={}", mac(b"secret")));
    let signed: String = db.one(&format!("SELECT webhooks.sign({NO_UTF8}, {NO_UTF8})")).await;
    assert_eq!(signed, format!("sha256={}", mac(b"{\xff}")));
    assert!(db.one::<bool>(&format!("SELECT webhooks.verify({NO_UTF8}, '{signed}', {NO_UTF8})")).await);
    assert!(!db.one::<bool>(&format!("SELECT webhooks.verify({NO_UTF8}, {NO_UTF8}, 'secret')")).await);
    db.run(&format!("SELECT webhooks.sign_standard({NO_UTF8}, 1, {NO_UTF8}, {NO_UTF8})")).await;
}
