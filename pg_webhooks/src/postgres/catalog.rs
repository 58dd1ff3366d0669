//! The extension's own tables, who owns a table and what it refers to: look-ups in Postgres' catalogue cache.

use std::ffi::CStr;

use pgrx::prelude::*;

use crate::fault::Fault;

/// A table of the extension.
pub fn relation(name: &CStr) -> Result<pg_sys::Oid, Fault> {
    // SAFETY: look-ups by name in the catalogue's cache, with C strings that outlive them.
    let relation = unsafe {
        let schema = pg_sys::get_namespace_oid(c"webhooks".as_ptr(), true);
        pg_sys::get_relname_relid(name.as_ptr(), schema)
    };
    if relation == pg_sys::InvalidOid {
        return Err(Fault::MissingTable(name.to_string_lossy().into_owned()));
    }
    Ok(relation)
}

/// The role that owns a relation, and will until the transaction ends: to act as a former owner would give those rights to
/// whoever owns it by then.
pub fn owner_of(relation: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: the relation was just found; the lock, which is kept, keeps it and its owner.
    unsafe {
        let open = pg_sys::relation_open(relation, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        let owner = (*(*open).rd_rel).relowner;
        pg_sys::relation_close(open, pg_sys::NoLock as pg_sys::LOCKMODE);
        owner
    }
}

/// The topmost table of the hierarchy of partitions that a table is in; the table itself, where it is in none.
pub fn partition_root(table: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: the function takes an oid, and returns NULL for what is in no hierarchy or is not there.
    unsafe { pgrx::direct_function_call(pg_sys::pg_partition_root, &[table.into_datum()]) }.unwrap_or(table)
}

/// The name of a function, without its schema; empty where there is none.
pub fn function_name(function: pg_sys::Oid) -> String {
    // SAFETY: a look-up that returns null or a C string.
    unsafe {
        let name = pg_sys::get_func_name(function);
        if name.is_null() { String::new() } else { CStr::from_ptr(name).to_string_lossy().into_owned() }
    }
}

/// The columns of a table's primary key, index from 0, in no order.
///
/// # Safety
/// The table is open.
pub unsafe fn primary_key(table: pg_sys::Relation) -> Vec<usize> {
    // SAFETY: the caller's promise; the set is a copy, and numbers in it are those of columns, plus an offset.
    unsafe {
        let of_key = pg_sys::IndexAttrBitmapKind::INDEX_ATTR_BITMAP_PRIMARY_KEY;
        let set = pg_sys::RelationGetIndexAttrBitmap(table, of_key);
        let mut columns = Vec::new();
        let mut member = pg_sys::bms_next_member(set, -1);
        while member >= 0 {
            columns.extend(usize::try_from(member + pg_sys::FirstLowInvalidHeapAttributeNumber - 1));
            member = pg_sys::bms_next_member(set, member);
        }
        pg_sys::bms_free(set);
        columns
    }
}

/// The tables that a table's foreign keys lead to.
///
/// # Safety
/// The table is open.
pub unsafe fn referenced_by(table: pg_sys::Relation) -> Vec<pg_sys::Oid> {
    // SAFETY: the caller's promise; the list is the table's own, and is read before anything is looked up.
    unsafe {
        let keys = pg_sys::RelationGetFKeyList(table);
        pgrx::PgList::<pg_sys::ForeignKeyCacheInfo>::from_pg(keys).iter_ptr().map(|key| (*key).confrelid).collect()
    }
}
