//! The REST API looks after webhooks and has things sent, by the specification's paths, through real HTTP.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Api, Cluster, Receiver, eventually};

/// Registers a webhook and returns its path.
async fn registered(api: &Api, url: &str) -> String {
    let reply = api.post("/api/v1/webhooks", json!({"url": url, "events": ["*"], "secret": "s3cret"})).await;
    reply.data(201);
    reply.header("location").expect("where it is").to_owned()
}

/// The attempts at a message, once there are so many.
async fn attempts(api: &Api, webhook_id: &str, count: usize) -> Vec<Value> {
    eventually(Duration::from_secs(20), &format!("{count} attempts"), async || {
        let page = api.get(&format!("/api/v1/attempts?webhook_id={webhook_id}")).await.data(200);
        let attempts = page["attempts"].as_array().expect("a list").clone();
        (attempts.len() >= count).then_some(attempts)
    })
    .await
}

#[tokio::test]
async fn a_webhook_is_registered_shown_changed_and_deleted() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    let url = "https://example.com/webhooks";
    let body = json!({"url": url, "events": ["import.completed", "product.updated"], "secret": "votre_secret", "active": true});
    let reply = api.post("/api/v1/webhooks", body).await;
    let webhook = reply.data(201)["webhook"].clone();
    let path = format!("/api/v1/webhooks/{}", webhook["id"].as_str().unwrap());
    assert_eq!(reply.header("location"), Some(&*path));
    assert_eq!(webhook["events"], json!(["import.completed", "product.updated"]));
    assert_eq!((&webhook["active"], &webhook["has_secret"]), (&json!(true), &json!(true)));

    assert_eq!(api.get(&path).await.data(200)["webhook"], webhook);
    assert_eq!(api.get("/api/v1/webhooks").await.data(200), json!({"webhooks": [webhook]}));

    let changed = api.put(&path, json!({"events": ["import.failed"], "active": false})).await.data(200);
    assert_eq!(changed["webhook"]["events"], json!(["import.failed"]));
    assert_eq!(changed["webhook"]["active"], json!(false));
    assert_eq!(changed["webhook"]["disabled_reason"], "disabled by test", "the token's name");
    assert_eq!(changed["webhook"]["url"], url, "what is left out stays");
    let unsigned = api.put(&path, json!({"secret": ""})).await.data(200);
    assert_eq!(unsigned["webhook"]["has_secret"], json!(false));

    assert_eq!(api.delete(&path).await.data(200), json!({"deleted": webhook["id"]}));
    assert_eq!(api.get(&path).await.error(404), "not_found");
}

#[tokio::test]
async fn a_test_a_sample_and_a_row_change_arrive() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    let receiver = Receiver::start().await;
    let webhook = registered(&api, &receiver.url("/all")).await;
    let test = api.order(&format!("{webhook}/test")).await.data(202);
    let sample = api.post(&format!("{webhook}/trigger"), json!({"event": "import.completed"})).await.data(202);
    db.run("INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1)").await;
    let arrived = receiver.wait_at("/all", 3).await;
    let mut events: Vec<_> = arrived.iter().map(|one| one.event()).collect();
    events.sort();
    assert_eq!(events, ["import.completed", "product.created", "webhook.test"]);
    let ids: Vec<_> = arrived.iter().map(|one| one.webhook_id()).collect();
    for queued in [test, sample] {
        assert!(ids.iter().any(|id| queued["webhook_id"] == **id), "{queued} in {ids:?}");
    }
}

