//! A webhook receiver in Rust, with axum, base64, hmac, sha2 and serde_json:   WEBHOOK_SECRET=… PORT=3000 receiver

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::{Router, routing::post};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac};
use sha2::Sha256;

const TOLERANCE_S: u64 = 300;

static SECRET: LazyLock<String> = LazyLock::new(|| std::env::var("WEBHOOK_SECRET").expect("WEBHOOK_SECRET is set"));
/// A real receiver asks its database.
static SEEN: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

fn mac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac
}

/// `X-Webhook-Signature: sha256=<hex>`, over the body, keyed with the secret as it is written.
fn body_signature_is_valid(signature: &str, body: &[u8]) -> bool {
    let hex = signature.strip_prefix("sha256=").filter(|hex| hex.is_ascii() && hex.len() == 64);
    let bytes = hex.map(|hex| (0..64).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16)).collect());
    matches!(bytes, Some(Ok::<Vec<u8>, _>(bytes)) if mac(SECRET.as_bytes(), &[body]).verify_slice(&bytes).is_ok())
}

/// `webhook-signature: v1,<base64>`, over `id.timestamp.body`; the key is what follows `whsec_` in base64.
fn standard_signature_is_valid(signature: &str, id: &str, timestamp: &str, body: &[u8]) -> bool {
    let key = SECRET.strip_prefix("whsec_").and_then(|key| BASE64_STANDARD.decode(key).ok());
    let key = key.unwrap_or_else(|| SECRET.as_bytes().to_vec());
    let bytes = signature.strip_prefix("v1,").and_then(|base64| BASE64_STANDARD.decode(base64).ok());
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    bytes.is_some_and(|bytes| mac(&key, &signed).verify_slice(&bytes).is_ok())
}

fn is_genuine(headers: &HeaderMap, body: &[u8]) -> bool {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let timestamp = header("webhook-timestamp");
    if !timestamp.parse().is_ok_and(|sent: u64| now.abs_diff(sent) <= TOLERANCE_S) {
        return false; // an old message, sent again by a stranger
    }
    let signatures: Vec<&str> = header("webhook-signature").split(' ').collect();
    // While the secret is rotated there are two, and X-Webhook-Signature is made with the new secret.
    let is_rotating = signatures.len() > 1;
    signatures.iter().any(|one| standard_signature_is_valid(one, header("webhook-id"), timestamp, body))
        && (is_rotating || body_signature_is_valid(header("x-webhook-signature"), body))
}

/// Takes the bytes as they came: the signatures are over these.
async fn receive(headers: HeaderMap, body: Bytes) -> StatusCode {
    if !is_genuine(&headers, &body) {
        return StatusCode::UNAUTHORIZED;
    }
    let Ok(message) = serde_json::from_slice::<serde_json::Value>(&body) else { return StatusCode::BAD_REQUEST };
    let webhook_id = message["webhook_id"].as_str().unwrap_or_default().to_owned();
    if SEEN.lock().expect("nobody panics with it").insert(webhook_id) {
        println!("{} {} {}", message["event"].as_str().unwrap_or_default(), message["webhook_id"], message["data"]);
    }
    StatusCode::NO_CONTENT
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, Router::new().fallback(post(receive))).await
}
