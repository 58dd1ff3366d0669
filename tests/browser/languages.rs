//! English and French.

use serde_json::json;

use crate::browser::Visit;

#[tokio::test(flavor = "multi_thread")]
async fn french_and_english_have_the_same_keys() {
    let visit = Visit::begin().await;
    let Visit { browser, .. } = &visit;
    browser.go("/").await;
    let uneven = browser
        .run_async(
            "const done = arguments[0];
             const values = (text) => [...new Set(text.match(/\\{\\w+\\}/g) ?? [])].sort().join();
             import('/assets/words.js').then(({ words }) => done(Object.entries(words)
                 .filter(([, texts]) => texts.length !== 2 || texts.some((text) => !text) || values(texts[0]) !== values(texts[1]))
                 .map(([key]) => key)));",
        )
        .await;
    assert_eq!(uneven, json!([]), "each has both, with the same values in them");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_speaks_the_browsers_language_until_told_otherwise() {
    let visit = Visit::begin_in("fr-FR,fr").await;
    let Visit { browser, .. } = &visit;
    browser.go("/").await;
    browser.sees("Qu’est-ce qu’un jeton").await;
    assert_eq!(browser.run("return document.documentElement.lang").await, "fr");
    browser.press("English").await;
    browser.sees("What is a token?").await;
    browser.reload().await;
    browser.sees("What is a token?").await;
    assert_eq!(browser.run("return document.documentElement.lang").await, "en");
}
