//! What nothing may be written in. The executor looks at this for its own statements; what is written past it must do so, too.

use std::ffi::CStr;

use pgrx::prelude::*;

/// Ends the statement in a READ ONLY transaction, during recovery, and in a parallel query.
pub fn refuse_where_read_only(command: &CStr) {
    // SAFETY: both read the transaction's state; the name outlives the calls.
    unsafe {
        if pg_sys::XactReadOnly {
            pg_sys::PreventCommandIfReadOnly(command.as_ptr());
        }
        pg_sys::PreventCommandIfParallelMode(command.as_ptr());
    }
}
