//! A receiver written from the specification (Node, Python) or from the Standard Webhooks definition accepts what
//! arrives, whatever the secret; and what has no secret is not signed.

use std::io::Write;
use std::time::UNIX_EPOCH;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::Sha256;
use tests::{Cluster, Received, Receiver, Sidecar};
use tokio::process::Command;

/// Runs the specification's verification over messages and their secrets: all of `received` in one process.
pub async fn assert_accepted(program: &str, script: &str, received: &[(Received, String)]) {
    let messages: Vec<_> = received
        .iter()
        .map(|(one, secret)| {
            let signature = one.header("x-webhook-signature").expect("a signature");
            json!({"body": one.body, "signature": signature, "secret": secret})
        })
        .collect();
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(json!(messages).to_string().as_bytes()).expect("it is ours");
    let script = format!("{}/fixtures/{script}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(program).arg(script).arg(file.path()).output().await;
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), format!("{} verified", received.len()));
}

/// Checks the three headers of the Standard Webhooks definition.
pub fn assert_standard(received: &Received, secret: &str) {
    let id = received.header("webhook-id").expect("webhook-id");
    assert_eq!(id, received.webhook_id());
    let timestamp = received.header("webhook-timestamp").expect("webhook-timestamp");
    let arrived = received.clock.duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let age = arrived.abs_diff(timestamp.parse().expect("seconds"));
    assert!(age < 60, "webhook-timestamp is {age} s off");

    let key = match secret.strip_prefix("whsec_") {
        Some(encoded) => STANDARD.decode(encoded).expect("base64"),
        None => secret.as_bytes().to_vec(),
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length will do");
    mac.update(format!("{id}.{timestamp}.{}", received.body).as_bytes());
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(received.header("webhook-signature"), Some(expected.as_str()));
}

#[tokio::test]
async fn every_secret_signs_both_ways() {
    let secrets = [
        "votre_secret_pour_signature",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "clé secrète 🔑 \\ \" '",
        "x",
        &"long".repeat(60),
    ];
    let db = Cluster::shared().await.database().await;
    let receiver = Receiver::start().await;
    for (at, secret) in secrets.iter().enumerate() {
        db.register(&receiver.url(&format!("/{at}")), "*", secret).await;
    }
    let _sidecar = Sidecar::start(&db);
    db.run("INSERT INTO suppliers (name) VALUES ('Société « É » 😀 <&>')").await;
    receiver.wait_for("one for each", |all| all.len() == secrets.len()).await;

    let mut received = Vec::new();
    for (at, secret) in secrets.iter().enumerate() {
        let one = receiver.at(&format!("/{at}")).remove(0);
        assert_standard(&one, secret);
        received.push((one, secret.to_string()));
    }
    assert!(received.iter().all(|(one, _)| one.body == received[0].0.body), "one message for all endpoints");
    assert_accepted("node", "verify.mjs", &received).await;
    assert_accepted("python3", "verify.py", &received).await;
}

#[tokio::test]
async fn what_has_no_secret_is_sent_unsigned_as_json() {
    let db = Cluster::shared().await.database().await;
    let receiver = Receiver::start().await;
    db.run(&format!("SELECT webhooks.register('{}', '{{*}}')", receiver.url("/"))).await;
    let notice = db.notices().pop().expect("a notice");
    assert!(notice.message.contains("unsigned"), "{notice:?}");
    let _sidecar = Sidecar::start(&db);
    db.run("INSERT INTO suppliers (name) VALUES ('s')").await;
    let one = receiver.wait_at("/", 1).await.remove(0);
    assert_eq!(one.header("x-webhook-signature"), None);
    assert_eq!(one.header("webhook-signature"), None);
    assert_eq!(one.header("webhook-id"), Some(one.webhook_id().as_str()));
    let content_type = one.header("content-type").expect("a content type");
    assert!(content_type.starts_with("application/json"), "{content_type}");
}

#[tokio::test]
async fn sign_and_verify_agree_with_the_specifications_algorithm() {
    let db = Cluster::shared().await.database().await;
    let signed: String = db.one("SELECT webhooks.sign('payload é', 'clé')").await;
    let mut mac = Hmac::<Sha256>::new_from_slice("clé".as_bytes()).expect("any length will do");
    mac.update("payload é".as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(signed, format!("sha256={hex}"));
    let verdict = |payload: &str, signature: &str| format!("SELECT webhooks.verify('{payload}', '{signature}', 'clé')");
    assert!(db.one::<bool>(&verdict("payload é", &signed)).await);
    assert!(!db.one::<bool>(&verdict("payload e", &signed)).await);
    assert!(!db.one::<bool>(&verdict("payload é", "sha256=abc")).await);
    assert!(!db.one::<bool>(&verdict("payload é", "")).await);
}
