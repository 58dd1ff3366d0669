//! How the REST API refuses: the envelope, a stable code, and the database's own words.

use std::time::Duration;

use serde_json::json;
use tests::{Api, Cluster, Stage, eventually, send, with_json};

const LIST: &str = "/api/v1/webhooks";

#[tokio::test]
async fn a_body_that_is_not_what_the_operation_takes_is_refused_by_name() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    let said = |kind: &str, body: &str| {
        api.request("POST", LIST).header("content-type", kind.to_owned()).body(body.to_owned())
    };
    for (body, code, named) in [
        ("{", "malformed_json", "EOF"),
        ("", "malformed_json", "EOF"),
        (r#"{"url": 7, "events": ["*"]}"#, "invalid_body", "integer `7`"),
        (r#" ["https://example.com/", ["*"], "s", false, true, null]"#, "invalid_body", "array"),
        (r#"{"url": "https://example.com/"}"#, "invalid_body", "events"),
        (r#"{"url": "https://example.com/", "events": ["*"], "colour": "red"}"#, "invalid_body", "colour"),
        (r#"{"url": "u", "events": [], "secret": "x", "generate_secret": true}"#, "invalid_body", "generate_secret"),
    ] {
        let reply = send(said("application/json", body)).await;
        assert_eq!(reply.error(400), code, "{body}");
        assert!(reply.text.contains(named), "{named} in {reply:?}");
    }
    let body = r#"{"url": "https://example.com/", "events": ["*"]}"#;
    for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
        assert_eq!(send(said(kind, body)).await.error(415), "unsupported_media_type", "{kind}");
    }
    send(said("application/json; charset=utf-8", body)).await.data(201);
    let long = json!({"url": "https://example.com/", "events": ["*"], "description": "x".repeat(70_000)});
    assert_eq!(api.post(LIST, long).await.error(413), "too_large");
}

#[tokio::test]
async fn an_unknown_or_malformed_parameter_is_refused_by_name() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    for (path, named) in [
        ("/api/v1/webhooks?colour=red", "colour"),
        ("/api/v1/attempts?colour=red", "colour"),
        ("/api/v1/attempts?string:%20since:=1", "string: since:"),
        ("/api/v1/attempts?limit=0", "limit"),
        ("/api/v1/attempts?limit=1001", "limit"),
        ("/api/v1/attempts?limit=ten", "limit"),
        ("/api/v1/events?since=yesterday", "since"),
        ("/api/v1/events?since=2026-11-23T00:00:00+01:00", "%2B"),
        ("/api/v1/webhooks/%FF", "UTF-8"),
    ] {
        let reply = api.get(path).await;
        assert_eq!(reply.error(400), "invalid_parameter", "{path}");
        assert!(reply.text.contains(named), "{named} in {reply:?}");
    }
}

#[tokio::test]
async fn a_value_that_the_database_refuses_comes_with_its_words() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    let webhook = api.post(LIST, json!({"url": "https://example.com/", "events": ["*"]})).await.data(201);
    let path = format!("{LIST}/{}", webhook["webhook"]["id"].as_str().unwrap());
    for (reply, named) in [
        (api.post(LIST, json!({"url": "ftp://example.com/", "events": ["*"]})).await, "ftp"),
        (api.post(LIST, json!({"url": "https://example.com/", "events": ["*"], "description": "\0"})).await, "0x00"),
        (api.put(&path, json!({"events": ["product.imagined"]})).await, "product.imagined"),
        (api.put(&path, json!({"secret": "whsec_?"})).await, "base64"),
        (api.post(&format!("{path}/trigger"), json!({"event": "no.such"})).await, "no.such"),
        (api.post(&format!("{path}/rotate-secret"), json!({"overlap_seconds": i64::MAX})).await, "range"),
        (api.post(&format!("{path}/rotate-secret"), json!({"overlap_seconds": -1})).await, "overlap"),
        (api.post(&format!("{path}/replay"), json!({"since": "2999-01-01T00:00:00Z"})).await, "2999"),
        (api.get("/api/v1/attempts?cursor=nowhere").await, "nowhere"),
        (api.get("/api/v1/attempts?outcome=great").await, "great"),
        (api.get("/api/v1/events?state=odd").await, "odd"),
        (api.get(&format!("{LIST}/wh_00000000n40000007shm2fnpb8")).await, "id of a message"),
    ] {
        assert_eq!(reply.error(422), "invalid_value", "{named}");
        assert!(reply.text.contains(named), "{named} in {reply:?}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_404_and_what_can_not_be_done_405() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    for path in ["/api/v1/nothing", "/api/v1/webhooks/ep_1", "/api/v1/webhooks/ep_1/logs", "/api/v2", "/session/x"] {
        assert_eq!(api.get(path).await.error(404), "not_found", "{path}");
    }
    for path in ["ep_1", "ep_1/logs"] {
        assert!(api.get(&format!("{LIST}/{path}")).await.text.contains("ep_1"));
    }
    assert_eq!(api.put(&format!("{LIST}/ep_1"), json!({})).await.error(404), "not_found");
    assert_eq!(api.delete(&format!("{LIST}/ep_1")).await.error(404), "not_found");
    let event = "/api/v1/events/wh_00000000n40000007shm2fnpb8";
    assert_eq!(api.get(event).await.error(404), "not_found");

    let patched = send(api.request("PATCH", LIST)).await;
    assert_eq!((&*patched.error(405), patched.header("allow")), ("method_not_allowed", Some("GET,HEAD,POST")));
    let asked = send(api.stranger().request("OPTIONS", LIST)).await;
    assert_eq!((asked.status, asked.header("allow")), (204, Some("GET,HEAD,POST")));
    assert_eq!(asked.header("access-control-allow-origin"), None);
    let head = send(api.request("HEAD", LIST)).await;
    assert_eq!((head.status, &*head.text), (200, ""));
}

#[tokio::test]
async fn every_answer_forbids_guessing_its_kind_and_keeping_it() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    for reply in [api.get(LIST).await, api.stranger().get(LIST).await, api.get("/nothing").await] {
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("content-type"), Some("application/json"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_database_costs_callers_seconds_and_deliveries_nothing() {
    let stage = Stage::start().await;
    let api = Api::start(&stage.db).await;
    stage.sidecar.freeze();
    api.sidecar.wait_for_log("delivering").await;
    let blocker = stage.db.session().await;
    blocker.run("BEGIN; LOCK TABLE webhooks.token").await;
    let callers: Vec<_> = (0..80)
        .map(|_| {
            let request = api.request("GET", LIST);
            tokio::spawn(send(request))
        })
        .collect();
    eventually(Duration::from_secs(5), "requests wait", async || {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database =
                       (SELECT oid FROM pg_database WHERE datname = current_database())";
        (stage.db.one::<i64>(waiting).await == 4).then_some(())
    })
    .await;
    api.stranger().get("/healthz").await.data(200);
    stage.db.run("INSERT INTO products (sku, name, price) VALUES ('A', 'a', 1)").await;
    stage.receiver.wait_at("/all", 1).await;
    for caller in callers {
        let reply = caller.await.unwrap();
        assert!(["unavailable", "too_slow"].contains(&&*reply.error(503)), "{reply:?}");
        assert!(reply.header("retry-after").is_some(), "{reply:?}");
    }
    blocker.run("COMMIT").await;
    send(with_json(api.request("POST", LIST), &json!({"url": "https://example.com/", "events": ["*"]})))
        .await
        .data(201);
}
