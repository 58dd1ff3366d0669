//! The two signatures: the specification's hex over the body, and Standard Webhooks' base64 over `id.timestamp.body`.
//! The extension makes them, the receiver of the command line checks them.
//!
//! Pure arithmetic over bytes; comparisons take the same time whatever they find.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The length of an HMAC-SHA256.
pub const MAC_BYTES: usize = 32;

/// How long a secret may be. More bytes make no signature stronger: HMAC-SHA256 hashes a key beyond 64.
pub const MAX_SECRET_BYTES: usize = 1000;

/// A secret made ready: the HMAC state after the key, so that signing costs no key schedule.
#[derive(Clone)]
pub struct Signer(Hmac<Sha256>);

impl Signer {
    /// For `X-Webhook-Signature`: the key is the secret's bytes, whatever it begins with.
    pub fn plain(secret: impl AsRef<[u8]>) -> Self {
        Self::with_key(secret.as_ref())
    }

    /// For Standard Webhooks.
    pub fn standard(secret: impl AsRef<[u8]>) -> Self {
        Self::with_key(&standard_key(secret.as_ref()))
    }

    /// With the bytes of a key.
    pub fn with_key(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes a key of any length"))
    }

    /// HMAC-SHA256 of the parts, one after the other.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// The key bytes of a `whsec_…` secret; `None` when it has no such prefix or is not base64 behind it.
pub fn decoded_key(secret: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(secret.strip_prefix(b"whsec_")?).ok()
}

/// The key of a Standard Webhooks signature: the base64 behind `whsec_`, or the bytes of a secret of another form.
pub fn standard_key(secret: &[u8]) -> Vec<u8> {
    decoded_key(secret).unwrap_or_else(|| secret.to_vec())
}

/// A secret in the form of Standard Webhooks.
pub fn standard_secret(key: &[u8]) -> String {
    format!("whsec_{}", STANDARD.encode(key))
}

/// The signature of a row of the event log, made under the database's own key.
pub fn of_log(signer: &Signer, webhook_id: &[u8], body: &[u8]) -> [u8; MAC_BYTES] {
    signer.sign(&[webhook_id, b".", body])
}

/// `sha256=<hex>`: the value of `X-Webhook-Signature`.
pub fn header(payload: &[u8], secret: &[u8]) -> String {
    let mac = Signer::plain(secret).sign(&[payload]);
    let mut header = String::with_capacity(7 + 64);
    header.push_str("sha256=");
    for byte in mac {
        header.push(char::from_digit(u32::from(byte >> 4), 16).expect("a nibble is a hex digit"));
        header.push(char::from_digit(u32::from(byte & 15), 16).expect("a nibble is a hex digit"));
    }
    header
}

/// Whether `signature` is the header of `payload`.
pub fn verify(payload: &[u8], signature: &[u8], secret: &[u8]) -> bool {
    is_same(header(payload, secret).as_bytes(), signature)
}

/// `v1,<base64>`: the value of `webhook-signature` for an attempt made at `timestamp`, the text of its Unix seconds.
pub fn standard_header(webhook_id: &[u8], timestamp: &[u8], payload: &[u8], secret: &[u8]) -> String {
    let mac = Signer::standard(secret).sign(&[webhook_id, b".", timestamp, b".", payload]);
    format!("v1,{}", STANDARD.encode(mac))
}

/// Whether one of the signatures in the header `webhook-signature`, with spaces between them, is that of `payload`.
pub fn verify_standard(webhook_id: &[u8], timestamp: &[u8], payload: &[u8], signatures: &[u8], secret: &[u8]) -> bool {
    let expected = standard_header(webhook_id, timestamp, payload, secret);
    signatures.split(|byte| *byte == b' ').any(|signature| is_same(expected.as_bytes(), signature))
}

/// Compares in a time that says nothing of where two texts of one length differ.
pub fn is_same(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hex_signature_is_rfc_4231_test_case_2() {
        assert_eq!(
            header(b"what do ya want for nothing?", b"Jefe"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn the_standard_signature_is_the_one_of_the_standard_webhooks_reference() {
        // https://github.com/standard-webhooks/standard-webhooks, the libraries' shared test vector.
        assert_eq!(
            standard_header(
                b"msg_p5jXN8AQM9LWM0D4loKWxJek",
                b"1614265330",
                br#"{"test": 2432232314}"#,
                b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn one_valid_signature_among_several_is_enough() {
        let valid = standard_header(b"wh_1", b"1614265330", b"body", b"s");
        let is_valid = |timestamp: &str, body: &str, signatures: &str| {
            verify_standard(b"wh_1", timestamp.as_bytes(), body.as_bytes(), signatures.as_bytes(), b"s")
        };
        assert!(is_valid("1614265330", "body", &format!("v1,AAAA {valid}")));
        assert!(!is_valid("1614265331", "body", &valid) && !is_valid("1614265330", "bodY", &valid));
        assert!(!is_valid("1614265330", "body", "v1,AAAA") && !is_valid("1614265330", "body", ""));
    }

    #[test]
    fn a_secret_of_another_form_keys_the_standard_signature_with_its_bytes() {
        assert_eq!(Signer::standard("whsec_!").sign(&[b"x"]), Signer::plain("whsec_!").sign(&[b"x"]));
        assert_eq!(Signer::standard("plain").sign(&[b"x"]), Signer::plain("plain").sign(&[b"x"]));
    }

    #[test]
    fn a_changed_byte_or_a_short_signature_does_not_verify() {
        let good = header(b"body", b"s").into_bytes();
        assert!(verify(b"body", &good, b"s"));
        assert!(!verify(b"bodY", &good, b"s"));
        assert!(!verify(b"body", &good[..20], b"s"));
        assert!(!verify(b"body", b"", b"s"));
    }
}
