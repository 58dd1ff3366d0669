//! The log and the messages in pages and through filters, and what can be made again of an attempt.

use std::time::Duration;

use serde_json::Value;
use tests::{Answer, Cluster, Database, Received, SECRET, Stage, eventually};

const PRODUCT: &str = "INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1)";
const DEADLINE: Duration = Duration::from_secs(20);

/// A database with two endpoints and 60 attempts for each, ten at the same time; returns the endpoints.
async fn prepare_log() -> (Database<'static>, [String; 2]) {
    let db = Cluster::shared().await.database().await;
    let one = db.register("http://127.0.0.1:9/one", "*", SECRET).await;
    let two = db.register("http://127.0.0.1:9/TWO", "*", SECRET).await;
    db.run(
        "SELECT webhooks.create_partition('webhooks.attempt', (now() AT TIME ZONE 'UTC')::date - 1);
         INSERT INTO webhooks.attempt (started_at, endpoint, retry_count, http_status, response_time_ms, outcome, webhook_id, event, error)
         SELECT now() - (i / 10) * interval '1 s', e.key, 0, CASE WHEN i % 5 = 0 THEN 400 ELSE 200 END, 3,
                (CASE WHEN i % 15 = 0 THEN 'retry' WHEN i % 5 = 0 THEN 'rejected' ELSE 'delivered' END)::webhooks.outcome,
                'wh_' || lpad(i::text, 26, '0'),
                (ARRAY['product.created', 'product.updated', 'import.failed'])[1 + i % 3],
                CASE WHEN i % 5 = 0 THEN 'HTTP 400 Bad Request' END
           FROM webhooks.endpoint e CROSS JOIN generate_series(0, 59) i",
    )
    .await;
    (db, [one, two])
}

/// How many attempts the filters leave.
async fn count(db: &Database<'_>, filters: &str) -> i64 {
    db.one(&format!("SELECT count(*) FROM webhooks.attempts({filters}, max_rows => 1000)")).await
}

