//! Postgres times as ISO 8601 text, in UTC. Pure arithmetic on microseconds since 2000-01-01.

use chrono::{Datelike, NaiveDate};

const DAY_US: i64 = 86_400_000_000;
/// 2000-01-01, where Postgres begins to count, as chrono counts days: from 0001-01-01, which is 1.
const POSTGRES_EPOCH: i32 = 730_120;

/// The UTC day of a moment, counted from 2000-01-01.
pub fn day(us: i64) -> i32 {
    us.div_euclid(DAY_US) as i32
}

/// The date of a day counted from 2000-01-01; `None` outside the years 1 to 9999, which ISO 8601 writes otherwise.
pub fn date(day: i32) -> Option<NaiveDate> {
    let date = NaiveDate::from_num_days_from_ce_opt(day.checked_add(POSTGRES_EPOCH)?)?;
    (1..=9999).contains(&date.year()).then_some(date)
}

/// Appends `2025-10-05`; false, and nothing appended, outside the years 1 to 9999.
pub fn push_date(out: &mut Vec<u8>, day: i32) -> bool {
    let Some(date) = date(day) else { return false };
    push_digits(out, date.year().unsigned_abs(), 4);
    out.push(b'-');
    push_digits(out, date.month(), 2);
    out.push(b'-');
    push_digits(out, date.day(), 2);
    true
}

/// Appends `2025-10-05T14:25:00`, with microseconds only where there are any; false outside the years 1 to 9999.
pub fn push_timestamp(out: &mut Vec<u8>, us: i64) -> bool {
    let seconds = us.div_euclid(1_000_000);
    if !push_whole_seconds(out, seconds) {
        return false;
    }
    let fraction = us.rem_euclid(1_000_000) as u32;
    if fraction != 0 {
        out.push(b'.');
        push_digits(out, fraction, 6);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
    true
}

/// Appends `2025-10-05T14:25:00` for seconds since 2000-01-01; false outside the years 1 to 9999.
pub fn push_whole_seconds(out: &mut Vec<u8>, seconds: i64) -> bool {
    if !push_date(out, seconds.div_euclid(86_400) as i32) {
        return false;
    }
    let second_of_day = seconds.rem_euclid(86_400) as u32;
    out.push(b'T');
    push_digits(out, second_of_day / 3600, 2);
    out.push(b':');
    push_digits(out, second_of_day / 60 % 60, 2);
    out.push(b':');
    push_digits(out, second_of_day % 60, 2);
    true
}

/// The whole seconds from one moment to another, less than none if that one was earlier; what is left of a second does not
/// count. `None` where either is infinite, which Postgres holds as the least and the greatest number.
pub fn seconds_between(from: i64, to: i64) -> Option<i64> {
    let is_infinite = |us| us == i64::MIN || us == i64::MAX;
    let microseconds = i128::from(to) - i128::from(from);
    if is_infinite(from) || is_infinite(to) { None } else { i64::try_from(microseconds / 1_000_000).ok() }
}

fn push_digits(out: &mut Vec<u8>, number: u32, width: u32) {
    out.extend((0..width).rev().map(|place| b'0' + (number / 10u32.pow(place) % 10) as u8));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timestamp(us: i64) -> String {
        let mut out = Vec::new();
        assert!(push_timestamp(&mut out, us));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn moments_are_iso_8601() {
        assert_eq!(timestamp(0), "2000-01-01T00:00:00");
        assert_eq!(timestamp(-1), "1999-12-31T23:59:59.999999");
        assert_eq!(timestamp(813_003_900_000_000), "2025-10-05T18:25:00");
        assert_eq!(timestamp(813_003_900_500_000), "2025-10-05T18:25:00.5");
    }

    #[test]
    fn a_duration_is_whole_seconds_however_long_and_none_without_an_end() {
        assert_eq!(seconds_between(0, 1_999_999), Some(1));
        assert_eq!(seconds_between(500_000, 0), Some(0));
        assert_eq!(seconds_between(3_000_000, 0), Some(-3));
        let (first, last) = (-211_813_488_000_000_000, 9_223_371_331_199_999_999);
        assert_eq!(seconds_between(first, last), Some(9_435_184_819_199), "4713 BC to 294276 AD");
        for (from, to) in [(i64::MIN, 0), (0, i64::MAX), (i64::MIN, i64::MAX), (i64::MAX, i64::MAX)] {
            assert_eq!(seconds_between(from, to), None);
        }
    }

    #[test]
    fn days_are_counted_from_2000() {
        let text = |day| {
            let mut out = Vec::new();
            assert!(push_date(&mut out, day));
            String::from_utf8(out).unwrap()
        };
        assert_eq!([text(0), text(59), text(-36_524 + 59)], ["2000-01-01", "2000-02-29", "1900-03-01"]);
        assert_eq!([text(-730_119), text(2_921_939)], ["0001-01-01", "9999-12-31"]);
    }

    #[test]
    fn years_that_iso_8601_writes_otherwise_are_left_alone() {
        let mut out = Vec::new();
        assert!([-730_120, 2_921_940, i32::MIN, i32::MAX].iter().all(|day| !push_date(&mut out, *day)));
        assert!(out.is_empty());
    }
}
