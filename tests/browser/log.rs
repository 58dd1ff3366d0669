//! The delivery log.

use tests::Answer;

use crate::browser::Visit;

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_appears_in_the_log_without_a_reload() {
    let visit = Visit::signed_in("read").await;
    let Visit { db, receiver, browser, .. } = &visit;
    db.register(&receiver.url("/hook"), "*", "secret").await;
    browser.press("Delivery log").await;
    browser.sees("Nothing has been sent yet").await;
    browser.run("window.isTheSame = true").await;
    for name in ["order.paid", "order.sent"] {
        db.run(&format!("SELECT webhooks.emit('{name}', '{{}}')")).await;
        browser.sees(name).await;
    }
    assert_eq!(browser.run("return window.isTheSame").await, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_stands_still_while_it_is_paused() {
    let visit = Visit::signed_in("read").await;
    let Visit { db, receiver, browser, .. } = &visit;
    let endpoint = db.register(&receiver.url("/hook"), "*", "secret").await;
    browser.go("/#/deliveries").await;
    browser.sees("Nothing has been sent yet").await;
    browser.press("Pause").await;
    browser.sees("paused").await;
    db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    let logged = format!("SELECT count(*) FROM webhooks.logs('{endpoint}')");
    tests::eventually(std::time::Duration::from_secs(20), "it is logged", async || {
        (db.one::<i64>(&logged).await == 1).then_some(())
    })
    .await;
    // That nothing comes takes time to see: a page that is not paused asks every second.
    browser.run_async("const done = arguments[0]; setTimeout(() => done(true), 2500)").await;
    assert!(!browser.text().await.contains("order.paid"));
    browser.press("Resume").await;
    browser.sees("order.paid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_filtered_by_outcome_event_webhook_and_text() {
    let visit = Visit::signed_in("read").await;
    let Visit { db, receiver, browser, .. } = &visit;
    receiver.answer("/broken", Answer::status(422).body("no such order"));
    db.register(&receiver.url("/fine"), "*", "secret").await;
    let broken = db.register(&receiver.url("/broken"), "order.*", "secret").await;
    db.run("SELECT webhooks.emit('order.paid', '{}'), webhooks.emit('cart.filled', '{}')").await;
    receiver.wait_at("/fine", 2).await;
    let rows = |count: usize| format!("return document.querySelectorAll('tbody tr').length === {count}");
    browser.go("/#/deliveries").await;
    browser.wait("three attempts", &rows(3)).await;
    browser.choose("Outcome", "all failures").await;
    browser.wait("one failed", &rows(1)).await;
    browser.sees("rejected").await;
    browser.choose("Outcome", "all").await;
    browser.fill("Event", "order.*\n").await;
    browser.wait("two of order.*", &rows(2)).await;
    browser.fill("Search", "broken").await;
    browser.wait("one has it in its URL", &rows(1)).await;

    browser.go(&format!("/#/deliveries?webhook={broken}&outcome=delivered")).await;
    browser.sees("Nothing matches").await;
    let chosen = browser.run("return document.querySelector('[name=webhook]').value").await;
    assert_eq!(chosen, broken.as_str(), "a link to a filtered log says so");
}
