//! The columns of a row type, as Postgres describes them.

use std::borrow::Cow;
use std::ffi::CStr;

use pgrx::prelude::*;
use webhooks_core::json;

/// The columns of a row type that a row holds: index from 0, and name. Not dropped ones, nor, since 18, virtual generated
/// ones, which are never computed for a trigger.
///
/// # Safety
/// The descriptor outlives the names.
pub unsafe fn held_columns<'a>(descriptor: pg_sys::TupleDesc) -> impl Iterator<Item = (usize, Cow<'a, str>)> {
    // SAFETY: natts attributes, each with a C string for a name.
    unsafe {
        let is_held =
            |column: &pg_sys::FormData_pg_attribute| !column.attisdropped && column.attgenerated as u8 != b'v';
        (0..(*descriptor).natts as usize).filter(move |index| is_held(attribute(descriptor, *index))).map(
            move |index| {
                let name = CStr::from_ptr(attribute(descriptor, index).attname.data.as_ptr());
                (index, json::utf8(name.to_bytes()))
            },
        )
    }
}

/// One column's description, index from 0.
///
/// # Safety
/// The descriptor has that many columns and outlives the result.
pub unsafe fn attribute<'a>(descriptor: pg_sys::TupleDesc, index: usize) -> &'a pg_sys::FormData_pg_attribute {
    // SAFETY: the caller's promise. Since 18 the descriptions lie behind an array of short ones.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        let first = (*descriptor).attrs.as_ptr();
        #[cfg(feature = "pg18")]
        let first = (*descriptor)
            .compact_attrs
            .as_ptr()
            .add((*descriptor).natts as usize)
            .cast::<pg_sys::FormData_pg_attribute>();
        &*first.add(index)
    }
}
