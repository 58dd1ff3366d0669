//! Postgres times as ISO 8601 text, in UTC. Pure arithmetic on microseconds since 2000-01-01.

const DAY_US: i64 = 86_400_000_000;
/// Days from 0000-03-01 to 2000-01-01, in the proleptic Gregorian calendar.
const EPOCH_2000: i64 = 730_425;

/// The UTC day of a moment, counted from 2000-01-01.
pub fn day(us: i64) -> i32 {
    us.div_euclid(DAY_US) as i32
}

/// A calendar date of a day counted from 2000-01-01; `None` outside the years 1 to 9999, which ISO 8601 writes otherwise.
///
/// The algorithm is Howard Hinnant's `civil_from_days` (https://howardhinnant.github.io/date_algorithms.html).
pub fn date(day: i32) -> Option<(i64, u32, u32)> {
    let z = i64::from(day) + EPOCH_2000;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (1..=9999).contains(&year).then_some((year, month as u32, day_of_month as u32))
}

/// Appends `2025-10-05`; false, and nothing appended, outside the years 1 to 9999.
pub fn push_date(out: &mut Vec<u8>, day: i32) -> bool {
    let Some((year, month, day_of_month)) = date(day) else { return false };
    push_digits(out, year as u32, 4);
    out.push(b'-');
    push_digits(out, month, 2);
    out.push(b'-');
    push_digits(out, day_of_month, 2);
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
    fn leap_days_are_in_their_place() {
        assert_eq!(date(59), Some((2000, 2, 29)));
        assert_eq!(date(60), Some((2000, 3, 1)));
        assert_eq!(date(365), Some((2000, 12, 31)));
        assert_eq!(date(366), Some((2001, 1, 1)));
        assert_eq!(date(-36_524 + 59), Some((1900, 3, 1)), "1900 had no 29 February");
    }

    #[test]
    fn years_that_iso_8601_writes_otherwise_are_left_alone() {
        let mut out = Vec::new();
        assert!(!push_date(&mut out, -800_000) && !push_date(&mut out, 3_000_000));
        assert!(out.is_empty());
    }
}
