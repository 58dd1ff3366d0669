//! What an endpoint may be given besides its URL and events: limits of its own. A change is a JSON Merge Patch
//! (RFC 7396): what is absent stays, null removes. Pure.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::duration;

const MAX_IN_FLIGHT: i64 = 64;
const MAX_PER_SECOND: f64 = 10_000.0;
const MIN_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_TIMEOUT: Duration = Duration::from_secs(300);

/// The limits of an endpoint; `None` is the sidecar's or the database's own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EndpointOptions {
    /// How many requests may be under way at once.
    pub max_in_flight: Option<i32>,
    /// How many requests may begin in a second.
    pub max_per_second: Option<f64>,
    /// How long an attempt may take, in milliseconds.
    pub timeout_ms: Option<i32>,
}

/// Why options cannot be taken.
#[derive(Clone, Debug, PartialEq)]
pub enum InvalidOptions {
    /// They are no JSON object.
    NotAnObject(String),
    /// There is no such key; with the nearest one.
    Unknown(String, &'static str),
    /// The value of a key, and what it should be.
    Value(&'static str, String, &'static str),
}

/// The keys of the JSON object.
pub const KEYS: [&str; 3] = ["max_in_flight", "max_per_second", "timeout"];

impl EndpointOptions {
    /// The options as `patch`, a JSON text, changes them.
    pub fn merged(mut self, patch: &str) -> Result<Self, InvalidOptions> {
        let patch: Map<String, Value> =
            serde_json::from_str(patch).map_err(|_| InvalidOptions::NotAnObject(patch.to_owned()))?;
        for (key, value) in &patch {
            match key.as_str() {
                "max_in_flight" => self.max_in_flight = in_flight(value)?,
                "max_per_second" => self.max_per_second = per_second(value)?,
                "timeout" => self.timeout_ms = timeout(value)?,
                _ => return Err(InvalidOptions::Unknown(key.clone(), nearest(key))),
            }
        }
        Ok(self)
    }
}

fn in_flight(value: &Value) -> Result<Option<i32>, InvalidOptions> {
    checked("max_in_flight", value, "a whole number from 1 to 64", |value| {
        let number = value.as_i64().filter(|number| (1..=MAX_IN_FLIGHT).contains(number))?;
        i32::try_from(number).ok()
    })
}

fn per_second(value: &Value) -> Result<Option<f64>, InvalidOptions> {
    checked("max_per_second", value, "a number above 0 and up to 10000", |value| {
        value.as_f64().filter(|number| *number > 0.0 && *number <= MAX_PER_SECOND)
    })
}

fn timeout(value: &Value) -> Result<Option<i32>, InvalidOptions> {
    checked("timeout", value, "a duration from 1s to 5min, in quotes", |value| {
        let timeout = duration::parse(value.as_str()?).ok()?;
        (MIN_TIMEOUT..=MAX_TIMEOUT).contains(&timeout).then(|| i32::try_from(timeout.as_millis()).ok())?
    })
}

fn checked<T>(
    key: &'static str,
    value: &Value,
    wanted: &'static str,
    read: impl FnOnce(&Value) -> Option<T>,
) -> Result<Option<T>, InvalidOptions> {
    if value.is_null() {
        return Ok(None);
    }
    read(value).map(Some).ok_or_else(|| InvalidOptions::Value(key, value.to_string(), wanted))
}

fn nearest(key: &str) -> &'static str {
    let key = key.to_lowercase();
    KEYS.into_iter().min_by_key(|known| strsim::damerau_levenshtein(&key, known)).unwrap_or(KEYS[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(patch: &str) -> Result<EndpointOptions, InvalidOptions> {
        EndpointOptions::default().merged(patch)
    }

    #[test]
    fn what_is_absent_stays_and_null_removes() {
        let all = merged(r#"{"max_in_flight": 8, "max_per_second": 0.5, "timeout": "10s"}"#).unwrap();
        let expected = EndpointOptions { max_in_flight: Some(8), max_per_second: Some(0.5), timeout_ms: Some(10_000) };
        assert_eq!(all, expected);
        assert_eq!(all.merged("{}"), Ok(all));
        let removed = EndpointOptions { max_per_second: None, ..all };
        assert_eq!(all.merged(r#"{"max_per_second": null}"#), Ok(removed));
    }

    #[test]
    fn the_ends_of_each_range_are_within_it() {
        for patch in [
            r#"{"max_in_flight": 1}"#,
            r#"{"max_in_flight": 64}"#,
            r#"{"max_per_second": 10000}"#,
            r#"{"timeout": "1s"}"#,
            r#"{"timeout": "5 min"}"#,
        ] {
            assert!(merged(patch).is_ok(), "{patch}");
        }
        for (key, value) in [
            ("max_in_flight", "0"),
            ("max_in_flight", "65"),
            ("max_in_flight", "1.5"),
            ("max_in_flight", "\"8\""),
            ("max_per_second", "0"),
            ("max_per_second", "10001"),
            ("timeout", "10"),
            ("timeout", "\"999ms\""),
            ("timeout", "\"301s\""),
            ("timeout", "\"soon\""),
        ] {
            let refused = merged(&format!("{{\"{key}\": {value}}}")).unwrap_err();
            assert!(matches!(&refused, InvalidOptions::Value(k, v, _) if *k == key && v == value), "{refused:?}");
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest() {
        let unknown = |key: &str, nearest| Err(InvalidOptions::Unknown(key.to_owned(), nearest));
        assert_eq!(merged(r#"{"maxInFlight": 1}"#), unknown("maxInFlight", "max_in_flight"));
        assert_eq!(merged(r#"{"timeouts": 1}"#), unknown("timeouts", "timeout"));
        assert_eq!(merged("[]"), Err(InvalidOptions::NotAnObject("[]".to_owned())));
    }
}
