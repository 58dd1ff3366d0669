//! JSON text that survives JavaScript.
//!
//! A receiver may check a signature over `JSON.stringify(JSON.parse(body))`, so everything written here equals its own
//! parse-and-stringify round trip, byte for byte: compact, ECMAScript numbers, escapes and property order, no duplicate
//! keys. A number JavaScript would alter is written as a string that holds its exact decimal form.
//!
//! Writers append to a `Vec<u8>` and leave what it holds alone. They never panic, never recurse, and know nothing of
//! Postgres beyond the forms its output functions print. What they write is UTF-8: bytes become text by `utf8` alone.

mod canonical;
mod decimal;
mod layout;
mod members;
mod number;
mod order;
mod reorder;
mod scan;
mod string;
mod writer;

pub use canonical::push_json;
pub use decimal::push_decimal;
pub use number::{push_f32, push_f64, push_i64};
pub use order::property_order;
pub use string::{push_string, utf8, utf8_json};
pub use writer::{ObjectWriter, push_bool, push_key, push_null};

#[cfg(test)]
mod testing {
    /// What `write` appends, as text.
    pub fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("every writer writes UTF-8")
    }
}
