//! What a receiver says of both signatures of a message. Pure.

use webhooks_core::signature;

/// How a signature stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Valid,
    Invalid,
    Missing,
    /// There is one, and no secret to check it with.
    Unchecked,
}

impl Verdict {
    /// One word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Missing => "missing",
            Self::Unchecked => "unchecked",
        }
    }

    /// With a mark in front.
    pub fn marked(self) -> &'static str {
        match self {
            Self::Valid => "✓ valid",
            Self::Invalid => "✗ invalid",
            Self::Missing => "unsigned",
            Self::Unchecked => "? give --secret to check it",
        }
    }

    fn of(header: Option<&str>, secret: Option<&str>, check: impl FnOnce(&str, &str) -> bool) -> Self {
        match (header, secret) {
            (None, _) => Self::Missing,
            (Some(_), None) => Self::Unchecked,
            (Some(header), Some(secret)) if check(header, secret) => Self::Valid,
            _ => Self::Invalid,
        }
    }
}

/// `X-Webhook-Signature: sha256=<hex>` over the body; the key is the secret's bytes.
pub fn signature(header: Option<&str>, body: &[u8], secret: Option<&str>) -> Verdict {
    Verdict::of(header, secret, |header, secret| signature::verify(body, header.as_bytes(), secret.as_bytes()))
}

/// The three headers of Standard Webhooks.
#[derive(Clone, Copy, Debug)]
pub struct Standard<'a> {
    pub id: Option<&'a str>,
    pub timestamp: Option<&'a str>,
    /// One or more, with spaces between.
    pub signature: Option<&'a str>,
}

impl Standard<'_> {
    /// `v1,<base64>` over `id.timestamp.body`.
    pub fn verify(self, body: &[u8], secret: Option<&str>) -> Verdict {
        let (id, timestamp) = (self.id.unwrap_or_default().as_bytes(), self.timestamp.unwrap_or_default().as_bytes());
        Verdict::of(self.signature, secret, |header, secret| {
            signature::verify_standard(id, timestamp, body, header.as_bytes(), secret.as_bytes())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_valid_invalid_missing_or_unchecked() {
        let header = signature::header(b"body", b"secret");
        let verdict = |header, secret| super::signature(header, b"body", secret);
        assert_eq!(verdict(Some(header.as_str()), Some("secret")), Verdict::Valid);
        assert_eq!(verdict(Some(header.as_str()), Some("other")), Verdict::Invalid);
        assert_eq!(verdict(Some(header.as_str()), None), Verdict::Unchecked);
        assert_eq!(verdict(None, Some("secret")), Verdict::Missing);
    }

    #[test]
    fn a_standard_signature_needs_its_id_and_timestamp() {
        let header = signature::standard_header(b"wh_1", b"1614265330", b"body", b"secret");
        let whole = Standard { id: Some("wh_1"), timestamp: Some("1614265330"), signature: Some(&header) };
        assert_eq!(whole.verify(b"body", Some("secret")), Verdict::Valid);
        assert_eq!(Standard { timestamp: None, ..whole }.verify(b"body", Some("secret")), Verdict::Invalid);
    }
}
