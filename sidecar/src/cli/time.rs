//! Times and durations as people write them: `2h` ago, or RFC 3339. Pure.

use chrono::{DateTime, SecondsFormat, TimeDelta};
use std::str::FromStr;
use std::time::Duration;

use crate::store::Time;

/// A point in time, perhaps relative to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Ago(Duration),
    At(Time),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(time) = DateTime::parse_from_rfc3339(text.trim()) {
            return Ok(Self::At(time.into()));
        }
        duration(text)
            .map(Self::Ago)
            .map_err(|_| "neither a duration such as 90s, 2h, 7d nor a time such as 2026-11-23T22:10:00Z".to_owned())
    }
}

impl Moment {
    /// Returns the point in time, counted from `now`.
    pub fn resolve(self, now: Time) -> Time {
        match self {
            Self::Ago(duration) => TimeDelta::from_std(duration)
                .ok()
                .and_then(|delta| now.checked_sub_signed(delta))
                .unwrap_or(DateTime::UNIX_EPOCH),
            Self::At(time) => time,
        }
    }
}

/// Reads a duration such as `24h` or `1h 30min`.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim()).map_err(|_| "not a duration such as 90s, 24h, 7d".to_owned())
}

/// Adds a duration to `now`.
pub fn after(now: Time, duration: Duration) -> Result<Time, String> {
    let then = TimeDelta::from_std(duration).ok().and_then(|delta| now.checked_add_signed(delta));
    then.ok_or_else(|| "too far in the future".to_owned())
}

/// Formats a time as RFC 3339 in UTC, to the second.
pub fn exact(time: Time) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Formats the distance of a time from now in one unit: `12s ago`, `in 5min`.
pub fn relative(time: Time, now: Time) -> String {
    let seconds = (now - time).num_seconds();
    if seconds < 0 { format!("in {}", rough(-seconds)) } else { format!("{} ago", rough(seconds)) }
}

/// Formats a duration in one unit: `12s`, `5min`, `3h`, `2d`.
pub fn rough(seconds: i64) -> String {
    match seconds {
        ..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}min", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Time {
        "2026-11-24T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_moment_is_a_duration_ago_or_a_time() {
        for (text, meant) in [
            ("2h", "2026-11-24T10:00:00Z"),
            ("1d", "2026-11-23T12:00:00Z"),
            ("1h 30min", "2026-11-24T10:30:00Z"),
            ("2026-11-23T22:10:00Z", "2026-11-23T22:10:00Z"),
            ("2026-11-23T22:10:00+02:00", "2026-11-23T20:10:00Z"),
        ] {
            assert_eq!(exact(text.parse::<Moment>().unwrap().resolve(now())), meant, "{text}");
        }
        assert!("yesterday".parse::<Moment>().unwrap_err().contains("2h"));
        assert_eq!(Moment::Ago(Duration::MAX).resolve(now()), DateTime::UNIX_EPOCH);
    }

    #[test]
    fn distances_are_told_in_one_unit() {
        for (time, told) in [
            ("2026-11-24T11:59:48Z", "12s ago"),
            ("2026-11-24T11:00:00Z", "60min ago"),
            ("2026-11-24T09:00:00Z", "3h ago"),
            ("2026-11-20T09:00:00Z", "4d ago"),
            ("2026-11-24T12:05:00Z", "in 5min"),
        ] {
            assert_eq!(relative(time.parse().unwrap(), now()), told);
        }
    }
}
