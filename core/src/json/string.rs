//! Strings, escaped as `JSON.stringify` escapes them.
//!
//! A string value has exactly one written form here, so two written strings are equal when their bytes are. Only quotes,
//! backslashes, control characters below U+0020 and lone surrogates are escaped; U+007F, U+2028 and `/` stay raw.

use std::borrow::Cow;

/// Appends `text` in quotes, escaped as `JSON.stringify` does.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    push_escaped(out, text);
    out.push(b'"');
}

/// A text of Postgres as UTF-8. It may hold other bytes, which came past Postgres' own check: from a function in C, or
/// from a role's name that was given in a database of another encoding. Those become octal, `\303`, as Postgres prints
/// a "char".
#[inline]
pub fn utf8(text: &[u8]) -> Cow<'_, str> {
    utf8_with(text, "\\")
}

/// The same for a JSON text, in which a backslash is written as two.
#[inline]
pub fn utf8_json(text: &[u8]) -> Cow<'_, str> {
    utf8_with(text, "\\\\")
}

#[inline]
fn utf8_with<'t>(text: &'t [u8], escape: &str) -> Cow<'t, str> {
    if text.is_ascii() {
        // SAFETY: ASCII is UTF-8. Most texts are short and ASCII, and this tells so in half of the time.
        return Cow::Borrowed(unsafe { str::from_utf8_unchecked(text) });
    }
    match str::from_utf8(text) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(escaped(text, escape)),
    }
}

#[cold]
fn escaped(text: &[u8], escape: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for chunk in text.utf8_chunks() {
        escaped.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| escaped.push_str(&format!("{escape}{byte:03o}")));
    }
    escaped
}

/// Appends one character of a string, escaped if need be.
pub(super) fn push_char(out: &mut Vec<u8>, char: char) {
    push_escaped(out, char.encode_utf8(&mut [0; 4]));
}

/// Appends a UTF-16 code unit as the lower-case escape that well-formed `JSON.stringify` prints for a lone surrogate.
pub(super) fn push_unit_escape(out: &mut Vec<u8>, unit: u16) {
    let digit = |shift: u32| HEX[usize::from(unit >> shift & 0xf)];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

/// How many bytes at the beginning of `text` stand for themselves, both as read and as written.
#[inline]
pub(super) fn clean_run(text: &[u8]) -> usize {
    // Without a branch inside a block, the compiler looks at all its bytes at once.
    let blocks = text
        .chunks_exact(BLOCK_BYTES)
        .take_while(|block| !block.iter().fold(false, |dirty, &byte| dirty | is_dirty(byte)))
        .count();
    let tail = &text[blocks * BLOCK_BYTES..];
    let dirty = tail.iter().position(|&byte| is_dirty(byte));
    blocks * BLOCK_BYTES + dirty.unwrap_or(tail.len())
}

/// Whether `byte` begins an escape, needs one, or ends the string.
#[inline]
fn is_dirty(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// How many bytes `clean_run` looks at together.
const BLOCK_BYTES: usize = 8;

const HEX: &[u8; 16] = b"0123456789abcdef";

fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    loop {
        let (clean, dirty) = rest.split_at(clean_run(rest));
        out.extend_from_slice(clean);
        match dirty {
            [] => return,
            [byte, after @ ..] => {
                push_escape(out, *byte);
                rest = after;
            }
        }
    }
}

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    let letter = match byte {
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        b'"' | b'\\' => byte,
        _ => return push_unit_escape(out, u16::from(byte)),
    };
    out.extend_from_slice(&[b'\\', letter]);
}

#[cfg(test)]
mod tests {
    use super::super::testing::written;
    use super::*;

    fn string(text: &str) -> String {
        written(|out| push_string(out, text))
    }

    #[test]
    fn ordinary_text_is_only_quoted() {
        assert_eq!(string(""), r#""""#);
        assert_eq!(string("Clé à molette / 12 mm"), r#""Clé à molette / 12 mm""#);
    }

    #[test]
    fn quotes_and_backslashes_are_escaped() {
        assert_eq!(string(r#"a"b\c"#), r#""a\"b\\c""#);
    }

    #[test]
    fn control_characters_take_the_short_escape_where_json_has_one() {
        assert_eq!(string("\u{8}\t\n\u{c}\r"), r#""\b\t\n\f\r""#);
    }

    #[test]
    fn other_control_characters_become_lower_case_hex() {
        assert_eq!(string("\0\u{1}\u{b}\u{1f}"), r#""\u0000\u0001\u000b\u001f""#);
    }

    #[test]
    fn delete_and_the_line_separators_stay_raw_because_stringify_leaves_them() {
        assert_eq!(string("\u{7f}\u{2028}\u{2029}😀"), "\"\u{7f}\u{2028}\u{2029}😀\"");
    }

    #[test]
    fn an_escape_is_found_wherever_it_stands() {
        for at in 0..50 {
            let (before, after) = ("x".repeat(at), "y".repeat(49 - at));
            assert_eq!(string(&format!("{before}\n{after}")), format!(r#""{before}\n{after}""#));
        }
    }

    #[test]
    fn a_text_that_is_utf_8_stays_as_it_is() {
        assert!(matches!(utf8("é".as_bytes()), Cow::Borrowed("é")));
        assert!(matches!(utf8_json(br#"{"a":"\n"}"#), Cow::Borrowed(r#"{"a":"\n"}"#)));
    }

    #[test]
    fn bytes_that_are_no_utf_8_become_octal() {
        assert_eq!(utf8(b"a\xc3z\xff\xf0\x9f\x98"), r"a\303z\377\360\237\230");
        assert_eq!(utf8_json(b"\"\xc3\""), r#""\\303""#);
    }

    #[test]
    fn a_lone_surrogate_is_written_as_its_escape() {
        assert_eq!(written(|out| push_unit_escape(out, 0xd83d)), r"\ud83d");
    }
}
