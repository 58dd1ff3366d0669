//! The layout of a number's digits, by ECMAScript's Number::toString.
//!
//! It decides where the point goes and when an exponent appears, never which digits: those are the caller's.

/// Lays out `digits × 10^exponent` by the cases of Number::toString (ECMA-262 §6.1.6.1.20).
pub(super) fn push_layout(out: &mut Vec<u8>, digits: &[u8], exponent: i64) {
    // Seventeen digits at most.
    let length = digits.len() as i64;
    // The value is `0.digits × 10^point`.
    let point = exponent + length;
    if length <= point && point <= 21 {
        out.extend_from_slice(digits);
        push_zeros(out, point - length);
    } else if 0 < point && point < length {
        let (whole, fraction) = digits.split_at(point as usize);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else if -6 < point && point <= 0 {
        out.extend_from_slice(b"0.");
        push_zeros(out, -point);
        out.extend_from_slice(digits);
    } else {
        push_scientific(out, digits, point - 1);
    }
}

fn push_scientific(out: &mut Vec<u8>, digits: &[u8], exponent: i64) {
    let (first, fraction) = digits.split_at(1);
    out.extend_from_slice(first);
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    out.extend_from_slice(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
}

/// At most twenty-one.
fn push_zeros(out: &mut Vec<u8>, count: i64) {
    out.resize(out.len() + count as usize, b'0');
}

#[cfg(test)]
mod tests {
    use super::super::testing::written;
    use super::*;

    fn layout(digits: &str, exponent: i64) -> String {
        written(|out| push_layout(out, digits.as_bytes(), exponent))
    }

    #[test]
    fn twenty_one_digits_before_the_point_are_the_most_without_an_exponent() {
        assert_eq!(layout("12", 19), "120000000000000000000");
        assert_eq!(layout("12", 20), "1.2e+21");
        assert_eq!(layout("1", 21), "1e+21");
    }

    #[test]
    fn five_zeros_after_the_point_are_the_most_without_an_exponent() {
        assert_eq!(layout("12", -7), "0.0000012");
        assert_eq!(layout("12", -8), "1.2e-7");
        assert_eq!(layout("1", -300), "1e-300");
    }

    #[test]
    fn the_point_falls_among_the_digits_when_it_must() {
        assert_eq!(layout("1234", -1), "123.4");
        assert_eq!(layout("1234", -4), "0.1234");
        assert_eq!(layout("1234", 0), "1234");
    }
}
