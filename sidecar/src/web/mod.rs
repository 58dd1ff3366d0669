//! The web page: files compiled in, served at `/` and under `/assets/`. It is a client of the REST API like any other and
//! knows nothing that the API does not tell. Nothing of it comes from elsewhere, and its policy lets nothing else run.

use axum::Router;
use axum::extract::Path;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// A file of the page.
struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static str,
    /// Of its content, so that a browser asks again and gets it again only once it has changed.
    tag: String,
}

macro_rules! assets {
    ($($kind:ident $name:literal,)*) => {
        vec![$(Asset::new($name, $kind, include_str!(concat!("assets/", $name)))),*]
    };
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    assets![
        HTML "index.html",
        STYLE "style.css",
        IMAGE "icon.svg",
        SCRIPT "app.js",
        SCRIPT "words.js",
        SCRIPT "language.js",
        SCRIPT "dom.js",
        SCRIPT "api.js",
        SCRIPT "live.js",
        SCRIPT "parts.js",
        SCRIPT "charts.js",
        SCRIPT "pages.js",
        SCRIPT "sign-in.js",
        SCRIPT "overview.js",
        SCRIPT "log.js",
        SCRIPT "events.js",
        SCRIPT "event.js",
        SCRIPT "webhook.js",
        SCRIPT "webhook-acts.js",
        SCRIPT "webhook-form.js",
    ]
});

/// The page's routes, for the server that has the API's.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/", get(|headers: HeaderMap| async move { serve("index.html", &headers) })).route(
        "/assets/{name}",
        get(|Path(name): Path<String>, headers: HeaderMap| async move { serve(&name, &headers) }),
    )
}

fn serve(name: &str, headers: &HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let known = headers.get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let is_known =
        known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == asset.tag));
    let always = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
        (ETAG, &asset.tag),
    ];
    if is_known {
        return (StatusCode::NOT_MODIFIED, always).into_response();
    }
    (always, [(CONTENT_TYPE, asset.kind)], asset.content).into_response()
}

impl Asset {
    fn new(name: &'static str, kind: &'static str, content: &'static str) -> Self {
        let tag = Sha256::digest(content).iter().take(12).map(|byte| format!("{byte:02x}")).collect::<String>();
        Self { name, kind, content, tag: format!("\"{tag}\"") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use std::collections::BTreeSet;

    fn content(name: &str) -> &'static str {
        ASSETS.iter().find(|asset| asset.name == name).unwrap_or_else(|| panic!("no {name}")).content
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
        for asset in ASSETS.iter().filter(|asset| asset.kind == SCRIPT) {
            for name in between(asset.content, "from './", '\'').chain(between(asset.content, "import('./", '\'')) {
                content(name);
            }
        }
    }

    #[test]
    fn nothing_is_inline_and_nothing_comes_from_elsewhere() {
        let html = content("index.html");
        assert!(!html.contains("<style") && !html.contains("style=") && !html.contains(" on"));
        assert!(between(html, "<script", '>').all(|attributes| attributes.contains("src=\"/assets/")));
        for asset in ASSETS.iter() {
            let calls =
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "@import", "url(http"];
            assert!(calls.iter().all(|call| !asset.content.contains(call)), "{}", asset.name);
        }
    }

    /// `t('…')` panics in the browser where the table has no such key; here it is found sooner.
    #[test]
    fn every_word_that_is_said_is_in_the_table() {
        let keys: BTreeSet<_> =
            content("words.js").lines().filter_map(|line| line.trim().strip_prefix('\'')?.split('\'').next()).collect();
        assert!(keys.len() > 100, "{keys:?}");
        for asset in ASSETS.iter().filter(|asset| asset.kind == SCRIPT) {
            let said = between(asset.content, " t('", '\'').chain(between(asset.content, "(t('", '\''));
            for key in said {
                assert!(keys.contains(key), "{}: {key}", asset.name);
            }
        }
    }

    #[test]
    fn what_the_browser_has_is_not_sent_again() {
        let first = serve("app.js", &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[CONTENT_TYPE], SCRIPT);
        assert_eq!(first.headers()[CONTENT_SECURITY_POLICY], POLICY);
        let known = HeaderMap::from_iter([(IF_NONE_MATCH, first.headers()[ETAG].clone())]);
        assert_eq!(serve("app.js", &known).status(), StatusCode::NOT_MODIFIED);
        let stale = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static("\"stale\""))]);
        assert_eq!(serve("app.js", &stale).status(), StatusCode::OK);
        assert_eq!(serve("../main.rs", &HeaderMap::new()).status(), StatusCode::NOT_FOUND);
    }
}
