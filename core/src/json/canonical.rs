//! Any JSON text, written again as `JSON.stringify` would write it.
//!
//! One pass reads and writes; a number JavaScript would alter becomes a string (see `decimal`). Open arrays and objects are
//! kept on a heap-allocated stack, so no depth of nesting overflows the backend's stack.

use super::decimal::push_decimal;
use super::members::{Members, OpenObject};
use super::reorder::put_in_order;
use super::scan::{InvalidJson, Scanner};

/// Appends the JSON text `json` in canonical form: compact, keys in property order, the last of duplicate keys.
///
/// Takes all that Postgres prints for `json` and `jsonb`. On an error `out` is as it was before.
pub fn push_json(out: &mut Vec<u8>, json: &str) -> Result<(), InvalidJson> {
    let start = out.len();
    let mut canonical = Canonical { scanner: Scanner::new(json), out, open: Vec::new(), members: Members::default() };
    let result = canonical.document();
    let members = canonical.members;
    match result {
        Ok(()) => put_in_order(out, start, members.into_disordered()),
        Err(_) => out.truncate(start),
    }
    result
}

struct Canonical<'t, 'o> {
    scanner: Scanner<'t>,
    out: &'o mut Vec<u8>,
    open: Vec<Container>,
    members: Members,
}

/// An array or object that has been opened and not yet closed.
enum Container {
    Array,
    Object(OpenObject),
}

/// What the reader has just passed.
enum Passed {
    /// An opening, a comma or a colon: a value comes next.
    Separator,
    /// A whole value.
    Value,
}

impl Canonical<'_, '_> {
    fn document(&mut self) -> Result<(), InvalidJson> {
        let mut passed = Passed::Separator;
        loop {
            passed = match (passed, self.open.last()) {
                (Passed::Separator, _) => self.value()?,
                (Passed::Value, Some(&Container::Array)) => self.next_element()?,
                (Passed::Value, Some(&Container::Object(object))) => self.next_member(object)?,
                (Passed::Value, None) => break,
            };
        }
        match self.scanner.peek() {
            None => Ok(()),
            Some(_) => self.scanner.invalid(),
        }
    }

    /// Reads a scalar or an empty container whole, and of any other container the beginning.
    fn value(&mut self) -> Result<Passed, InvalidJson> {
        match self.scanner.peek() {
            Some(b'{') => return self.open_object(),
            Some(b'[') => return Ok(self.open_array()),
            Some(b'"') => self.scanner.string_into(self.out)?,
            Some(b'-' | b'0'..=b'9') => push_decimal(self.out, self.scanner.number()?),
            Some(b't') => self.word("true")?,
            Some(b'f') => self.word("false")?,
            Some(b'n') => self.word("null")?,
            _ => return self.scanner.invalid(),
        }
        Ok(Passed::Value)
    }

    fn word(&mut self, word: &'static str) -> Result<(), InvalidJson> {
        let word = self.scanner.pass_word(word)?;
        self.out.extend_from_slice(word.as_bytes());
        Ok(())
    }

    fn open_array(&mut self) -> Passed {
        self.copy(b'[');
        if self.copies(b']') {
            return Passed::Value;
        }
        self.open.push(Container::Array);
        Passed::Separator
    }

    fn open_object(&mut self) -> Result<Passed, InvalidJson> {
        let object = self.members.open(self.out.len());
        self.copy(b'{');
        if self.copies(b'}') {
            return Ok(Passed::Value);
        }
        self.open.push(Container::Object(object));
        self.key()
    }

    fn next_element(&mut self) -> Result<Passed, InvalidJson> {
        if self.copies(b',') {
            return Ok(Passed::Separator);
        }
        if self.copies(b']') {
            self.open.pop();
            return Ok(Passed::Value);
        }
        self.scanner.invalid()
    }

    fn next_member(&mut self, object: OpenObject) -> Result<Passed, InvalidJson> {
        self.members.end(self.out.len());
        if self.copies(b',') {
            return self.key();
        }
        if self.copies(b'}') {
            self.open.pop();
            self.members.close(object, self.out);
            return Ok(Passed::Value);
        }
        self.scanner.invalid()
    }

    fn key(&mut self) -> Result<Passed, InvalidJson> {
        let start = self.out.len();
        self.scanner.peek();
        self.scanner.string_into(self.out)?;
        let key_end = self.out.len();
        if !self.copies(b':') {
            return self.scanner.invalid();
        }
        self.members.begin(start, key_end);
        Ok(Passed::Separator)
    }

