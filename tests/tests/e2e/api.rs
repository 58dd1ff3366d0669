//! The REST API does what the specification's paths say, through real HTTP.

use serde_json::{Value, json};
use tests::{Api, Cluster, Receiver};

const URL: &str = "https://example.com/webhooks";

/// Registers a webhook and returns it.
async fn registered(api: &Api, url: &str, events: &[&str]) -> Value {
    let reply = api.post("/api/v1/webhooks", json!({"url": url, "events": events, "secret": "s3cret"})).await;
    reply.data(201)["webhook"].clone()
}

#[tokio::test]
async fn a_webhook_is_registered_shown_changed_and_deleted() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    let body = json!({"url": URL, "events": ["import.completed", "product.updated"], "secret": "votre_secret", "active": true});
    let reply = api.post("/api/v1/webhooks", body).await;
    let webhook = reply.data(201)["webhook"].clone();
    let id = webhook["id"].as_str().unwrap();
    let path = format!("/api/v1/webhooks/{id}");
    assert_eq!(reply.header("location"), Some(&*path));
    assert_eq!(webhook["events"], json!(["import.completed", "product.updated"]));
    assert_eq!((&webhook["active"], &webhook["has_secret"]), (&json!(true), &json!(true)));

    assert_eq!(api.get(&path).await.data(200)["webhook"], webhook);
    assert_eq!(api.get("/api/v1/webhooks").await.data(200)["webhooks"], json!([webhook]));

    let changed = api.put(&path, json!({"events": ["import.failed"], "active": false})).await.data(200);
    assert_eq!(changed["webhook"]["events"], json!(["import.failed"]));
    assert_eq!(changed["webhook"]["active"], json!(false));
    assert_eq!(changed["webhook"]["url"], URL, "what is left out stays");

    assert_eq!(api.delete(&path).await.data(200), json!({"deleted": id}));
    assert_eq!(api.get(&path).await.error(404), "not_found");
}

#[tokio::test]
async fn the_log_has_the_form_of_the_specification() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    let receiver = Receiver::start().await;
    let webhook = registered(&api, &receiver.url("/all"), &["*"]).await;
    let id = webhook["id"].as_str().unwrap();
    let test = api.order(&format!("/api/v1/webhooks/{id}/test")).await.data(202);
    receiver.wait_at("/all", 1).await;
    let logs = tests::eventually(std::time::Duration::from_secs(10), "the attempt is in the log", async || {
        let logs = api.get(&format!("/api/v1/webhooks/{id}/logs")).await.data(200)["logs"].clone();
        (!logs.as_array().unwrap().is_empty()).then_some(logs)
    })
    .await;
    let line = logs[0].as_object().unwrap();
    let keys: Vec<_> = line.keys().map(String::as_str).collect();
    assert_eq!(keys, ["timestamp", "event", "http_status", "response_time_ms", "retry_count", "webhook_id", "outcome"]);
    assert_eq!(line["webhook_id"], test["webhook_id"]);
    assert_eq!((&line["event"], &line["http_status"]), (&json!("webhook.test"), &json!(200)));
    let timestamp = line["timestamp"].as_str().unwrap();
    assert!(timestamp.len() == 20 && timestamp.ends_with('Z'), "{timestamp}");
}
