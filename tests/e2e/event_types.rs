//! The catalogue of events: every message that a row change makes is as its JSON Schema says, so are the samples, and a
//! sample can be sent.

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::Validator;
use serde_json::Value;
use tests::{Cluster, Database, SECRET, Stage};

/// A validator for each event, from its JSON Schema.
async fn validators(db: &Database<'_>) -> BTreeMap<String, Validator> {
    let types = db.json("SELECT event, schema FROM webhooks.event_types()").await;
    let validator = |schema: &Value| {
        jsonschema::options()
            .should_validate_formats(true)
            .build(schema)
            .unwrap_or_else(|error| panic!("{error}: {schema}"))
    };
    types.iter().map(|kind| (kind["event"].as_str().expect("a name").to_owned(), validator(&kind["schema"]))).collect()
}

fn assert_valid(validators: &BTreeMap<String, Validator>, message: &Value) {
    let event = message["event"].as_str().expect("a name");
    let errors: Vec<String> = validators[event].iter_errors(message).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}\n{message:#}");
}

#[tokio::test]
async fn every_message_that_row_changes_make_is_as_its_schema_says() {
    let stage = Stage::start().await;
    stage
        .db
        .run(
            "INSERT INTO suppliers (name) VALUES ('s');
             UPDATE suppliers SET import_schedule = 'hourly', name = 'S', created_by = NULL;
             INSERT INTO products (sku, name, price) VALUES ('A', 'a', 12345678.9);
             INSERT INTO products (sku, name, price, stock, min_stock, supplier_id, created_by) VALUES ('B', 'b', 'NaN', 5, 2, 1, 'me');
             UPDATE products SET price = 'NaN', supplier_id = 1, name = E'\\u2028\"\\\\', updated_by = 'me' WHERE sku = 'A';
             UPDATE products SET price = 0.1, stock = 1 WHERE sku = 'B';
             DELETE FROM products;
             SET pg_webhooks.actor = 'somebody'; SET pg_webhooks.reason = 'discontinued';
             INSERT INTO products (sku, name, price, stock, min_stock) VALUES ('C', 'c', 1, 0, 1);
             DELETE FROM products; RESET pg_webhooks.actor; RESET pg_webhooks.reason;
             INSERT INTO imports (supplier_id) VALUES (1), (1), (1), (1);
             UPDATE imports SET status = 'running', started_at = now(), started_by = 'me' WHERE id <= 2;
             UPDATE imports SET status = 'completed', finished_at = now() + interval '90.5 s' WHERE id = 1;
             UPDATE imports SET status = 'failed', finished_at = now(), error_code = 'E', error_message = 'm', error_details = '{}' WHERE id = 2;
             UPDATE imports SET status = 'completed' WHERE id = 3;
             UPDATE imports SET status = 'failed' WHERE id = 4",
        )
        .await;
    stage.db.run(&format!("SELECT webhooks.test('{}')", stage.endpoint)).await;
    let validators = validators(&stage.db).await;
    let received = stage.arrived().await;
    received.iter().for_each(|one| assert_valid(&validators, &one.json()));
    let seen: BTreeSet<String> = received.iter().map(|one| one.event()).collect();
    assert_eq!(seen, validators.keys().cloned().collect(), "the statements make every built-in event");
}

#[tokio::test]
async fn a_truncated_message_is_as_its_schema_says() {
    let db = Cluster::shared().await.database().await;
    db.register("http://127.0.0.1:9/", "*", SECRET).await;
    db.run(
        "SET pg_webhooks.max_body = '8kB';
         INSERT INTO suppliers (id, name) VALUES (7, repeat('s', 9000));
         UPDATE suppliers SET name = repeat('t', 9000);
         INSERT INTO products (sku, name, price, stock, min_stock) VALUES (repeat('A', 600), repeat('n', 9000), 1, 0, 1);
         UPDATE products SET name = repeat('m', 9000);
         SET pg_webhooks.reason = 'x'; SELECT set_config('pg_webhooks.reason', repeat('r', 9000), false);
         DELETE FROM products;
         INSERT INTO imports (supplier_id, import_type, status) VALUES (7, repeat('i', 9000), 'running');
         UPDATE imports SET status = 'failed', error_message = repeat('e', 9000)",
    )
    .await;
    let validators = validators(&db).await;
    let bodies: Vec<String> = db.all("SELECT body FROM webhooks.event ORDER BY xid, seq").await;
    assert_eq!(bodies.len(), 8);
    for body in bodies {
        let message: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(message["data"]["truncated"], true, "{body}");
        assert_valid(&validators, &message);
    }
}

