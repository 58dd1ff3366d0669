//! The sidecar's sessions: neither what a role is set to, nor what other roles do, nor a connection that has fallen
//! silent stops delivery.

use std::time::Duration;

use serde_json::json;
use tests::{Api, Cluster, Database, Receiver, SECRET, Sidecar, eventually};

const DEADLINE: Duration = Duration::from_secs(20);
const SUPPLIER: &str = "INSERT INTO suppliers (name) VALUES ('s')";

async fn prepare(cluster: &Cluster) -> (Database<'_>, Receiver) {
    let db = cluster.database().await;
    let receiver = Receiver::start().await;
    db.register(&receiver.url("/all"), "*", SECRET).await;
    (db, receiver)
}

/// Has the sessions of a role begin with settings under which hardly anything works.
async fn set_traps(db: &Database<'_>, role: &str) {
    for (setting, value) in [
        ("statement_timeout", "3ms"),
        ("lock_timeout", "1ms"),
        ("transaction_timeout", "5ms"),
        ("idle_session_timeout", "200ms"),
        ("idle_in_transaction_session_timeout", "1ms"),
        ("default_transaction_read_only", "on"),
        ("default_transaction_isolation", "serializable"),
        ("default_transaction_deferrable", "on"),
    ] {
        if db.one::<bool>(&format!("SELECT current_setting('{setting}', true) IS NOT NULL")).await {
            db.run(&format!("ALTER ROLE {role} IN DATABASE {} SET {setting} = '{value}'", db.name())).await;
        }
    }
}

#[tokio::test]
async fn events_are_delivered_whatever_the_sidecars_role_is_set_to() {
    let (db, receiver) = prepare(Cluster::shared().await).await;
    set_traps(&db, "sidecar").await;
    let sidecar = Sidecar::start(&db);
    let sessions = "SELECT pid FROM pg_stat_activity
                     WHERE usename = 'sidecar' AND datname = current_database() AND application_name = 'pg-webhooks'
                     ORDER BY pid";
    db.run(SUPPLIER).await;
    receiver.wait_at("/all", 1).await;
    let before: Vec<i32> = db.all(sessions).await;
    let idles = format!(
        "SELECT max(clock_timestamp() - state_change) > '1 s'
                                  FROM pg_stat_activity WHERE pid = ANY (ARRAY{before:?})"
    );
    eventually(DEADLINE, "a session has been idle for longer than it may", async || {
        db.one::<bool>(&idles).await.then_some(())
    })
    .await;
    db.run(&format!("{SUPPLIER}; SELECT pg_sleep(0.01); {SUPPLIER}")).await;
    receiver.wait_at("/all", 3).await;
    assert_eq!(db.all::<i32>(sessions).await, before, "no session was lost");
    assert!(!sidecar.log().contains("cannot deliver"), "{}", sidecar.log());
}

#[tokio::test]
async fn the_api_works_whatever_its_role_is_set_to() {
    let (db, receiver) = prepare(Cluster::shared().await).await;
    set_traps(&db, "server").await;
    let api = Api::start(&db).await;
    let webhook = json!({"url": receiver.url("/api"), "events": ["*"]});
    api.post("/api/v1/webhooks", webhook).await.data(201);
    db.run(SUPPLIER).await;
    receiver.wait_at("/api", 1).await;
}
