//! Decimal text of any length, kept as a number only when JavaScript would print the same value.
//!
//! The comparison is between exact decimals, never between doubles: 0.1 stays a number although no double is 0.1, because
//! JavaScript reads it and prints 0.1 again. What does not survive is written as a string, exactly as it was given.

use super::layout::push_layout;
use super::string::push_string;

/// Appends the decimal number `text`, in JavaScript's form if that has exactly its value, else as a string.
///
/// Takes what Postgres prints for `numeric` and what JSON calls a number: digits with an optional sign, point and
/// exponent. Anything else (`NaN`, `Infinity`) becomes a string.
pub fn push_decimal(out: &mut Vec<u8>, text: &str) {
    match Decimal::parse(text.as_bytes()) {
        Some(decimal) if decimal.is_safe() => decimal.push(out),
        Some(decimal) => push_checked(out, &decimal, text),
        None => push_string(out, text),
    }
}

/// Below it a significand survives any double: distinct decimals of 15 digits have distinct nearest doubles, as long
/// as those are normal, so the shortest form of that double is the decimal itself.
const SAFE_SIGNIFICAND_LIMIT: u64 = 10u64.pow(f64::DIGITS);
/// JavaScript never prints more significant digits than this.
const MAX_DIGITS: u32 = 17;
/// Where a written exponent stops counting: far outside a double even when a text of gigabytes moves the point.
const EXPONENT_CAP: i64 = 1 << 40;

/// A number as `significand × 10^exponent`, its significand without trailing zeros.
struct Decimal {
    negative: bool,
    significand: u64,
    exponent: i64,
}

