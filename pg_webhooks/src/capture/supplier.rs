//! The name of an import's supplier, read through the foreign key.
//!
//! It is read with the rights of the owner of the table that the key leads to, as Postgres checks the key itself: whatever
//! that owner makes a read execute (a policy, an operator) gains nothing. The table is found by its oid, for a name may have
//! come to mean another one, and its text is what the type's output function prints: a cast to text may be anybody's function.

use std::ffi::{CStr, CString};

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;

use super::value;
use crate::fault::Fault;
use crate::postgres::{owner_of, relation, run_as};
use crate::settings;

/// Where the foreign key of a column leads.
pub struct SupplierKey {
    suppliers: pg_sys::Oid,
    /// The name's column in that table.
    name: i16,
    pairs: Vec<Pair>,
}

/// Two columns that the key compares.
struct Pair {
    /// The column of imports, index from 0.
    own: usize,
    referenced: i16,
    /// The operator with which Postgres compares them.
    equals: pg_sys::Oid,
}

impl SupplierKey {
    /// The foreign key of a column, where it has one to a table with a name.
    pub fn of(imports: pg_sys::Oid, column: i16) -> Result<Option<Self>, Fault> {
        let sql = "SELECT suppliers, name, own, referenced, equals FROM webhooks.supplier_key($1, $2)";
        let read = |client: &spi::SpiClient| {
            let row = client.select(sql, Some(1), &[imports.into(), column.into()])?.first();
            if row.is_empty() {
                return Ok(None);
            }
            let (Some(suppliers), Some(name)) = (row.get(1)?, row.get(2)?) else { return Ok(None) };
            let own = row.get::<Vec<i16>>(3)?.unwrap_or_default();
            let (referenced, equals) = (row.get::<Vec<i16>>(4)?, row.get::<Vec<pg_sys::Oid>>(5)?);
            let others = referenced.unwrap_or_default().into_iter().zip(equals.unwrap_or_default());
            let pair = |(own, (referenced, equals))| Pair { own: own as usize - 1, referenced, equals };
            let pairs = own.into_iter().map(i16::cast_unsigned).zip(others).map(pair).collect();
            Ok(Some(Self { suppliers, name, pairs }))
        };
        run_as(owner_of(relation(c"endpoint")?), || {
            Spi::connect(read).unwrap_or_else(|error: spi::SpiError| error!("{error}"))
        })
    }

    /// The columns of imports that the key has, index from 0.
    pub fn own_columns(&self) -> impl Iterator<Item = usize> {
        self.pairs.iter().map(|pair| pair.own)
    }

    /// The name of the supplier that the values of `own_columns`, with their types, refer to; none where it alone is longer than
    /// a message may be.
    pub fn name(&self, values: &[(pg_sys::Datum, pg_sys::Oid)]) -> Result<Option<String>, Fault> {
        // While the foreign key is there, so is the table. Its lock is kept, so its owner stays the same.
        let owner = owner_of(self.suppliers);
        // It only reads, so it takes run_as's snapshot and no transaction id for the subtransaction: an UPDATE of 65 imports
        // would overflow what other sessions' snapshots hold.
        let read = |client: &spi::SpiClient| {
            // SAFETY: the values are of their columns' types.
            let id: Vec<_> =
                values.iter().map(|(value, type_oid)| unsafe { DatumWithOid::new(*value, *type_oid) }).collect();
            let row = client.select(&self.query(values), Some(1), &id)?.first();
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
    fn query(&self, values: &[(pg_sys::Datum, pg_sys::Oid)]) -> String {
        // SAFETY: look-ups for a table that is locked, and for operators that its foreign key needs.
        unsafe {
            let text = |text: *const std::ffi::c_char| CStr::from_ptr(text).to_string_lossy();
            let column = |number| pg_sys::quote_identifier(pg_sys::get_attname(self.suppliers, number, false));
            let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(self.suppliers));
            let table = pg_sys::quote_qualified_identifier(schema, pg_sys::get_rel_name(self.suppliers));
            let compare = |(place, (pair, (_, type_oid))): (usize, (&Pair, &(pg_sys::Datum, pg_sys::Oid)))| {
                let condition = pg_sys::makeStringInfo();
                let parameter = CString::new(format!("${}", place + 1)).unwrap_or_default();
                let referenced_type = pg_sys::get_atttype(self.suppliers, pair.referenced);
                pg_sys::generate_operator_clause(
                    condition,
                    column(pair.referenced),
                    referenced_type,
                    pair.equals,
                    parameter.as_ptr(),
                    *type_oid,
                );
                text((*condition).data).into_owned()
            };
            let conditions: Vec<_> = self.pairs.iter().zip(values).enumerate().map(compare).collect();
            format!("SELECT {} FROM {} WHERE {}", text(column(self.name)), text(table), conditions.join(" AND "))
        }
    }
}
