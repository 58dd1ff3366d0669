//! The table of responses: what each does to the delivery, to the log and to the endpoint.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tests::{Answer, SECRET, Stage, eventually};

/// What an attempt leads to.
struct Expected {
    /// `http_status` in the log; None where no response came.
    status: Option<u16>,
    /// `outcome` in the log.
    outcome: &'static str,
    /// For a retry, the least and the most of the wait in seconds.
    wait_s: (i64, i64),
}

const DELIVERED: &str = "delivered";
const REJECTED: &str = "rejected";

fn ends(status: u16, outcome: &'static str) -> Expected {
    Expected { status: Some(status), outcome, wait_s: (0, 0) }
}

fn retries(status: impl Into<Option<u16>>) -> Expected {
    retries_after(status, 60, 60)
}

fn retries_after(status: impl Into<Option<u16>>, least: i64, most: i64) -> Expected {
    Expected { status: status.into(), outcome: "retry", wait_s: (least, most) }
}

/// The first log row of an endpoint.
async fn logged(stage: &Stage, endpoint: &str) -> Value {
    let sql = format!(
        "SELECT *, extract(epoch FROM next_attempt_at - \"timestamp\") * 1000 - response_time_ms AS wait_ms
           FROM webhooks.logs('{endpoint}')"
    );
    let what = format!(
        "the attempt at {} is logged",
        stage.db.one::<String>(&format!("SELECT url FROM webhooks.get('{endpoint}')")).await
    );
    eventually(Duration::from_secs(20), &what, async || stage.db.json(&sql).await.pop()).await
}

/// Sends `webhook.test` to `url` and asserts what became of it.
async fn assert_leads_to(stage: &Stage, url: &str, expected: &Expected) {
    let endpoint = stage.db.register(url, "import.failed", SECRET).await;
    let id: String = stage.db.one(&format!("SELECT webhooks.test('{endpoint}')")).await;
    let row = logged(stage, &endpoint).await;

    assert_eq!(row["webhook_id"], id, "{url}");
    assert_eq!(row["event"], "webhook.test", "{url}");
    assert_eq!(row["retry_count"], 0, "{url}");
    assert_eq!(row["http_status"].as_u64(), expected.status.map(u64::from), "{url}: {row}");
    assert_eq!(row["outcome"], expected.outcome, "{url}: {row}");
    assert_eq!(row["error"].is_null(), expected.outcome == DELIVERED, "{url}: an error says what failed: {row}");
    assert!(row["response_time_ms"].as_i64().is_some_and(|time| (0..10_000).contains(&time)), "{url}: {row}");

    let waiting = format!(
        "SELECT count(*) FROM webhooks.pending JOIN webhooks.endpoint ON key = endpoint WHERE id = '{endpoint}'"
    );
    if expected.outcome == "retry" {
        let wait_s = row["wait_ms"].as_f64().expect("a next attempt") / 1000.0;
        let (least, most) = (expected.wait_s.0 as f64, expected.wait_s.1 as f64);
        let (least, most) = (least - 0.001, most + (most * 0.05).min(60.0) + 0.001);
        assert!((least..=most).contains(&wait_s), "{url}: waits {wait_s} s");
        assert_eq!(stage.db.one::<i64>(&waiting).await, 1, "{url}: the retry is pending");
    } else {
        assert!(row["next_attempt_at"].is_null(), "{url}: {row}");
        assert_eq!(stage.db.one::<i64>(&waiting).await, 0, "{url}: nothing waits");
    }
    let seen = stage.db.json(&format!("SELECT * FROM webhooks.get('{endpoint}')")).await.remove(0);
    if expected.outcome == "gone" {
        assert_eq!(seen["active"], false, "{url}");
        assert!(
            seen["disabled_reason"].as_str().is_some_and(|why| why.contains("410") && why.contains(&id)),
            "{url}: {seen}"
        );
        assert!(!seen["disabled_at"].is_null(), "{url}");
    } else {
        assert_eq!(seen["active"], true, "{url}: {seen}");
    }
}

#[tokio::test]
async fn every_status_leads_to_what_the_table_says() {
    let stage = Stage::start().await;
    let table = [
        (200, ends(200, DELIVERED)),
        (201, ends(201, DELIVERED)),
        (204, ends(204, DELIVERED)),
        (299, ends(299, DELIVERED)),
        (300, retries(300)),
        (304, retries(304)),
        (400, ends(400, REJECTED)),
        (401, ends(401, REJECTED)),
        (404, ends(404, REJECTED)),
        (499, ends(499, REJECTED)),
        (408, retries(408)),
        (410, ends(410, "gone")),
        (429, retries(429)),
        (500, retries(500)),
        (502, retries(502)),
        (599, retries(599)),
    ];
    for (status, expected) in table {
        let path = format!("/{status}");
        stage.receiver.answer(&path, Answer::status(status));
        assert_leads_to(&stage, &stage.receiver.url(&path), &expected).await;
        assert_eq!(stage.receiver.at(&path).len(), 1, "{status}: one request");
    }
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let stage = Stage::start().await;
    for status in [301, 302, 303, 307, 308] {
        let path = format!("/{status}");
        stage.receiver.answer(&path, Answer::status(status).header("Location", &stage.receiver.url("/elsewhere")));
        assert_leads_to(&stage, &stage.receiver.url(&path), &retries(status)).await;
    }
    assert!(stage.receiver.at("/elsewhere").is_empty());
}

