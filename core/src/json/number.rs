//! Binary numbers, printed as JavaScript prints them.
//!
//! A number stays a number only when JavaScript reads it and prints the same digits; otherwise it becomes a string that
//! holds its exact form. Nothing is ever rounded to make it fit.

use std::ops::Range;

/// The largest magnitude below which every integer is a double.
const EXACT_INTEGER_LIMIT: u64 = 1 << 53;

/// Appends an integer, in quotes when JavaScript would print other digits for it.
pub fn push_i64(out: &mut Vec<u8>, value: i64) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(value);
    if value.unsigned_abs() <= EXACT_INTEGER_LIMIT || survives_as_double(value, digits) {
        out.extend_from_slice(digits.as_bytes());
    } else {
        push_quoted(out, digits);
    }
}

/// Appends a double as `Number.prototype.toString` prints it, or `"NaN"`, `"Infinity"`, `"-Infinity"`.
pub fn push_f64(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        out.extend_from_slice(ryu_js::Buffer::new().format_finite(value).as_bytes());
    } else {
        push_non_finite(out, value);
    }
}

/// Appends a single-precision number by its own shortest decimal, the one Postgres prints, so that 0.1 stays 0.1.
///
/// That decimal has at most nine digits, which its nearest double prints unchanged: see `decimal::SAFE_SIGNIFICAND_LIMIT`.
pub fn push_f32(out: &mut Vec<u8>, value: f32) {
    if TIE_RANGE.contains(&value.abs()) {
        push_large_single(out, value);
    } else if value.is_finite() {
        out.extend_from_slice(ryu_js::Buffer::new().format_finite(value).as_bytes());
    } else {
        push_non_finite(out, f64::from(value));
    }
}

/// Where a decimal shorter than the others can lie exactly halfway between two singles.
///
/// `ryu_js` takes such a decimal if reading it rounds the right way; Postgres wants one strictly closer. Below 2^24 a
/// halfway point has more digits than its neighbours; above 10^19 it has more than nine, because an odd number below 2^25
/// has at most ten factors of five.
const TIE_RANGE: Range<f32> = 16777216.0..1e19;

/// Appends the shortest decimal strictly closer to `value`, a large integer, than to any other single.
fn push_large_single(out: &mut Vec<u8>, value: f32) {
    let magnitude = value.abs();
    let exact = magnitude as u128;
    let below = exact - magnitude.next_down() as u128;
    let above = magnitude.next_up() as u128 - exact;
    let is_closer = |decimal: &u128| {
        let gap = if *decimal < exact { below } else { above };
        2 * decimal.abs_diff(exact) < gap
    };
    let shortest = (0..=19).rev().flat_map(|zeros| closest_multiples(exact, 10u128.pow(zeros))).find(is_closer);
    if value < 0.0 {
        out.push(b'-');
    }
    let digits = shortest.unwrap_or(exact);
    out.extend_from_slice(itoa::Buffer::new().format(digits).as_bytes());
}

/// The multiples of `unit` on either side of `value`: the closer one first, or the even one of two equally close.
fn closest_multiples(value: u128, unit: u128) -> [u128; 2] {
    let (count, rest) = (value / unit, value % unit);
    let (lower, upper) = (count * unit, (count + 1) * unit);
    if 2 * rest < unit + u128::from(count.is_multiple_of(2)) { [lower, upper] } else { [upper, lower] }
}

// No i64 reaches 1e21, so JavaScript prints all of them without an exponent.
fn survives_as_double(value: i64, digits: &str) -> bool {
    ryu_js::Buffer::new().format_finite(value as f64) == digits
}

fn push_non_finite(out: &mut Vec<u8>, value: f64) {
    let name = if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    };
    push_quoted(out, name);
}

fn push_quoted(out: &mut Vec<u8>, plain: &str) {
    out.push(b'"');
    out.extend_from_slice(plain.as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::super::testing::written;
    use super::*;

    fn integer(value: i64) -> String {
        written(|out| push_i64(out, value))
    }

    fn double(value: f64) -> String {
        written(|out| push_f64(out, value))
    }

    fn single(value: f32) -> String {
        written(|out| push_f32(out, value))
    }

    #[test]
    fn every_integer_up_to_two_to_the_53_stays_a_number() {
        assert_eq!(integer(0), "0");
        assert_eq!(integer(-42), "-42");
        assert_eq!(integer(9007199254740992), "9007199254740992");
        assert_eq!(integer(-9007199254740992), "-9007199254740992");
    }

    #[test]
    fn a_larger_integer_stays_a_number_only_if_javascript_prints_it_so() {
        assert_eq!(integer(9007199254740993), r#""9007199254740993""#);
        assert_eq!(integer(9007199254740994), "9007199254740994");
        assert_eq!(integer(10000000000000000), "10000000000000000");
        // Exactly a double (2^62), yet JavaScript prints 4611686018427388000.
        assert_eq!(integer(1 << 62), r#""4611686018427387904""#);
        assert_eq!(integer(i64::MAX), r#""9223372036854775807""#);
        assert_eq!(integer(i64::MIN), r#""-9223372036854775808""#);
    }

    #[test]
    fn a_double_is_printed_as_javascript_prints_it() {
        assert_eq!(double(49.90), "49.9");
        assert_eq!(double(100.0), "100");
        assert_eq!(double(1e20), "100000000000000000000");
        assert_eq!(double(1e21), "1e+21");
        assert_eq!(double(1e-6), "0.000001");
        assert_eq!(double(1.5e-7), "1.5e-7");
        assert_eq!(double(f64::MAX), "1.7976931348623157e+308");
        assert_eq!(double(5e-324), "5e-324");
    }

    #[test]
    fn negative_zero_loses_its_sign_because_stringify_drops_it() {
        assert_eq!(double(-0.0), "0");
        assert_eq!(single(-0.0), "0");
    }

    #[test]
    fn what_json_cannot_say_becomes_a_string() {
        assert_eq!(double(f64::NAN), r#""NaN""#);
        assert_eq!(double(f64::INFINITY), r#""Infinity""#);
        assert_eq!(single(f32::NEG_INFINITY), r#""-Infinity""#);
    }

    #[test]
    fn a_single_keeps_the_digits_postgres_prints_for_it() {
        assert_eq!(single(0.1), "0.1");
        assert_eq!(single(16777216.0), "16777216");
        assert_eq!(single(f32::MAX), "3.4028235e+38");
        assert_eq!(single(1e-45), "1e-45");
    }

    #[test]
    fn a_single_is_never_printed_as_a_decimal_halfway_to_its_neighbour() {
        // Postgres prints the same, with an exponent: 9.2475296e+07 and so on. 92475300 would be read back, too.
        assert_eq!(single(-92475296.0), "-92475296");
        assert_eq!(single(425014784.0), "425014780");
        assert_eq!(single(16777216.0), "16777216");
        assert_eq!(single(1e19), "10000000000000000000");
    }
}
