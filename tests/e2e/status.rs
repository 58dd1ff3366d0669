//! How it goes, as `webhooks.status`, `health` and `activity` tell it.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Api, Cluster, CommandLine, Database, Receiver, SECRET, Sidecar, Stage, eventually};

const PRODUCT: &str = "INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1)";
const DEADLINE: Duration = Duration::from_secs(20);

async fn status(db: &Database<'_>) -> Value {
    db.json("SELECT *, extract(epoch FROM behind) AS behind_s FROM webhooks.status()").await.remove(0)
}

/// Waits until the status has these members.
async fn until_status(db: &Database<'_>, wanted: &Value) -> Value {
    eventually(DEADLINE, &format!("the status has {wanted}"), async || {
        let status = status(db).await;
        wanted.as_object().expect("an object").iter().all(|(name, value)| status[name] == *value).then_some(status)
    })
    .await
}

/// An endpoint's line of the health, once it is in this state.
async fn until_health(db: &Database<'_>, endpoint: &str, state: &str) -> Value {
    let sql = format!("SELECT * FROM webhooks.health('{endpoint}') WHERE state = '{state}'");
    eventually(DEADLINE, &format!("{endpoint} is {state}"), async || db.json(&sql).await.pop()).await
}

/// Puts an attempt for the endpoint into the log, so long ago.
async fn log_attempt(db: &Database<'_>, endpoint: &str, ago: &str, ms: i32, outcome: &str) {
    db.run(&format!(
        "SELECT webhooks.create_partition('webhooks.attempt', ((now() - interval '{ago}') AT TIME ZONE 'UTC')::date);
         INSERT INTO webhooks.attempt (started_at, endpoint, retry_count, http_status, response_time_ms, outcome, webhook_id, event, error)
         SELECT now() - interval '{ago}', key, 0, CASE '{outcome}' WHEN 'delivered' THEN 200 ELSE 500 END, {ms}, '{outcome}',
                'wh_' || lpad('{ms}', 26, '0'), 'product.created', NULL
           FROM webhooks.endpoint WHERE id = '{endpoint}'"
    ))
    .await;
}

#[tokio::test]
async fn status_counts_the_sidecars_and_the_shards_they_hold() {
    let db = Cluster::shared().await.database().await;
    let quiet = status(&db).await;
    let expected = json!({"sidecars": 0, "shards": 1, "shards_held": 0, "unread": 0, "pending": 0, "overdue": 0, "endpoints": 0,
                          "disabled": 0, "in_trouble": [], "unreadable": [], "oldest_unread_at": null, "oldest_due_at": null, "behind_s": 0.0});
    for (name, value) in expected.as_object().expect("an object") {
        let same = quiet[name] == *value || value.as_f64().is_some_and(|wanted| quiet[name].as_f64() == Some(wanted));
        assert!(same, "{name} of {quiet}");
    }
    assert!(!quiet["version"].as_str().expect("a version").is_empty());

    let first = Sidecar::start(&db);
    until_status(&db, &json!({"sidecars": 1, "shards_held": 1})).await;
    db.run("SELECT webhooks.set_shards(2)").await;
    let second = Sidecar::start(&db);
    until_status(&db, &json!({"sidecars": 2, "shards": 2, "shards_held": 2})).await;
    // An owner is a sidecar's worker: what is before the slash is the sidecar.
    let held = "SELECT count(DISTINCT split_part(owner, '/', 1)) FROM webhooks.leases() WHERE is_held";
    eventually(DEADLINE, "each holds one", async || (db.one::<i64>(held).await == 2).then_some(())).await;
    first.kill9();
    until_status(&db, &json!({"sidecars": 1, "shards_held": 2})).await;
    second.terminate().await;
    until_status(&db, &json!({"sidecars": 0, "shards_held": 0})).await;
}

#[tokio::test]
async fn unread_are_the_events_that_nobody_has_read_counted_to_ten_thousand() {
    let db = Cluster::shared().await.database().await;
    let receiver = Receiver::start().await;
    db.register(&receiver.url("/all"), "*", SECRET).await;
    let writer = db.session().await;
    writer.run(&format!("BEGIN; {PRODUCT}")).await;
    assert_eq!(status(&db).await["unread"], 0, "what is not committed is nobody's yet");
    db.run("INSERT INTO suppliers (name) VALUES ('s')").await;
    writer.run("COMMIT").await;
    let behind = status(&db).await;
    assert_eq!(behind["unread"], 2);
    assert!(
        db.one::<bool>(
            "SELECT s.oldest_unread_at = (SELECT min(occurred_at) FROM webhooks.event) FROM webhooks.status() s"
        )
        .await
    );
    assert!(behind["behind_s"].as_f64().is_some_and(|seconds| seconds > 0.0), "{behind}");

    db.run("INSERT INTO suppliers (name) SELECT 's' FROM generate_series(1, 9998)").await;
    assert_eq!(status(&db).await["unread"], 10_000);
    db.run("INSERT INTO suppliers (name) SELECT 's' FROM generate_series(1, 2)").await;
    assert_eq!(status(&db).await["unread"], 10_000, "as far as it counts");

    let _sidecar = Sidecar::start(&db);
    let done = until_status(&db, &json!({"unread": 0, "pending": 0, "oldest_unread_at": null})).await;
    assert_eq!(done["behind_s"].as_f64(), Some(0.0), "{done}");
}

