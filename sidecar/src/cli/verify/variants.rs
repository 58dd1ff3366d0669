//! The mistakes that receivers make with a body, a secret or a header before they check it. Each variant is what was
//! meant, and the mistake that turned it into what was given. Pure.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use webhooks_core::signature::standard_key;

/// What is wrong, and how to fix it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    pub what: String,
    pub fix: String,
}

pub fn mistake(what: impl Into<String>, fix: impl Into<String>) -> Mistake {
    Mistake { what: what.into(), fix: fix.into() }
}

/// What was meant, and the mistake if it is not what was given.
pub type Variant<T> = (T, Option<Mistake>);

/// Keeps the first of equal variants; what was given comes first.
fn distinct<T: PartialEq>(all: Vec<Variant<T>>) -> Vec<Variant<T>> {
    all.into_iter().fold(Vec::new(), |mut kept, one| {
        if !kept.iter().any(|(known, _)| *known == one.0) {
            kept.push(one);
        }
        kept
    })
}

/// Returns the bodies that the sender may have signed.
pub fn bodies(body: &[u8]) -> Vec<Variant<Vec<u8>>> {
    const RAW_BODY_FIX: &str =
        "Check the bytes as received, before anything parses them: the raw body, not the framework's object.";
    let mut all = vec![(body.to_vec(), None)];
    let mut add = |meant: Vec<u8>, what: &str, fix: &str| all.push((meant, Some(mistake(what, fix))));

    let trimmed = body.trim_ascii_end();
    add(
        trimmed.to_vec(),
        "the body has a line break or blanks at its end that were not sent",
        "Save it without them: printf '%s' \"$body\" > FILE instead of echo, or curl --data-binary.",
    );
    add([body, b"\n"].concat(), "the body lacks the line break at its end that was sent", RAW_BODY_FIX);
    if let Some(rest) = body.strip_prefix(b"\xef\xbb\xbf") {
        add(rest.to_vec(), "the body begins with a byte order mark that was not sent", "Save it as UTF-8 without BOM.");
    }
    if let Ok(text) = std::str::from_utf8(body) {
        add(text.replace("\r\n", "\n").into_bytes(), "the body's line breaks were turned into CR LF", RAW_BODY_FIX);
        // Read as Latin-1, each byte became a character.
        if let Some(bytes) = text.chars().map(|c| u8::try_from(c).ok()).collect::<Option<Vec<u8>>>() {
            add(bytes, "the body was read as Latin-1", "Messages are UTF-8: read the bytes, or decode them as UTF-8.");
        }
    }
    if let Ok(inner) = serde_json::from_slice::<String>(body) {
        add(inner.into_bytes(), "the body is the message inside a JSON string", RAW_BODY_FIX);
    }
    if let Some(compact) = compact(body) {
        add(compact, "the body was parsed and serialised again, with different white space or escapes", RAW_BODY_FIX);
    }
    distinct(all)
}

/// Writes JSON without blanks, strings as JSON.stringify does, numbers as they are; `None` if the body is no JSON.
fn compact(body: &[u8]) -> Option<Vec<u8>> {
    serde_json::from_slice::<IgnoredAny>(body).ok()?;
    let mut made = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(&byte) = rest.first() {
        let length = if byte == b'"' { string_length(rest) } else { 1 };
        let (token, behind) = rest.split_at(length);
        rest = behind;
        match serde_json::from_slice::<String>(token) {
            Ok(text) => made.extend_from_slice(&serde_json::to_vec(&text).ok()?),
            // Half of a surrogate pair cannot be read: such a string stays as it is.
            Err(_) if !byte.is_ascii_whitespace() => made.extend_from_slice(token),
            Err(_) => {}
        }
    }
    Some(made)
}

