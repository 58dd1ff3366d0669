//! A row change: whether it makes an event, and what that event says of it.

use std::ffi::CStr;

use pgrx::prelude::*;
use webhooks_core::{json, time};

use super::plan::{Column, Plan, PlannedEvent, PlannedWhen, Step};
use super::supplier::SupplierKey;
use super::value::{self, TooLong, Writer, make_room};
use crate::settings;

/// No value of a key is written longer.
const MAX_KEY_BYTES: usize = 64 << 10;

/// One version of a row, taken apart.
#[derive(Clone, Copy)]
struct Row<'a> {
    values: &'a [pg_sys::Datum],
    nulls: &'a [bool],
}

impl<'a> Row<'a> {
    /// # Safety
    /// The slot holds a row with that many columns, for as long as the result is used.
    unsafe fn of(slot: *mut pg_sys::TupleTableSlot, columns: usize) -> Self {
        // SAFETY: the caller's promise; once taken apart, both arrays are that long.
        unsafe {
            if ((*slot).tts_nvalid as usize) < columns {
                pg_sys::slot_getsomeattrs_int(slot, columns as i32);
            }
            Self {
                values: std::slice::from_raw_parts((*slot).tts_values, columns),
                nulls: std::slice::from_raw_parts((*slot).tts_isnull, columns),
            }
        }
    }

    fn value(self, column: usize) -> Option<pg_sys::Datum> {
        (!self.nulls[column]).then_some(self.values[column])
    }
}

/// What differs between the old row and the new.
pub enum Changes {
    Nothing,
    /// An object with the old and new value of each tracked column that differs.
    Object(Vec<u8>),
    /// So much that no message holds it.
    TooLong,
}

/// How long an identifying value of a truncated message may be, as it is and as it is written.
const MAX_IDENTITY_BYTES: usize = 512;
const MAX_WRITTEN_IDENTITY_BYTES: usize = 6 * MAX_IDENTITY_BYTES;

/// How long a text may be that is read as a number: as long as the longest that Postgres prints.
const MAX_NUMBER_BYTES: usize = 150_000;

/// A row change: an insert has no old row, a delete no new one.
pub struct Change<'a> {
    old: Option<Row<'a>>,
    new: Option<Row<'a>>,
    plan: &'a Plan,
}

impl<'a> Change<'a> {
    /// The change that a row trigger was called for.
    pub fn of(trigger: &'a pg_sys::TriggerData, plan: &'a Plan) -> Self {
        // SAFETY: an AFTER ROW trigger has its row in tg_trigslot and an update its new one in tg_newslot; the plan was
        // made for the table's columns.
        unsafe {
            let row = |slot| Row::of(slot, plan.columns.len());
            let (old, new) = match trigger.tg_event & pg_sys::TRIGGER_EVENT_OPMASK {
                pg_sys::TRIGGER_EVENT_INSERT => (None, Some(row(trigger.tg_trigslot))),
                pg_sys::TRIGGER_EVENT_DELETE => (Some(row(trigger.tg_trigslot)), None),
                _ => (Some(row(trigger.tg_trigslot)), Some(row(trigger.tg_newslot))),
            };
            Self { old, new, plan }
        }
    }

