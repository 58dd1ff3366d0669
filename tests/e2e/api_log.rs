//! What the REST API shows of the past: the log in the specification's form, pages, messages, and what was sent to the byte.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Api, Cluster, Database, Receiver, SECRET, eventually};

/// An API, a receiver, and the id of a webhook that wants everything.
async fn scene(db: &Database<'_>) -> (Api, Receiver, String) {
    let receiver = Receiver::start().await;
    let endpoint = db.register(&receiver.url("/all"), "*", SECRET).await;
    (Api::start(db).await, receiver, endpoint)
}

/// A list at a path, once it has so many entries.
async fn list(api: &Api, path: &str, name: &str, count: usize) -> Vec<Value> {
    eventually(Duration::from_secs(20), &format!("{count} {name}"), async || {
        let entries = api.get(path).await.data(200)[name].as_array().expect("a list").clone();
        (entries.len() >= count).then_some(entries)
    })
    .await
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// Every page from the first to the last, three rows each.
async fn all_pages(api: &Api, path: &str, name: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = api.get(&format!("{path}?limit=3{cursor}")).await.data(200);
        let some = page[name].as_array().expect("a list");
        assert!(some.len() <= 3, "{page}");
        rows.extend(some.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

#[tokio::test]
async fn the_log_has_the_form_of_the_specification() {
    let db = Cluster::shared().await.database().await;
    let (api, receiver, endpoint) = scene(&db).await;
    db.run(&format!("SELECT webhooks.test('{endpoint}')")).await;
    let logs = format!("/api/v1/webhooks/{endpoint}/logs");
    let delivered = list(&api, &logs, "logs", 1).await.remove(0);
    let specified = ["timestamp", "event", "http_status", "response_time_ms", "retry_count"];
    assert_eq!(keys(&delivered)[..5], specified);
    assert_eq!(keys(&delivered)[5..], ["webhook_id", "outcome"], "no error where there was none");
    assert_eq!((&delivered["event"], &delivered["http_status"]), (&json!("webhook.test"), &json!(200)));

    receiver.answer("/all", Answer::status(503));
    db.run(&format!("SELECT webhooks.test('{endpoint}')")).await;
    let failed = list(&api, &logs, "logs", 2).await.remove(0);
    assert_eq!(keys(&failed), [&specified[..], &["error", "webhook_id", "outcome", "next_attempt_at"]].concat());
    assert_eq!((&failed["error"], &failed["retry_count"]), (&json!("HTTP 503 Service Unavailable"), &json!(0)));
    for time in [&failed["timestamp"], &failed["next_attempt_at"]] {
        let time = time.as_str().expect("a time");
        assert!(time.len() == "2025-10-05T10:30:00Z".len() && time.ends_with('Z'), "{time}");
    }
}

#[tokio::test]
async fn pages_visit_each_row_once() {
    let db = Cluster::shared().await.database().await;
    let (api, receiver, endpoint) = scene(&db).await;
    db.register(&receiver.url("/too"), "*", SECRET).await;
    db.run("INSERT INTO products (sku, name, price) SELECT i, 'p', 1 FROM generate_series(1, 10) i").await;
    list(&api, "/api/v1/attempts", "attempts", 20).await;

    let attempts = all_pages(&api, "/api/v1/attempts", "attempts").await;
    let pair = |line: &Value| (line["endpoint_id"].to_string(), line["webhook_id"].to_string());
    assert_eq!(attempts.len(), 20);
    assert_eq!(attempts.iter().map(pair).collect::<HashSet<_>>().len(), 20);
    let times: Vec<_> = attempts.iter().map(|line| line["timestamp"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|one, next| one >= next), "newest first: {times:?}");

    let logs = all_pages(&api, &format!("/api/v1/webhooks/{endpoint}/logs"), "logs").await;
    let events = all_pages(&api, "/api/v1/events", "events").await;
    for rows in [logs, events] {
        let ids: HashSet<_> = rows.iter().map(|row| row["webhook_id"].to_string()).collect();
        assert_eq!((rows.len(), ids.len()), (10, 10));
    }
}

#[tokio::test]
async fn filters_narrow_the_log_and_the_messages() {
    let db = Cluster::shared().await.database().await;
    let (api, receiver, endpoint) = scene(&db).await;
    db.run("INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1)").await;
    list(&api, "/api/v1/attempts", "attempts", 1).await;
    receiver.answer("/all", Answer::status(404));
    db.run("INSERT INTO suppliers (name, import_type) VALUES ('s', 'api')").await;
    list(&api, "/api/v1/attempts", "attempts", 2).await;
    for (query, expected) in [
        ("event=product.*", vec!["product.created"]),
        ("event=supplier.created", vec!["supplier.created"]),
        ("outcome=delivered", vec!["product.created"]),
        ("outcome=failed", vec!["supplier.created"]),
        ("outcome=rejected", vec!["supplier.created"]),
        ("search=not%20found", vec!["supplier.created"]),
        ("until=2020-01-01T00:00:00Z", vec![]),
        ("since=2020-01-01T00:00:00%2B02:00", vec!["supplier.created", "product.created"]),
    ] {
        for (path, name) in
            [("/api/v1/attempts".to_owned(), "attempts"), (format!("/api/v1/webhooks/{endpoint}/logs"), "logs")]
        {
            let page = api.get(&format!("{path}?{query}")).await.data(200);
            let events: Vec<_> =
                page[name].as_array().unwrap().iter().map(|line| line["event"].as_str().unwrap()).collect();
            assert_eq!(events, expected, "{path}?{query}");
        }
    }
    let failed = api.get(&format!("/api/v1/events?state=failed&endpoint_id={endpoint}")).await.data(200);
    assert_eq!(failed["events"].as_array().unwrap().len(), 1);
    assert_eq!((&failed["events"][0]["state"], &failed["events"][0]["failed"]), (&json!("failed"), &json!(1)));
}

#[tokio::test]
async fn a_message_shows_the_bytes_and_headers_that_were_sent() {
    let db = Cluster::shared().await.database().await;
    let (api, receiver, endpoint) = scene(&db).await;
    db.run("INSERT INTO products (sku, name, price) VALUES ('A', 'é\"', 1.50)").await;
    let received = receiver.wait_at("/all", 1).await.remove(0);
    let path = format!("/api/v1/events/{}", received.webhook_id());
    list(&api, "/api/v1/attempts", "attempts", 1).await;
    let event = api.get(&path).await.data(200)["event"].clone();
    assert_eq!(event["body"].as_str(), Some(&*received.body));
    assert_eq!((&event["event"], &event["webhook_id"]), (&json!("product.created"), &json!(received.webhook_id())));
    assert_eq!(event["deliveries"][0]["state"], "delivered");
    let attempt = &event["attempts"][0];
    assert_eq!((&attempt["endpoint_id"], &attempt["url"]), (&json!(endpoint), &json!(receiver.url("/all"))));
    let names =
        ["content-type", "user-agent", "webhook-id", "webhook-signature", "webhook-timestamp", "x-webhook-signature"];
    assert_eq!(keys(&attempt["request_headers"]), names);
    for name in names {
        assert_eq!(attempt["request_headers"][name].as_str(), received.header(name), "{name}");
    }

    let rotate = format!("/api/v1/webhooks/{endpoint}/rotate-secret");
    api.order(&rotate).await.data(200);
    let earlier = api.get(&path).await.data(200)["event"]["attempts"][0].clone();
    assert_eq!(earlier["signed_with_an_earlier_secret"], json!(true));
    assert_eq!(
        keys(&earlier["request_headers"]),
        ["content-type", "user-agent", "webhook-id", "webhook-timestamp"],
        "a signature that was not sent is not shown"
    );
}

#[tokio::test]
async fn the_built_in_events_have_schemas_and_samples() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    let types = api.get("/api/v1/event-types").await.data(200)["event_types"].clone();
    let types = types.as_array().unwrap();
    assert!(types.len() >= 10, "{types:?}");
    for one in types {
        assert_eq!(keys(one), ["event", "description", "schema", "sample"]);
        assert_eq!(one["sample"]["event"], one["event"]);
    }
}
