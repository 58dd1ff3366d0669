//! Objects and literals, for callers that know which fields they write.
//!
//! Keys are written in the order they are given: the caller gives each once, in `property_order`.

use super::string::push_string;

/// Appends `null`.
pub fn push_null(out: &mut Vec<u8>) {
    out.extend_from_slice(b"null");
}

/// Appends `true` or `false`.
pub fn push_bool(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// Appends an object's key and its colon.
pub fn push_key(out: &mut Vec<u8>, name: &str) {
    push_string(out, name);
    out.push(b':');
}

/// Writes one object, field by field: `push_i64(object.key("stock"), 3)`.
///
/// A value is whatever one writer appends to what `key` returns; that may be another `ObjectWriter`.
#[must_use = "the object is open until `close`"]
pub struct ObjectWriter<'o> {
    out: &'o mut Vec<u8>,
    /// What goes before the next key: the brace, then commas.
    separator: u8,
}

impl<'o> ObjectWriter<'o> {
    /// Begins an object at the end of `out`.
    pub fn open(out: &'o mut Vec<u8>) -> Self {
        Self { out, separator: b'{' }
    }

    /// Writes the next key and returns where its value goes.
    pub fn key(&mut self, name: &str) -> &mut Vec<u8> {
        self.out.push(self.separator);
        self.separator = b',';
        push_key(self.out, name);
        self.out
    }

    /// Ends the object.
    pub fn close(self) {
        if self.separator == b'{' {
            self.out.push(b'{');
        }
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::written;
    use super::super::{push_decimal, push_i64};
    use super::*;

    #[test]
    fn an_object_without_fields_is_a_pair_of_braces() {
        assert_eq!(written(|out| ObjectWriter::open(out).close()), "{}");
    }

    #[test]
    fn fields_are_separated_and_objects_nest() {
        let text = written(|out| {
            let mut event = ObjectWriter::open(out);
            push_string(event.key("event"), "product.updated");
            let mut data = ObjectWriter::open(event.key("data"));
            push_i64(data.key("id"), 7);
            push_decimal(data.key("price"), "49.90");
            push_null(data.key("reason"));
            data.close();
            push_bool(event.key("\"last\""), true);
            event.close();
        });
        assert_eq!(text, r#"{"event":"product.updated","data":{"id":7,"price":49.9,"reason":null},"\"last\"":true}"#);
    }
}
