//! The flags that limit what a webhook gets. The database checks the values.

use clap::Args;
use serde_json::{Map, Value};

/// The options of a webhook.
#[derive(Args, Debug)]
pub struct Limits {
    /// Requests under way at once, 1 to 64; none removes the limit
    #[arg(long, value_name = "COUNT")]
    max_in_flight: Option<String>,
    /// Requests that begin in a second, up to 10000; none removes the limit
    #[arg(long, value_name = "RATE")]
    max_per_second: Option<String>,
    /// Time that an attempt may take, 1s to 5min; none is pg_webhooks.request_timeout
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
}

impl Limits {
    /// As the database takes them; `None` where none is given.
    pub fn options(&self) -> Option<Value> {
        let number = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| text.into());
        let given = [
            ("max_in_flight", self.max_in_flight.as_deref().map(|text| or_none(text, number))),
            ("max_per_second", self.max_per_second.as_deref().map(|text| or_none(text, number))),
            ("timeout", self.timeout.as_deref().map(|text| or_none(text, |text| text.into()))),
        ];
        let given: Map<_, _> = given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
        (!given.is_empty()).then_some(given.into())
    }
}

fn or_none(text: &str, read: impl FnOnce(&str) -> Value) -> Value {
    if text == "none" { Value::Null } else { read(text) }
}
