//! What holds for any bytes of a foreigner, one function a fuzz target. A broken rule is a panic.

use std::time::{Duration, SystemTime};

use webhooks_core::retry::{Attempt, Outcome, classify_attempt, parse_schedule};
use webhooks_core::{duration, event_names, ids, json, signature, tokens, url};

/// What Postgres prints for a json or jsonb, or claims to.
pub fn json(bytes: &[u8]) {
    let text = json::utf8_json(bytes);
    let mut once = b"before".to_vec();
    if json::push_json(&mut once, &text).is_err() {
        return assert_eq!(once, b"before");
    }
    assert!(once.len() <= 6 + 6 * text.len() + 2, "no byte takes more than six");
    let canonical = str::from_utf8(&once[6..]).expect("UTF-8");
    let mut twice = Vec::new();
    json::push_json(&mut twice, canonical).expect("what was written is JSON");
    assert_eq!(canonical.as_bytes(), twice);
}

/// What Postgres prints for a numeric.
pub fn number(bytes: &[u8]) {
    let mut out = Vec::new();
    json::push_decimal(&mut out, &json::utf8(bytes));
    let mut again = Vec::new();
    json::push_json(&mut again, str::from_utf8(&out).expect("UTF-8")).expect("a number or a string");
    assert_eq!(out, again);
}

/// A setting.
pub fn durations(bytes: &[u8]) {
    let text = json::utf8(bytes);
    if let Ok(duration) = duration::parse(&text) {
        assert!(duration <= Duration::from_secs(36_525 * 86_400));
        assert_eq!(parse_schedule(&text), Ok(vec![duration]));
    }
    let _ = parse_schedule(&text);
}

/// A receiver's header.
pub fn retry_after(bytes: &[u8]) {
    let wait = Duration::from_secs(60);
    let asked = json::utf8(bytes);
    let attempt = Attempt { status: Some(503), retry_after: Some(&asked), ..Attempt::default() };
    let outcome = classify_attempt(&attempt, &[wait], SystemTime::UNIX_EPOCH);
    let Outcome::Retry { wait: next, .. } = outcome else { panic!("{outcome:?}") };
    assert!(next >= wait && next <= Duration::from_secs(6 * 3600));
}

/// The URL of a registration.
pub fn urls(bytes: &[u8]) {
    if let Ok(normal) = url::normalize(&json::utf8(bytes)) {
        assert!(normal.starts_with("http://") || normal.starts_with("https://"), "{normal}");
        assert_eq!(url::normalize(&normal).as_ref(), Ok(&normal));
    }
}

/// A subscription's pattern, and the name of an event that somebody emits.
pub fn patterns(bytes: &[u8]) {
    let text = json::utf8(bytes);
    if event_names::check_pattern(&text).is_ok() && !text.contains('*') {
        assert_eq!(event_names::patterns_of(&text)[0], text);
        assert!(event_names::check_custom(&text).is_ok() || event_names::built_in().any(|known| known == text));
    }
    if event_names::check_custom(&text).is_ok() {
        assert!(text.len() <= 100);
    }
}

/// A signature header, a token, an id: what a stranger sends.
pub fn headers(bytes: &[u8]) {
    let forged = signature::verify(b"{}", bytes, b"secret") && bytes != signature::header(b"{}", b"secret").as_bytes();
    assert!(!forged);
    let _ = signature::verify_standard(b"wh_1", b"7", b"{}", bytes, b"whsec_c2VjcmV0");
    let _ = signature::decoded_key(bytes);
    let text = json::utf8(bytes);
    if let Some(position) = ids::position(&text) {
        assert_eq!(ids::webhook_id(position), text);
    }
    if let Some(id) = tokens::id(&text) {
        assert_eq!(id.len(), 29);
    }
}
