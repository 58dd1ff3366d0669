//! Each mistake is planted and must be named.

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, Engine};
use webhooks_core::signature::{self, standard_key};

use super::*;

const ID: &str = "wh_00000000n40000007shm2fnpb8";
const DATA: &str = r#"{"name":"Café \"x\"","price":1.5}"#;
const OTHER: &str = "wh_00000000n40000007shm2fnpb9";
const NOW: i64 = 1_764_000_000;
const SECRET: &str = "whsec_c2VjcmV0IHNlY3JldCBzZWNyZXQh";

fn body() -> String {
    format!(r#"{{"event":"product.updated","timestamp":"2026-11-23T22:10:31Z","webhook_id":"{ID}","data":{DATA}}}"#)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    Signer::with_key(key).sign(parts)
}

fn plain() -> String {
    signature::header(body().as_bytes(), SECRET.as_bytes())
}

fn standard_mac() -> [u8; 32] {
    let signed = format!("{ID}.{NOW}.{}", body());
    mac(&standard_key(SECRET.as_bytes()), &[signed.as_bytes()])
}

fn standard() -> String {
    format!("v1,{}", BASE64_STANDARD.encode(standard_mac()))
}

fn judge(body: &str, signature: &str, secret: &str, stamps: Option<(&str, &str)>) -> Judgement {
    let (id, timestamp) = stamps.unzip();
    let claim = Claim { body: body.as_bytes(), signature, secret, id, timestamp, now: NOW, tolerance_s: 300 };
    claim.judge().expect("it has what it needs")
}

fn now() -> String {
    NOW.to_string()
}

/// The one mistake that is found.
fn only(judgement: Judgement) -> String {
    assert_eq!(judgement.mistakes.len(), 1, "{:?}", judgement.mistakes);
    judgement.mistakes[0].what.clone()
}

#[test]
fn both_signatures_of_a_message_are_valid_with_and_without_the_headers_name() {
    for signature in [plain(), format!("X-Webhook-Signature: {}", plain()), format!("{}\n", plain())] {
        assert!(judge(&body(), &signature, SECRET, None).is_valid(), "{signature}");
        assert!(judge(&body(), &signature, SECRET, Some((ID, &now()))).is_valid(), "{signature}");
    }
    for signature in [standard(), format!("v1,AAAA {}", standard()), format!("Webhook-Signature:{}", standard())] {
        assert!(judge(&body(), &signature, SECRET, Some((ID, &now()))).is_valid(), "{signature}");
    }
}

#[test]
fn the_body_that_was_changed_is_named() {
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(&body()).unwrap()).unwrap();
    let latin1: String = body().bytes().map(char::from).collect();
    let php = body().replace('é', "\\u00e9");
    let python = body().replace(':', ": ").replace(',', ", ").replace("23T22: 10: 31Z", "23T22:10:31Z");
    for (given, named) in [
        (format!("{}\n", body()), "line break or blanks at its end"),
        (format!("{}\r\n", body()), "line break or blanks at its end"),
        (format!("\u{feff}{}", body()), "byte order mark"),
        (latin1, "Latin-1"),
        (pretty, "parsed and serialised again"),
        (php, "parsed and serialised again"),
        (python, "parsed and serialised again"),
        (serde_json::to_string(&body()).unwrap(), "inside a JSON string"),
    ] {
        let what = only(judge(&given, &plain(), SECRET, None));
        assert!(what.contains(named), "{named}: {what}");
        let what = only(judge(&given, &standard(), SECRET, Some((ID, &now()))));
        assert!(what.contains(named), "{named}: {what}");
    }
}