    /// The row that an event tells of.
    fn subject(&self) -> Row<'a> {
        self.new.or(self.old).expect("a change has at least one row")
    }

    fn column(&self, index: usize) -> &'a Column {
        self.plan.columns[index].as_ref().expect("a plan refers to no dropped column")
    }

    /// Whether it makes the event. `changes` is worked out where it is first asked for.
    pub fn makes(&self, event: &PlannedEvent, changes: &mut Option<Changes>) -> bool {
        match &event.when {
            PlannedWhen::Inserted => self.old.is_none(),
            PlannedWhen::Deleted => self.new.is_none(),
            PlannedWhen::Changed => self.is_news(changes),
            PlannedWhen::Unknown => self.old.is_none() || self.is_news(changes),
            PlannedWhen::FallsBelow(value, limit) => {
                let is_below = |row| self.is_below(row, *value, *limit);
                self.new.is_some_and(is_below) && !self.old.is_some_and(is_below)
            }
            PlannedWhen::Becomes(column, value) => {
                // SAFETY: the constant was made for this column.
                let has_value = |row: Row| row.value(*column).is_some_and(|datum| unsafe { value.equals(datum) });
                self.new.is_some_and(has_value) && !self.old.is_some_and(has_value)
            }
        }
    }

    /// Whether it is an update that changes a tracked column.
    fn is_news(&self, changes: &mut Option<Changes>) -> bool {
        let (Some(old), Some(new)) = (self.old, self.new) else { return false };
        let changes = changes.get_or_insert_with(|| self.changes(old, new));
        !matches!(changes, Changes::Nothing)
    }

    /// Compares each tracked column. Once the values that have other bits are together too long for a message, they count as
    /// different and are not read: to tell would take as much memory as to write them.
    fn changes(&self, old: Row, new: Row) -> Changes {
        let limit = settings::max_body();
        let (mut out, mut size) = (Vec::with_capacity(128), 0);
        for &index in &self.plan.tracked {
            let (column, old, new) = (self.column(index), old.value(index), new.value(index));
            if column.same_bits(old, new) {
                continue;
            }
            size += column.size(old) + column.size(new);
            if size > limit || column.push_change(&mut out, old, new, limit).is_err() {
                return Changes::TooLong;
            }
        }
        if out.is_empty() {
            return Changes::Nothing;
        }
        out.push(b'}');
        Changes::Object(out)
    }

    fn is_below(&self, row: Row, value: usize, limit: usize) -> bool {
        let number = |column| self.number(column, row.value(column)?);
        number(value).zip(number(limit)).is_some_and(|(value, limit)| value < limit)
    }

    /// A numeric column's value, for comparison; exact for integers up to 2^53 and as near as a double for the rest.
    fn number(&self, column: usize, value: pg_sys::Datum) -> Option<f64> {
        match self.column(column).writer {
            Writer::Int2 => Some(f64::from(value.value() as i16)),
            Writer::Int4 => Some(f64::from(value.value() as i32)),
            _ => {
                let mut out = Vec::new();
                self.column(column).push(&mut out, Some(value), MAX_NUMBER_BYTES).ok()?;
                str::from_utf8(&out).ok()?.trim_matches('"').parse().ok()
            }
        }
    }

    /// Which row it is, for the order of its events; `None` where the table has no key. Values are written behind what
    /// `scratch` holds, and taken away again.
    pub fn ordering_key(&self, scratch: &mut Vec<u8>) -> Option<i64> {
        let plan = self.plan;
        let (row, start) = (self.subject(), scratch.len());
        let values = plan.key.iter().map(|index| (self.column(*index), row.value(*index)));
        let key = values.fold(plan.table_key, |key, (column, value)| {
            // What is too long to be in an index is no key; then other rows have the same one.
            let _ = column.push(scratch, value, start + MAX_KEY_BYTES);
            let key = key.with_value(&scratch[start..]);
            scratch.truncate(start);
            key
        });
        (!plan.key.is_empty()).then(|| key.finish())
    }

    /// Appends the event's `data`, or what goes in its place where `out` would be longer than `limit`.
    pub fn push_data(&self, out: &mut Vec<u8>, event: &PlannedEvent, changes: Option<&Changes>, limit: usize) {
        let start = out.len();
        if self.push_steps(out, &event.steps, changes, limit).is_err() {
            out.truncate(start);
            self.push_truncated(out, &event.truncated);
        }
    }

    fn push_steps(
        &self,
        out: &mut Vec<u8>,
        steps: &[Step],
        changes: Option<&Changes>,
        limit: usize,
    ) -> Result<(), TooLong> {
        let (row, mut size) = (self.subject(), 0);
        for step in steps {
            if let Step::Column(index) = step {
                size += self.column(*index).size(row.value(*index));
            }
            if size > limit {
                return Err(TooLong);
            }
            self.push_step(out, step, changes, limit)?;
        }
        if out.len() > limit { Err(TooLong) } else { Ok(()) }
    }

    fn push_step(
        &self,
        out: &mut Vec<u8>,
        step: &Step,
        changes: Option<&Changes>,
        limit: usize,
    ) -> Result<(), TooLong> {
        let row = self.subject();
        match step {
            Step::Literal(literal) => out.extend_from_slice(literal),
            Step::Column(index) => self.column(*index).push(out, row.value(*index), limit)?,
            Step::Changes => match changes {
                Some(Changes::Object(object)) => {
                    make_room(out, object.len(), limit)?;
                    out.extend_from_slice(object);
                }
                Some(Changes::TooLong) => return Err(TooLong),
                Some(Changes::Nothing) | None => out.extend_from_slice(b"{}"),
            },
            Step::Actor(column) => self.push_actor(out, *column, limit)?,
            Step::Reason => settings::with_reason(|reason| match reason {
                Some(reason) => value::push_text(out, reason, limit),
                None => {
                    json::push_null(out);
                    Ok(())
                }
            })?,
            Step::SecondsBetween(from, to) => {
                let seconds = row
                    .value(*from)
                    .zip(row.value(*to))
                    .and_then(|(from, to)| time::seconds_between(from.value() as i64, to.value() as i64));
                match seconds {
                    Some(seconds) => json::push_i64(out, seconds),
                    None => json::push_null(out),
                }
            }
            Step::SupplierName(key) => match self.supplier_name(key) {
                Some(name) => value::push_text(out, name.as_bytes(), limit)?,
                None => json::push_null(out),
            },
        }
        Ok(())
    }

    fn supplier_name(&self, key: &SupplierKey) -> Option<String> {
        let value = |column| Some((self.subject().value(column)?, self.column(column).type_oid));
        let id: Vec<_> = key.own_columns().map(value).collect::<Option<_>>()?;
        key.name(&id).unwrap_or_else(|fault| {
            warning!("pg_webhooks could not read the supplier's name: {fault}");
            None
        })
    }

    /// Appends literals and identifying columns; null in the place of one that is too long itself.
    fn push_truncated(&self, out: &mut Vec<u8>, steps: &[Step]) {
        let row = self.subject();
        for step in steps {
            match step {
                Step::Literal(literal) => out.extend_from_slice(literal),
                Step::Column(index) => {
                    let (column, value, start) = (self.column(*index), row.value(*index), out.len());
                    let is_short = column.size(value) <= MAX_IDENTITY_BYTES;
                    if !is_short || column.push(out, value, start + MAX_WRITTEN_IDENTITY_BYTES).is_err() {
                        out.truncate(start);
                        json::push_null(out);
                    }
                }
                _ => unreachable!("an identifying field is a column"),
            }
        }
    }

    /// The setting, else the row's column, else the session's user.
    fn push_actor(&self, out: &mut Vec<u8>, column: Option<usize>, limit: usize) -> Result<(), TooLong> {
        let in_row = column.and_then(|index| Some((self.column(index), self.subject().value(index)?)));
        settings::with_actor(|actor| match (actor, in_row) {
            (Some(actor), _) => value::push_text(out, actor, limit),
            (None, Some((column, value))) => column.push(out, Some(value), limit),
            (None, None) => push_session_user(out, limit),
        })
    }
}