/// Every page of a reading function, one after the other, until an empty one.
async fn pages(db: &Database<'_>, function: &str, position: &str, rows: usize) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let before =
            all.last().map_or("NULL".to_owned(), |last| format!("'{}'", last[position].as_str().expect("a position")));
        let page = db.json(&format!("SELECT * FROM {function}before => {before}, max_rows => {rows})")).await;
        assert!(page.len() <= rows, "no more than asked for");
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// The messages in these states, newest first.
async fn states(db: &Database<'_>, filters: &str) -> Vec<String> {
    db.all(&format!("SELECT state FROM webhooks.events({filters})")).await
}

/// Waits until the message stands so.
async fn until_state(db: &Database<'_>, id: &str, state: &str) {
    let sql = format!("SELECT count(*) FROM webhooks.events(state => '{state}') WHERE webhook_id = '{id}'");
    eventually(DEADLINE, &format!("{id} is {state}"), async || (db.one::<i64>(&sql).await == 1).then_some(())).await;
}

/// The id of the newest message.
async fn newest(db: &Database<'_>) -> String {
    db.one("SELECT webhook_id FROM webhooks.events(max_rows => 1)").await
}

#[tokio::test]
async fn pages_of_the_log_hold_every_attempt_exactly_once_newest_first() {
    let (db, [one, _]) = prepare_log().await;
    let whole = db.json("SELECT * FROM webhooks.attempts(max_rows => 1000)").await;
    assert_eq!(whole.len(), 120);
    let times: Vec<&str> = whole.iter().map(|row| row["timestamp"].as_str().expect("a time")).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
    for rows in [1, 7, 10, 119, 120] {
        assert_eq!(pages(&db, "webhooks.attempts(", "position", rows).await, whole, "in pages of {rows}");
    }
    let of_one = format!("webhooks.attempts('{one}', outcome => 'failed', ");
    assert_eq!(pages(&db, &of_one, "position", 5).await.len(), 12, "filters go with pages");
}

#[tokio::test]
async fn new_attempts_do_not_shift_the_pages_behind_them() {
    let (db, [one, _]) = prepare_log().await;
    let first = db.json("SELECT * FROM webhooks.attempts(max_rows => 50)").await;
    let behind =
        format!("SELECT * FROM webhooks.attempts(before => '{}')", first[49]["position"].as_str().expect("a text"));
    let before = db.json(&behind).await;
    db.run(&format!(
        "INSERT INTO webhooks.attempt SELECT now() + interval '1 s', endpoint, retry_count, http_status, response_time_ms, outcome, webhook_id, event
           FROM webhooks.attempt WHERE endpoint = (SELECT key FROM webhooks.endpoint WHERE id = '{one}')"
    ))
    .await;
    assert_eq!(db.json(&behind).await, before);
}

#[tokio::test]
async fn each_filter_leaves_what_it_names() {
    let (db, [one, two]) = prepare_log().await;
    let id = format!("wh_{:026}", 15);
    for (filters, expected) in [
        (format!("'{one}'"), 60),
        (format!("webhook_id => '{id}'"), 2),
        (format!("'{two}', webhook_id => '{id}'"), 1),
        ("event => 'import.failed'".into(), 40),
        ("event => 'product.*'".into(), 80),
        ("event => '*'".into(), 120),
        ("event => 'product'".into(), 0),
        ("outcome => 'delivered'".into(), 96),
        ("outcome => 'failed'".into(), 24),
        ("outcome => 'retry'".into(), 8),
        ("outcome => 'rejected'".into(), 16),
        ("outcome => 'gone'".into(), 0),
        ("search => 'bad REQUEST'".into(), 24),
        ("search => 'Import'".into(), 40),
        ("search => '/two'".into(), 60),
        (format!("search => '{id}'"), 2),
        ("search => '%'".into(), 0),
        ("since => now() - interval '1500 ms'".into(), 40),
        ("until => now() - interval '1500 ms'".into(), 80),
        ("since => now() - interval '3500 ms', until => now() - interval '1500 ms'".into(), 40),
        ("event => 'product.*', outcome => 'failed', search => '/one'".into(), 8),
    ] {
        assert_eq!(
            count(&db, &filters.replace("now()", "(SELECT max(started_at) FROM webhooks.attempt)")).await,
            expected,
            "{filters}"
        );
    }
}

#[tokio::test]
async fn a_filter_that_can_not_be_is_refused() {
    let (db, _) = prepare_log().await;
    for (call, code, named) in [
        ("attempts(outcome => 'lost')", "22023", "lost"),
        ("attempts(before => 'nonsense')", "22023", "nonsense"),
        ("attempts(before => '')", "22023", "\"\""),
        ("attempts('ep_unknown')", "42704", "ep_unknown"),
        ("attempts('wh_00000000n40000007shm2fnpb8')", "22023", "wh_00000000n40000007shm2fnpb8"),
        ("events(state => 'lost')", "22023", "lost"),
        ("events(before => 'nonsense')", "22023", "nonsense"),
        ("events(endpoint_id => 'ep_unknown')", "42704", "ep_unknown"),
        ("message('wh_00000000n40000007shm2fnpb8')", "42704", "wh_00000000n40000007shm2fnpb8"),
        ("message('ep_0')", "22023", "registered webhook"),
        ("deliveries(NULL)", "42704", "NULL"),
        ("signatures('wh_00000000n40000007shm2fnpb8', 'ep_0', 1)", "42704", "wh_00000000n40000007shm2fnpb8"),
    ] {
        let refused = db.fail(&format!("SELECT * FROM webhooks.{call}")).await;
        assert_eq!(refused.code, code, "{call}: {refused:?}");
        assert!(refused.message.contains(named) && !refused.hint.is_empty(), "{call}: {refused:?}");
    }
}

#[tokio::test]
async fn an_unknown_endpoint_is_an_error_where_none_is_registered_too() {
    let db = Cluster::shared().await.database().await;
    for call in ["get('ep_0')", "health('ep_0')", "logs('ep_0')", "attempts('ep_0')", "events(endpoint_id => 'ep_0')"] {
        let refused = db.fail(&format!("SELECT * FROM webhooks.{call}")).await;
        assert_eq!(refused.code, "42704", "{call}: {refused:?}");
    }
}

#[tokio::test]
async fn a_message_is_queued_then_waiting_then_delivered_or_failed() {
    let stage = Stage::start().await;
    let writer = stage.db.session().await;
    stage.receiver.answer_in_turn("/all", [Answer::status(500), Answer::status(200), Answer::status(400)]);
    stage.db.run(PRODUCT).await;
    let first = newest(&stage.db).await;
    until_state(&stage.db, &first, "waiting").await;
    assert_eq!(states(&stage.db, "state => 'delivered'").await, [""; 0]);
    stage.db.run("UPDATE webhooks.pending SET due_at = clock_timestamp(); SELECT webhooks.notify_at_commit()").await;
    until_state(&stage.db, &first, "delivered").await;

    stage.db.run("UPDATE products SET price = 2").await;
    let second = newest(&stage.db).await;
    until_state(&stage.db, &second, "failed").await;
    assert_eq!(states(&stage.db, "").await, ["failed", "delivered"]);
    assert_eq!(states(&stage.db, "state => 'failed'").await, ["failed"]);

    stage.sidecar.terminate().await;
    writer.run("UPDATE products SET price = 3").await;
    assert_eq!(states(&stage.db, "").await, ["queued", "failed", "delivered"], "nobody reads it");
    assert_eq!(states(&stage.db, "state => 'queued'").await, ["queued"]);
    let line = stage.db.json("SELECT * FROM webhooks.events(state => 'failed')").await.remove(0);
    assert_eq!((&line["deliveries"], &line["failed"], &line["delivered"]), (&1.into(), &1.into(), &0.into()), "{line}");
}

#[tokio::test]
async fn the_worst_of_its_deliveries_is_the_state_of_a_message() {
    let stage = Stage::start().await;
    stage.db.run(PRODUCT).await;
    until_state(&stage.db, &newest(&stage.db).await, "delivered").await;
    let off = stage.db.register(&stage.receiver.url("/off"), "*", SECRET).await;
    stage.db.run(&format!("SELECT webhooks.update('{off}', active => false)")).await;
    stage.db.run("UPDATE products SET price = 2").await;
    let id = newest(&stage.db).await;
    until_state(&stage.db, &id, "skipped").await;
    let each = format!(
        "SELECT state || ' ' || (SELECT attempts FROM webhooks.deliveries('{id}') d WHERE d.endpoint_id = x.endpoint_id)"
    );
    let each = format!("{each} FROM webhooks.deliveries('{id}') x");
    assert_eq!(stage.db.all::<String>(&each).await, ["delivered 1", "skipped 0"]);
    assert_eq!(states(&stage.db, &format!("endpoint_id => '{}'", stage.endpoint)).await, ["delivered", "delivered"]);
    assert_eq!(states(&stage.db, &format!("endpoint_id => '{off}'")).await, ["skipped"]);
    assert_eq!(states(&stage.db, &format!("endpoint_id => '{off}', state => 'delivered'")).await, [""; 0]);
}

#[tokio::test]
async fn pages_of_messages_hold_each_once_newest_first() {
    let db = Cluster::shared().await.database().await;
    let id = db.register("http://127.0.0.1:9/", "product.*,order.*", SECRET).await;
    db.run("INSERT INTO products (sku, name, price) SELECT i, 'p', 1 FROM generate_series(1, 20) i").await;
    for price in 2..7 {
        db.run(&format!(
            "UPDATE products SET price = {price} WHERE id <= 3; SELECT webhooks.emit('order.paid', '{{}}')"
        ))
        .await;
    }
    let logged: Vec<String> = db.all("SELECT webhook_id FROM webhooks.event ORDER BY xid DESC, seq DESC").await;
    for rows in [1, 7, 40, 100] {
        let paged = pages(&db, "webhooks.events(", "webhook_id", rows).await;
        let ids: Vec<&str> = paged.iter().map(|row| row["webhook_id"].as_str().expect("an id")).collect();
        assert_eq!(ids, logged, "in pages of {rows}");
    }
    let between: String = db.one("SELECT clock_timestamp()::text").await;
    db.run("UPDATE products SET price = 9 WHERE id = 1").await;
    for (filters, expected) in [
        ("event => 'product.created'".into(), 20),
        ("event => 'product.*'".into(), 36),
        ("event => '*'".into(), 41),
        ("event => 'order.paid', state => 'queued'".into(), 5),
        (format!("since => '{between}'"), 1),
        (format!("until => '{between}'"), 40),
        (format!("endpoint_id => '{id}'"), 41),
    ] {
        assert_eq!(states(&db, &filters).await.len(), expected, "{filters}");
    }
}

#[tokio::test]
async fn a_message_is_shown_to_the_byte() {
    let stage = Stage::start().await;
    stage.db.run("INSERT INTO suppliers (name) VALUES ('Société « É » 😀 <&> \\u2028 \"')").await;
    let received = stage.receiver.wait_at("/all", 1).await.remove(0);
    let row = stage.db.row(&format!("SELECT event, body FROM webhooks.message('{}')", received.webhook_id())).await;
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("supplier.created", received.body.as_str()));
}

