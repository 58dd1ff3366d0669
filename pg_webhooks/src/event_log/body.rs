//! An event's body on its way into a row: a text as Postgres holds it, written in place.

use pgrx::prelude::*;

/// The bytes of a body behind the header of a varlena, which says how long it is, so that a row takes them without a copy.
pub struct Body(Vec<u8>);

impl Body {
    /// An empty one.
    pub fn new() -> Self {
        let mut held = Vec::with_capacity(512);
        held.extend_from_slice(&[0; pg_sys::VARHDRSZ]);
        Self(held)
    }

    /// Where it is written, behind what is there.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// Takes away what has been written; returns where to write.
    pub fn clear(&mut self) -> &mut Vec<u8> {
        self.0.truncate(pg_sys::VARHDRSZ);
        &mut self.0
    }

    /// How long `out` is where the body has that many bytes.
    pub fn end(bytes: usize) -> usize {
        pg_sys::VARHDRSZ + bytes
    }

    /// What has been written.
    pub fn bytes(&self) -> &[u8] {
        &self.0[pg_sys::VARHDRSZ..]
    }

    /// The body as a text of Postgres, good until it is written to again or dropped.
    pub fn datum(&mut self) -> pg_sys::Datum {
        let length = self.0.len();
        let held = self.0.as_mut_ptr();
        // SAFETY: the header is the first bytes, and malloc has aligned them.
        unsafe { pgrx::set_varsize_4b(held.cast(), length as i32) }
        pg_sys::Datum::from(held)
    }
}
