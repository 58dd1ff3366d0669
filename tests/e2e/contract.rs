//! The sidecar and an extension of another version: what does not fit is named, with both versions, and as soon as it
//! fits the sidecar delivers. It does not end meanwhile, or panic.

use std::time::Duration;

use tests::{Cluster, Database, Receiver, SECRET, Sidecar, Stage, eventually};

const DEADLINE: Duration = Duration::from_secs(20);

async fn prepare() -> (Database<'static>, Receiver) {
    prepare_in(Cluster::shared().await).await
}

async fn prepare_in(cluster: &Cluster) -> (Database<'_>, Receiver) {
    let db = cluster.database().await;
    let receiver = Receiver::start().await;
    db.register(&receiver.url("/"), "*", SECRET).await;
    (db, receiver)
}

/// Asserts that the sidecar says what does not fit, and delivers once it does.
async fn names_it_and_delivers_once_mended(db: &Database<'_>, receiver: &Receiver, named: &[&str], mend: &str) {
    let sidecar = Sidecar::start(db);
    db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    let version: String = db.one("SELECT extversion FROM pg_extension WHERE extname = 'pg_webhooks'").await;
    sidecar.wait_for_log(&format!("extension {version} do not fit")).await;
    let log = sidecar.log();
    let line = log.lines().find(|line| line.contains("do not fit")).expect("it was just there");
    assert!(named.iter().all(|part| line.contains(part)) && line.contains("sidecar 0."), "{named:?}: {line}");
    assert!(!log.contains("panicked"), "{log}");
    db.run(mend).await;
    receiver.wait_at("/", 1).await;
    let logged = "SELECT count(*) FROM webhooks.attempt WHERE outcome = 'delivered'";
    eventually(DEADLINE, "what was sent is reported", async || (db.one::<i64>(logged).await > 0).then_some(())).await;
    assert!(sidecar.terminate().await.success());
}

/// Puts `renew` with other columns in the place of the extension's.
fn renew(columns: &str, values: &str) -> String {
    format!(
        "ALTER FUNCTION webhooks.renew(integer, bigint, integer) RENAME TO renew_kept;
         CREATE FUNCTION webhooks.renew(shard integer, lease_id bigint, lease_ms integer) RETURNS TABLE ({columns})
             LANGUAGE sql AS 'SELECT {values}';
         GRANT EXECUTE ON FUNCTION webhooks.renew(integer, bigint, integer) TO webhooks_sidecar"
    )
}

const RENEW_AGAIN: &str = "DROP FUNCTION webhooks.renew(integer, bigint, integer);
                           ALTER FUNCTION webhooks.renew_kept(integer, bigint, integer) RENAME TO renew";

#[tokio::test]
async fn a_column_that_is_not_there_is_named() {
    let (db, receiver) = prepare().await;
    db.run(&renew("request_timeout_ms bigint, portion integer, give_back boolean", "30000::bigint, 1, false")).await;
    names_it_and_delivers_once_mended(&db, &receiver, &["webhooks.renew", "\"share\""], RENEW_AGAIN).await;
}

#[tokio::test]
async fn a_column_of_another_type_is_named() {
    let (db, receiver) = prepare().await;
    db.run(&renew("request_timeout_ms bigint, share text, give_back boolean", "30000::bigint, text(1), false")).await;
    names_it_and_delivers_once_mended(&db, &receiver, &["webhooks.renew", "\"share\"", "i32", "text"], RENEW_AGAIN)
        .await;
}

#[tokio::test]
async fn columns_in_another_order_and_more_of_them_are_no_matter() {
    let (db, receiver) = prepare().await;
    db.run(&renew(
        "novelty text, give_back boolean, share integer, request_timeout_ms bigint",
        "text(1), false, 1, 30000::bigint",
    ))
    .await;
    let _sidecar = Sidecar::start(&db);
    db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    receiver.wait_at("/", 1).await;
}

#[tokio::test]
async fn a_function_that_is_not_there_is_named() {
    let (db, receiver) = prepare().await;
    db.run("ALTER FUNCTION webhooks.stop_sleeping() RENAME TO kept").await;
    let mend = "ALTER FUNCTION webhooks.kept() RENAME TO stop_sleeping";
    names_it_and_delivers_once_mended(&db, &receiver, &["webhooks.stop_sleeping()"], mend).await;
}

#[tokio::test]
async fn a_result_with_another_attribute_is_named() {
    let (db, receiver) = prepare().await;
    db.run("ALTER TYPE webhooks.result ADD ATTRIBUTE novelty text").await;
    let mend = "ALTER TYPE webhooks.result DROP ATTRIBUTE novelty";
    names_it_and_delivers_once_mended(&db, &receiver, &["result"], mend).await;
}

#[tokio::test]
async fn a_database_without_the_extension_and_a_role_without_rights_are_told_apart() {
    // Its own, for a role is every database's.
    let cluster = Cluster::own().await;
    let (db, receiver) = prepare_in(&cluster).await;
    db.run("REVOKE webhooks_sidecar FROM sidecar").await;
    let sidecar = Sidecar::start(&db);
    sidecar.wait_for_log("is the role a member of webhooks_sidecar?").await;
    db.run("GRANT webhooks_sidecar TO sidecar; SELECT webhooks.emit('order.paid', '{}')").await;
    receiver.wait_at("/", 1).await;
    db.run("DROP EXTENSION pg_webhooks").await;
    sidecar.wait_for_log("the extension pg_webhooks is not installed in this database").await;
}

#[tokio::test]
async fn a_delivery_that_is_put_off_for_ever_is_no_trouble() {
    let stage = Stage::start().await;
    stage.db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    stage.receiver.wait_at("/all", 1).await;
    stage
        .db
        .run("INSERT INTO webhooks.pending SELECT 1, xid, seq, occurred_at, 'infinity', 1 FROM webhooks.event")
        .await;
    let asked = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'sidecar' AND datname = current_database()
                    AND query LIKE '%fetch_due%'";
    eventually(DEADLINE, "it was asked for what is due", async || (stage.db.one::<i64>(asked).await > 0).then_some(()))
        .await;
    stage.db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    stage.receiver.wait_at("/all", 2).await;
    assert!(!stage.sidecar.log().contains("panicked"), "{}", stage.sidecar.log());
}