impl Column {
    /// How many bytes a value has, told without reading it.
    fn size(&self, value: Option<pg_sys::Datum>) -> usize {
        // SAFETY: the value comes from a row of this column's table.
        value.map_or(0, |value| unsafe { value::size(value, self.length) })
    }

    /// Appends a value of this column, unless `out` would be longer than `limit`: one that is too long by its size is not read.
    fn push(&self, out: &mut Vec<u8>, value: Option<pg_sys::Datum>, limit: usize) -> Result<(), TooLong> {
        if self.size(value) > limit {
            return Err(TooLong);
        }
        match value {
            // SAFETY: the value comes from a row of this column's table.
            Some(value) => unsafe { self.writer.push(out, value, limit)? },
            None => json::push_null(out),
        }
        if out.len() > limit { Err(TooLong) } else { Ok(()) }
    }

    /// Appends to `changes`, which is empty before its first member, the old and the new value, unless they say the same.
    fn push_change(
        &self,
        out: &mut Vec<u8>,
        old: Option<pg_sys::Datum>,
        new: Option<pg_sys::Datum>,
        limit: usize,
    ) -> Result<(), TooLong> {
        let start = out.len();
        out.push(if start == 0 { b'{' } else { b',' });
        out.extend_from_slice(&self.json_key);
        out.extend_from_slice(b"{\"old\":");
        let old_start = out.len();
        self.push(out, old, limit)?;
        let old_end = out.len();
        out.extend_from_slice(b",\"new\":");
        let new_start = out.len();
        self.push(out, new, limit)?;
        // Other bits may say the same (1.0 and 1.00, a value stored out of line again).
        if out[old_start..old_end] == out[new_start..] {
            out.truncate(start);
        } else {
            out.push(b'}');
        }
        Ok(())
    }

    /// Whether two values are the same bits; two that differ may still say the same.
    fn same_bits(&self, old: Option<pg_sys::Datum>, new: Option<pg_sys::Datum>) -> bool {
        let (Some(old), Some(new)) = (old, new) else { return old.is_none() && new.is_none() };
        if self.by_value {
            return old.value() == new.value();
        }
        // SAFETY: by reference: a fixed length, a varlena that knows its own, or a C string.
        unsafe {
            let bytes = |value: pg_sys::Datum| {
                let start = value.cast_mut_ptr::<u8>();
                let length = match self.length {
                    -1 => pgrx::varsize_any(start.cast()),
                    -2 => CStr::from_ptr(start.cast()).count_bytes(),
                    fixed => fixed as usize,
                };
                std::slice::from_raw_parts(start, length)
            };
            bytes(old) == bytes(new)
        }
    }
}

fn push_session_user(out: &mut Vec<u8>, limit: usize) -> Result<(), TooLong> {
    // SAFETY: the session's user exists, or the call says NULL where it was dropped meanwhile.
    unsafe {
        let name = pg_sys::GetUserNameFromId(pg_sys::GetSessionUserId(), true);
        let name = if name.is_null() { c"" } else { CStr::from_ptr(name) };
        value::push_text(out, name.to_bytes(), limit)
    }
}