#[tokio::test]
async fn a_long_location_is_logged_cut_short() {
    let stage = Stage::start().await;
    let location = format!("http://127.0.0.1:9/{}", "x".repeat(8_000));
    stage.receiver.answer("/far", Answer::status(302).header("Location", &location));
    assert_leads_to(&stage, &stage.receiver.url("/far"), &retries(302)).await;
    let error: String = stage.db.one("SELECT error FROM webhooks.attempt WHERE http_status = 302").await;
    assert!(error.contains("http://127.0.0.1:9/xxx") && error.len() < 2_000, "{error}");
}

#[tokio::test]
async fn retry_after_lengthens_the_wait_and_never_shortens_it() {
    let stage = Stage::start().await;
    let in_300_s = http_date(SystemTime::now() + Duration::from_secs(300));
    let long_ago = http_date(SystemTime::now() - Duration::from_secs(300));
    let table = [
        ("/seconds", 429, "120", retries_after(429, 120, 120)),
        ("/short", 429, "5", retries(429)),
        ("/date", 429, &in_300_s, retries_after(429, 280, 300)),
        ("/past", 429, &long_ago, retries(429)),
        ("/unavailable", 503, "120", retries_after(503, 120, 120)),
        ("/year", 429, "31536000", retries_after(429, 21_600, 21_600)),
        ("/huge", 429, "99999999999999999999999", retries_after(429, 60, 21_600)),
        ("/nonsense", 429, "soon", retries(429)),
        ("/negative", 429, "-5", retries(429)),
    ];
    for (path, status, header, expected) in table {
        stage.receiver.answer(path, Answer::status(status).header("Retry-After", header));
        assert_leads_to(&stage, &stage.receiver.url(path), &expected).await;
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, made by `date`.
fn http_date(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let date = std::process::Command::new("date")
        .env("LC_ALL", "C")
        .args(["-u", "-d", &format!("@{seconds}"), "+%a, %d %b %Y %H:%M:%S GMT"])
        .output()
        .expect("date runs");
    String::from_utf8(date.stdout).expect("ASCII").trim().into()
}

/// A stage where requests time out after three seconds.
async fn impatient() -> Stage {
    let mut stage = Stage::start().await;
    stage.db.set("request_timeout", "3s").await;
    let restarted = tests::Sidecar::start(&stage.db);
    std::mem::replace(&mut stage.sidecar, restarted).terminate().await;
    stage
}

#[tokio::test]
async fn without_the_head_of_a_response_in_time_it_is_a_request_timeout() {
    let stage = impatient().await;
    stage.receiver.answer("/headers", Answer::hang());
    stage.receiver.answer("/in-time", Answer::status(200).after(Duration::from_millis(100)));
    let url = stage.receiver.url("/headers");
    assert_leads_to(&stage, &url, &retries(None)).await;
    let sql = "SELECT error, response_time_ms FROM webhooks.attempt WHERE http_status IS NULL";
    let row = stage.db.json(sql).await.remove(0);
    assert_eq!(row["error"], "Request timeout");
    assert!(row["response_time_ms"].as_i64().is_some_and(|time| (2_980..5_000).contains(&time)), "{row}");
    assert_leads_to(&stage, &stage.receiver.url("/in-time"), &ends(200, DELIVERED)).await;
}

#[tokio::test]
async fn what_was_answered_while_the_sidecar_stood_still_is_no_timeout() {
    let stage = impatient().await;
    stage.receiver.answer("/all", Answer::status(200).after(Duration::from_millis(500)));
    stage.db.run("SELECT webhooks.emit('order.paid', '{}') FROM generate_series(1, 20)").await;
    stage.receiver.wait_count(Duration::from_secs(20), 20).await;
    stage.sidecar.freeze();
    let frozen = Instant::now();
    eventually(Duration::from_secs(20), "the deadline is long over", async || {
        (frozen.elapsed() > Duration::from_millis(4_500)).then_some(())
    })
    .await;
    stage.sidecar.thaw();
    let logged = "SELECT count(*) FROM webhooks.attempt";
    eventually(Duration::from_secs(20), "all are logged", async || {
        (stage.db.one::<i64>(logged).await == 20).then_some(())
    })
    .await;
    let failed = "SELECT DISTINCT error FROM webhooks.attempt WHERE error IS NOT NULL";
    assert_eq!(stage.db.all::<String>(failed).await, Vec::<String>::new());
    stage.assert_each_once().await;
}

#[tokio::test]
async fn a_status_decides_whatever_becomes_of_its_body() {
    let stage = Stage::start().await;
    let table =
        [(200, ends(200, DELIVERED)), (410, ends(410, "gone")), (422, ends(422, REJECTED)), (500, retries(500))];
    type WithBody = fn(u16) -> Answer;
    let bodies: [(&str, WithBody); 3] = [("slow", Answer::drip), ("endless", Answer::flood), ("broken", Answer::cut)];
    for (status, expected) in table {
        for (body, answer) in bodies {
            let path = format!("/{body}-{status}");
            stage.receiver.answer(&path, answer(status));
            assert_leads_to(&stage, &stage.receiver.url(&path), &expected).await;
            assert_eq!(stage.receiver.at(&path).len(), 1, "{path}: one request");
        }
    }
    let kept = "SELECT min(octet_length(response)), max(octet_length(response)) FROM webhooks.attempt
                 WHERE http_status >= 400";
    let kept = stage.db.json(kept).await.remove(0);
    assert!(kept["min"].as_i64().is_some_and(|least| least > 0), "what came of a body is kept: {kept}");
    assert!(kept["max"].as_i64().is_some_and(|most| most < 100_000), "and no more than a cap: {kept}");
}

#[tokio::test]
async fn what_a_failed_attempt_was_told_is_in_the_log() {
    let stage = Stage::start().await;
    stage.receiver.answer("/told", Answer::status(422).body("le champ « sku » \u{1F4A5} manque"));
    assert_leads_to(&stage, &stage.receiver.url("/told"), &ends(422, REJECTED)).await;
    let response: String = stage.db.one("SELECT response FROM webhooks.attempt WHERE http_status = 422").await;
    assert!(response.contains("le champ « sku » 💥 manque"), "{response}");
}

#[tokio::test]
async fn a_connection_that_fails_is_tried_again() {
    let stage = Stage::start().await;
    stage.receiver.answer("/reset", Answer::reset());
    let urls = [
        // Not one that was free a moment ago: another test may have it by now.
        "http://127.0.0.1:1/refused".to_string(),
        stage.receiver.url("/reset"),
        format!("https://127.0.0.1:{}/not-tls", stage.receiver.port()),
        "http://nowhere.invalid/dns".to_string(),
    ];
    for url in urls {
        assert_leads_to(&stage, &url, &retries(None)).await;
    }
}

/// Sends 300 events to a receiver that ends its connections without saying so; each is delivered at the first attempt.
async fn assert_no_attempt_fails(answer: Answer) {
    let stage = Stage::start().await;
    stage.receiver.answer("/all", answer);
    stage.db.run("SELECT webhooks.emit('order.paid', '{}') FROM generate_series(1, 300)").await;
    stage.arrived().await;
    let failed = "SELECT DISTINCT error FROM webhooks.attempt WHERE error IS NOT NULL";
    assert_eq!(stage.db.all::<String>(failed).await, Vec::<String>::new(), "each event's first attempt is delivered");
    stage.assert_each_once().await;
}

#[tokio::test]
async fn a_receiver_that_closes_what_seemed_to_be_kept_alive_costs_no_attempt() {
    assert_no_attempt_fails(Answer::close_next()).await;
}

#[tokio::test]
async fn a_receiver_that_resets_what_seemed_to_be_kept_alive_costs_no_attempt() {
    assert_no_attempt_fails(Answer::reset_next()).await;
}

#[tokio::test]
async fn a_request_is_sent_again_at_once_only_where_it_met_a_kept_connection_and_never_twice() {
    let stage = Stage::start().await;
    stage.receiver.answer("/fresh", Answer::reset());
    assert_leads_to(&stage, &stage.receiver.url("/fresh"), &retries(None)).await;
    assert_eq!(stage.receiver.at("/fresh").len(), 1, "its connection was a fresh one");

    stage.receiver.answer_in_turn("/kept", [Answer::status(200), Answer::reset()]);
    let url = stage.receiver.url("/kept");
    assert_leads_to(&stage, &url, &ends(200, DELIVERED)).await;
    assert_leads_to(&stage, &url, &retries(None)).await;
    assert_eq!(stage.receiver.at("/kept").len(), 3, "one that was answered, one on its connection, one on a fresh one");
}

#[tokio::test]
async fn a_private_address_that_is_not_allowed_is_never_dialled() {
    let mut stage = Stage::start().await;
    let strict = tests::Sidecar::start_with(&stage.db, &[("PG_WEBHOOKS_ALLOW_NETS", "10.1.2.0/24")]);
    std::mem::replace(&mut stage.sidecar, strict).terminate().await;
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let url = format!("http://{host}:{}/private", stage.receiver.port());
        assert_leads_to(&stage, &url, &retries(None)).await;
    }
    assert!(stage.receiver.requests().is_empty());
}
