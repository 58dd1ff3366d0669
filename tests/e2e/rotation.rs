//! Rotation of a secret: while it overlaps both signatures are sent, afterwards the new one alone, and the secret
//! that was made is shown once.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use tests::{Answer, Cluster, Database, Received, SECRET, Stage, eventually};

use crate::verification::assert_standard;

const NEW: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const DEADLINE: Duration = Duration::from_secs(20);

/// Whether `signature` is one of the Standard Webhooks signatures that the secret makes of what was received.
fn is_standard(signature: &str, received: &Received, secret: &str) -> bool {
    let key = match secret.strip_prefix("whsec_") {
        Some(encoded) => STANDARD.decode(encoded).expect("base64"),
        None => secret.as_bytes().to_vec(),
    };
    let timestamp = received.header("webhook-timestamp").expect("webhook-timestamp");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length will do");
    mac.update(format!("{}.{timestamp}.{}", received.webhook_id(), received.body).as_bytes());
    signature == format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

fn standard_signatures(received: &Received) -> Vec<&str> {
    received.header("webhook-signature").expect("webhook-signature").split(' ').collect()
}

async fn assert_plain(db: &Database<'_>, received: &Received, secret: &str) {
    let signature = received.header("x-webhook-signature").expect("x-webhook-signature");
    let body = received.body.replace('\'', "''");
    assert_eq!(signature, db.one::<String>(&format!("SELECT webhooks.sign('{body}', '{secret}')")).await);
}

async fn rotate(stage: &Stage, rest: &str) -> Option<String> {
    stage.db.one(&format!("SELECT webhooks.rotate_secret('{}'{rest})", stage.endpoint)).await
}

/// Sends a test and returns it as it came in.
async fn receive(stage: &Stage) -> Received {
    let id: String = stage.db.one(&format!("SELECT webhooks.test('{}')", stage.endpoint)).await;
    stage.receiver.wait_for("the test", |all| all.iter().any(|one| one.webhook_id() == id)).await;
    stage.receiver.requests().into_iter().find(|one| one.webhook_id() == id).expect("it came in")
}

#[tokio::test]
async fn during_the_overlap_the_new_secret_signs_first_and_the_old_one_beside_it() {
    let stage = Stage::start().await;
    assert_eq!(rotate(&stage, &format!(", '{NEW}'")).await, None, "it was given, not made");
    let received = receive(&stage).await;
    let signatures = standard_signatures(&received);
    assert_eq!(signatures.len(), 2, "{signatures:?}");
    assert!(is_standard(signatures[0], &received, NEW), "the new one first: {signatures:?}");
    assert!(is_standard(signatures[1], &received, SECRET), "then the old one: {signatures:?}");
    assert_plain(&stage.db, &received, NEW).await;
}

#[tokio::test]
async fn after_the_overlap_the_new_secret_signs_alone() {
    let stage = Stage::start().await;
    rotate(&stage, &format!(", '{NEW}', '5 seconds'")).await;
    assert_eq!(standard_signatures(&receive(&stage).await).len(), 2, "it has just begun");
    let received = eventually(DEADLINE, "the overlap ends", async || {
        let received = receive(&stage).await;
        (standard_signatures(&received).len() == 1).then_some(received)
    })
    .await;
    assert_standard(&received, NEW);
    assert_plain(&stage.db, &received, NEW).await;
}

#[tokio::test]
async fn without_an_overlap_the_old_secret_is_over_at_once() {
    let stage = Stage::start().await;
    rotate(&stage, &format!(", '{NEW}', '0'")).await;
    assert_standard(&receive(&stage).await, NEW);
}

#[tokio::test]
async fn the_same_secret_once_more_ends_no_overlap() {
    let stage = Stage::start().await;
    for _ in 0..2 {
        rotate(&stage, &format!(", '{NEW}'")).await;
    }
    let received = receive(&stage).await;
    assert!(is_standard(standard_signatures(&received)[1], &received, SECRET), "the previous one goes on");
}

#[tokio::test]
async fn the_same_secret_without_an_overlap_ends_the_one_that_is_under_way() {
    let stage = Stage::start().await;
    rotate(&stage, &format!(", '{NEW}'")).await;
    rotate(&stage, &format!(", '{NEW}', '0'")).await;
    assert_standard(&receive(&stage).await, NEW);
}

#[tokio::test]
async fn a_second_rotation_keeps_only_the_secret_before_it() {
    let stage = Stage::start().await;
    rotate(&stage, ", 'second'").await;
    rotate(&stage, &format!(", '{NEW}'")).await;
    let received = receive(&stage).await;
    let signatures = standard_signatures(&received);
    assert_eq!(signatures.len(), 2, "{signatures:?}");
    assert!(is_standard(signatures[0], &received, NEW) && is_standard(signatures[1], &received, "second"));
}

#[tokio::test]
async fn an_endpoint_without_a_secret_is_signed_from_its_rotation_on() {
    let stage = Stage::start().await;
    stage.db.run(&format!("SELECT webhooks.update('{}', secret => '')", stage.endpoint)).await;
    assert_eq!(receive(&stage).await.header("webhook-signature"), None);
    let made = rotate(&stage, "").await.expect("it is shown");
    assert_standard(&receive(&stage).await, &made);
}

#[tokio::test]
async fn update_of_the_secret_ends_the_overlap() {
    let stage = Stage::start().await;
    rotate(&stage, &format!(", '{NEW}'")).await;
    stage.db.run(&format!("SELECT webhooks.update('{}', secret => 'third')", stage.endpoint)).await;
    assert_standard(&receive(&stage).await, "third");
}

#[tokio::test]
async fn a_retry_after_the_rotation_is_signed_anew() {
    let stage = Stage::start().await;
    stage.receiver.answer_in_turn("/all", [Answer::status(500), Answer::status(200)]);
    stage.db.run("INSERT INTO suppliers (name) VALUES ('s')").await;
    eventually(DEADLINE, "the first attempt is logged", async || {
        (stage.db.one::<i64>("SELECT count(*) FROM webhooks.pending").await == 1).then_some(())
    })
    .await;
    rotate(&stage, &format!(", '{NEW}'")).await;
    stage.db.run("UPDATE webhooks.pending SET due_at = clock_timestamp(); SELECT webhooks.notify_at_commit()").await;
    let received = stage.receiver.wait_at("/all", 2).await;
    assert_eq!(received[0].body, received[1].body);
    assert_standard(&received[0], SECRET);
    let signatures = standard_signatures(&received[1]);
    assert!(is_standard(signatures[0], &received[1], NEW) && is_standard(signatures[1], &received[1], SECRET));
    assert_plain(&stage.db, &received[1], NEW).await;
}

#[tokio::test]
async fn what_waits_in_the_log_when_the_secret_is_rotated_is_signed_anew() {
    let stage = Stage::start().await;
    let writer = stage.db.session().await;
    // Signed when it is written; read when it is committed.
    writer.run("BEGIN; INSERT INTO suppliers (name) VALUES ('s')").await;
    rotate(&stage, &format!(", '{NEW}', '0'")).await;
    writer.run("COMMIT").await;
    let received = stage.receiver.wait_at("/all", 1).await.remove(0);
    assert_standard(&received, NEW);
    assert_plain(&stage.db, &received, NEW).await;
}

#[tokio::test]
async fn a_secret_that_was_made_is_shown_once_and_by_nothing_that_reads() {
    let stage = Stage::start().await;
    let made = rotate(&stage, "").await.expect("it is shown");
    let key = STANDARD.decode(made.strip_prefix("whsec_").expect("whsec_")).expect("base64");
    assert_eq!(key.len(), 24, "{made}");
    let other = rotate(&stage, "").await.expect("it is shown");
    assert_ne!(other, made);

    let id = receive(&stage).await.webhook_id();
    stage.arrived().await;
    let endpoint = &stage.endpoint;
    let mut shown = String::new();
    for sql in [
        "webhooks.list()".into(),
        format!("webhooks.get('{endpoint}')"),
        format!("webhooks.logs('{endpoint}')"),
        "webhooks.attempts()".into(),
        "webhooks.events()".into(),
        format!("webhooks.message('{id}')"),
        format!("webhooks.deliveries('{id}')"),
        "webhooks.health()".into(),
        "webhooks.status()".into(),
    ] {
        let rows = stage.db.json(&format!("SELECT * FROM {sql}")).await;
        assert!(!rows.is_empty(), "{sql}");
        shown += &format!("{rows:?}");
    }
    for secret in [SECRET, &made[6..], &other[6..]] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn a_rotation_that_can_not_be_is_refused() {
    let db = Cluster::shared().await.database().await;
    let id = db.register("http://127.0.0.1:9/", "*", SECRET).await;
    let before = db.json("SELECT * FROM webhooks.endpoint").await;
    for (arguments, code, named) in [
        (format!("'{id}', overlap => '-1 second'"), "22023", "-00:00:01"),
        (format!("'{id}', overlap => '31 days'"), "22023", "31 days"),
        (format!("'{id}', overlap => NULL"), "22023", "NULL"),
        (format!("'{id}', ''"), "22023", "empty"),
        (format!("'{id}', 'whsec_???'"), "22023", "whsec_"),
        ("'ep_unknown'".into(), "42704", "ep_unknown"),
        ("'wh_00000000n40000007shm2fnpb8'".into(), "22023", "wh_00000000n40000007shm2fnpb8"),
        ("NULL".into(), "42704", "NULL"),
    ] {
        let error = db.fail(&format!("SELECT webhooks.rotate_secret({arguments})")).await;
        assert_eq!(error.code, code, "{arguments}: {error:?}");
        assert!(error.message.contains(named) && !error.hint.is_empty(), "{arguments}: {error:?}");
    }
    assert_eq!(db.json("SELECT * FROM webhooks.endpoint").await, before, "nothing changed");
}
