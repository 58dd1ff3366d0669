//! The extension's own tables, and who owns a table: look-ups in Postgres' catalogue cache.

use pgrx::prelude::*;

/// A table of the extension.
pub fn relation(name: &std::ffi::CStr) -> Result<pg_sys::Oid, String> {
    // SAFETY: look-ups by name in the catalogue's cache, with C strings that outlive them.
    let relation = unsafe {
        let schema = pg_sys::get_namespace_oid(c"webhooks".as_ptr(), true);
        pg_sys::get_relname_relid(name.as_ptr(), schema)
    };
    if relation == pg_sys::InvalidOid {
        return Err(format!("table webhooks.{} is missing", name.to_string_lossy()));
    }
    Ok(relation)
}

/// The role that owns a relation.
pub fn owner_of(relation: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: the relation was just found; the lock keeps it while its owner is read.
    unsafe {
        let open = pg_sys::relation_open(relation, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        let owner = (*(*open).rd_rel).relowner;
        pg_sys::relation_close(open, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        owner
    }
}
