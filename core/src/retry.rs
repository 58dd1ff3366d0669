//! What the result of an attempt leads to: the specification's table of answers and its retry schedule. Pure.

use std::time::{Duration, SystemTime};

/// `Retry-After` lengthens a wait at most to this.
const LONGEST_WAIT: Duration = Duration::from_secs(6 * 3600);

/// What an attempt led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
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

impl Verdict {
    /// Its name in the type `webhooks.outcome`.
    pub fn outcome(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry(_) => "retry",
            Self::Rejected => "rejected",
            Self::Gone => "gone",
            Self::Exhausted => "exhausted",
        }
    }
}

/// Judges an attempt: `status` is `None` when no answer came, `retry_count` counts the retries before it.
pub fn judge(
    status: Option<u16>,
    retry_after: Option<&str>,
    retry_count: usize,
    schedule: &[Duration],
    now: SystemTime,
) -> Verdict {
    match status {
        Some(200..=299) => return Verdict::Delivered,
        Some(410) => return Verdict::Gone,
        Some(408 | 429) => {}
        Some(400..=499) => return Verdict::Rejected,
        _ => {}
    }
    let Some(wait) = schedule.get(retry_count) else { return Verdict::Exhausted };
    let asked = retry_after.and_then(|value| parse_retry_after(value, now)).unwrap_or_default();
    Verdict::Retry(asked.min(LONGEST_WAIT).max(*wait))
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
    text.split(',').map(parse_duration).collect()
}

/// A text that is no duration.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidDuration(pub String);

/// One duration as Postgres writes its settings and intervals, `250ms`, `1.5h`, `1 day 12 hours`: numbers with units, added up.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration(text.trim().to_owned());
    let lower = text.trim().to_ascii_lowercase();
    let (mut rest, mut ms) = (lower.as_str(), None);
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let (number, behind) = rest.split_at(number_end);
        let behind = behind.trim_start();
        let unit_end = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_end);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        ms = Some(ms.unwrap_or(0.0) + number * unit_ms(unit).ok_or_else(invalid)?);
        rest = behind.trim_start();
    }
    // A century is enough for any setting, and small enough for Postgres to add to any date of ours.
    let ms = ms.filter(|ms| *ms <= 36_525.0 * 86_400_000.0).ok_or_else(invalid)?;
    Ok(Duration::from_millis(ms.round() as u64))
}

/// Months and years are as long as Postgres counts them in seconds.
fn unit_ms(unit: &str) -> Option<f64> {
    Some(match unit {
        "us" | "usec" | "usecs" | "microsecond" | "microseconds" => 0.001,
        "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => 1.0,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000.0,
        "d" | "day" | "days" => 86_400_000.0,
        "w" | "week" | "weeks" => 7.0 * 86_400_000.0,
        "mon" | "mons" | "month" | "months" => 30.0 * 86_400_000.0,
        "y" | "yr" | "yrs" | "year" | "years" => 365.25 * 86_400_000.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: Option<u16>, retry_after: Option<&str>, retry_count: usize) -> Verdict {
        let schedule = parse_schedule("1min, 5min, 15min, 1h, 6h").unwrap();
        judge(status, retry_after, retry_count, &schedule, SystemTime::UNIX_EPOCH)
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_specifications_schedule_is_kept_and_then_spent() {
        let minutes = [1, 5, 15, 60, 360];
        for (retry_count, minutes) in minutes.into_iter().enumerate() {
            assert_eq!(judged(Some(500), None, retry_count), Verdict::Retry(MINUTE * minutes));
        }
        assert_eq!(judged(Some(500), None, 5), Verdict::Exhausted);
    }

    #[test]
    fn each_answer_of_the_table_leads_where_it_says() {
        for status in [200, 201, 204, 299] {
            assert_eq!(judged(Some(status), None, 0), Verdict::Delivered, "{status}");
        }
        for status in [301, 302, 307, 408, 429, 500, 502, 503, 599] {
            assert_eq!(judged(Some(status), None, 0), Verdict::Retry(MINUTE), "{status}");
        }
        for status in [400, 401, 403, 404, 409, 413, 422, 451] {
            assert_eq!(judged(Some(status), None, 0), Verdict::Rejected, "{status}");
        }
        assert_eq!(judged(Some(410), None, 0), Verdict::Gone);
        assert_eq!(judged(None, None, 0), Verdict::Retry(MINUTE), "no answer at all");
    }

    #[test]
    fn retry_after_only_lengthens_the_wait_and_at_most_to_six_hours() {
        assert_eq!(judged(Some(429), Some("120"), 0), Verdict::Retry(MINUTE * 2));
        assert_eq!(judged(Some(429), Some("1"), 0), Verdict::Retry(MINUTE));
        assert_eq!(judged(Some(503), Some("999999"), 0), Verdict::Retry(MINUTE * 360));
        assert_eq!(judged(Some(503), Some("Thu, 01 Jan 1970 00:10:00 GMT"), 0), Verdict::Retry(MINUTE * 10));
        assert_eq!(judged(Some(503), Some("soon"), 0), Verdict::Retry(MINUTE));
    }

    #[test]
    fn durations_are_what_postgres_takes_for_a_setting_or_an_interval() {
        for (text, ms) in [
            (" 250ms ", 250),
            ("30 secs", 30_000),
            ("1hr", 3_600_000),
            ("1.5h", 5_400_000),
            ("1 Minute 30 secs", 90_000),
            ("1day12hours", 36 * 3_600_000),
            ("7 days", 7 * 86_400_000),
            ("1 week", 7 * 86_400_000),
            ("1 month", 30 * 86_400_000),
            ("1 year", 31_557_600_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "30", "s", "-1s", "1 fortnight", "1..5s", "1s,", "1e3s", "99999999999999999999d", "1 day 2"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_empty_schedule_is_no_retry() {
        assert_eq!(parse_schedule(" "), Ok(vec![]));
        assert_eq!(judge(Some(500), None, 0, &[], SystemTime::UNIX_EPOCH), Verdict::Exhausted);
        assert!(parse_schedule("1s,,2s").is_err());
    }
}