#[tokio::test]
async fn a_message_is_sent_again_to_one_webhook_and_by_time() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    let receiver = Receiver::start().await;
    let webhook = registered(&api, &receiver.url("/all")).await;
    let endpoint_id = webhook.rsplit('/').next().unwrap();
    let sample = api.post(&format!("{webhook}/trigger"), json!({"event": "product.created"})).await.data(202);
    let webhook_id = sample["webhook_id"].as_str().unwrap().to_owned();
    attempts(&api, &webhook_id, 1).await;

    let again = format!("/api/v1/events/{webhook_id}/redeliver");
    assert_eq!(api.order(&again).await.data(202), json!({"deliveries": 1}));
    attempts(&api, &webhook_id, 2).await;
    assert_eq!(api.post(&again, json!({"endpoint_id": endpoint_id})).await.data(202), json!({"deliveries": 1}));
    attempts(&api, &webhook_id, 3).await;

    let replay = format!("{webhook}/replay");
    let since = "2020-01-01T00:00:00Z";
    let failed = api.post(&replay, json!({"since": since, "dry_run": true})).await.data(200);
    assert_eq!(failed, json!({"deliveries": 0, "dry_run": true}), "all were delivered");
    let counted = api.post(&replay, json!({"since": since, "only_failed": false, "dry_run": true})).await.data(200);
    assert_eq!(counted, json!({"deliveries": 1, "dry_run": true}));
    let replayed = api.post(&replay, json!({"since": since, "only_failed": false})).await.data(202);
    assert_eq!(replayed, json!({"deliveries": 1, "dry_run": false}));
    attempts(&api, &webhook_id, 4).await;
    let bodies: Vec<_> = receiver.wait_at("/all", 4).await.into_iter().map(|one| one.body).collect();
    assert!(bodies.iter().all(|body| *body == bodies[0]), "the same bytes each time");
}

#[tokio::test]
async fn what_still_waits_for_an_attempt_is_not_sent_again() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    let receiver = Receiver::start().await;
    receiver.answer("/all", Answer::status(500));
    let webhook = registered(&api, &receiver.url("/all")).await;
    let sample = api.order(&format!("{webhook}/test")).await.data(202);
    let webhook_id = sample["webhook_id"].as_str().unwrap();
    attempts(&api, webhook_id, 1).await;
    let refused = api.order(&format!("/api/v1/events/{webhook_id}/redeliver")).await;
    assert_eq!(refused.error(409), "conflict");
}

#[tokio::test]
async fn a_secret_is_shown_by_the_answer_that_made_it_and_by_no_other() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    let receiver = Receiver::start().await;
    let body = json!({"url": receiver.url("/all"), "events": ["*"], "generate_secret": true});
    let made = api.post("/api/v1/webhooks", body).await.data(201);
    let webhook = format!("/api/v1/webhooks/{}", made["webhook"]["id"].as_str().unwrap());
    let rotated = api.order(&format!("{webhook}/rotate-secret")).await.data(200);
    let given = "whsec_c2VjcmV0IHNlY3JldCBzZWNyZXQh";
    let kept = api.post(&format!("{webhook}/rotate-secret"), json!({"new_secret": given, "overlap_seconds": 0})).await;
    assert_eq!(kept.data(200).get("secret"), None, "the caller knows the one it gave");
    let secrets = [made["secret"].as_str().unwrap(), rotated["secret"].as_str().unwrap(), given];
    assert!(secrets[0] != secrets[1] && secrets[..2].iter().all(|secret| secret.starts_with("whsec_")), "{secrets:?}");

    let test = api.order(&format!("{webhook}/test")).await.data(202);
    let webhook_id = test["webhook_id"].as_str().unwrap();
    attempts(&api, webhook_id, 1).await;
    let looks = [
        "/api/v1/webhooks".to_owned(),
        webhook.clone(),
        format!("{webhook}/logs"),
        "/api/v1/attempts".to_owned(),
        "/api/v1/events".to_owned(),
        format!("/api/v1/events/{webhook_id}"),
        "/api/v1/status".to_owned(),
        "/api/v1/health".to_owned(),
        "/api/v1/history".to_owned(),
        "/metrics".to_owned(),
    ];
    let mut seen = api.put(&webhook, json!({"description": "changed"})).await.text;
    for path in looks {
        let reply = api.get(&path).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        seen += &reply.text;
    }
    seen += &api.sidecar.log();
    for secret in secrets.into_iter().chain([api.token.as_deref().unwrap()]) {
        assert!(!seen.contains(secret), "{secret} is shown");
    }
}
