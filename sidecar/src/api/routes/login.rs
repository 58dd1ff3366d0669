//! `/session`: a browser trades its token for a cookie that scripts cannot read. The server keeps no sessions: the
//! cookie is the token, and ends with it.

use axum::extract::{FromRequest, Request, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderName};
use axum::response::AppendHeaders;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::auth::{COOKIE_NAME, Credential, authenticate, check_own_page, cookie, origin};
use crate::api::error::ApiError;
use crate::api::request::{Body, NoParams};
use crate::api::response::{ApiResult, Success};
use crate::api::responses::{CreateErrors, ListErrors, LogoutErrors};
use crate::api::state::Api;
use crate::api::tokens::Caller;

/// Who is logged in.
#[derive(Serialize, ToSchema)]
struct LoggedIn {
    token: Caller,
}

/// A token to log in with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    #[schema(example = "pgw_…", write_only)]
    token: String,
}

/// No one is logged in any more.
#[derive(Serialize, ToSchema)]
struct LoggedOut {}

type WithCookie<T> = Result<(AppendHeaders<[(HeaderName, String); 1]>, Success<T>), ApiError>;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(log_in, show, log_out))
}

/// Log in: sets the cookie `pgw_session`
#[utoipa::path(post, path = "/session", tag = "session", operation_id = "log_in", request_body = Login, security(()),
    responses((status = 200, description = "Logged in", body = Success<LoggedIn>), CreateErrors))]
async fn log_in(State(api): State<Api>, _: NoParams, request: Request) -> WithCookie<LoggedIn> {
    let from = origin(&request, &api.trusted_proxies);
    let attributes = attributes(request.headers());
    let Body(Login { token }) = Body::from_request(request, &()).await?;
    let caller = authenticate(&api, &Credential::told(&token), from).await?;
    api.limits.check_rate(&caller.id)?;
    let set = AppendHeaders([(SET_COOKIE, format!("{COOKIE_NAME}={token}{attributes}"))]);
    Ok((set, Success::new(LoggedIn { token: Arc::unwrap_or_clone(caller) })))
}

/// Who is logged in
#[utoipa::path(get, path = "/session", tag = "session", operation_id = "show_session",
    responses((status = 200, description = "By this token", body = Success<LoggedIn>), ListErrors))]
async fn show(State(api): State<Api>, _: NoParams, request: Request) -> ApiResult<LoggedIn> {
    let caller =
        authenticate(&api, &Credential::of(request.headers())?, origin(&request, &api.trusted_proxies)).await?;
    api.limits.check_rate(&caller.id)?;
    Ok(Success::new(LoggedIn { token: Arc::unwrap_or_clone(caller) }))
}

/// Log out: clears the cookie
#[utoipa::path(delete, path = "/session", tag = "session", operation_id = "log_out", security(()),
    responses((status = 200, description = "Logged out", body = Success<LoggedOut>), LogoutErrors))]
async fn log_out(_: NoParams, headers: HeaderMap) -> WithCookie<LoggedOut> {
    if cookie(&headers).is_some() {
        check_own_page(&headers)?;
    }
    let attributes = attributes(&headers);
    let clear = AppendHeaders([(SET_COOKIE, format!("{COOKIE_NAME}=; Max-Age=0{attributes}"))]);
    Ok((clear, Success::new(LoggedOut {})))
}

/// Secure where the browser came by https, through a proxy that says so.
fn attributes(headers: &HeaderMap) -> &'static str {
    let scheme = headers.get("x-forwarded-proto").and_then(|scheme| scheme.to_str().ok());
    match scheme {
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => "; HttpOnly; SameSite=Strict; Path=/; Secure",
        _ => "; HttpOnly; SameSite=Strict; Path=/",
    }
}
