//! An endpoint's options: the same in SQL, the API and the command line, kept by a dump, refused where they are wrong.

use serde_json::{Value, json};
use tests::{Api, Cluster, CommandLine, Database, SECRET};

const ALL: &str = r#"{"max_in_flight": 8, "max_per_second": 2.5, "timeout": "10s"}"#;

async fn registered() -> (Database<'static>, String) {
    let db = Cluster::shared().await.database().await;
    let register = format!("SELECT webhooks.register('http://127.0.0.1:9/', '{{*}}', '{SECRET}', options => '{ALL}')");
    let endpoint = db.one(&register).await;
    (db, endpoint)
}

async fn options(db: &Database<'_>, endpoint: &str) -> Value {
    db.json(&format!("SELECT options FROM webhooks.get('{endpoint}')")).await.remove(0)["options"].clone()
}

#[tokio::test]
async fn what_is_absent_stays_and_null_removes() {
    let (db, endpoint) = registered().await;
    assert_eq!(options(&db, &endpoint).await, serde_json::from_str::<Value>(ALL).expect("JSON"));
    let update = async |given: &str| db.run(&format!("SELECT webhooks.update('{endpoint}', {given})")).await;
    update("description => 'd'").await;
    update(r#"options => '{"timeout": "1500ms", "max_per_second": null}'"#).await;
    assert_eq!(options(&db, &endpoint).await, json!({"max_in_flight": 8, "timeout": "1500ms"}));
    let stored = "SELECT max_in_flight, max_per_second, timeout_ms FROM webhooks.endpoint";
    assert_eq!(db.json(stored).await, [json!({"max_in_flight": 8, "max_per_second": null, "timeout_ms": 1500})]);
}

#[tokio::test]
async fn what_is_no_option_is_named_and_changes_nothing() {
    let (db, endpoint) = registered().await;
    for (given, named, hint) in [
        (r#"{"max_inflight": 8}"#, "max_inflight", "max_in_flight"),
        (r#"{"max_in_flight": 65}"#, "65", "1 to 64"),
        (r#"{"timeout": "1h"}"#, "1h", "5min"),
        ("[]", "[]", "max_in_flight"),
    ] {
        let refused = db.fail(&format!("SELECT webhooks.update('{endpoint}', options => '{given}')")).await;
        assert_eq!(refused.code, "22023", "{refused:?}");
        assert!(refused.message.contains(named) && refused.hint.contains(hint), "{refused:?}");
    }
    assert_eq!(options(&db, &endpoint).await["max_in_flight"], 8);
}

#[tokio::test]
async fn a_dump_keeps_them() {
    let (db, endpoint) = registered().await;
    let restored = Cluster::shared().await.empty_database().await;
    restored.restore(&db.dump().await).await;
    assert_eq!(options(&restored, &endpoint).await, options(&db, &endpoint).await);
}

#[tokio::test]
async fn in_the_api_they_are_fields_of_the_webhook() {
    let (db, _) = registered().await;
    let api = Api::start(&db).await;
    let api = api.caller(&db.token("operator", "manage").await);
    let new =
        json!({"url": "http://127.0.0.1:9/", "events": ["*"], "secret": SECRET, "timeout": "5s", "max_in_flight": 2});
    let made = api.post("/api/v1/webhooks", new).await.data(201);
    let limits = |data: &Value| {
        let webhook = &data["webhook"];
        json!([webhook["max_in_flight"], webhook["max_per_second"], webhook["timeout"]])
    };
    assert_eq!(limits(&made), json!([2, null, "5s"]));
    let path = format!("/api/v1/webhooks/{}", made["webhook"]["id"].as_str().expect("an id"));
    let changed = api.put(&path, json!({"max_in_flight": null, "max_per_second": 20})).await.data(200);
    assert_eq!(limits(&changed), json!([null, 20.0, "5s"]));
    api.put(&path, json!({"timeout": 5})).await.error(422);
    assert_eq!(limits(&api.get(&path).await.data(200)), json!([null, 20.0, "5s"]));
}

#[tokio::test]
async fn the_command_line_sets_and_removes_them() {
    let (db, endpoint) = registered().await;
    let cli = CommandLine::new(&db);
    let set = ["webhooks", "update", &endpoint, "--max-in-flight", "3", "--timeout", "none", "--json"];
    let told = cli.run(&set).await.json();
    assert_eq!((&told["max_in_flight"], &told["timeout"]), (&json!(3), &Value::Null), "{told}");
    assert_eq!(options(&db, &endpoint).await, json!({"max_in_flight": 3, "max_per_second": 2.5}));
    let refused = cli.run(&["webhooks", "update", &endpoint, "--max-per-second", "fast"]).await;
    assert!(refused.all().contains("fast") && refused.all().contains("10000"), "{}", refused.all());
}
