//! Whether everybody can use the page: by keyboard, by ear, in the dark, on a telephone.

use std::fs;
use std::path::Path;

use tests::Answer;

use crate::browser::{Browser, Visit};

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_nothing_serious_in_any_view() {
    let visit = Visit::signed_in("manage").await;
    let Visit { db, receiver, browser, .. } = &visit;
    receiver.answer("/broken", Answer::status(500).body("out of order"));
    let endpoint = db.register(&receiver.url("/fine"), "*", "secret").await;
    let broken = db.register(&receiver.url("/broken"), "order.*", "").await;
    db.run(&format!("SELECT webhooks.emit('order.paid', '{{}}'); SELECT webhooks.update('{broken}', active => false)"))
        .await;
    let webhook_id: String = db.one("SELECT webhooks.emit('order.sent', '{\"order_id\": 7}')").await;
    receiver.wait_at("/fine", 2).await;

    let views = [
        ("/".to_owned(), "/broken"),
        ("/#/deliveries".to_owned(), "order.sent"),
        ("/#/events".to_owned(), "order.sent"),
        (format!("/#/events/{webhook_id}"), "Exactly as sent"),
        (format!("/#/webhooks/{endpoint}"), "order.sent"),
        (format!("/#/webhooks/{broken}?view=events"), "disabled by"),
        ("/#/webhooks/new".to_owned(), "A product is changed."),
    ];
    for (path, words) in views {
        browser.go(&path).await;
        browser.sees(words).await;
        assert_accessible(browser, &path).await;
    }
    browser.go(&format!("/#/webhooks/{endpoint}")).await;
    for (button, words) in
        [("Rotate secret…", "New secret"), ("Replay…", "Which events"), ("Delete…", "There is no way back")]
    {
        browser.press(button).await;
        browser.sees(words).await;
        assert_accessible(browser, button).await;
        browser.press_in_dialog("Cancel").await;
        browser.sees_no(words).await;
    }
    browser.press("Sign out").await;
    browser.sees("What is a token?").await;
    assert_accessible(browser, "signing in").await;
}

/// By axe-core: light and dark, narrow and wide. Nothing may be wider than the window.
async fn assert_accessible(browser: &Browser, view: &str) {
    let axe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/axe.min.js");
    let axe = fs::read_to_string(&axe).unwrap_or_else(|error| panic!("{}: {error}; make test gets it", axe.display()));
    browser.run(&format!("if (!window.axe) {{ {axe}\n}}")).await;
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (375, "light"), (375, "dark")] {
        browser.look(width, scheme).await;
        let found = browser
            .run_async(
                "const done = arguments[0];
                 axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => done(violations
                     .filter(({ impact }) => impact === 'serious' || impact === 'critical')
                     .map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map(({ html, failureSummary }) => [html, failureSummary]) }))));",
            )
            .await;
        assert_eq!(found.as_array().map(Vec::len), Some(0), "{view}, {width}, {scheme}: {found:#}");
        let wide = browser.run("return document.documentElement.scrollWidth - window.innerWidth").await;
        assert!(wide.as_i64() <= Some(0), "{view} is {wide} pixels wider than {width}");
    }
    browser.look(1280, "light").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn focus_goes_to_the_heading_of_a_new_view_and_back_where_a_dialog_came_from() {
    let visit = Visit::signed_in("manage").await;
    let Visit { db, receiver, browser, .. } = &visit;
    let endpoint = db.register(&receiver.url("/hook"), "*", "secret").await;
    browser.press("Events").await;
    browser
        .wait(
            "the heading has focus",
            "return document.activeElement.matches('h1') && document.title.startsWith('Events')",
        )
        .await;
    browser.press("Overview").await;
    browser.sees("/hook").await;
    browser.wait("it keeps focus when the data come", "return document.activeElement.matches('h1')").await;
    browser.go(&format!("/#/webhooks/{endpoint}")).await;
    browser.sees("Send a test").await;
    browser.run("document.getElementById('act-test').focus()").await;
    browser.press("Send a test").await;
    browser.sees("Sent:").await;
    browser.wait("the button keeps focus", "return document.activeElement.id === 'act-test'").await;
    browser.press("Rotate secret…").await;
    browser.wait("the dialog has focus", "return document.activeElement.closest('dialog') !== null").await;
    browser.press_in_dialog("Cancel").await;
    browser.wait("the button has focus", "return document.activeElement.id === 'act-rotate'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_takes_neither_focus_nor_what_is_being_typed() {
    let visit = Visit::signed_in("read").await;
    let Visit { db, receiver, browser, .. } = &visit;
    db.register(&receiver.url("/hook"), "*", "secret").await;
    browser.go("/#/deliveries").await;
    browser.sees("Nothing has been sent yet").await;
    browser.run("const field = document.querySelector('[name=event]'); field.focus(); field.value = 'ord'").await;
    db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    browser.sees("order.paid").await;
    let field = browser.run("return [document.activeElement.name, document.activeElement.value]").await;
    assert_eq!(field, serde_json::json!(["event", "ord"]));
}
