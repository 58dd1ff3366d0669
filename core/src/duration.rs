//! A duration as it is written in a setting: numbers with units. Pure.

use std::time::Duration;

/// A text that is no duration.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidDuration(pub String);

/// One duration as Postgres writes its settings and intervals, `250ms`, `1.5h`, `1 day 12 hours`: numbers with units, added up.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
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
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "30", "s", "-1s", "1 fortnight", "1..5s", "1s,", "1e3s", "99999999999999999999d", "1 day 2"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
