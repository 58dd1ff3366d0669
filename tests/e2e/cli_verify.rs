//! `pg-webhooks verify` over what really arrives: both signatures are valid, and a mistake is named. The mistakes one by
//! one are tested beside the code.

use std::io::Write;

use serde_json::Value;
use tempfile::NamedTempFile;
use tests::{CommandLine, Received, SECRET, Stage, Told};

fn file(content: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(content.as_bytes()).expect("it is ours");
    file
}

async fn received() -> (Received, CommandLine) {
    let stage = Stage::start().await;
    let cli = CommandLine::new(&stage.db);
    stage.db.run("INSERT INTO products (sku, name, price) VALUES ('é', 'a \"b\"', 1.50)").await;
    stage.receiver.wait_for("the message", |all| !all.is_empty()).await;
    (stage.receiver.requests().remove(0), cli)
}

/// Verifies the signature that `header` carries.
pub async fn verify(cli: &CommandLine, one: &Received, header: &str, body: &str, secret: &str) -> Told {
    let (body, secret) = (file(body), file(secret));
    let path = |file: &NamedTempFile| file.path().to_str().expect("a plain path").to_owned();
    let (id, timestamp) = (one.header("webhook-id").unwrap(), one.header("webhook-timestamp").unwrap());
    let signature = one.header(header).unwrap();
    let (body, secret) = (path(&body), path(&secret));
    let files = ["--body", &body, "--secret-file", &secret, "--signature", signature];
    cli.run(&[&["verify", "--id", id, "--timestamp", timestamp, "--json"], &files[..]].concat()).await
}

#[tokio::test]
async fn both_signatures_of_what_arrives_are_valid() {
    let (one, cli) = received().await;
    for header in ["x-webhook-signature", "webhook-signature"] {
        for secret in [SECRET.to_owned(), format!("{SECRET}\n")] {
            let told = verify(&cli, &one, header, &one.body, &secret).await;
            assert_eq!(told.json()["valid"], true, "{header}: {told:?}");
        }
    }
}

#[tokio::test]
async fn a_mistake_is_named_and_the_secret_is_not() {
    let (one, cli) = received().await;
    let pretty = serde_json::to_string_pretty(&one.json()).unwrap();
    for header in ["x-webhook-signature", "webhook-signature"] {
        for (body, secret, named) in [
            (format!("{}\n", one.body), SECRET.to_owned(), "at its end"),
            (pretty.clone(), SECRET.to_owned(), "serialised again"),
            (one.body.clone(), format!(" {SECRET}"), "blanks"),
            (one.body.clone(), format!("whsec_{SECRET}"), "without whsec_"),
            (one.body.clone(), "another".to_owned(), "did not sign"),
        ] {
            let told = verify(&cli, &one, header, &body, &secret).await;
            assert_eq!(told.status, 1, "{told:?}");
            let judgement: Value = serde_json::from_str(&told.stdout).expect("JSON");
            let what = judgement["mistakes"][0]["what"].as_str().expect("a mistake");
            assert!(what.contains(named), "{header}, {named}: {told:?}");
            assert!(!told.all().contains(SECRET), "{told:?}");
        }
    }
}

#[tokio::test]
async fn the_parts_come_from_files_or_stdin_and_what_is_missing_is_64() {
    let (one, cli) = received().await;
    let secret = file(SECRET);
    let secret = secret.path().to_str().expect("a plain path");
    let signature = file(&format!("X-Webhook-Signature: {}\n", one.header("x-webhook-signature").unwrap()));
    let signature = signature.path().to_str().expect("a plain path");
    let parts = ["verify", "--body", "-", "--signature-file", signature, "--secret-file", secret];
    let told = cli.run_with(&one.body, &parts).await;
    assert!(told.status == 0 && told.stdout.starts_with("valid: "), "{told:?}");
    let told = cli.run_with("{}", &parts).await;
    assert!(told.status == 1 && told.stdout.starts_with("invalid: ") && told.stdout.contains("fix:"), "{told:?}");

    let standard = one.header("webhook-signature").unwrap();
    for (arguments, named) in [
        (&["verify", "--body", "-", "--secret-file", "-", "--signature", standard][..], "stdin"),
        (&["verify", "--body", "-", "--secret-file", secret, "--signature", standard], "--timestamp"),
        (&["verify", "--body", "/no/such/file", "--secret-file", secret, "--signature", standard], "/no/such/file"),
        (&["verify", "--body", "-", "--secret-file", secret], "--signature"),
    ] {
        let told = cli.run_with(&one.body, arguments).await;
        assert!(told.status == 64 && told.stderr.contains(named), "{arguments:?}: {told:?}");
    }
}
