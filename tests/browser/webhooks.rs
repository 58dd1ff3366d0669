//! Webhooks: making, changing, trying and ending them.

use std::time::Duration;

use serde_json::json;
use tests::eventually;

use crate::browser::Visit;

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_created_and_its_secret_shown_once() {
    let visit = Visit::signed_in("manage").await;
    let Visit { db, receiver, browser, .. } = &visit;
    browser.press("Create a webhook").await;
    browser.sees("A product is changed.").await;
    browser.fill("URL", &receiver.url("/hook")).await;
    browser.tick("All product.* events").await;
    browser.fill("Your own events", "order.paid").await;
    browser.press("Create a webhook").await;

    browser.sees("it is never shown again").await;
    let secret = browser.run("return document.querySelector('dialog pre').textContent").await;
    let secret = secret.as_str().expect("text").to_owned();
    assert!(secret.starts_with("whsec_"), "{secret}");
    browser.press_in_dialog("I have kept it").await;
    browser.sees("set: messages are signed").await;
    browser.reload().await;
    browser.sees("set: messages are signed").await;
    let html = browser.run("return document.documentElement.outerHTML").await;
    assert!(!html.to_string().contains(&secret), "the secret is gone");

    let events: String = db.one("SELECT array_to_string(events, ' ') FROM webhooks.list()").await;
    assert_eq!(events, "product.* order.paid");
    browser.press("Send a test").await;
    let received = receiver.wait_at("/hook", 1).await.remove(0);
    assert_eq!(received.event(), "webhook.test");
    let signature = received.header("x-webhook-signature").expect("it is signed");
    let verify = format!("SELECT webhooks.verify($${}$$, '{signature}', '{secret}')", received.body);
    assert!(db.one::<bool>(&verify).await, "by the secret that was shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_said_in_the_servers_words() {
    let visit = Visit::signed_in("manage").await;
    let Visit { browser, .. } = &visit;
    browser.press("Create a webhook").await;
    browser.fill("URL", "https://example.com/").await;
    browser.press("Create a webhook").await;
    browser.sees("Choose at least one event.").await;
    browser.fill("Your own events", "Not-A-Name").await;
    browser.press("Create a webhook").await;
    browser.sees("\"Not-A-Name\"").await;
    let url = browser.run("return document.querySelector('[name=url]').value").await;
    assert_eq!(url, "https://example.com/", "what was typed stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_edited() {
    let visit = Visit::signed_in("manage").await;
    let Visit { db, receiver, browser, .. } = &visit;
    let endpoint = db.register(&receiver.url("/old"), "product.*,order.paid", "secret").await;
    browser.go(&format!("/#/webhooks/{endpoint}")).await;
    browser.press("Edit").await;
    browser.fill("URL", &receiver.url("/new")).await;
    browser.tick("import.failed").await;
    browser.press("Save").await;
    browser.sees("/new").await;
    let row = db.json("SELECT regexp_replace(url, '.*/', '') AS url, events, has_secret FROM webhooks.list()").await;
    assert_eq!(
        row,
        [json!({"url": "new", "events": ["import.failed", "product.*", "order.paid"], "has_secret": true})]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_rotated_and_the_old_one_goes_on_for_a_while() {
    let visit = Visit::signed_in("manage").await;
    let Visit { db, receiver, browser, .. } = &visit;
    let endpoint = db.register(&receiver.url("/hook"), "*", "old secret").await;
    browser.go(&format!("/#/webhooks/{endpoint}")).await;
    browser.press("Rotate secret…").await;
    browser.choose("How long the previous one goes on", "1 hour").await;
    browser.press_in_dialog("Rotate").await;
    browser.sees("it is never shown again").await;
    let secret = browser.run("return document.querySelector('dialog pre').textContent").await;
    browser.press_in_dialog("I have kept it").await;

    db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    let received = receiver.wait_at("/hook", 1).await.remove(0);
    assert_eq!(received.header("webhook-signature").expect("it is signed").split(' ').count(), 2);
    let signature = received.header("x-webhook-signature").expect("it is signed");
    let secret = secret.as_str().expect("text");
    let verify = format!("SELECT webhooks.verify($${}$$, '{signature}', '{secret}')", received.body);
    assert!(db.one::<bool>(&verify).await, "by the new secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_disabled_webhook_missed_is_counted_and_then_replayed() {
    let visit = Visit::signed_in("manage").await;
    let Visit { db, receiver, browser, .. } = &visit;
    let endpoint = db.register(&receiver.url("/hook"), "*", "secret").await;
    db.register(&receiver.url("/other"), "*", "secret").await;
    browser.go(&format!("/#/webhooks/{endpoint}")).await;
    browser.press("Disable…").await;
    browser.press_in_dialog("Disable").await;
    browser.sees("disabled by").await;

    db.run("SELECT webhooks.emit('order.paid', jsonb_build_object('order_id', id)) FROM generate_series(1, 3) id")
        .await;
    receiver.wait_at("/other", 3).await;
    eventually(Duration::from_secs(20), "the sidecar is past them", async || {
        (db.one::<i32>("SELECT unread FROM webhooks.status()").await == 0).then_some(())
    })
    .await;
    browser.press("Enable").await;
    browser.sees("what waited resumes").await;
    browser.press("Replay…").await;
    browser.press_in_dialog("Count first").await;
    browser.sees("3 deliveries would be sent again.").await;
    assert!(receiver.at("/hook").is_empty(), "counting sends nothing");
    browser.press_in_dialog("Send 3 again").await;
    receiver.wait_at("/hook", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_is_sent_to_one_webhook() {
    let visit = Visit::signed_in("manage").await;
    let Visit { db, receiver, browser, .. } = &visit;
    let endpoint = db.register(&receiver.url("/hook"), "order.paid", "secret").await;
    browser.go(&format!("/#/webhooks/{endpoint}")).await;
    browser.press("Send a sample…").await;
    browser.choose("Event", "stock.low_alert").await;
    browser.sees("\"current_stock\"").await;
    browser.press_in_dialog("Send").await;
    assert_eq!(receiver.wait_at("/hook", 1).await[0].event(), "stock.low_alert");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_deleted_once_that_is_confirmed() {
    let visit = Visit::signed_in("manage").await;
    let Visit { db, receiver, browser, .. } = &visit;
    let endpoint = db.register(&receiver.url("/hook"), "*", "secret").await;
    browser.go(&format!("/#/webhooks/{endpoint}")).await;
    browser.press("Delete…").await;
    browser.sees("There is no way back").await;
    browser.press_in_dialog("Cancel").await;
    browser.sees_no("There is no way back").await;
    browser.press("Delete…").await;
    browser.press_in_dialog("Delete").await;
    browser.sees("No webhook yet").await;
    assert_eq!(db.one::<i64>("SELECT count(*) FROM webhooks.list()").await, 0);
}
