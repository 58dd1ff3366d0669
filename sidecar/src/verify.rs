//! What a receiver checks: both signatures of a message, compared in constant time. Pure.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

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
    Verdict::of(header, secret, |header, secret| {
        let hex: String = mac(secret.as_bytes(), &[body]).iter().map(|byte| format!("{byte:02x}")).collect();
        same(header, &format!("sha256={hex}"))
    })
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
        let (id, timestamp) = (self.id.unwrap_or_default(), self.timestamp.unwrap_or_default());
        Verdict::of(self.signature, secret, |header, secret| {
            let made = mac(&standard_key(secret), &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
            let expected = format!("v1,{}", BASE64_STANDARD.encode(made));
            header.split(' ').any(|one| same(one, &expected))
        })
    }
}

/// What follows `whsec_` in base64, else the secret's bytes.
pub fn standard_key(secret: &str) -> Vec<u8> {
    let key = secret.strip_prefix("whsec_").and_then(|key| BASE64_STANDARD.decode(key).ok());
    key.unwrap_or_else(|| secret.as_bytes().to_vec())
}

/// HMAC-SHA256 of the parts, one after the other.
pub fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn same(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"what do ya want for nothing?";

    #[test]
    fn the_signature_of_rfc_4231_case_2_is_valid() {
        let header = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature(Some(header), BODY, Some("Jefe")), Verdict::Valid);
        assert_eq!(signature(Some(header), b"other", Some("Jefe")), Verdict::Invalid);
        assert_eq!(signature(Some(header), BODY, Some("other")), Verdict::Invalid);
        assert_eq!(signature(Some(header), BODY, None), Verdict::Unchecked);
        assert_eq!(signature(None, BODY, Some("Jefe")), Verdict::Missing);
    }

    /// The example of the Standard Webhooks libraries.
    #[test]
    fn the_standard_signature_takes_the_key_from_a_whsec_secret() {
        let standard = Standard {
            id: Some("msg_p5jXN8AQM9LWM0D4loKWxJek"),
            timestamp: Some("1614265330"),
            signature: Some("v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        };
        let secret = Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        assert_eq!(standard.verify(br#"{"test": 2432232314}"#, secret), Verdict::Valid);
        assert_eq!(standard.verify(br#"{"test": 2432232315}"#, secret), Verdict::Invalid);
        assert_eq!(
            Standard { timestamp: Some("1614265331"), ..standard }.verify(br#"{"test": 2432232314}"#, secret),
            Verdict::Invalid
        );
    }
}