#[tokio::test]
async fn unread_goes_by_what_is_done_of_a_transaction() {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    let (early, late) = (db.session().await, db.session().await);
    early.run("BEGIN; INSERT INTO suppliers (name) VALUES ('runs when the cursor is written')").await;
    db.run("INSERT INTO webhooks.cursor (shard, done) VALUES (0, pg_current_snapshot())").await;
    late.run("BEGIN; INSERT INTO suppliers (name) VALUES ('runs when the next one is written')").await;
    db.run("INSERT INTO suppliers (name) SELECT 's' FROM generate_series(1, 10)").await;
    early.run("COMMIT").await;
    let unread = "SELECT unread FROM webhooks.status()";
    assert_eq!(db.one::<i32>(unread).await, 11);
    // Of the ten four are done.
    db.run(
        "INSERT INTO webhooks.cursor (shard, done, xid, seq)
         SELECT 0, format('%s:%s:%s', min(x), pg_snapshot_xmax(pg_current_snapshot()), string_agg(x::text, ',' ORDER BY x))
                   ::pg_snapshot, (SELECT max(xid) FROM webhooks.event), 3
           FROM (SELECT pg_snapshot_xip(pg_current_snapshot()) UNION SELECT max(xid) FROM webhooks.event) AS open (x)",
    )
    .await;
    assert_eq!(db.one::<i32>(unread).await, 6);
    late.run("COMMIT").await;
    assert_eq!(db.one::<i32>(unread).await, 7, "nothing of it is done");
}

#[tokio::test]
async fn pending_is_overdue_when_its_time_has_come_and_its_endpoint_takes_it() {
    let stage = Stage::start().await;
    stage.receiver.answer("/all", Answer::status(500));
    stage.db.run(PRODUCT).await;
    let waiting = until_status(&stage.db, &json!({"pending": 1, "unread": 0, "in_trouble": [stage.endpoint]})).await;
    assert_eq!((&waiting["overdue"], waiting["behind_s"].as_f64()), (&json!(0), Some(0.0)), "in a minute: {waiting}");
    assert!(!waiting["oldest_due_at"].is_null(), "{waiting}");
    let Stage { db, endpoint, sidecar, .. } = stage;
    sidecar.terminate().await;
    db.run("UPDATE webhooks.pending SET due_at = now() - interval '1 h'").await;
    let tried = status(&db).await;
    assert_eq!((&tried["overdue"], tried["behind_s"].as_f64()), (&json!(1), Some(0.0)), "it is being tried: {tried}");
    db.run("UPDATE webhooks.attempt SET started_at = started_at - interval '6 min'").await;
    let late = status(&db).await;
    assert_eq!(late["overdue"], 1);
    assert!(late["behind_s"].as_f64().is_some_and(|seconds| (3600.0..3700.0).contains(&seconds)), "{late}");
    db.run(&format!("SELECT webhooks.update('{endpoint}', active => false)")).await;
    let disabled = status(&db).await;
    assert_eq!((&disabled["pending"], &disabled["overdue"], &disabled["disabled"]), (&json!(1), &json!(0), &json!(1)));
    assert_eq!(disabled["behind_s"].as_f64(), Some(0.0), "nothing is due: {disabled}");
    assert_eq!(disabled["in_trouble"], json!([]), "it was somebody's will");
}

#[tokio::test]
async fn an_endpoint_that_was_disabled_for_its_failures_is_in_trouble() {
    let stage = Stage::start().await;
    stage.db.run("SELECT webhooks.register('http://127.0.0.1:9/', '{*}', 's', active => false)").await;
    stage.receiver.answer("/all", Answer::status(410));
    stage.db.run(PRODUCT).await;
    until_status(&stage.db, &json!({"endpoints": 2, "disabled": 2, "in_trouble": [stage.endpoint]})).await;
    stage.db.run(&format!("SELECT webhooks.update('{}', active => true)", stage.endpoint)).await;
    assert_eq!(status(&stage.db).await["in_trouble"], json!([]));
}

