//! All routes put together: the operations behind a token, those that need none, the page, and the answers to all other
//! paths.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use super::auth::require_token;
use super::error::ApiError;
use super::guard::{MAX_CONCURRENT_LOGINS, MAX_CONCURRENT_REQUESTS, guard, mark_busy, read_body};
use super::metrics::count_request;
use super::request::MAX_BODY_BYTES;
use super::routes::{attempts, events, history, login, openapi, probes, sending, status, webhooks};
use super::state::Api;

/// Returns everything that is served.
pub fn router(api: Api) -> Router {
    let operations = OpenApiRouter::new()
        .merge(webhooks::routes())
        .merge(sending::routes())
        .merge(attempts::routes())
        .merge(events::routes())
        .merge(status::routes())
        .merge(history::routes());
    let guarded = |places| from_fn_with_state(Arc::new(Semaphore::new(places)), guard);
    let (router, document) = OpenApiRouter::with_openapi(openapi::Document::openapi())
        .nest("/api/v1", operations)
        .route_layer(from_fn_with_state(Api::clone(&api), require_token))
        .merge(probes::routes())
        .layer(guarded(MAX_CONCURRENT_REQUESTS))
        .merge(probes::liveness())
        .merge(login::routes().layer(guarded(MAX_CONCURRENT_LOGINS)).layer(from_fn(read_body)))
        .split_for_parts();
    let router = router
        .merge(openapi::routes(&document))
        .merge(crate::web::router())
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(api);
    answering(router)
}

/// Adds what all answers have in common, those to requests whose handler panics included.
fn answering(router: Router) -> Router {
    let unless_set = |name, value| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
    router
        .layer(CatchPanicLayer::custom(|_| ApiError::fault(&"a handler panicked").into_response()))
        .layer(unless_set(X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(unless_set(CACHE_CONTROL, "no-store"))
        .layer(map_response(count_request))
        .layer(from_fn(mark_busy))
}

/// Answers 404 for an unknown path.
async fn no_such_path(uri: Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {}", uri.path()))
        .hint("/api/docs lists the operations.")
}

/// Answers 405, or OPTIONS without a body; axum adds the allowed methods.
async fn no_such_method(method: Method) -> Response {
    match method {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => ApiError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            format!("{method} is not among the methods allowed here"),
        )
        .hint("The Allow header lists them.")
        .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::extract::Request;
    use axum::routing::get;
    use tower::ServiceExt;

    #[tokio::test]
    async fn a_handler_that_panics_costs_its_own_request_alone() {
        async fn panicking() -> StatusCode {
            panic!("on purpose")
        }
        let router = answering(Router::new().route("/", get(panicking)));
        let answer = router.oneshot(Request::new(Body::empty())).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
    }
}
