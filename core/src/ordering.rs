//! The ordering key of an event: which row it is about, in eight bytes.
//!
//! Two events with the same key are delivered one after the other. Two rows that come to the same one by chance only wait
//! for each other.

/// A hash under construction: FNV-1a in 64 bits, which is the same on every machine and in every version.
#[derive(Clone, Copy)]
pub struct OrderingKey(u64);

impl OrderingKey {
    /// Of a row of the table with this oid.
    pub fn of_table(table: u32) -> Self {
        Self(0xcbf2_9ce4_8422_2325).with(&table.to_le_bytes())
    }

    /// Adds a value of the row's key.
    pub fn with_value(self, value: &[u8]) -> Self {
        // The length keeps ("a", "bc") and ("ab", "c") apart.
        self.with(&(value.len() as u64).to_le_bytes()).with(value)
    }

    /// The hash, as Postgres' bigint holds it.
    pub fn finish(self) -> i64 {
        self.0.cast_signed()
    }

    fn with(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(table: u32, values: &[&str]) -> i64 {
        values.iter().fold(OrderingKey::of_table(table), |key, value| key.with_value(value.as_bytes())).finish()
    }

    #[test]
    fn the_hash_is_that_of_the_published_algorithm() {
        // http://www.isthe.com/chongo/src/fnv/test_fnv.c
        assert_eq!(OrderingKey(0xcbf2_9ce4_8422_2325).with(b"foobar").0, 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_row_has_one_key_and_other_rows_have_others() {
        assert_eq!(key(1, &["7"]), key(1, &["7"]));
        assert_ne!(key(1, &["7"]), key(2, &["7"]));
        assert_ne!(key(1, &["a", "bc"]), key(1, &["ab", "c"]));
    }
}
