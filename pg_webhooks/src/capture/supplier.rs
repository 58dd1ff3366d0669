//! The name of an import's supplier, read through the foreign key.
//!
//! It is read with the rights of the owner of the table that the key leads to, as Postgres checks the key itself: whatever
//! that owner makes a read execute (a policy, an operator) gains nothing. The table is found by its oid, for a name may have
//! come to mean another one, and its text is what the type's output function prints: a cast to text may be anybody's function.

use std::ffi::CStr;

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;

use super::value;
use crate::fault::Fault;
use crate::postgres::{owner_of, relation, run_as};
use crate::settings;

/// Where the foreign key of a column leads.
pub struct SupplierKey {
    suppliers: pg_sys::Oid,
    /// The columns of that table.
    id: i16,
    name: i16,
    /// The operator with which Postgres compares the two columns.
    equals: pg_sys::Oid,
}

impl SupplierKey {
    /// The foreign key of a column, where it has one to a table with a name.
    pub fn of(imports: pg_sys::Oid, column: i16) -> Result<Option<Self>, Fault> {
        let sql = "SELECT suppliers, id, name, equals FROM webhooks.supplier_key($1, $2)";
        let read = |client: &spi::SpiClient| {
            let row = client.select(sql, Some(1), &[imports.into(), column.into()])?.first();
            if row.is_empty() {
                return Ok(None);
            }
            let key = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            let (Some(suppliers), Some(id), Some(name), Some(equals)) = key else { return Ok(None) };
            Ok(Some(Self { suppliers, id, name, equals }))
        };
        run_as(owner_of(relation(c"endpoint")?), || {
            Spi::connect(read).unwrap_or_else(|error: spi::SpiError| error!("{error}"))
        })
    }

    /// The name of the supplier that a value of the column refers to; none where it alone is longer than a message may be.
    pub fn name(&self, value: pg_sys::Datum, type_oid: pg_sys::Oid) -> Result<Option<String>, Fault> {
        // While the foreign key is there, so is the table. Its lock is kept, so its owner stays the same.
        let owner = owner_of(self.suppliers);
        // It only reads, so it takes run_as's snapshot and no transaction id for the subtransaction: an UPDATE of 65 imports
        // would overflow what other sessions' snapshots hold.
        let read = |client: &spi::SpiClient| {
            // SAFETY: the value is of the column's type.
            let id = unsafe { DatumWithOid::new(value, type_oid) };
            let row = client.select(&self.query(type_oid), Some(1), &[id])?.first();
            if row.is_empty() {
                return Ok(None);
            }
            let name_type = row.column_type_oid(1)?.value();
            let limit = settings::max_body();
            // SAFETY: the name is of that type, and lives as long as the row.
            Ok(row.get_datum_by_ordinal(1)?.and_then(|name| unsafe { value::printed_text(name_type, name, limit) }))
        };
        run_as(owner, || Spi::connect(read).unwrap_or_else(|error: spi::SpiError| error!("{error}")))
    }

    /// The query for the name, made of the names that the table and its columns have now. Postgres makes its own queries for
    /// foreign keys in the same way.
    fn query(&self, type_oid: pg_sys::Oid) -> String {
        // SAFETY: look-ups for a table that is locked, and for an operator that its foreign key needs.
        unsafe {
            let text = |text: *const std::ffi::c_char| CStr::from_ptr(text).to_string_lossy();
            let column = |number| pg_sys::quote_identifier(pg_sys::get_attname(self.suppliers, number, false));
            let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(self.suppliers));
            let table = pg_sys::quote_qualified_identifier(schema, pg_sys::get_rel_name(self.suppliers));
            let condition = pg_sys::makeStringInfo();
            let id_type = pg_sys::get_atttype(self.suppliers, self.id);
            pg_sys::generate_operator_clause(
                condition,
                column(self.id),
                id_type,
                self.equals,
                c"$1".as_ptr(),
                type_oid,
            );
            format!("SELECT {} FROM {} WHERE {}", text(column(self.name)), text(table), text((*condition).data))
        }
    }
}
