//! The REST API keeps what its description promises: Schemathesis reads /api/openapi.json and sends thousands of requests
//! made from it, right and wrong ones, alone and in sequences, and checks every answer against it.
//!
//! Whatever URLs it registers, nothing leaves this machine. The API itself dials Postgres alone, and registration looks at
//! a URL's text; what dials endpoints is the delivery, and the role of this process has no right to read an event.
//! Schemathesis is told of a proxy for all but loopback, at a port where nobody listens.
//!
//! It takes a core for half a minute, so it is a binary of its own: it runs when no other test does.

use std::path::{Path, PathBuf};

use tests::{Api, Cluster, SECRET};
use tokio::process::Command;

#[tokio::test]
async fn every_answer_is_one_that_the_description_promises() {
    let db = Cluster::shared().await.database().await;
    let may_deliver = "SELECT bool_or(has_function_privilege('api', oid, 'EXECUTE')) FROM pg_proc
                        WHERE pronamespace = 'webhooks'::regnamespace AND proname IN ('acquire', 'fetch', 'fetch_due')";
    assert!(!db.one::<bool>(may_deliver).await, "it could send something");
    let api = Api::start_with(&db, &[("DATABASE_URL", &db.url("api"))]).await;
    db.register("https://example.com/", "*", SECRET).await;
    db.run("INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1)").await;

    let home = tempfile::tempdir().expect("a temporary directory");
    let mut run = Command::new(venv().join("bin/schemathesis"));
    run.arg("run").arg(format!("http://{}/api/openapi.json", api.address));
    run.args(["--header", &format!("Authorization: Bearer {}", api.token.as_deref().expect("a manager has one"))]);
    // Left out: that the database takes whatever fits the schema, for it knows better; and that each wrong token brings a
    // 401, for after ten it is a 429. `api_auth.rs` and `api_errors.rs` have tests of both.
    run.args(["--exclude-checks", "positive_data_acceptance,ignored_auth"]);
    run.args(["--max-examples", "20", "--seed", "1", "--workers", "2", "--no-color", "--suppress-health-check", "all"]);
    run.env("HTTP_PROXY", "http://127.0.0.1:9").env("HTTPS_PROXY", "http://127.0.0.1:9").env("NO_PROXY", "127.0.0.1");
    let done = run.current_dir(home.path()).kill_on_drop(true).output().await;
    let done = done.unwrap_or_else(|error| panic!("{error}; make test sets {} up", venv().display()));
    let report = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{report}\n{}", String::from_utf8_lossy(&done.stderr));
    println!("{}", report.split("Test cases:").nth(1).unwrap_or_default());

    assert!(!api.sidecar.log().contains("the API failed"), "{}", api.sidecar.log());
    assert_eq!(db.one::<i64>("SELECT count(*) FROM webhooks.attempt").await, 0, "nothing was sent");
}

/// What the Makefile makes from `tests/requirements.txt`.
fn venv() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv")
}
