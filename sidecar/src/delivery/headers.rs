//! The headers of a delivery's request, for the sender, which sends them, and the API, which shows them.

use reqwest::header::{CONTENT_TYPE, HeaderName, USER_AGENT};
use std::borrow::Cow;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const X_WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("x-webhook-signature");

/// What one attempt's headers say.
#[derive(Clone, Copy, Debug)]
pub struct RequestHeaders<'a> {
    pub webhook_id: &'a str,
    /// When it was signed, in Unix seconds.
    pub signed_at: Option<i64>,
    pub signature: Option<&'a str>,
    pub signature_v1: Option<&'a str>,
}

impl<'a> RequestHeaders<'a> {
    /// The name and the value of each header, in the order in which they are sent.
    pub fn each(self) -> impl Iterator<Item = (HeaderName, Cow<'a, str>)> {
        let user_agent = concat!("pg_webhooks/", env!("CARGO_PKG_VERSION"));
        [
            (CONTENT_TYPE, Some("application/json".into())),
            (USER_AGENT, Some(user_agent.into())),
            (WEBHOOK_ID, Some(self.webhook_id.into())),
            (WEBHOOK_TIMESTAMP, self.signed_at.map(|seconds| seconds.to_string().into())),
            (X_WEBHOOK_SIGNATURE, self.signature.map(Cow::from)),
            (WEBHOOK_SIGNATURE, self.signature_v1.map(Cow::from)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_unsigned_request_does_not_carry_is_not_there() {
        let unsigned =
            RequestHeaders { webhook_id: "wh_1", signed_at: Some(1764000000), signature: None, signature_v1: None };
        let names: Vec<_> = unsigned.each().map(|(name, _)| name.to_string()).collect();
        assert_eq!(names, ["content-type", "user-agent", "webhook-id", "webhook-timestamp"]);
    }
}