#[test]
fn a_body_in_another_order_is_guessed() {
    let sorted = format!(r#"{{"data":{{}},"event":"e","timestamp":"t","webhook_id":"{ID}"}}"#);
    assert!(only(judge(&sorted, &plain(), SECRET, None)).contains("another order"));
    assert!(only(judge("cut", &plain(), SECRET, None)).contains("not a message"));
}

#[test]
fn the_secret_that_was_changed_is_named() {
    let bare = SECRET.strip_prefix("whsec_").unwrap();
    for (given, named) in [
        (format!(" {SECRET}"), "blanks or a line break around it"),
        (format!("{SECRET}\n"), "blanks or a line break around it"),
        (format!("\"{SECRET}\""), "quotation marks"),
        (bare.to_owned(), "lacks its whsec_"),
    ] {
        let what = only(judge(&body(), &plain(), &given, None));
        assert!(what.contains(named), "{named}: {what}");
        let what = only(judge(&body(), &standard(), &given, Some((ID, &now()))));
        assert!(what.contains(named), "{named}: {what}");
    }
    let registered_bare = format!("sha256={}", hex(&mac(bare.as_bytes(), &[body().as_bytes()])));
    assert!(only(judge(&body(), &registered_bare, SECRET, None)).contains("without whsec_"));
}

#[test]
fn a_signature_made_with_the_wrong_key_bytes_is_named() {
    let decoded = format!("sha256={}", hex(&mac(&standard_key(SECRET.as_bytes()), &[body().as_bytes()])));
    assert!(only(judge(&body(), &decoded, SECRET, None)).contains("base64 stands for"));
    let signed = format!("{ID}.{NOW}.{}", body());
    let as_text = format!("v1,{}", BASE64_STANDARD.encode(mac(SECRET.as_bytes(), &[signed.as_bytes()])));
    assert!(only(judge(&body(), &as_text, SECRET, Some((ID, &now())))).contains("secret as a text"));
}

#[test]
fn a_signature_written_otherwise_is_named() {
    let bare = plain().strip_prefix("sha256=").unwrap().to_owned();
    let in_base64 = BASE64_STANDARD.encode(mac(SECRET.as_bytes(), &[body().as_bytes()]));
    for (given, named) in [
        (bare.clone(), "lacks sha256="),
        (format!("sha256={}", bare.to_uppercase()), "upper case"),
        (format!("sha256={in_base64}"), "base64 where it should be hex"),
        (plain()[..40].to_owned(), "cut off"),
        (String::new(), "empty"),
        (format!(" {}", plain()), "blanks or quotation marks"),
    ] {
        let what = only(judge(&body(), &given, SECRET, None));
        assert!(what.contains(named), "{named}: {what}");
    }
    for (given, named) in [
        (standard()[3..].to_owned(), "lacks v1,"),
        (format!("v1={}", &standard()[3..]), "begins with v1="),
        (format!("v1,{}", hex(&standard_mac())), "hex where it should be base64"),
    ] {
        let what = only(judge(&body(), &given, SECRET, Some((ID, &now()))));
        assert!(what.contains(named), "{named}: {what}");
    }
    let url_safe = format!("v1,{}", BASE64_URL_SAFE.encode(standard_mac()));
    assert_eq!(url_safe == standard(), judge(&body(), &url_safe, SECRET, Some((ID, &now()))).is_valid());
}

#[test]
fn the_stamps_that_were_changed_are_named() {
    let (now, early, late) = (now(), NOW - 301, NOW + 301);
    for (id, timestamp, named) in [
        (now.as_str(), ID, "swapped"),
        (ID, &format!("{NOW}000"), "milliseconds"),
        (ID, "2025-11-24T16:00:00Z", "made a date"),
        (OTHER, &now, "the body is that of"),
    ] {
        let what = only(judge(&body(), &standard(), SECRET, Some((id, timestamp))));
        assert!(what.contains(named), "{named}: {what}");
    }
    for (timestamp, named) in [(early, "301s"), (late, "in the future")] {
        let signed = format!("{ID}.{timestamp}.{}", body());
        let given =
            format!("v1,{}", BASE64_STANDARD.encode(mac(&standard_key(SECRET.as_bytes()), &[signed.as_bytes()])));
        let what = only(judge(&body(), &given, SECRET, Some((ID, &timestamp.to_string()))));
        assert!(what.contains(named) || what.contains("5min"), "{named}: {what}");
    }
}

#[test]
fn a_signature_of_the_other_kind_is_named() {
    let of_body = format!("v1,{}", BASE64_STANDARD.encode(mac(SECRET.as_bytes(), &[body().as_bytes()])));
    assert!(only(judge(&body(), &of_body, SECRET, Some((ID, &now())))).contains("that of X-Webhook-Signature"));
    let of_stamps = format!("sha256={}", hex(&standard_mac()));
    assert!(only(judge(&body(), &of_stamps, SECRET, Some((ID, &now())))).contains("that of webhook-signature"));
    let misnamed = format!("webhook-signature: {}", plain());
    assert!(only(judge(&body(), &misnamed, SECRET, Some((ID, &now())))).contains("that of X-Webhook-Signature"));
    let misnamed = format!("X-Webhook-Signature: {}", standard());
    assert!(only(judge(&body(), &misnamed, SECRET, Some((ID, &now())))).contains("that of webhook-signature"));
    // Without a timestamp it cannot be checked as what it is.
    assert!(judge(&body(), &misnamed, SECRET, None).mistakes.iter().any(|one| one.what.contains("base64")));
}

#[test]
fn a_timestamp_that_was_not_signed_is_not_blamed_on_the_body_alone() {
    let what = only(judge(&body(), &standard(), SECRET, Some((ID, &(NOW - 1).to_string()))));
    assert!(what.contains("id, timestamp and body"), "{what}");
}

#[test]
fn a_signature_is_found_among_all_headers_of_a_request() {
    let headers = format!("content-type: application/json\r\nx-webhook-signature: {}\r\n\r\n", plain());
    assert!(judge(&body(), &headers, SECRET, None).is_valid());
}

#[test]
fn two_mistakes_are_both_named() {
    let judgement = judge(&format!("{}\n", body()), &plain()[7..], &format!("{SECRET} "), None);
    let all: String = judgement.mistakes.iter().map(|mistake| format!("{};", mistake.what)).collect();
    assert!(all.contains("at its end") && all.contains("around it") && all.contains("lacks sha256="), "{all}");
}

#[test]
fn another_secret_is_told_as_such_and_never_shown() {
    let judgement = judge(&body(), &plain(), "another secret", None);
    assert!(only(judgement).contains("did not sign this body"));
    for secret in [SECRET, "another secret", "\"quoted secret\""] {
        let told = format!("{:?}", judge(&body(), "sha256=00", secret, None));
        assert!(!told.contains(secret.trim_matches('"')), "{told}");
    }
}

#[test]
fn a_standard_signature_needs_a_timestamp() {
    let body = body();
    let claim = Claim {
        body: body.as_bytes(),
        signature: &standard(),
        secret: SECRET,
        id: None,
        timestamp: None,
        now: NOW,
        tolerance_s: 300,
    };
    assert!(claim.judge().unwrap_err().fix.contains("--timestamp"));
    let (timestamp, signature) = (now(), standard());
    let with_it = Claim { timestamp: Some(&timestamp), signature: &signature, ..claim };
    assert!(with_it.judge().unwrap().is_valid(), "the id is in the body");
}
