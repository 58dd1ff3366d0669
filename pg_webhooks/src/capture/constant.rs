//! A text of the rules, compared with a column's values as SQL compares them.

use pgrx::prelude::*;
use webhooks_core::json;

use super::output::Output;
use crate::postgres::ShortValue;

/// A text that a column may hold. `status = 'running'` is as true here as in SQL: a char(n) leaves out the blanks that fill it
/// up, and citext and collations say themselves what is equal.
pub struct Constant {
    text: &'static str,
    equals: Equals,
}

enum Equals {
    /// The type's own operator, for types that hold their text as `text` does.
    Operator { function: pg_sys::Oid, collation: pg_sys::Oid, value: ShortValue },
    /// The same text in print: an enum's label, a "char", a name.
    Print(Output),
}

impl Constant {
    /// The text as a value of a column.
    pub fn of(text: &'static str, column: &pg_sys::FormData_pg_attribute) -> Self {
        // SAFETY: look-ups in the catalogue for the type of an existing column; the entry lives as long as the session.
        let function = unsafe {
            let base = pg_sys::getBaseType(column.atttypid);
            let is_text = base == pg_sys::BPCHAROID || pg_sys::IsBinaryCoercible(base, pg_sys::TEXTOID);
            let equals = (*pg_sys::lookup_type_cache(base, pg_sys::TYPECACHE_EQ_OPR as i32)).eq_opr;
            (is_text && column.attlen == -1 && equals != pg_sys::InvalidOid).then(|| pg_sys::get_opcode(equals))
        };
        let equals = match function {
            Some(function) => {
                Equals::Operator { function, collation: column.attcollation, value: ShortValue::of(text.as_bytes()) }
            }
            None => Equals::Print(Output::of(column.atttypid)),
        };
        Self { text, equals }
    }

    /// Whether a value of the column equals it.
    ///
    /// # Safety
    /// The value is of the column's type.
    pub unsafe fn equals(&self, value: pg_sys::Datum) -> bool {
        match &self.equals {
            Equals::Operator { function, collation, value: constant } => {
                // SAFETY: both are values of the operator's type.
                unsafe {
                    pg_sys::OidFunctionCall2Coll(*function, *collation, value, constant.datum()).value() as u8 != 0
                }
            }
            // SAFETY: the caller's promise.
            Equals::Print(output) => unsafe { output.print(value, |printed| json::utf8(printed) == self.text) },
        }
    }
}
