//! The web page: files that are compiled in, served at `/` and under `/assets/`. It is a client of the REST API like
//! any other and knows nothing that the API does not tell. It loads nothing from elsewhere, and its policy lets nothing
//! else run.

use axum::Router;
use axum::extract::Path;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};

const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

static ASSETS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/web/assets");

/// Returns the routes of the page.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/", get(|headers: HeaderMap| async move { serve("index.html", &headers) })).route(
        "/assets/{name}",
        get(|Path(name): Path<String>, headers: HeaderMap| async move { serve(&name, &headers) }),
    )
}

fn serve(name: &str, headers: &HeaderMap) -> Response {
    let Some(asset) = ASSETS.get_file(name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    // A browser asks each time, and gets the file again only once it has changed.
    let hash = Sha256::digest(asset.contents()).iter().take(12).map(|byte| format!("{byte:02x}")).collect::<String>();
    let tag = format!("\"{hash}\"");
    let known = headers.get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let is_known = known.is_some_and(|tags| tags.split(',').any(|known| known.trim().trim_start_matches("W/") == tag));
    let always = [
        (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
        (ETAG, &tag),
    ];
    if is_known {
        return (StatusCode::NOT_MODIFIED, always).into_response();
    }
    let kind = mime_guess::from_path(name).first_or_octet_stream();
    (always, [(CONTENT_TYPE, format!("{kind}; charset=utf-8"))], asset.contents()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use std::collections::BTreeSet;

    fn content(name: &str) -> &'static str {
        ASSETS.get_file(name).unwrap_or_else(|| panic!("no {name}")).contents_utf8().expect("text")
    }

    /// Name and content of each file.
    fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
        let names = ASSETS.files().map(|file| file.path().to_str().expect("a name in ASCII"));
        names.map(|name| (name, content(name)))
    }

    /// The texts in `content` that stand between `before` and the next of `after`.
    fn between<'a>(content: &'a str, before: &'a str, after: char) -> impl Iterator<Item = &'a str> {
        content.split(before).skip(1).filter_map(move |rest| rest.split(after).next())
    }

    #[test]
    fn every_file_that_is_asked_for_is_there() {
        let html = content("index.html");
        for name in between(html, "/assets/", '"') {
            content(name);
        }
        for (_, script) in all().filter(|(name, _)| name.ends_with(".js")) {
            for name in between(script, "from './", '\'').chain(between(script, "import('./", '\'')) {
                content(name);
            }
        }
    }

    #[test]
    fn nothing_is_inline_and_nothing_comes_from_elsewhere() {
        let html = content("index.html");
        assert!(!html.contains("<style") && !html.contains("style=") && !html.contains(" on"));
        assert!(between(html, "<script", '>').all(|attributes| attributes.contains("src=\"/assets/")));
        for (name, content) in all() {
            let calls =
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "@import", "url(http"];
            assert!(calls.iter().all(|call| !content.contains(call)), "{name}");
        }
    }

    /// `t('…')` panics in the browser where the table has no such key; here it is found sooner.
    #[test]
    fn every_word_that_is_said_is_in_the_table() {
        let keys: BTreeSet<_> =
            content("words.js").lines().filter_map(|line| line.trim().strip_prefix('\'')?.split('\'').next()).collect();
        assert!(keys.len() > 100, "{keys:?}");
        for (name, script) in all().filter(|(name, _)| name.ends_with(".js")) {
            for key in between(script, " t('", '\'').chain(between(script, "(t('", '\'')) {
                assert!(keys.contains(key), "{name}: {key}");
            }
        }
    }

    #[test]
    fn what_the_browser_has_is_not_sent_again() {
        let first = serve("app.js", &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[CONTENT_TYPE], "text/javascript; charset=utf-8");
        assert_eq!(first.headers()[CONTENT_SECURITY_POLICY], CONTENT_POLICY);
        let known = HeaderMap::from_iter([(IF_NONE_MATCH, first.headers()[ETAG].clone())]);
        assert_eq!(serve("app.js", &known).status(), StatusCode::NOT_MODIFIED);
        let stale = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static("\"stale\""))]);
        assert_eq!(serve("app.js", &stale).status(), StatusCode::OK);
        assert_eq!(serve("../main.rs", &HeaderMap::new()).status(), StatusCode::NOT_FOUND);
    }
}
