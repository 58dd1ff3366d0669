//! All routes put together: the operations behind a token, what needs none, the page, and the answers to everything else.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use super::auth::require_token;
use super::error::Problem;
use super::guard::{Guard, guard};
use super::request::MOST_BYTES;
use super::routes::{attempts, events, history, login, openapi, probes, sending, status, webhooks};
use super::state::Api;

/// Everything that is served.
pub fn router(api: Api) -> Router {
    let operations = OpenApiRouter::new()
        .merge(webhooks::routes())
        .merge(sending::routes())
        .merge(attempts::routes())
        .merge(events::routes())
        .merge(status::routes())
        .merge(history::routes());
    let (router, document) = OpenApiRouter::with_openapi(openapi::Document::openapi())
        .nest("/api/v1", operations)
        .route_layer(from_fn_with_state(Api::clone(&api), require_token))
        .merge(login::routes())
        .merge(probes::routes())
        .split_for_parts();
    router
        .merge(openapi::routes(&document))
        .merge(crate::web::router())
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .layer(from_fn_with_state(Guard::new(), guard))
        .with_state(api)
}

/// 404 for a path that there is not.
async fn no_such_path(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {}", uri.path()))
        .hint("/api/docs lists the operations.")
}

/// 405, or for OPTIONS the empty answer; axum adds what is allowed.
async fn no_such_method(method: Method) -> Response {
    match method {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            format!("{method} is not among the methods allowed here"),
        )
        .hint("The Allow header lists them.")
        .into_response(),
    }
}
