//! What holds for every value, not only for the examples beside the code.

mod texts;

use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::Value;
use webhooks_core::ids::{self, Position};
use webhooks_core::retry::{Attempt, Outcome, classify_attempt, parse_schedule};
use webhooks_core::{duration, event_names, json, signature, time, tokens};

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = b"before".to_vec();
    write(&mut out);
    String::from_utf8(out).expect("UTF-8").strip_prefix("before").expect("what was there is left alone").to_owned()
}

fn canonical(text: &str) -> String {
    written(|out| json::push_json(out, text).unwrap_or_else(|error| panic!("{error:?}: {text}")))
}

/// The value of a decimal number, however it is written: its sign, its digits without zeros at either end, its exponent.
fn exact(text: &str) -> (bool, String, i64) {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let significant = digits.trim_start_matches('0').trim_end_matches('0').to_owned();
    if significant.is_empty() {
        return (false, significant, 0);
    }
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    let exponent = exponent.parse::<i64>().expect("an exponent") - fraction.len() as i64 + zeros as i64;
    (text.starts_with('-'), significant, exponent)
}

/// serde_json reads a number to the last digit but one; that decimals keep their value is a property of its own.
fn is_near(a: Option<f64>, b: Option<f64>) -> bool {
    a.zip(b).is_some_and(|(a, b)| a == b || (a - b).abs() <= a.abs() * 1e-14)
}