    /// Passes `byte`, known to come next, and writes it.
    fn copy(&mut self, byte: u8) {
        self.copies(byte);
    }

    /// Passes `byte` and writes it, if it comes next; says whether it did.
    #[inline]
    fn copies(&mut self, byte: u8) -> bool {
        let passed = self.scanner.passes(byte);
        if passed {
            self.out.push(byte);
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Result<String, InvalidJson> {
        let mut out = b"kept".to_vec();
        let result = push_json(&mut out, text);
        let out = String::from_utf8(out).expect("JSON is UTF-8");
        let written = out.strip_prefix("kept").expect("what was there stays");
        match result {
            Ok(()) => Ok(written.to_owned()),
            Err(error) => {
                assert_eq!(written, "", "nothing is left of {text}");
                Err(error)
            }
        }
    }

    fn becomes(text: &str, expected: &str) {
        assert_eq!(json(text).as_deref(), Ok(expected), "{text}");
        assert_eq!(json(expected).as_deref(), Ok(expected), "{expected} is stable");
    }

    #[test]
    fn white_space_goes_and_everything_else_stays() {
        becomes(
            " {\"a\" : [ 1 , true,\tfalse,\r\nnull, \"x y\" ] , \"b\":{ } , \"c\":[ ]}\n",
            r#"{"a":[1,true,false,null,"x y"],"b":{},"c":[]}"#,
        );
        becomes("null", "null");
        becomes(r#""""#, r#""""#);
    }

    #[test]
    fn numbers_take_javascripts_form_or_become_strings() {
        becomes("[1.0, 0.10, -0, 1e2, 1E400, 12345678901234567890]", r#"[1,0.1,0,100,"1E400","12345678901234567890"]"#);
    }

    #[test]
    fn array_index_keys_come_first() {
        becomes(r#"{"b":1,"10":2,"a":3,"9":4,"09":5}"#, r#"{"9":4,"10":2,"b":1,"a":3,"09":5}"#);
        becomes(r#"{"4294967295":1,"4294967294":2}"#, r#"{"4294967294":2,"4294967295":1}"#);
    }

    #[test]
    fn a_duplicate_key_keeps_its_first_place_and_its_last_value() {
        becomes(r#"{"a":1,"b":{"x":1,"x":2},"a":[3]}"#, r#"{"a":[3],"b":{"x":2}}"#);
        becomes(r#"{"a":{"2":0,"1":0},"a":{"2":1,"1":1}}"#, r#"{"a":{"1":1,"2":1}}"#);
        becomes(r#"{"__proto__":1,"__proto__":2}"#, r#"{"__proto__":2}"#);
    }

    #[test]
    fn keys_are_the_same_when_they_are_once_unescaped() {
        becomes(r#"{"a":1,"\u0061":2}"#, r#"{"a":2}"#);
        becomes(r#"{"\uD83D":1,"😀":2,"\ud83d":3,"\ud83d\ude00":4}"#, r#"{"\ud83d":3,"😀":4}"#);
        becomes(r#"{"b":1,"\u0031":2}"#, r#"{"1":2,"b":1}"#);
    }

    #[test]
    fn disorder_is_mended_at_every_depth() {
        becomes(
            r#"{"z":[{"b":{"c":1,"0":2},"1":3}],"5":{"y":1,"4":{"x":1,"3":2}}}"#,
            r#"{"5":{"4":{"3":2,"x":1},"y":1},"z":[{"1":3,"b":{"0":2,"c":1}}]}"#,
        );
    }

    #[test]
    fn a_hundred_thousand_levels_do_not_overflow_the_stack() {
        let depth = 100_000;
        let text = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        becomes(&text, &text);
        let disordered = format!("{}1{}", r#"{"a":"#.repeat(depth), r#","0":0}"#.repeat(depth));
        let ordered = format!("{}1{}", r#"{"0":0,"a":"#.repeat(depth), "}".repeat(depth));
        becomes(&disordered, &ordered);
    }

    #[test]
    fn what_is_not_json_is_refused_and_leaves_nothing_behind() {
        for text in [
            "",
            " ",
            "nul",
            "tru e",
            "01",
            "1 2",
            "[1,]",
            "[1",
            "[,1]",
            "{",
            "{}}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\":1]",
            "[1}",
            "NaN",
            "-",
            "+1",
            "'a'",
            "\u{feff}1",
            "\u{a0}1",
        ] {
            assert!(json(text).is_err(), "{text}");
        }
        assert_eq!(json("[1, x]"), Err(InvalidJson { offset: 4 }));
    }
}