impl Decimal {
    /// `None` when `text` is not a decimal number, or has more significant digits than JavaScript ever prints.
    fn parse(text: &[u8]) -> Option<Self> {
        let (negative, unsigned) = match text {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        let (whole, rest) = split_digits(unsigned);
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => split_digits(rest),
            _ => (&[][..], rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut digits = Significand::default();
        digits.extend(whole)?;
        digits.extend(fraction)?;
        let fraction_digits = i64::try_from(fraction.len()).ok()?;
        Some(Self {
            negative,
            significand: digits.value,
            exponent: parse_exponent(rest)? - fraction_digits + digits.zeros,
        })
    }

    /// Whether JavaScript surely prints this value again; if not, it may still.
    fn is_safe(&self) -> bool {
        let normal = i64::from(f64::MIN_10_EXP)..i64::from(f64::MAX_10_EXP);
        self.significand < SAFE_SIGNIFICAND_LIMIT
            && (self.significand == 0 || normal.contains(&self.exponent) && normal.contains(&(self.exponent + 15)))
    }

    /// Appends the value in the layout of ECMAScript's Number::toString.
    fn push(&self, out: &mut Vec<u8>) {
        if self.significand == 0 {
            return out.push(b'0');
        }
        if self.negative {
            out.push(b'-');
        }
        let mut digits = itoa::Buffer::new();
        push_layout(out, digits.format(self.significand).as_bytes(), self.exponent);
    }
}

/// The significant digits read so far; zeros wait until a digit after them makes them count.
#[derive(Default)]
struct Significand {
    value: u64,
    length: u32,
    zeros: i64,
}

impl Significand {
    /// `None` when there are more than `MAX_DIGITS`.
    #[inline]
    fn extend(&mut self, digits: &[u8]) -> Option<()> {
        for &digit in digits {
            if digit == b'0' {
                self.zeros += i64::from(self.value != 0);
                continue;
            }
            while self.zeros > 0 {
                self.push(0)?;
                self.zeros -= 1;
            }
            self.push(digit - b'0')?;
        }
        Some(())
    }

    #[inline]
    fn push(&mut self, digit: u8) -> Option<()> {
        self.length += 1;
        if self.length > MAX_DIGITS {
            return None;
        }
        self.value = self.value * 10 + u64::from(digit);
        Some(())
    }
}

#[inline]
fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

/// The value of `e+21` and the like, 0 for nothing; `None` for anything else.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let signed = match text {
        [] => return Some(0),
        [b'e' | b'E', rest @ ..] => rest,
        _ => return None,
    };
    let (sign, digits) = match signed {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        _ => (1, signed),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let capped = |sum: i64, digit: &u8| (sum * 10 + i64::from(digit - b'0')).min(EXPONENT_CAP);
    Some(sign * digits.iter().fold(0, capped))
}

/// Appends `decimal` if JavaScript reads its layout and prints it again, else `text` as a string.
#[cold]
fn push_checked(out: &mut Vec<u8>, decimal: &Decimal, text: &str) {
    let start = out.len();
    decimal.push(out);
    let nearest = str::from_utf8(&out[start..]).ok().and_then(|layout| layout.parse::<f64>().ok());
    let survives = nearest.is_some_and(|double| out[start..] == *ryu_js::Buffer::new().format(double).as_bytes());
    if !survives {
        out.truncate(start);
        push_string(out, text);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::written;
    use super::*;

    fn decimal(text: &str) -> String {
        written(|out| push_decimal(out, text))
    }

    #[test]
    fn a_trailing_zero_is_dropped_because_javascript_drops_it() {
        assert_eq!(decimal("49.90"), "49.9");
        assert_eq!(decimal("-100.00"), "-100");
        assert_eq!(decimal("1200"), "1200");
    }

    #[test]
    fn every_zero_is_the_same_zero() {
        for zero in ["0", "0.00", "-0", "-0.0", "0e5", "0E-999999999999999999999"] {
            assert_eq!(decimal(zero), "0", "{zero}");
        }
    }

    #[test]
    fn the_exponent_appears_where_javascript_puts_it() {
        assert_eq!(decimal("100000000000000000000"), "100000000000000000000");
        assert_eq!(decimal("1000000000000000000000"), "1e+21");
        assert_eq!(decimal("-1230000000000000000000"), "-1.23e+21");
        assert_eq!(decimal("0.000001"), "0.000001");
        assert_eq!(decimal("0.00000012"), "1.2e-7");
        assert_eq!(decimal("1e2"), "100");
        assert_eq!(decimal("12.5E-1"), "1.25");
    }

    #[test]
    fn sixteen_and_seventeen_digits_stay_if_javascript_prints_them_again() {
        assert_eq!(decimal("0.30000000000000004"), "0.30000000000000004");
        assert_eq!(decimal("0.30000000000000003"), r#""0.30000000000000003""#);
        assert_eq!(decimal("9007199254740993"), r#""9007199254740993""#);
        assert_eq!(decimal("9007199254740994.0"), "9007199254740994");
    }

    #[test]
    fn what_does_not_survive_keeps_its_exact_form() {
        let long = format!("{}.{}", "9".repeat(3000), "1".repeat(3000));
        assert_eq!(decimal(&long), format!("\"{long}\""));
        assert_eq!(decimal("123456789012345678.90"), r#""123456789012345678.90""#);
        assert_eq!(decimal("1E400"), r#""1E400""#);
        assert_eq!(decimal("1e-400"), r#""1e-400""#);
        assert_eq!(decimal("1e99999999999999999999"), r#""1e99999999999999999999""#);
    }

    #[test]
    fn the_edges_of_the_double_are_checked_not_assumed() {
        assert_eq!(decimal("1.7976931348623157e308"), "1.7976931348623157e+308");
        assert_eq!(decimal("1.8e308"), r#""1.8e308""#);
        assert_eq!(decimal("5e-324"), "5e-324");
        assert_eq!(decimal("4e-324"), r#""4e-324""#);
        assert_eq!(decimal("2.2250738585072014e-308"), "2.2250738585072014e-308");
    }

    #[test]
    fn thousands_of_zeros_and_an_exponent_can_cancel_out() {
        let zeros = "0".repeat(5000);
        assert_eq!(decimal(&format!("0.{zeros}1e5001")), "1");
        assert_eq!(decimal(&format!("12{zeros}.{zeros}e-5000")), "12");
    }

    #[test]
    fn what_is_no_number_becomes_a_string() {
        for text in ["NaN", "Infinity", "-Infinity", "", "-", ".", "1e", "1e+", "1 ", "+1", "0x1"] {
            assert_eq!(decimal(text), format!("\"{text}\""));
        }
    }
}
