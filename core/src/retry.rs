//! What the result of an attempt leads to: the specification's table of answers and its retry schedule. Pure.

use std::time::{Duration, SystemTime};

use crate::duration::{self, InvalidDuration};

/// `Retry-After` lengthens a wait at most to this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(6 * 3600);

/// What an attempt led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx.
    Delivered,
    /// Another attempt, this long after the failure.
    Retry(Duration),
    /// A refusal that another attempt would not change: 4xx other than 408, 410 and 429.
    Rejected,
    /// 410: the endpoint wants no more.
    Gone,
    /// It failed, and the schedule has no further retry.
    Exhausted,
}

impl Outcome {
    /// Its name in the type `webhooks.outcome`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry(_) => "retry",
            Self::Rejected => "rejected",
            Self::Gone => "gone",
            Self::Exhausted => "exhausted",
        }
    }
}

/// Says what an attempt led to: `status` is `None` when no answer came, `retry_count` counts the retries before it.
pub fn classify_attempt(
    status: Option<u16>,
    retry_after: Option<&str>,
    retry_count: usize,
    schedule: &[Duration],
    now: SystemTime,
) -> Outcome {
    match status {
        Some(200..=299) => return Outcome::Delivered,
        Some(410) => return Outcome::Gone,
        Some(408 | 429) => {}
        Some(400..=499) => return Outcome::Rejected,
        _ => {}
    }
    let Some(wait) = schedule.get(retry_count) else { return Outcome::Exhausted };
    let asked = retry_after.and_then(|value| parse_retry_after(value, now)).unwrap_or_default();
    Outcome::Retry(asked.min(MAX_RETRY_AFTER).max(*wait))
}

/// The wait that a `Retry-After` header asks for: seconds, or an HTTP date (RFC 9110, 10.2.3).
fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    Some(until.duration_since(now).unwrap_or_default())
}

/// A list of durations, as in `1min, 5min, 1h`; an empty text is no retry at all.
pub fn parse_schedule(text: &str) -> Result<Vec<Duration>, InvalidDuration> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(duration::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: Option<u16>, retry_after: Option<&str>, retry_count: usize) -> Outcome {
        let schedule = parse_schedule("1min, 5min, 15min, 1h, 6h").unwrap();
        classify_attempt(status, retry_after, retry_count, &schedule, SystemTime::UNIX_EPOCH)
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_specifications_schedule_is_kept_and_then_spent() {
        let minutes = [1, 5, 15, 60, 360];
        for (retry_count, minutes) in minutes.into_iter().enumerate() {
            assert_eq!(outcome(Some(500), None, retry_count), Outcome::Retry(MINUTE * minutes));
        }
        assert_eq!(outcome(Some(500), None, 5), Outcome::Exhausted);
    }

    #[test]
    fn each_answer_of_the_table_leads_where_it_says() {
        for status in [200, 201, 204, 299] {
            assert_eq!(outcome(Some(status), None, 0), Outcome::Delivered, "{status}");
        }
        for status in [301, 302, 307, 408, 429, 500, 502, 503, 599] {
            assert_eq!(outcome(Some(status), None, 0), Outcome::Retry(MINUTE), "{status}");
        }
        for status in [400, 401, 403, 404, 409, 413, 422, 451] {
            assert_eq!(outcome(Some(status), None, 0), Outcome::Rejected, "{status}");
        }
        assert_eq!(outcome(Some(410), None, 0), Outcome::Gone);
        assert_eq!(outcome(None, None, 0), Outcome::Retry(MINUTE), "no answer at all");
    }

    #[test]
    fn retry_after_only_lengthens_the_wait_and_at_most_to_six_hours() {
        assert_eq!(outcome(Some(429), Some("120"), 0), Outcome::Retry(MINUTE * 2));
        assert_eq!(outcome(Some(429), Some("1"), 0), Outcome::Retry(MINUTE));
        assert_eq!(outcome(Some(503), Some("999999"), 0), Outcome::Retry(MINUTE * 360));
        assert_eq!(outcome(Some(503), Some("Thu, 01 Jan 1970 00:10:00 GMT"), 0), Outcome::Retry(MINUTE * 10));
        assert_eq!(outcome(Some(503), Some("soon"), 0), Outcome::Retry(MINUTE));
    }

    #[test]
    fn an_empty_schedule_is_no_retry() {
        assert_eq!(parse_schedule(" "), Ok(vec![]));
        assert_eq!(classify_attempt(Some(500), None, 0, &[], SystemTime::UNIX_EPOCH), Outcome::Exhausted);
        assert!(parse_schedule("1s,,2s").is_err());
    }
}