#[tokio::test]
async fn a_receiver_that_refuses_is_seen_on_every_face() {
    let db = Cluster::shared().await.database().await;
    let receiver = Receiver::start().await;
    receiver.answer("/moved", Answer::status(404));
    let well = db.register(&receiver.url("/all"), "*", SECRET).await;
    let wrong = db.register(&receiver.url("/moved"), "*", SECRET).await;
    let api = Api::start(&db).await;
    db.run("INSERT INTO products (sku, name, price) SELECT i, 'p', 1 FROM generate_series(1, 5) i").await;
    let told = until_status(&db, &json!({"given_up": 5, "in_trouble": [wrong]})).await;
    assert_eq!((&told["pending"], told["behind_s"].as_f64()), (&json!(0), Some(0.0)), "nothing else tells: {told}");
    assert_eq!(until_health(&db, &wrong, "failing").await["given_up"], 5);
    assert_eq!(until_health(&db, &well, "healthy").await["given_up"], 0);
    eventually(DEADLINE, "the metrics count them", async || {
        let metrics = api.stranger().get("/metrics").await.text;
        metrics.contains("\npg_webhooks_given_up_deliveries 5\n").then_some(())
    })
    .await;
    let cli = CommandLine::new(&db);
    let doctor = cli.run(&["doctor"]).await;
    let said = format!("{wrong} (127.0.0.1): 5 deliveries of the last hour will not be tried again");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(doctor.status == 1 && words(&doctor.stdout).contains(&said), "{doctor:?}");
    let shown = cli.run(&["status"]).await;
    assert!(shown.stdout.contains("5 deliveries of the last hour"), "{shown:?}");
    db.run("UPDATE webhooks.attempt SET started_at = started_at - interval '1 h'").await;
    until_status(&db, &json!({"given_up": 0, "in_trouble": []})).await;
}

#[tokio::test]
async fn what_is_due_at_a_dead_receiver_makes_nobody_late_and_names_it() {
    let db = Cluster::shared().await.database().await;
    let receiver = Receiver::start().await;
    receiver.answer("/dead", Answer::status(503));
    db.register(&receiver.url("/all"), "product.*", SECRET).await;
    let dead = db.register(&receiver.url("/dead"), "*", SECRET).await;
    let api = Api::start(&db).await;
    db.run("INSERT INTO suppliers (name) SELECT 's' FROM generate_series(1, 1200)").await;
    // After a thousand failures it stands still.
    let stands =
        "SELECT (SELECT count(*) FROM webhooks.pending) >= 1000 AND (SELECT unread FROM webhooks.status()) = 0";
    eventually(DEADLINE, "a thousand wait", async || db.one::<bool>(stands).await.then_some(())).await;
    api.sidecar.freeze();
    db.run(
        "INSERT INTO webhooks.pending (endpoint, xid, seq, occurred_at, due_at, retry_count)
         SELECT p.endpoint, e.xid, e.seq, e.occurred_at, now(), 0
           FROM webhooks.event e, (SELECT DISTINCT endpoint FROM webhooks.pending) p ON CONFLICT DO NOTHING;
         UPDATE webhooks.pending SET due_at = now() - interval '10 min'",
    )
    .await;
    let told = status(&db).await;
    assert_eq!((&told["overdue"], told["behind_s"].as_f64()), (&json!(1200), Some(0.0)), "{told}");
    let health = until_health(&db, &dead, "failing").await;
    assert_eq!(health["pending"], 1000, "as far as it counts");
    let since = format!(
        "SELECT h.failing_since = (SELECT min(started_at) FROM webhooks.attempt
                                    WHERE webhook_id = (SELECT webhook_id FROM webhooks.event ORDER BY xid, seq LIMIT 1))
           FROM webhooks.health('{dead}') h"
    );
    assert!(db.one::<bool>(&since).await, "since the first of them failed: {health}");
    let doctor = CommandLine::new(&db).run(&["doctor"]).await;
    let said = format!("{dead} (127.0.0.1) has failed since");
    assert!(doctor.stdout.contains(&said) && doctor.stdout.contains("1000+"), "{doctor:?}");
    api.sidecar.thaw();
}

