//! What the result of an attempt leads to: the specification's table of answers and its retry schedule. Pure.

use std::time::{Duration, SystemTime};

use crate::duration::{self, InvalidDuration};

/// `Retry-After` lengthens a wait at most to this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(6 * 3600);
/// A fault of ours that lasts longer counts as theirs.
const MAX_OURS: Duration = Duration::from_secs(24 * 3600);
/// Jitter adds at most this.
const MAX_JITTER: Duration = Duration::from_secs(60);
/// The wait after a fault of ours where the schedule has none.
const DEFAULT_WAIT: Duration = Duration::from_secs(60);

/// A request that is over, as far as it matters here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempt<'a> {
    /// `None` when no answer came.
    pub status: Option<u16>,
    /// The header of the answer.
    pub retry_after: Option<&'a str>,
    /// The retries before it.
    pub retry_count: usize,
    /// Where it failed through a fault of ours: for how long this delivery's attempts have done so, on end.
    pub ours_for: Option<Duration>,
}

/// What an attempt led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx.
    Delivered,
    /// Another attempt.
    Retry {
        /// How long after the failure.
        wait: Duration,
        /// Which retry it is.
        retry_count: usize,
    },
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
            Self::Retry { .. } => "retry",
            Self::Rejected => "rejected",
            Self::Gone => "gone",
            Self::Exhausted => "exhausted",
        }
    }
}

/// Says what an attempt led to. A fault of ours spends no retry: the same one comes again, after its wait.
pub fn classify_attempt(attempt: &Attempt<'_>, schedule: &[Duration], now: SystemTime) -> Outcome {
    let Attempt { status, retry_after, retry_count, ours_for } = *attempt;
    if ours_for.is_some_and(|lasting| lasting < MAX_OURS) {
        let wait = schedule.get(retry_count).or(schedule.last()).copied().unwrap_or(DEFAULT_WAIT);
        return Outcome::Retry { wait, retry_count };
    }
    match status {
        Some(200..=299) => return Outcome::Delivered,
        Some(410) => return Outcome::Gone,
        Some(408 | 429) => {}
        Some(400..=499) => return Outcome::Rejected,
        _ => {}
    }
    let Some(wait) = schedule.get(retry_count) else { return Outcome::Exhausted };
    let asked = retry_after.and_then(|value| parse_retry_after(value, now)).unwrap_or_default();
    Outcome::Retry { wait: asked.min(MAX_RETRY_AFTER).max(*wait), retry_count: retry_count + 1 }
}

/// A wait made longer by a share of it, at most a minute: what failed together does not come back together.
pub fn lengthened(wait: Duration, share: f64) -> Duration {
    let part = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    wait + wait.mul_f64(part).min(MAX_JITTER)
}

/// The wait that a `Retry-After` header asks for: seconds, or an HTTP date (RFC 9110, 10.2.3).
pub fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
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
        classify(Attempt { status, retry_after, retry_count, ours_for: None })
    }

    fn classify(attempt: Attempt<'_>) -> Outcome {
        let schedule = parse_schedule("1min, 5min, 15min, 1h, 6h").unwrap();
        classify_attempt(&attempt, &schedule, SystemTime::UNIX_EPOCH)
    }

    const MINUTE: Duration = Duration::from_secs(60);

    /// The first retry, after so many minutes.
    fn retry(minutes: u32) -> Outcome {
        Outcome::Retry { wait: MINUTE * minutes, retry_count: 1 }
    }

    #[test]
    fn the_specifications_schedule_is_kept_and_then_spent() {
        let minutes = [1, 5, 15, 60, 360];
        for (retry_count, minutes) in minutes.into_iter().enumerate() {
            let next = Outcome::Retry { wait: MINUTE * minutes, retry_count: retry_count + 1 };
            assert_eq!(outcome(Some(500), None, retry_count), next);
        }
        assert_eq!(outcome(Some(500), None, 5), Outcome::Exhausted);
    }

    #[test]
    fn each_answer_of_the_table_leads_where_it_says() {
        for status in [200, 201, 204, 299] {
            assert_eq!(outcome(Some(status), None, 0), Outcome::Delivered, "{status}");
        }
        for status in [301, 302, 307, 408, 429, 500, 502, 503, 599] {
            assert_eq!(outcome(Some(status), None, 0), retry(1), "{status}");
        }
        for status in [400, 401, 403, 404, 409, 413, 422, 451] {
            assert_eq!(outcome(Some(status), None, 0), Outcome::Rejected, "{status}");
        }
        assert_eq!(outcome(Some(410), None, 0), Outcome::Gone);
        assert_eq!(outcome(None, None, 0), retry(1), "no answer at all");
    }

    #[test]
    fn retry_after_only_lengthens_the_wait_and_at_most_to_six_hours() {
        assert_eq!(outcome(Some(429), Some("120"), 0), retry(2));
        assert_eq!(outcome(Some(429), Some("1"), 0), retry(1));
        assert_eq!(outcome(Some(503), Some("999999"), 0), retry(360));
        assert_eq!(outcome(Some(503), Some("Thu, 01 Jan 1970 00:10:00 GMT"), 0), retry(10));
        assert_eq!(outcome(Some(503), Some("soon"), 0), retry(1));
    }

    #[test]
    fn a_fault_of_ours_spends_no_retry_for_a_day() {
        for (retry_count, minutes) in [(0, 1), (3, 60), (5, 360), (9, 360)] {
            let attempt = Attempt { retry_count, ours_for: Some(Duration::ZERO), ..Attempt::default() };
            assert_eq!(classify(attempt), Outcome::Retry { wait: MINUTE * minutes, retry_count });
        }
        let lasting = |minutes| Attempt { ours_for: Some(MINUTE * minutes), retry_count: 5, ..Attempt::default() };
        assert_eq!(classify(lasting(1439)), Outcome::Retry { wait: MINUTE * 360, retry_count: 5 });
        assert_eq!(classify(lasting(1440)), Outcome::Exhausted);
    }

    #[test]
    fn jitter_only_lengthens_and_by_a_minute_at_most() {
        assert_eq!(lengthened(MINUTE, 0.0), MINUTE);
        assert_eq!(lengthened(MINUTE, 0.05), Duration::from_secs(63));
        assert_eq!(lengthened(MINUTE * 360, 0.05), MINUTE * 361);
        for odd in [-1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(lengthened(MINUTE, odd), MINUTE, "{odd}");
        }
    }

    #[test]
    fn an_empty_schedule_is_no_retry_but_after_a_fault_of_ours() {
        assert_eq!(parse_schedule(" "), Ok(vec![]));
        let classify = |attempt: Attempt<'_>| classify_attempt(&attempt, &[], SystemTime::UNIX_EPOCH);
        assert_eq!(classify(Attempt { status: Some(500), ..Attempt::default() }), Outcome::Exhausted);
        let ours = Attempt { ours_for: Some(MINUTE), ..Attempt::default() };
        assert_eq!(classify(ours), Outcome::Retry { wait: MINUTE, retry_count: 0 });
        assert!(parse_schedule("1s,,2s").is_err());
    }
}
