//! The error responses in the description: each operation refers to the set of statuses that it can end in.

use std::collections::BTreeMap;
use utoipa::IntoResponses;
use utoipa::openapi::schema::{Object, Type};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder};

macro_rules! responses {
    ($($(#[$doc:meta])* $name:ident: $statuses:expr;)*) => {$(
        $(#[$doc])*
        pub struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                $statuses.iter().map(|status| described(*status)).collect()
            }
        }
    )*};
}

responses! {
    /// Errors of an operation that reads and takes no parameters.
    ListErrors: [400, 401, 429, 503];
    /// Errors of an operation that reads by id or by parameters.
    ReadErrors: [400, 401, 404, 422, 429, 503];
    /// Errors of an operation that creates something.
    CreateErrors: [400, 401, 403, 413, 415, 422, 429, 503];
    /// Errors of an operation that changes one thing.
    UpdateErrors: [400, 401, 403, 404, 413, 415, 422, 429, 503];
    /// Errors of an operation that the current state may not allow.
    SendErrors: [400, 401, 403, 404, 409, 413, 415, 422, 429, 503];
    /// Errors of an operation that depends on the caller's headers alone.
    LogoutErrors: [400, 403];
    /// Errors of an operation that depends on the database alone.
    ProbeErrors: [503];
}

fn described(status: u16) -> (String, RefOr<Response>) {
    let description = match status {
        400 => "A body or parameter that the operation does not take",
        401 => "No token, or one that is not valid",
        403 => "The token may only read; or a cookie came without proof that a page of this server sent it (csrf)",
        404 => "There is no such thing",
        409 => "Not possible in the current state",
        413 => "A body of more than 64 KiB",
        415 => "A body without Content-Type: application/json",
        422 => "A value that is not valid; message and hint say why",
        429 => "Too many requests; Retry-After says when to come back",
        503 => "Not available just now; Retry-After says when to come back",
        other => unreachable!("no operation is refused with {other}"),
    };
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Failure"))).build();
    let response = ResponseBuilder::new().description(description).content("application/json", content);
    let header =
        |kind, about| HeaderBuilder::new().schema(Some(Object::with_type(kind))).description(Some(about)).build();
    let response = match status {
        401 => response.header("WWW-Authenticate", header(Type::String, "Bearer")),
        429 | 503 => response.header("Retry-After", header(Type::Integer, "Seconds")),
        _ => response,
    };
    (status.to_string(), response.build().into())
}