/// Returns the length of the JSON string that the bytes begin with, both quotes included.
fn string_length(bytes: &[u8]) -> usize {
    let mut is_escaped = false;
    for (at, &byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    bytes.len()
}

/// Whether the body is a message whose parts are in another order than the sender's.
pub fn is_reordered(body: &[u8]) -> bool {
    let Ok(Value::Object(parts)) = serde_json::from_slice(body) else { return false };
    let names: Vec<&str> = parts.keys().map(String::as_str).collect();
    let sent = ["event", "timestamp", "webhook_id", "data"];
    sent.iter().all(|name| names.contains(name)) && names[..] != sent
}

/// Returns the `webhook_id` in the body.
pub fn id_in(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<Value>(body).ok()?.get("webhook_id")?.as_str().map(str::to_owned)
}

const WHOLE_SECRET_FIX: &str = "Give the secret exactly as it was registered, whsec_ included.";

/// Returns the texts that the secret may have been registered as.
fn secrets(secret: &str) -> Vec<Variant<String>> {
    let mut all = vec![(secret.to_owned(), None)];
    let mut add = |meant: String, what: &str, fix: &str| all.push((meant, Some(mistake(what, fix))));
    add(
        secret.trim().to_owned(),
        "the secret has blanks or a line break around it",
        "Remove them; if the secret comes from the environment, look for a trailing line break.",
    );
    let unquoted = secret.trim().trim_matches(['"', '\'']);
    add(
        unquoted.to_owned(),
        "the secret has quotation marks around it",
        "Remove them: they probably come from an .env file.",
    );
    match unquoted.strip_prefix("whsec_") {
        Some(rest) => add(
            rest.to_owned(),
            "the secret was registered without whsec_ in front",
            "Leave whsec_ out, or register the secret with it.",
        ),
        None => add(format!("whsec_{unquoted}"), "the secret lacks its whsec_ in front", WHOLE_SECRET_FIX),
    }
    add(
        format!("{unquoted}\n"),
        "the secret was registered with a line break at its end",
        "Register it again without it: pg-webhooks webhooks update EP --secret-stdin.",
    );
    distinct(all)
}

/// Returns the keys that may have made X-Webhook-Signature.
pub fn plain_keys(secret: &str) -> Vec<Variant<Vec<u8>>> {
    let mut all: Vec<_> = secrets(secret).into_iter().map(|(text, mistake)| (text.into_bytes(), mistake)).collect();
    all.push((
        standard_key(secret.trim().as_bytes()),
        Some(mistake(
            "the signature was made with the bytes that the secret's base64 stands for",
            "The key of X-Webhook-Signature is the secret's text, whsec_ included; only webhook-signature decodes it.",
        )),
    ));
    distinct(all)
}

/// Returns the keys that may have made webhook-signature.
pub fn standard_keys(secret: &str) -> Vec<Variant<Vec<u8>>> {
    let mut all: Vec<_> =
        secrets(secret).into_iter().map(|(text, mistake)| (standard_key(text.as_bytes()), mistake)).collect();
    all.push((
        secret.trim().as_bytes().to_vec(),
        Some(mistake(
            "the signature was made with the secret as a text",
            "The key of webhook-signature is what the base64 after whsec_ decodes to.",
        )),
    ));
    distinct(all)
}

/// Returns the `id` and `timestamp` that may have been signed.
pub fn stamps(id: &str, timestamp: &str, id_in_body: Option<&str>) -> Vec<Variant<(String, String)>> {
    let mut all = vec![((id.to_owned(), timestamp.to_owned()), None)];
    let mut add = |id: &str, timestamp: &str, what: String, fix: &str| {
        all.push(((id.to_owned(), timestamp.to_owned()), Some(mistake(what, fix))));
    };
    let fix = "webhook-id begins with wh_, webhook-timestamp is a number; what is signed is id.timestamp.body.";
    add(timestamp, id, "webhook-id and webhook-timestamp are swapped".to_owned(), fix);
    let fix = "Take the headers as they are.";
    add(id.trim(), timestamp.trim(), "webhook-id or webhook-timestamp has blanks around it".to_owned(), fix);
    let fix = "webhook-timestamp is in seconds since 1970; take the header as it is.";
    if let Ok(number) = timestamp.trim().parse::<i64>() {
        add(id, &(number / 1000).to_string(), "webhook-timestamp is in milliseconds".to_owned(), fix);
    }
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(timestamp.trim()) {
        add(id, &time.timestamp().to_string(), "webhook-timestamp was made a date".to_owned(), fix);
    }
    if let Some(of_body) = id_in_body {
        let what = format!("the body is that of {of_body}, not of {id}");
        add(of_body, timestamp, what, "Take the body and the headers of the same request.");
    }
    distinct(all)
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Hex,
    UpperHex,
    Base64,
    Base64Url,
}

/// Reads 32 bytes, and how they are written.
pub fn decode(text: &str) -> Option<([u8; 32], Encoding)> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        let is_upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
        return Some((bytes, if is_upper { Encoding::UpperHex } else { Encoding::Hex }));
    }
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [(STANDARD, Encoding::Base64), (URL_SAFE, Encoding::Base64Url)].into_iter().find_map(|(alphabet, encoding)| {
        let bytes = GeneralPurpose::new(&alphabet, config).decode(text).ok()?;
        Some((bytes.try_into().ok()?, encoding))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_parsed_and_serialised_again_comes_back() {
        let sent = r#"{"event":"product.updated","n":1.10,"data":{"name":"é / \"x\"\n","list":[1,{"a":null}]}}"#;
        let pretty = r#"{ "event": "product.updated",
            "n": 1.10, "data": {"name": "\u00e9 \/ \"x\"\n", "list": [ 1, {"a" : null} ] } }"#;
        assert_eq!(compact(pretty.as_bytes()).unwrap(), sent.as_bytes());
        assert_eq!(compact(sent.as_bytes()).unwrap(), sent.as_bytes());
        assert_eq!(compact(b"{\"half\": \"\\ud800\"}").unwrap(), b"{\"half\":\"\\ud800\"}");
        assert_eq!(compact(b"{"), None);
    }

    #[test]
    fn signatures_are_read_in_all_their_writings() {
        let hex = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let (bytes, encoding) = decode(hex).unwrap();
        assert_eq!(encoding, Encoding::Hex);
        for (text, writing) in [
            (hex.to_uppercase(), Encoding::UpperHex),
            ("W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=".to_owned(), Encoding::Base64),
            ("W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM".to_owned(), Encoding::Base64),
        ] {
            assert_eq!(decode(&text), Some((bytes, writing)), "{text}");
        }
        assert_eq!(decode(&hex[..40]), None);
    }
}