/// What `webhooks.signatures` says of the newest attempt at what was received.
async fn signatures(stage: &Stage, received: &Received) -> Option<(String, String)> {
    let (id, timestamp) = (received.webhook_id(), received.header("webhook-timestamp").expect("webhook-timestamp"));
    let sql = format!("SELECT * FROM webhooks.signatures('{id}', '{}', {timestamp})", stage.endpoint);
    stage.db.rows(&sql).await.pop().map(|row| (row.get(0), row.get(1)))
}

#[tokio::test]
async fn signatures_are_those_that_were_sent_until_the_secret_is_changed() {
    let stage = Stage::start().await;
    let sent = |one: &Received| {
        let header = |name| one.header(name).expect("signed").to_owned();
        Some((header("x-webhook-signature"), header("webhook-signature")))
    };
    stage.db.run(PRODUCT).await;
    let first = stage.receiver.wait_at("/all", 1).await.remove(0);
    assert_eq!(signatures(&stage, &first).await, sent(&first));

    stage.db.run(&format!("SELECT webhooks.rotate_secret('{}')", stage.endpoint)).await;
    assert_eq!(signatures(&stage, &first).await, None, "it was made with another secret");
    // What is signed in the second of the rotation is not told apart.
    let second = eventually(DEADLINE, "a message of a later second", async || {
        let id: String = stage.db.one(&format!("SELECT webhooks.test('{}')", stage.endpoint)).await;
        stage.receiver.wait_for("the test", |all| all.iter().any(|one| one.webhook_id() == id)).await;
        let received = stage.receiver.requests().into_iter().find(|one| one.webhook_id() == id).expect("it came");
        signatures(&stage, &received).await.is_some().then_some(received)
    })
    .await;
    assert_eq!(signatures(&stage, &second).await, sent(&second), "in an overlap both");
    assert!(second.header("webhook-signature").expect("signed").contains(' '));
    stage.db.run(&format!("SELECT webhooks.update('{}', secret => 'another')", stage.endpoint)).await;
    assert_eq!(signatures(&stage, &second).await, None);
}