/// Whether a value says the same as another; a number may have become a string.
fn says_the_same(given: &Value, written: &Value) -> bool {
    match (given, written) {
        (Value::Number(given), Value::Number(written)) => is_near(given.as_f64(), written.as_f64()),
        (Value::Number(given), Value::String(written)) => is_near(given.as_f64(), written.parse().ok()),
        (Value::Array(given), Value::Array(written)) => {
            given.len() == written.len() && given.iter().zip(written).all(|(a, b)| says_the_same(a, b))
        }
        (Value::Object(given), Value::Object(written)) => {
            given.len() == written.len()
                && given.iter().all(|(key, value)| written.get(key).is_some_and(|other| says_the_same(value, other)))
        }
        _ => given == written,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn canonical_json_is_its_own_canonical_form(text in texts::json(texts::number().boxed())) {
        let once = canonical(&text);
        prop_assert_eq!(canonical(&once), once);
    }

    #[test]
    fn canonical_json_says_what_was_given(text in texts::json(texts::number().boxed())) {
        // serde_json takes no lone surrogates and no number beyond a double.
        if let Ok(given) = serde_json::from_str::<Value>(&text) {
            let written = serde_json::from_str(&canonical(&text)).expect("JSON");
            prop_assert!(says_the_same(&given, &written), "{given} becomes {written}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused_and_leaves_no_trace(text in ".{0,40}", cut in any::<prop::sample::Index>(),
                                                      whole in texts::json(texts::number().boxed())) {
        let cut = cut.index(whole.len() + 1);
        for text in [text.as_str(), whole.get(..cut).unwrap_or_default()] {
            let mut out = b"before".to_vec();
            if json::push_json(&mut out, text).is_err() {
                prop_assert_eq!(&out, b"before");
            }
        }
    }

    #[test]
    fn a_decimal_keeps_its_exact_value(text in texts::number()) {
        let written = written(|out| json::push_decimal(out, &text));
        prop_assert_eq!(exact(written.trim_matches('"')), exact(&text));
    }

    #[test]
    fn an_integer_keeps_its_value(value: i64) {
        let written = written(|out| json::push_i64(out, value));
        prop_assert_eq!(written.trim_matches('"').parse(), Ok(value));
        prop_assert!(value.unsigned_abs() > 1 << 53 || !written.contains('"'));
    }

    #[test]
    fn a_double_and_a_single_are_read_back_as_they_were(double: f64, single: f32) {
        let read = |text: String| text.trim_matches('"').to_owned();
        let double_again: f64 = read(written(|out| json::push_f64(out, double))).parse().expect("a number");
        let single_again: f32 = read(written(|out| json::push_f32(out, single))).parse().expect("a number");
        prop_assert!(double_again == double || double_again.is_nan() && double.is_nan());
        prop_assert!(single_again == single || single_again.is_nan() && single.is_nan());
    }

    #[test]
    fn a_string_is_read_back_as_it_was(text in any::<String>()) {
        let written = written(|out| json::push_string(out, &text));
        prop_assert_eq!(serde_json::from_str::<String>(&written).expect("a string"), text);
    }

    #[test]
    fn bytes_are_text_whatever_they_are(bytes: Vec<u8>) {
        let text = json::utf8(&bytes);
        prop_assert!(str::from_utf8(&bytes).is_err() || text.as_bytes() == bytes);
        let quoted = format!("\"{}\"", json::utf8_json(&bytes).replace(['"', '\n'], ""));
        let _ = json::push_json(&mut Vec::new(), &quoted);
    }

    #[test]
    fn keys_stand_in_javascripts_order(names in prop::collection::vec("[0-9]{1,3}|[a-c]{0,2}|429496729[45]", 0..20)) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let order = json::property_order(&names);
        let mut model: Vec<&str> = Vec::new();
        names.iter().filter(|name| !model.contains(name) && { model.push(name); true }).count();
        let index = |name: &str| name.parse::<u32>().ok().filter(|index| index.to_string() == name && *index != u32::MAX);
        model.sort_by_key(|name| index(name).map_or((true, 0), |index| (false, index)));
        prop_assert_eq!(order.iter().map(|at| names[*at]).collect::<Vec<_>>(), model);
        for at in order {
            prop_assert!(!names[at + 1..].contains(&names[at]), "the last of equal keys counts");
        }
    }

    #[test]
    fn an_id_tells_its_position_and_ids_sort_as_positions_do(a in position(), b in position()) {
        let (id, other) = (ids::webhook_id(a), ids::webhook_id(b));
        prop_assert_eq!(ids::position(&id), Some(a));
        prop_assert_eq!((a.xid, a.seq, a.nonce).cmp(&(b.xid, b.seq, b.nonce)), id.cmp(&other));
    }

    #[test]
    fn what_has_a_position_is_its_id(text in "wh_[0-9a-z]{24,28}|.{0,30}") {
        if let Some(position) = ids::position(&text) {
            prop_assert_eq!(ids::webhook_id(position), text);
        }
    }

    #[test]
    fn a_token_is_known_by_its_id_and_by_its_hash_alone(a: u128, b: u128, text in "pgw_[0-9a-v]{20,30}_[0-9a-v]{20,30}|.{0,60}") {
        let token = tokens::Token::new(a, b);
        prop_assert_eq!(tokens::id(&token.text), Some(token.id));
        prop_assert!(tokens::matches(&token.text, &tokens::hash(&token.text)));
        prop_assert!(text == token.text || !tokens::matches(&text, &tokens::hash(&token.text)));
        let _ = tokens::id(&text);
    }

    #[test]
    fn durations_add_up(parts in prop::collection::vec((0_u64..1000, 0_usize..5, " {0,2}"), 1..5)) {
        let units = [("ms", 1), ("s", 1000), ("min", 60_000), ("h", 3_600_000), ("days", 86_400_000)];
        let text: String = parts.iter().map(|(count, unit, space)| format!("{space}{count}{space}{}{space}", units[*unit].0)).collect();
        let ms = parts.iter().map(|(count, unit, _)| count * units[*unit].1).sum();
        prop_assert_eq!(duration::parse(&text), Ok(Duration::from_millis(ms)));
        prop_assert_eq!(duration::parse(&text.to_uppercase()), Ok(Duration::from_millis(ms)));
    }

    #[test]
    fn no_text_is_a_duration_beyond_a_century(text in "[0-9.]{1,30} ?[a-z]{1,7}|.{0,20}") {
        if let Ok(duration) = duration::parse(&text) {
            prop_assert!(duration <= Duration::from_secs(36_525 * 86_400));
        }
        let _ = parse_schedule(&text);
    }

    #[test]
    fn retry_after_lengthens_a_wait_to_six_hours_at_most(asked in "[0-9]{0,25}|[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT|.{0,40}", wait in 0_u64..100_000) {
        let wait = Duration::from_secs(wait);
        let attempt = Attempt { status: Some(503), retry_after: Some(&asked), ..Attempt::default() };
        let outcome = classify_attempt(&attempt, &[wait], SystemTime::UNIX_EPOCH);
        let Outcome::Retry { wait: next, .. } = outcome else { panic!("{outcome:?}") };
        prop_assert!(next >= wait && next <= wait.max(Duration::from_secs(6 * 3600)));
    }

    #[test]
    fn a_pattern_takes_what_it_names(family in "[a-z][a-z0-9_]{0,8}", name in "[a-z][a-z0-9_]{0,8}", other in "[a-z.]{1,20}") {
        let event = format!("{family}.{name}");
        prop_assert_eq!(event_names::patterns_of(&event), [event.clone(), format!("{family}.*"), "*".to_owned()]);
        let takes = |pattern: &str| event_names::patterns_of(&other).iter().any(|one| one == pattern);
        prop_assert_eq!(takes(&format!("{family}.*")), other.starts_with(&format!("{family}.")));
        prop_assert_eq!(takes(&event), event == other);
        if event_names::check_pattern(&event).is_ok() && event_names::check_custom(&event).is_err() {
            prop_assert!(event_names::built_in().any(|known| known == event), "what may be subscribed to can be made");
        }
    }

    #[test]
    fn no_text_is_too_odd_for_a_pattern(text in any::<String>()) {
        let _ = (event_names::check_pattern(&text), event_names::check_custom(&text), webhooks_core::url::normalize(&text));
    }

    #[test]
    fn a_signature_is_that_of_its_payload_alone(payload: Vec<u8>, secret in prop::collection::vec(any::<u8>(), 1..40),
                                                at in any::<prop::sample::Index>(), other: Vec<u8>) {
        let header = signature::header(&payload, &secret);
        prop_assert!(signature::verify(&payload, header.as_bytes(), &secret));
        let mut bent = header.clone().into_bytes();
        bent[at.index(header.len())] ^= 1;
        prop_assert!(!signature::verify(&payload, &bent, &secret));
        prop_assert!(!signature::verify(&payload, &other, &secret));
        prop_assert!(payload == other || !signature::verify(&other, header.as_bytes(), &secret));
        let standard = signature::standard_header(b"wh_1", b"7", &payload, &secret);
        let both = format!("v1,AAAA {standard}");
        prop_assert!(signature::verify_standard(b"wh_1", b"7", &payload, both.as_bytes(), &secret));
        prop_assert!(!signature::verify_standard(b"wh_1", b"8", &payload, both.as_bytes(), &secret));
    }

    #[test]
    fn seconds_between_two_moments_are_the_same_in_both_directions(from: i64, to: i64) {
        prop_assert_eq!(time::seconds_between(from, to), time::seconds_between(to, from).map(|seconds| -seconds));
    }

    #[test]
    fn moments_are_written_in_their_order(a in -60_000_000_000_000_000_i64..250_000_000_000_000_000, b in 0_i64..1 << 50) {
        let text = |us| written(|out| assert!(time::push_timestamp(out, us), "{us}"));
        // A text without a fraction sorts behind one with it, which begins alike.
        let seconds = |us| text(us).chars().take(19).collect::<String>();
        prop_assert!(seconds(a) <= seconds(a + b));
        prop_assert!(b == 0 || text(a) != text(a + b));
    }
}

fn position() -> impl Strategy<Value = Position> {
    (0_u64..1 << 48, any::<u32>(), 0_u64..1 << 48).prop_map(|(xid, seq, nonce)| Position { xid, seq, nonce })
}
