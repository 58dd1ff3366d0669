//! The routes put together, and their description: OpenAPI 3.1 made from the code at `/api/openapi.json`, to read at
//! `/api/docs`, from this process alone.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{attempts, events, history, login, probes, sending, status, webhooks};
use crate::api::Api;
use crate::api::auth::{COOKIE_NAME, require_token};
use crate::api::error::Failure;
use crate::api::guard::{Guard, guard, no_such_method, no_such_path};
use crate::api::request::MOST_BYTES;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "pg_webhooks",
        description = "Webhooks from row changes in Postgres: register them, look after them, see what was sent.\n\n\
            Every answer is `{\"status\":\"success\",\"data\":…}` or `{\"status\":\"error\",\"error\":{\"code\",\"message\",\"hint\"}}`. \
            Times are ISO 8601 in UTC. A token whose role is `read` may GET; one whose role is `manage` may do everything.",
    ),
    components(schemas(Failure)),
    modifiers(&Schemes),
    security(("token" = []), ("cookie" = [])),
    tags(
        (name = "webhooks", description = "Registering webhooks and looking after them"),
        (name = "sending", description = "Sending tests, samples, and messages again"),
        (name = "log", description = "The delivery log"),
        (name = "events", description = "Messages and their deliveries"),
        (name = "operation", description = "The state of delivery"),
        (name = "session", description = "A browser's cookie"),
        (name = "probes", description = "For monitoring; no token needed"),
    )
)]
struct Document;

/// How a token is sent.
struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("pgw_…").build();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
        let cookie = ApiKeyValue::with_description(COOKIE_NAME, "Set by POST /session, for pages of this server");
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// Everything that is served.
pub fn router(api: Api) -> Router {
    let operations = OpenApiRouter::new()
        .merge(webhooks::routes())
        .merge(sending::routes())
        .merge(attempts::routes())
        .merge(events::routes())
        .merge(status::routes())
        .merge(history::routes());
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .nest("/api/v1", operations)
        .route_layer(from_fn_with_state(api.clone(), require_token))
        .merge(login::routes())
        .merge(probes::routes())
        .split_for_parts();
    let document = document.to_json().expect("it is made of strings");
    router
        .route("/api/openapi.json", get(|| async { ([(CONTENT_TYPE, "application/json")], document) }))
        .merge(reference())
        .merge(crate::web::router())
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .layer(from_fn_with_state(Guard::new(), guard))
        .with_state(api)
}

/// Swagger UI, from assets that are in the binary.
fn reference() -> Router<Api> {
    let pages: Router<Api> =
        SwaggerUi::new("/api/docs").config(Config::from("/api/openapi.json").use_base_layout()).into();
    pages.layer(from_fn(async |request: Request, next: Next| -> Response {
        let mut response = next.run(request).await;
        let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        response
    }))
}
