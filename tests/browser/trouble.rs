//! What the page does when the server is gone.

use crate::browser::Visit;

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_said_and_what_was_seen_stays() {
    let Visit { db, receiver, api, browser } = Visit::signed_in("manage").await;
    db.register(&receiver.url("/hook"), "*", "secret").await;
    browser.sees("/hook").await;
    api.sidecar.kill9();
    browser.sees("The sidecar does not answer.").await;
    browser.sees("/hook").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_with_a_hint() {
    let visit = Visit::signed_in("read").await;
    let Visit { browser, .. } = &visit;
    browser.go("/#/webhooks/ep_nobody").await;
    browser.sees("there is no webhook \"ep_nobody\"").await;
    browser.sees("webhooks.list()").await;
    browser.go("/#/nowhere").await;
    browser.sees("There is no such page").await;
}
