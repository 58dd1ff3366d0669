//! `sslmode` in DATABASE_URL means what it means to libpq, on a Postgres whose certificate is of an authority of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tests::{Cluster, Database, Receiver, SECRET, Sidecar, eventually};

/// Has the cluster speak TLS with a certificate for `host`; returns the authority's certificate, a file in `directory`.
async fn serve_tls(db: &Database<'_>, host: &str, directory: &Path) -> PathBuf {
    let authority_key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::new([]).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_pem = authority.self_signed(&authority_key).expect("it signs itself").pem();
    let key = KeyPair::generate().expect("a key");
    let server = CertificateParams::new([host.to_owned()]).expect("a name");
    let server = server.signed_by(&key, &Issuer::new(authority, authority_key)).expect("the authority signs it");

    // Postgres writes the files, so that they are its user's.
    let data = PathBuf::from(db.one::<String>("SHOW data_directory").await);
    for (name, pem) in [("server.crt", server.pem()), ("server.key", key.serialize_pem())] {
        let file = data.join(name);
        let lines = format!("SELECT unnest(string_to_array(trim($${pem}$$, E'\\n'), E'\\n'))");
        db.run(&format!("COPY ({lines}) TO '{}'", file.display())).await;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours, or we are root");
    }
    db.run("ALTER SYSTEM SET ssl = on").await;
    db.run("SELECT pg_reload_conf()").await;
    eventually(Duration::from_secs(10), "Postgres speaks TLS", async || {
        (db.one::<String>("SHOW ssl").await == "on").then_some(())
    })
    .await;
    let path = directory.join("authority.pem");
    fs::write(&path, authority_pem).expect("the directory is ours");
    path
}

fn sidecar(db: &Database<'_>, sslmode: &str, roots: &Path) -> Sidecar {
    let url = format!("{}?sslmode={sslmode}", db.url("sidecar"));
    Sidecar::start_with(db, &[("DATABASE_URL", &url), ("SSL_CERT_FILE", &roots.display().to_string())])
}

#[tokio::test]
async fn require_encrypts_and_verify_full_wants_a_certificate_for_the_host_that_the_system_trusts() {
    let cluster = Cluster::own().await;
    let db = cluster.database().await;
    let directory = TempDir::new().expect("a temporary directory");
    let roots = serve_tls(&db, "127.0.0.1", directory.path()).await;
    let no_roots = directory.path().join("none.pem");
    fs::write(&no_roots, "").expect("the directory is ours");
    let receiver = Receiver::start().await;
    db.register(&receiver.url("/"), "*", SECRET).await;

    let encrypted =
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'sidecar' AND ssl";
    for (round, (sslmode, roots)) in
        [("disable", &no_roots), ("prefer", &no_roots), ("require", &no_roots), ("verify-full", &roots)]
            .iter()
            .enumerate()
    {
        let _sidecar = sidecar(&db, sslmode, roots);
        db.run("INSERT INTO suppliers (name) VALUES ('s')").await;
        receiver.wait_for("the event", |all| all.len() == round + 1).await;
        assert_eq!(db.one::<i64>(encrypted).await > 0, *sslmode != "disable", "{sslmode}");
        // Killed before that, it would leave the event to the next one, too.
        let logged = "SELECT count(*) FROM webhooks.attempt";
        eventually(Duration::from_secs(10), "it is logged", async || {
            (db.one::<i64>(logged).await == round as i64 + 1).then_some(())
        })
        .await;
    }

    let untrusting = sidecar(&db, "verify-full", &no_roots);
    untrusting.wait_for_log("UnknownIssuer").await;
    drop(untrusting);
    serve_tls(&db, "db.example", directory.path()).await;
    let deceived = sidecar(&db, "verify-full", &roots);
    deceived.wait_for_log("not valid for name").await;
    assert_eq!(receiver.requests().len(), 4, "neither delivered");
}
