//! What a trigger's argument says of its table: its kind, and which column is which field. The trigger is the only record of
//! an attachment, so pg_dump and pg_upgrade carry it.
//!
//! A field's column is the one of the recorded name. Where no column has that name any more, it is the one of the recorded
//! number, under its new name: a column keeps its number for as long as its table lives. A wrong column is never taken:
//!
//! - In another cluster (after a restore, or pg_upgrade) and for another table (a restored one, a copy by LIKE) the numbers
//!   mean nothing: a restored table has no dropped columns, so those behind them move up. There names alone count. A copy by
//!   CREATE DATABASE … TEMPLATE keeps both.
//! - A dropped column's number is given to no other; its place stays, marked as dropped.
//! - A column that has another field's name is that field's, and one of another class of types (a text where a number was) is
//!   none. Names count first, so a new column with the old name takes the field over, as a migration by copying means it.
//! - A partition may have other numbers than the attached table: there the table's column is found, then its name.

use std::collections::BTreeMap;
use std::ffi::CStr;

use pgrx::prelude::*;
use serde::Deserialize;
use webhooks_core::event_rules::{self, Kind};
use webhooks_core::json;
use webhooks_core::secret_names::looks_like_secret;

use crate::fault::Fault;
use crate::postgres::{attribute, held_columns, partition_root};

/// The version of the argument's form that this library reads.
const VERSION: u32 = 1;

/// The argument, as `webhooks.attach` writes it.
#[derive(Deserialize)]
struct Record {
    v: u32,
    kind: String,
    table: u32,
    system: i64,
    columns: BTreeMap<String, RecordedColumn>,
    /// The only columns whose changes are told, where they were listed.
    include: Option<Vec<RecordedColumn>>,
    #[serde(default)]
    exclude: Vec<RecordedColumn>,
    /// What looked like a secret: left out by whatever name it has since.
    #[serde(default)]
    secrets: Vec<RecordedColumn>,
}

/// A column as it was when the table was attached.
#[derive(Deserialize)]
struct RecordedColumn {
    name: String,
    attnum: i16,
    /// Its type's category, as in pg_type.
    category: String,
}

/// A table's attachment.
pub struct Attachment {
    pub kind: &'static Kind,
    record: Record,
}

/// The columns of a table, index from 0, as an attachment finds them.
pub struct Resolved {
    /// The columns that rows have, with their names.
    pub columns: Vec<(usize, String)>,
    /// The fields that have a column.
    pub fields: Vec<(&'static str, usize)>,
    /// The columns whose changes nobody is told.
    pub left_out: Vec<usize>,
}

impl Attachment {
    /// The attachment that a trigger is the record of.
    pub fn of(trigger: &pg_sys::TriggerData) -> Result<Self, Fault> {
        // SAFETY: tgargs holds tgnargs C strings, valid while the trigger is.
        let argument = unsafe {
            let definition = &*trigger.tg_trigger;
            (definition.tgnargs > 0).then(|| json::utf8_json(CStr::from_ptr(*definition.tgargs).to_bytes()))
        };
        Self::parse(&argument.ok_or(Fault::NoArguments)?)
    }

    /// Reads a trigger's argument.
    pub fn parse(argument: &str) -> Result<Self, Fault> {
        let record: Record = serde_json::from_str(argument).map_err(|error| Fault::Attachment(error.to_string()))?;
        if record.v != VERSION {
            return Err(Fault::AttachmentVersion(record.v));
        }
        let kind = event_rules::kind(&record.kind).ok_or_else(|| Fault::UnknownKind(record.kind.clone()))?;
        Ok(Self { kind, record })
    }

    /// Finds the columns in the attached table, or in a partition of it.
    ///
    /// # Safety
    /// The table is open.
    pub unsafe fn resolve(&self, table: pg_sys::Relation) -> Resolved {
        // SAFETY: the caller's promise.
        let columns: Vec<_> =
            unsafe { held_columns((*table).rd_att) }.map(|(index, name)| (index, name.into_owned())).collect();
        let named = |name: &str| columns.iter().find(|(_, column)| column == name).map(|(index, _)| *index);
        let of_name = |field: &str| named(self.record.columns.get(field).map_or(field, |recorded| &recorded.name));
        let taken: Vec<_> = self.kind.fields.iter().filter_map(|field| of_name(field.name)).collect();
        let renamed = |field: &str| {
            // SAFETY: the caller's promise.
            unsafe { self.renamed(self.record.columns.get(field)?, table, named) }
                .filter(|index| !taken.contains(index))
        };
        let find = |field: &'static str| Some((field, of_name(field).or_else(|| renamed(field))?));
        let fields: Vec<_> = self.kind.fields.iter().filter_map(|field| find(field.name)).collect();
        // SAFETY: the caller's promise.
        let by_number = |recorded: &RecordedColumn| unsafe { self.renamed(recorded, table, named) };
        let left_out = match &self.record.include {
            Some(include) => {
                let told: Vec<_> =
                    include.iter().filter_map(|one| named(&one.name).or_else(|| by_number(one))).collect();
                columns.iter().map(|(index, _)| *index).filter(|index| !told.contains(index)).collect()
            }
            None => {
                // By name and by number: where the two have become different columns, neither is told.
                let recorded = self.record.exclude.iter().chain(&self.record.secrets);
                let recorded: Vec<_> = recorded.flat_map(|one| [named(&one.name), by_number(one)]).flatten().collect();
                let is_field = |index: usize| fields.iter().any(|(_, column)| *column == index);
                let is_secret = |index: usize, name: &str| looks_like_secret(name) && !is_field(index);
                let is_left_out = |index: usize, name: &str| recorded.contains(&index) || is_secret(index, name);
                columns.iter().filter(|(index, name)| is_left_out(*index, name)).map(|(index, _)| *index).collect()
            }
        };
        Resolved { columns, fields, left_out }
    }

    /// The column of a recorded number, if it is still the same column.
    ///
    /// # Safety
    /// The table is open.
    unsafe fn renamed(
        &self,
        recorded: &RecordedColumn,
        table: pg_sys::Relation,
        named: impl Fn(&str) -> Option<usize>,
    ) -> Option<usize> {
        // SAFETY: the caller's promise; look-ups in the catalogue's cache, which find nothing where nothing is.
        unsafe {
            let attached = pg_sys::Oid::from(self.record.table);
            if self.record.system != pg_sys::GetSystemIdentifier().cast_signed()
                || partition_root(attached) != partition_root((*table).rd_id)
            {
                return None;
            }
            let name = pg_sys::get_attname(attached, recorded.attnum, true);
            if name.is_null() {
                return None;
            }
            let index = named(&json::utf8(CStr::from_ptr(name).to_bytes()))?;
            let category = pg_sys::TypeCategory(attribute((*table).rd_att, index).atttypid);
            (recorded.category.as_bytes() == [category as u8]).then_some(index)
        }
    }
}

impl Resolved {
    /// The column of a field, where the table has it.
    pub fn find(&self, field: &str) -> Option<usize> {
        self.fields.iter().find(|(known, _)| *known == field).map(|(_, index)| *index)
    }

    /// By what key a column goes in `changes`: that of its field, unless the table has another column of that very name.
    pub fn key_of(&self, index: usize, name: &str) -> String {
        let mut fields = self.fields.iter().filter(|(_, column)| *column == index).map(|(field, _)| *field);
        let field = fields.find(|field| *field == name || !self.columns.iter().any(|(_, column)| column == field));
        field.unwrap_or(name).to_owned()
    }
}
