//! What an operator sees of a sidecar with an API: probes, metrics, history, the description; and what it costs.

use std::time::Duration;

use serde_json::json;
use tests::{Answer, Api, Cluster, Receiver, Reply, SECRET, Sidecar, eventually};

/// A figure of `/metrics`.
fn figure(metrics: &Reply, name: &str) -> f64 {
    let line = metrics.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {}", metrics.text)).parse().expect("a number")
}

#[tokio::test]
async fn metrics_move_with_deliveries() {
    let db = Cluster::shared().await.database().await;
    let receiver = Receiver::start().await;
    receiver.answer("/gone", Answer::status(404));
    receiver.answer("/ill", Answer::status(500));
    for path in ["/all", "/gone", "/ill"] {
        db.register(&receiver.url(path), "*", SECRET).await;
    }
    let api = Api::start(&db).await;
    api.stranger().get("/healthz").await.data(200);
    db.run("INSERT INTO products (sku, name, price) SELECT i, 'p', 1 FROM generate_series(1, 5) i").await;
    receiver.wait_at("/all", 5).await;
    let metrics = eventually(Duration::from_secs(10), "all attempts are counted", async || {
        let metrics = api.stranger().get("/metrics").await;
        (figure(&metrics, "pg_webhooks_attempt_duration_seconds_count") == 15.0
            && figure(&metrics, "pg_webhooks_pending_deliveries") == 5.0
            // The last report, which moves the cursor, may come after the one that brings the last retry.
            && figure(&metrics, "pg_webhooks_unread_events") == 0.0)
            .then_some(metrics)
    })
    .await;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for (name, expected) in [
        ("pg_webhooks_attempts_total{class=\"2xx\"}", 5.0),
        ("pg_webhooks_attempts_total{class=\"4xx\"}", 5.0),
        ("pg_webhooks_attempts_total{class=\"5xx\"}", 5.0),
        ("pg_webhooks_attempts_total{class=\"none\"}", 0.0),
        ("pg_webhooks_requests_in_flight", 0.0),
        ("pg_webhooks_unread_events", 0.0),
        ("pg_webhooks_overdue_deliveries", 0.0),
        ("pg_webhooks_behind_seconds", 0.0),
        ("pg_webhooks_shards_not_held", 0.0),
        ("pg_webhooks_sidecars", 1.0),
        ("pg_webhooks_endpoints_disabled", 0.0),
        ("pg_webhooks_endpoints_in_trouble", 2.0),
        ("pg_webhooks_given_up_deliveries", 5.0),
        ("pg_webhooks_database_up", 1.0),
    ] {
        assert_eq!(figure(&metrics, name), expected, "{name}");
        let family = name.split('{').next().unwrap();
        for said in ["HELP", "TYPE"] {
            assert!(metrics.text.contains(&format!("# {said} {family} ")), "{said} {family}");
        }
    }
    assert!(figure(&metrics, "pg_webhooks_api_requests_total{status=\"200\"}") >= 1.0);
    assert!(!metrics.text.contains(&receiver.url("/ill")), "whoever looks learns no URL");
}

#[tokio::test]
async fn it_is_ready_only_while_postgres_is_there() {
    let cluster = Cluster::own().await;
    let db = cluster.database().await;
    let api = Api::start(&db).await;
    api.stranger().get("/readyz").await.data(200);
    api.get("/api/v1/webhooks").await.data(200);
    cluster.crash();
    let out = eventually(Duration::from_secs(10), "it is not ready", async || {
        Some(api.stranger().get("/readyz").await).filter(|reply| reply.status != 200)
    })
    .await;
    assert!(out.error(503) == "unavailable" && out.header("retry-after").is_some(), "{out:?}");
    api.stranger().get("/healthz").await.data(200);
    assert_eq!(api.get("/api/v1/webhooks").await.error(503), "unavailable");
    let metrics = api.stranger().get("/metrics").await;
    assert_eq!(figure(&metrics, "pg_webhooks_database_up"), 0.0);
    assert!(figure(&metrics, "pg_webhooks_behind_seconds").is_nan(), "nobody knows");

    cluster.start().await;
    eventually(Duration::from_secs(10), "it is ready again", async || {
        (api.stranger().get("/readyz").await.status == 200).then_some(())
    })
    .await;
    api.get("/api/v1/webhooks").await.data(200);
}

