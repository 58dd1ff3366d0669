//! What the browser loads.

use crate::browser::Visit;

const MOST_BYTES: i64 = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_takes_less_than_100_kb_of_files_and_all_are_ours() {
    let visit = Visit::signed_in("read").await;
    let Visit { browser, api, .. } = &visit;
    browser.reload().await;
    browser.sees("No webhook yet").await;
    let loaded = browser
        .run(
            "const [page] = performance.getEntriesByType('navigation');
             const files = performance.getEntriesByType('resource').filter(({ name }) => !/\\/(api|session)/.test(name));
             return [page, ...files].map(({ name, decodedBodySize }) => [name, decodedBodySize])",
        )
        .await;
    let files = loaded.as_array().expect("a list");
    let sum: i64 = files.iter().map(|file| file[1].as_i64().expect("a size")).sum();
    assert!(files.len() > 5 && sum < MOST_BYTES, "{sum} bytes: {loaded:#}");
    let ours = format!("http://{}/", api.address);
    assert!(files.iter().all(|file| file[0].as_str().is_some_and(|name| name.starts_with(&ours))), "{loaded:#}");
}
