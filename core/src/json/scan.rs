//! The tokens of JSON text, read strictly by RFC 8259.
//!
//! A string is read and written in one movement, already in its canonical form; a number is handed over as it stands. A
//! lone surrogate escape is accepted, as Postgres's `json` accepts it. Structure is `canonical`'s business.

use std::error::Error;
use std::fmt;

use super::string::{clean_run, push_char, push_unit_escape};

/// Text that is not JSON, which no output of Postgres's `json` or `jsonb` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidJson {
    /// How many bytes of the text could be read.
    pub offset: usize,
}

impl fmt::Display for InvalidJson {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "invalid JSON at byte {}", self.offset)
    }
}

impl Error for InvalidJson {}

/// A position in JSON text.
pub(super) struct Scanner<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn invalid<T>(&self) -> Result<T, InvalidJson> {
        Err(InvalidJson { offset: self.at })
    }

    /// The next byte that is not white space, still to be read; `None` at the end.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    /// Passes `byte` if it comes next, after white space; says whether it did.
    #[inline]
    pub(super) fn passes(&mut self, byte: u8) -> bool {
        let comes_next = self.peek() == Some(byte);
        self.at += usize::from(comes_next);
        comes_next
    }

    /// Passes `word`, which must come next.
    pub(super) fn pass_word(&mut self, word: &'static str) -> Result<&'static str, InvalidJson> {
        if !self.rest().starts_with(word.as_bytes()) {
            return self.invalid();
        }
        self.at += word.len();
        Ok(word)
    }

    /// Reads a number.
    pub(super) fn number(&mut self) -> Result<&'t str, InvalidJson> {
        let start = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    /// Reads a string, whose opening quote must come next, and appends its canonical form.
    pub(super) fn string_into(&mut self, out: &mut Vec<u8>) -> Result<(), InvalidJson> {
        if self.byte() != Some(b'"') {
            return self.invalid();
        }
        let mut run = self.at;
        self.at += 1;
        loop {
            self.at += clean_run(self.rest());
            let text = self.text.as_bytes();
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    out.extend_from_slice(&text[run..self.at]);
                    return Ok(());
                }
                Some(b'\\') => {
                    out.extend_from_slice(&text[run..self.at]);
                    self.escape_into(out)?;
                    run = self.at;
                }
                // A raw control character, or the end.
                _ => return self.invalid(),
            }
        }
    }

    fn escape_into(&mut self, out: &mut Vec<u8>) -> Result<(), InvalidJson> {
        self.at += 1;
        let char = match self.byte() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape_into(out),
            _ => return self.invalid(),
        };
        self.at += 1;
        push_char(out, char);
        Ok(())
    }

    fn unicode_escape_into(&mut self, out: &mut Vec<u8>) -> Result<(), InvalidJson> {
        let unit = self.code_unit()?;
        let after_unit = self.at;
        if (0xd800..0xdc00).contains(&unit) && self.rest().starts_with(b"\\u") {
            self.at += 1;
            let pair = [unit, self.code_unit()?];
            if let Some(Ok(char)) = char::decode_utf16(pair).next() {
                push_char(out, char);
                return Ok(());
            }
            self.at = after_unit;
        }
        match char::from_u32(u32::from(unit)) {
            Some(char) => push_char(out, char),
            None => push_unit_escape(out, unit),
        }
        Ok(())
    }

    /// Reads `u` and four hexadecimal digits.
    fn code_unit(&mut self) -> Result<u16, InvalidJson> {
        self.at += 1;
        let mut unit = 0;
        for _ in 0..4 {
            match self.byte().and_then(|byte| char::from(byte).to_digit(16)) {
                Some(digit) => unit = unit << 4 | digit as u16,
                None => return self.invalid(),
            }
            self.at += 1;
        }
        Ok(unit)
    }

    fn digits(&mut self) -> Result<(), InvalidJson> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { self.invalid() } else { Ok(()) }
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn rest(&self) -> &'t [u8] {
        &self.text.as_bytes()[self.at..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Result<String, InvalidJson> {
        let mut out = Vec::new();
        Scanner::new(text).string_into(&mut out)?;
        Ok(String::from_utf8(out).expect("strings are UTF-8"))
    }

    #[test]
    fn an_escape_that_javascript_would_not_write_is_undone() {
        assert_eq!(string(r#""\/ \u00e9 \u0041""#).as_deref(), Ok(r#""/ é A""#));
    }

    #[test]
    fn an_escape_that_javascript_needs_takes_its_form() {
        assert_eq!(string(r#""\u000A \u0022 \u005C \u001F \u0000""#).as_deref(), Ok(r#""\n \" \\ \u001f \u0000""#));
        assert_eq!(string(r#""\b\f\n\r\t\"\\""#).as_deref(), Ok(r#""\b\f\n\r\t\"\\""#));
    }

    #[test]
    fn a_surrogate_pair_is_joined() {
        assert_eq!(string(r#""\uD83D\uDE00!""#).as_deref(), Ok(r#""😀!""#));
        assert_eq!(string(r#""\ud83d\ud83d\ude00""#).as_deref(), Ok(r#""\ud83d😀""#));
    }

    #[test]
    fn a_lone_surrogate_stays_an_escape_in_lower_case() {
        assert_eq!(string(r#""\uDE00\uD83D""#).as_deref(), Ok(r#""\ude00\ud83d""#));
        assert_eq!(string(r#""\uD83D\u0041\uD83D\n""#).as_deref(), Ok(r#""\ud83dA\ud83d\n""#));
    }

    #[test]
    fn a_broken_string_is_refused_where_it_breaks() {
        for (text, offset) in
            [("\"abc", 4), ("\"a\nb\"", 2), (r#""\x""#, 2), (r#""\u12é4""#, 5), (r#""\ud83d\u""#, 9), ("\"\\", 2)]
        {
            assert_eq!(string(text), Err(InvalidJson { offset }), "{text}");
        }
    }

    #[test]
    fn a_number_is_read_by_the_grammar_and_no_further() {
        for text in ["0", "-0", "10", "1.50", "1e5", "1E+05", "-0.1e-2"] {
            assert_eq!(Scanner::new(&format!("{text},")).number(), Ok(text));
        }
        for text in ["-", "1.", "1e", "1e+", ".5", "+1", ""] {
            assert!(Scanner::new(text).number().is_err(), "{text}");
        }
        assert_eq!(Scanner::new("01").number(), Ok("0"));
    }
}