#[tokio::test]
async fn a_missing_right_is_named() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start_with(&db, &[("DATABASE_URL", &db.url("sidecar"))]).await;
    for reply in [api.stranger().get("/readyz").await, api.get("/api/v1/webhooks").await] {
        assert_eq!(reply.error(503), "unavailable");
        assert!(reply.text.contains("GRANT webhooks_api"), "{reply:?}");
    }
}

#[tokio::test]
async fn an_api_that_nobody_calls_has_no_session() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    api.sidecar.wait_for_log("delivering").await;
    api.stranger().get("/healthz").await.data(200);
    api.stranger().get("/api/openapi.json").await;
    assert_eq!(api.stranger().get("/api/v1/webhooks").await.status, 401);
    let sessions = "SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND application_name = 'pg-webhooks-api'";
    assert_eq!(db.one::<i64>(sessions).await, 0);
    api.get("/api/v1/webhooks").await.data(200);
    assert_eq!(db.one::<i64>(sessions).await, 1);
}

#[tokio::test]
async fn the_history_has_the_last_hour_and_what_happened_in_it() {
    let db = Cluster::shared().await.database().await;
    let receiver = Receiver::start().await;
    db.register(&receiver.url("/all"), "*", SECRET).await;
    let api = Api::start(&db).await;
    db.run("INSERT INTO products (sku, name, price) SELECT i, 'p', 1 FROM generate_series(1, 5) i").await;
    eventually(Duration::from_secs(10), "they are in the log", async || {
        (db.one::<i64>("SELECT count(*) FROM webhooks.attempt").await == 5).then_some(())
    })
    .await;
    let history = api.get("/api/v1/history").await.data(200);
    assert_eq!(history["bucket_seconds"], json!(10));
    let points = history["points"].as_array().unwrap();
    assert_eq!(points.len(), 360);
    let sum = |name: &str| points.iter().map(|point| point[name].as_i64().unwrap()).sum::<i64>();
    assert_eq!((sum("delivered"), sum("failed")), (5, 0));
    assert_eq!((&points[0]["unread"], &points[0]["pending"]), (&json!(null), &json!(null)));
    assert!(points.iter().any(|point| point["unread"] == json!(0) && point["pending"] == json!(0)), "now is known");
}

#[tokio::test]
async fn status_and_health_say_who_delivers_and_who_takes_it() {
    let db = Cluster::shared().await.database().await;
    let endpoint = db.register("http://127.0.0.1:9/", "product.*", SECRET).await;
    let api = Api::start(&db).await;
    api.sidecar.wait_for_log("delivering").await;
    let status = api.get("/api/v1/status").await.data(200);
    assert_eq!((&status["status"]["sidecars"], &status["status"]["shards_held"]), (&json!(1), &json!(1)));
    assert_eq!(status["leases"][0]["is_held"], json!(true));
    for path in ["/api/v1/health".to_owned(), format!("/api/v1/health?endpoint_id={endpoint}")] {
        let health = api.get(&path).await.data(200)["health"].clone();
        assert_eq!((&health[0]["id"], &health[0]["state"]), (&json!(endpoint), &json!("idle")));
    }
}

#[tokio::test]
async fn the_description_is_openapi_and_its_reference_needs_no_other_server() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    let document = api.stranger().get("/api/openapi.json").await.json();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{document}");
    for path in ["/api/v1/webhooks", "/api/v1/webhooks/{id}/logs", "/session", "/metrics"] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    let page = api.stranger().get("/api/docs/").await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    for asset in page.text.split(['"', '\'']).filter(|text| text.ends_with(".js") || text.ends_with(".css")) {
        let name = asset.strip_prefix("./").unwrap_or(asset);
        assert!(!name.contains('/'), "{asset} is elsewhere");
        assert_eq!(api.stranger().get(&format!("/api/docs/{name}")).await.status, 200, "{asset}");
    }
}

#[tokio::test]
async fn an_address_that_is_taken_ends_the_process_and_says_so() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    let address = api.address.to_string();
    let second = Sidecar::start_with(&db, &[("PG_WEBHOOKS_LISTEN", &address)]);
    second.wait_for_log(&format!("cannot listen on {address}")).await;
    assert!(!second.terminate().await.success());
}

#[tokio::test]
async fn a_graceful_stop_ends_the_api_too() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    api.get("/api/v1/webhooks").await.data(200);
    assert!(api.sidecar.terminate().await.success());
}
