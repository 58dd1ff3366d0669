//! One event: its deliveries, attempts and body.

use tests::Answer;

use crate::browser::Visit;

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_and_its_retry_are_seen() {
    let visit = Visit::signed_in("read").await;
    let Visit { db, receiver, browser, .. } = &visit;
    db.retry_schedule("1h, 1h, 1h, 1h, 1h").await;
    receiver.answer_in_turn("/hook", [Answer::status(503).body("come back later"), Answer::status(200)]);
    db.register(&receiver.url("/hook"), "*", "secret").await;
    let webhook_id: String = db.one("SELECT webhooks.emit('order.paid', '{\"order_id\": 7}')").await;
    browser.go(&format!("/#/events/{webhook_id}")).await;
    browser.sees("to retry").await;
    browser.sees("HTTP 503").await;
    browser.sees("next attempt").await;
    db.run("UPDATE webhooks.pending SET due_at = clock_timestamp(); SELECT webhooks.notify_at_commit()").await;
    browser.sees("retry 1").await;
    browser.wait("it is delivered", "return document.querySelector('tbody tr').innerText.includes('delivered')").await;
    browser.run("document.querySelectorAll('details').forEach((details) => { details.open = true; })").await;
    for words in ["come back later", "x-webhook-signature", "sha256="] {
        browser.sees(words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_redelivered() {
    let visit = Visit::signed_in("manage").await;
    let Visit { db, receiver, browser, .. } = &visit;
    receiver.answer_in_turn("/hook", [Answer::status(400), Answer::status(200)]);
    let endpoint = db.register(&receiver.url("/hook"), "*", "secret").await;
    db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    receiver.wait_at("/hook", 1).await;
    browser.go(&format!("/#/webhooks/{endpoint}?view=events")).await;
    browser.sees("failed").await;
    browser.press("Redeliver").await;
    browser.sees("1 delivery is on its way again.").await;
    let received = receiver.wait_at("/hook", 2).await;
    assert_eq!(received[0].body, received[1].body);

    browser.press("order.paid").await;
    browser.wait("two attempts", "return document.querySelectorAll('.attempt').length === 2").await;
    browser.press("Redeliver").await;
    receiver.wait_at("/hook", 3).await;
    browser.wait("three attempts", "return document.querySelectorAll('.attempt').length === 3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_shown_to_the_byte_and_never_as_markup() {
    let visit = Visit::signed_in("read").await;
    let Visit { db, receiver, browser, .. } = &visit;
    let markup = "<img src=x onerror=\"window.isTaken=true\">";
    receiver.answer("/hook", Answer::status(500).body(markup));
    db.register(&receiver.url("/hook"), "*", "secret").await;
    let webhook_id: String =
        db.one(&format!("SELECT webhooks.emit('order.paid', jsonb_build_object('note', $${markup} é 😀$$))")).await;
    let sent = receiver.wait_at("/hook", 1).await.remove(0);
    browser.go(&format!("/#/events/{webhook_id}")).await;
    browser.press("Exactly as sent").await;
    browser.wait("exactly", "return document.querySelector('pre.exact') !== null").await;
    let shown = browser.run("return document.querySelector('pre.exact').textContent").await;
    assert_eq!(shown, sent.body.as_str());
    browser.run("document.querySelectorAll('details').forEach((details) => { details.open = true; })").await;
    browser.sees(markup).await;
    assert_eq!(
        browser.run("return [document.images.length, window.isTaken ?? false]").await,
        serde_json::json!([0, false])
    );
}