#[tokio::test]
async fn health_is_idle_then_healthy_then_failing_then_disabled() {
    let stage = Stage::start().await;
    let idle = until_health(&stage.db, &stage.endpoint, "idle").await;
    assert_eq!((&idle["attempts"], &idle["pending"], &idle["recent_ms"]), (&json!(0), &json!(0), &json!([])), "{idle}");
    assert!(idle["p50_ms"].is_null() && idle["last_attempt_at"].is_null() && idle["last_error"].is_null(), "{idle}");
    stage.db.run(PRODUCT).await;
    let healthy = until_health(&stage.db, &stage.endpoint, "healthy").await;
    assert_eq!(
        (&healthy["attempts"], &healthy["delivered"], &healthy["recent_ok"]),
        (&json!(1), &json!(1), &json!([true]))
    );

    stage.receiver.answer("/all", Answer::status(500));
    stage.db.run("UPDATE products SET price = 2").await;
    let failing = until_health(&stage.db, &stage.endpoint, "failing").await;
    assert_eq!(
        (&failing["pending"], &failing["recent_ok"]),
        (&json!(1), &json!([false, true])),
        "newest first: {failing}"
    );
    assert!(!failing["next_attempt_at"].is_null() && !failing["last_error_at"].is_null(), "{failing}");
    assert!(failing["last_error"].as_str().is_some_and(|error| error.contains("500")), "{failing}");

    stage.receiver.answer("/all", Answer::status(200));
    stage.db.run("UPDATE products SET price = 3").await;
    eventually(DEADLINE, "the next is delivered", async || {
        let ok = format!("SELECT recent_ok[1] FROM webhooks.health('{}')", stage.endpoint);
        stage.db.one::<bool>(&ok).await.then_some(())
    })
    .await;
    // A retry is to come.
    until_health(&stage.db, &stage.endpoint, "failing").await;
    stage.db.run(&format!("SELECT webhooks.update('{}', active => false)", stage.endpoint)).await;
    until_health(&stage.db, &stage.endpoint, "disabled").await;
}

#[tokio::test]
async fn the_figures_of_the_health_are_of_the_latest_attempts_in_a_day() {
    let db = Cluster::shared().await.database().await;
    let one = db.register("http://127.0.0.1:9/", "*", SECRET).await;
    let two = db.register("http://127.0.0.1:9/", "*", SECRET).await;
    for minute in 1..=20 {
        let outcome = if minute == 20 { "rejected" } else { "delivered" };
        log_attempt(&db, &one, &format!("{minute} minutes"), minute, outcome).await;
    }
    log_attempt(&db, &one, "25 hours", 5000, "exhausted").await;
    log_attempt(&db, &two, "25 hours", 5000, "delivered").await;
    let all = db.json("SELECT * FROM webhooks.health()").await;
    assert_eq!([&all[0]["id"], &all[1]["id"]], [&json!(one), &json!(two)]);
    let figures = [&all[0]["attempts"], &all[0]["delivered"], &all[0]["p50_ms"], &all[0]["p95_ms"]];
    assert_eq!(figures, [&json!(20), &json!(19), &json!(10), &json!(19)], "{}", all[0]);
    assert_eq!(all[0]["last_error"], "HTTP 500");
    assert_eq!((&all[0]["state"], &all[1]["state"]), (&json!("healthy"), &json!("idle")));
    let five = db.json(&format!("SELECT * FROM webhooks.health('{one}', 5)")).await.remove(0);
    assert_eq!(
        (&five["attempts"], &five["p50_ms"], &five["recent_ms"]),
        (&json!(5), &json!(3), &json!([1, 2, 3, 4, 5]))
    );
    assert_eq!(five["last_error"], "HTTP 500", "it is remembered beyond them");
}

#[tokio::test]
async fn activity_counts_successes_and_failures_of_each_stretch() {
    let db = Cluster::shared().await.database().await;
    let one = db.register("http://127.0.0.1:9/", "*", SECRET).await;
    for (ago, outcome) in [
        ("10 s", "delivered"),
        ("20 s", "retry"),
        ("70 s", "delivered"),
        ("75 s", "delivered"),
        ("10 min", "gone"),
        ("2 h", "gone"),
    ] {
        log_attempt(&db, &one, ago, 1, outcome).await;
    }
    let activity = |since: &str, until: &str, bucket: &str| {
        format!(
            "WITH zero AS (SELECT max(started_at) + interval '10 s' AS at FROM webhooks.attempt)
             SELECT extract(epoch FROM zero.at - a.at)::bigint || ' ' || delivered || ' ' || failed
               FROM zero, webhooks.activity(zero.at - interval '{since}', zero.at - interval '{until}', '{bucket}') a"
        )
    };
    assert_eq!(db.all::<String>(&activity("1 h", "0", "30 min")).await, ["1800 3 2"]);
    assert_eq!(db.all::<String>(&activity("0", "-1 s", "1 min")).await, [""; 0], "nothing, no stretch");
    for bucket in ["'0'", "'-1 min'", "'1 month'", "'1 year'", "NULL"] {
        let call = format!("SELECT * FROM webhooks.activity(now() - interval '1 h', now(), {bucket})");
        let refused = db.fail(&call).await;
        assert_eq!(refused.code, "22023", "{bucket}: {refused:?}");
        assert!(!refused.hint.is_empty(), "{bucket}: {refused:?}");
    }
}
