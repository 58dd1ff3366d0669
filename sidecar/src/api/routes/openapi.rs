//! The description of the API: OpenAPI 3.1, made from the code, at `/api/openapi.json`; and a reference to read at
//! `/api/docs`, which needs no other server.

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::routing::get;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::api::auth::COOKIE_NAME;
use crate::api::error::Failure;
use crate::api::state::Api;

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
pub struct Document;

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

/// Serves the description, with the paths of all operations in it.
pub fn routes(document: &utoipa::openapi::OpenApi) -> Router<Api> {
    let document = document.to_json().expect("it is made of strings");
    Router::new()
        .route("/api/openapi.json", get(|| async { ([(CONTENT_TYPE, "application/json")], document) }))
        .merge(reference())
}

/// Swagger UI, from assets that are in the binary.
fn reference() -> Router<Api> {
    let pages: Router<Api> =
        SwaggerUi::new("/api/docs").config(Config::from("/api/openapi.json").use_base_layout()).into();
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                  base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    pages.layer(SetResponseHeaderLayer::overriding(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)))
}
