//! Who may do what. Every operation under `/api/v1` passes [`require_token`]: GET and HEAD take any valid token, all
//! else takes one whose role is `manage`, and a cookie counts for a write only if a page of this very server sends it.

use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::error::ApiError;
use super::state::Api;
use super::tokens::{Caller, Role};

/// The cookie that holds a token.
pub const COOKIE_NAME: &str = "pgw_session";
/// Our page sends this header with this value; another site's form cannot.
const OWN_PAGE_HEADER: (&str, &str) = ("x-requested-with", "pg-webhooks");

/// A token and how it came.
pub struct Credential<'a> {
    token: &'a str,
    is_cookie: bool,
}

/// The layer of `/api/v1`. It leaves the [`Caller`] in the request, for the operations that ask for it.
pub async fn require_token(State(api): State<Api>, mut request: Request, next: Next) -> Result<Response, ApiError> {
    if request.method() != Method::OPTIONS {
        let credential = Credential::of(request.headers())?;
        let caller = authenticate(&api, &credential, origin(&request, &api.trusted_proxies)).await?;
        api.limits.check_rate(&caller.id)?;
        if !is_safe(request.method()) {
            if credential.is_cookie {
                check_own_page(request.headers())?;
            }
            if caller.role != Role::Manage {
                return Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", "this token may only read")
                    .hint("This takes a token whose role is manage."));
            }
        }
        request.extensions_mut().insert(caller);
    }
    Ok(next.run(request).await)
}

/// Returns the caller whose credential it is, or why it does not count.
pub async fn authenticate(api: &Api, credential: &Credential<'_>, from: IpAddr) -> Result<Arc<Caller>, ApiError> {
    api.tokens.authenticate(credential.token, from, &api.sessions, &api.limits).await
}

impl<'a> Credential<'a> {
    /// Takes the token from Authorization, else from the cookie.
    pub fn of(headers: &'a HeaderMap) -> Result<Self, ApiError> {
        if let Some(authorization) = headers.get(AUTHORIZATION) {
            let token = authorization.to_str().ok().and_then(|text| {
                let (scheme, token) = text.split_once(' ')?;
                scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
            });
            let token = token.ok_or_else(|| ApiError::unauthorized("Authorization has no Bearer token"))?;
            return Ok(Self { token, is_cookie: false });
        }
        let token = cookie(headers).ok_or_else(|| ApiError::unauthorized("a token is needed"))?;
        Ok(Self { token, is_cookie: true })
    }

    /// Takes a token that came in a body.
    pub fn told(token: &'a str) -> Self {
        Self { token, is_cookie: false }
    }
}

/// Returns the token in the cookie.
pub fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    cookies.flat_map(|line| line.split(';')).find_map(|one| {
        let (name, value) = one.trim().split_once('=')?;
        (name == COOKIE_NAME && !value.is_empty()).then_some(value)
    })
}

/// Refuses a request that another site's page sent. Such a page cannot set the header, nor lie about its own origin.
pub fn check_own_page(headers: &HeaderMap) -> Result<(), ApiError> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_marked = header(OWN_PAGE_HEADER.0) == Some(OWN_PAGE_HEADER.1);
    let same_origin = match header("sec-fetch-site") {
        Some(site) => site == "same-origin",
        None => {
            let origin = header(ORIGIN.as_str()).and_then(|origin| origin.split_once("://"));
            origin.is_some_and(|(_, host)| Some(host) == header(HOST.as_str()))
        }
    };
    if is_marked && same_origin {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        "csrf",
        "a cookie alone does not prove that a page of this server sent the request",
    )
    .hint("Send X-Requested-With: pg-webhooks from the same origin, or the token in Authorization."))
}

/// Returns the address that a request comes from: the last one that no trusted proxy has.
pub fn origin(request: &Request, trusted_proxies: &[IpNet]) -> IpAddr {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let mut origin = peer.unwrap_or(Ipv4Addr::UNSPECIFIED.into()).to_canonical();
    let lists = request.headers().get_all("x-forwarded-for").iter().rev();
    let forwarded = lists.flat_map(|list| list.to_str().unwrap_or_default().rsplit(','));
    for address in forwarded {
        if !trusted_proxies.iter().any(|net| net.contains(&origin)) {
            break;
        }
        // What cannot be read, the proxy has not written.
        let Ok(address) = address.trim().parse::<IpAddr>() else { break };
        origin = address.to_canonical();
    }
    origin
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn origin_of(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
        for list in forwarded {
            request.headers_mut().append("x-forwarded-for", list.parse().unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        origin(&request, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_says_who_calls_and_only_of_its_own_caller() {
        let local = ["127.0.0.0/8"];
        assert_eq!(origin_of("127.0.0.1", &["10.1.1.1, 192.0.2.7"], &local), "192.0.2.7");
        assert_eq!(origin_of("::ffff:127.0.0.1", &["10.1.1.1", "192.0.2.7"], &local), "192.0.2.7");
        assert_eq!(origin_of("10.0.0.5", &["192.0.2.7"], &local), "10.0.0.5", "nobody trusts it");
        assert_eq!(origin_of("10.0.0.5", &["192.0.2.7"], &["10.0.0.0/8"]), "192.0.2.7");
        assert_eq!(origin_of("10.0.0.5", &["192.0.2.7, 10.0.0.9"], &["10.0.0.0/8"]), "192.0.2.7", "two proxies");
        assert_eq!(origin_of("127.0.0.1", &["192.0.2.7, unknown"], &local), "127.0.0.1");
        assert_eq!(origin_of("127.0.0.1", &["9.9.9.9"], &[]), "127.0.0.1");
        assert_eq!(origin_of("127.0.0.1", &[], &local), "127.0.0.1");
    }
}
