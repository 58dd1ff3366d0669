//! Signing in and out, and what a token may do.

use crate::browser::Visit;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_token_signs_in_and_out() {
    let visit = Visit::begin().await;
    let Visit { db, browser, .. } = &visit;
    browser.go("/").await;
    browser.sees("webhooks.create_token('me', role => 'manage')").await;
    browser.fill("Token", "pgw_nonsense").await;
    browser.press("Sign in").await;
    browser.sees("This token is not valid").await;

    let token = db.token("camille", "manage").await;
    browser.sign_in(&token).await;
    browser.sees("No webhook yet").await;
    browser.sees("camille manages").await;
    browser.reload().await;
    browser.sees("No webhook yet").await;

    browser.press("Sign out").await;
    browser.sees("What is a token?").await;
    browser.reload().await;
    browser.sees("What is a token?").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_is_begun_again_where_it_was() {
    let visit = Visit::signed_in("manage").await;
    let Visit { db, browser, .. } = &visit;
    browser.press("Events").await;
    browser.sees("No event yet").await;
    db.run("SELECT webhooks.revoke_token(id) FROM webhooks.tokens() WHERE name = 'camille'").await;
    browser.sees("Your session has ended").await;
    browser.sign_in(&db.token("camille", "manage").await).await;
    browser.sees("No event yet").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_token_sees_everything_and_can_write_nothing() {
    let visit = Visit::signed_in("read").await;
    let Visit { db, receiver, browser, .. } = &visit;
    browser.sees("camille read only").await;
    let endpoint = db.register(&receiver.url("/hook"), "*", "").await;
    let webhook_id: String = db.one("SELECT webhooks.emit('order.paid', '{\"order_id\": 7}')").await;

    let writes = "return [...document.querySelectorAll('main button')].map((button) => button.textContent)
        .filter((words) => /Create|test|sample|Edit|Rotate|Replay|Disable|Enable|Delete|Redeliver/.test(words)).length === 0";
    for (path, words) in [
        ("/", "/hook"),
        (&format!("/#/webhooks/{endpoint}"), "order.paid"),
        (&format!("/#/webhooks/{endpoint}?view=events"), "order.paid"),
        (&format!("/#/events/{webhook_id}"), "Exactly as sent"),
        ("/#/events", "order.paid"),
    ] {
        browser.go(path).await;
        browser.sees(words).await;
        browser.wait(&format!("no button that writes at {path}"), writes).await;
    }
    for path in ["/#/webhooks/new", &format!("/#/webhooks/{endpoint}/edit")] {
        browser.go(path).await;
        browser.sees("A token of the role manage changes things").await;
        assert_eq!(browser.run("return document.querySelectorAll('main form').length").await, 0);
    }
}
