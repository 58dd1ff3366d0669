//! Short texts and byte strings as Postgres holds them, in memory of Rust's.

use pgrx::prelude::*;

/// A text or bytea behind one byte that says how long it is, this byte included.
pub struct ShortValue([u8; 1 + ShortValue::MAX_BYTES]);

impl ShortValue {
    /// How many bytes of its own a value may have to be held so.
    pub const MAX_BYTES: usize = 0x7f - 1;

    /// Of at most `MAX_BYTES`; more are a fault of the caller's.
    pub fn of(bytes: &[u8]) -> Self {
        assert!(bytes.len() <= Self::MAX_BYTES, "{} bytes are no short value", bytes.len());
        let length = bytes.len() as u8 + 1;
        let mut held = [0; 1 + Self::MAX_BYTES];
        held[0] = if cfg!(target_endian = "little") { length << 1 | 1 } else { length | 0x80 };
        held[1..usize::from(length)].copy_from_slice(bytes);
        Self(held)
    }

    /// The value, good for as long as this stays where it is.
    pub fn datum(&self) -> pg_sys::Datum {
        pg_sys::Datum::from(self.0.as_ptr())
    }
}