#[tokio::test]
async fn every_sample_is_as_its_schema_says() {
    let db = Cluster::shared().await.database().await;
    let validators = validators(&db).await;
    assert!(!validators.is_empty());
    for sample in db.json("SELECT event, sample, description FROM webhooks.event_types()").await {
        assert_eq!(sample["sample"]["event"], sample["event"]);
        assert!(!sample["description"].as_str().expect("a text").is_empty());
        assert_valid(&validators, &sample["sample"]);
    }
}

#[tokio::test]
async fn a_schema_refuses_what_no_row_change_makes() {
    let db = Cluster::shared().await.database().await;
    let validators = validators(&db).await;
    for row in db.json("SELECT event, sample FROM webhooks.event_types()").await {
        let validator = &validators[row["event"].as_str().expect("a name")];
        for (member, wrong) in
            [("event", "no.such"), ("timestamp", "yesterday"), ("webhook_id", "ep_0"), ("data", "text")]
        {
            let mut message = row["sample"].clone();
            message[member] = wrong.into();
            assert!(!validator.is_valid(&message), "{member} of {row}");
            message.as_object_mut().expect("an object").remove(member);
            assert!(!validator.is_valid(&message), "without {member}: {row}");
        }
    }
}

#[tokio::test]
async fn a_triggered_sample_goes_to_its_endpoint_alone_subscribed_or_not() {
    let stage = Stage::start().await;
    let one = stage.db.register(&stage.receiver.url("/one"), "import.failed", SECRET).await;
    let samples = stage.db.json("SELECT event, sample FROM webhooks.event_types()").await;
    let validators = validators(&stage.db).await;
    for sample in &samples {
        let event = sample["event"].as_str().expect("a name");
        let id: String = stage.db.one(&format!("SELECT webhooks.trigger('{one}', '{event}')")).await;
        stage.receiver.wait_for(event, |all| all.iter().any(|one| one.webhook_id() == id)).await;
        let received = stage.receiver.requests().into_iter().find(|one| one.webhook_id() == id).expect("it came");
        assert_eq!(received.path, "/one");
        assert_eq!(received.data(), sample["sample"]["data"], "{event}");
        assert!(received.header("x-webhook-signature").is_some(), "signed as any other");
        assert_valid(&validators, &received.json());
    }
    assert!(stage.arrived().await.iter().all(|one| one.path == "/one"), "nobody else gets them");
    assert_eq!(stage.receiver.at("/one").len(), samples.len(), "once each");
}

#[tokio::test]
async fn a_sample_that_can_not_be_sent_is_refused() {
    let db = Cluster::shared().await.database().await;
    let on = db.register("http://127.0.0.1:9/", "*", SECRET).await;
    let off = db.register("http://127.0.0.1:9/", "*", SECRET).await;
    db.run(&format!("SELECT webhooks.update('{off}', active => false)")).await;
    for (call, code, named) in [
        (format!("trigger('{off}', 'product.created')"), "55000", off.as_str()),
        (format!("test('{off}')"), "55000", off.as_str()),
        (format!("trigger('{on}', 'order.paid')"), "22023", "order.paid"),
        (format!("trigger('{on}', 'product.*')"), "22023", "product.*"),
        (format!("trigger('{on}', NULL)"), "22023", "NULL"),
        ("trigger('ep_unknown', 'product.created')".into(), "42704", "ep_unknown"),
        ("trigger('wh_0', 'product.created')".into(), "22023", "wh_0"),
    ] {
        let refused = db.fail(&format!("SELECT webhooks.{call}")).await;
        assert_eq!(refused.code, code, "{call}: {refused:?}");
        assert!(refused.message.contains(named) && !refused.hint.is_empty(), "{call}: {refused:?}");
    }
    assert!(db.events().await.is_empty());
}
