//! A row change: whether it makes an event, and what that event says of it.

use pgrx::prelude::*;
use webhooks_core::{json, time};

use super::plan::{Column, Plan, PlannedEvent, PlannedWhen, Step};
use super::value::Writer;
use crate::settings;

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
    pub fn makes(&self, event: &PlannedEvent, changes: &mut Option<Vec<u8>>) -> bool {
        match &event.when {
            PlannedWhen::Inserted => self.old.is_none(),
            PlannedWhen::Deleted => self.new.is_none(),
            PlannedWhen::Changed => match (self.old, self.new) {
                (Some(old), Some(new)) => {
                    let changes = changes.get_or_insert_with(|| self.changes(old, new));
                    changes.len() > b"{}".len()
                }
                _ => false,
            },
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

    /// The object with the old and new value of each tracked column that differs; `{}` when none does.
    fn changes(&self, old: Row, new: Row) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.push(b'{');
        for &index in &self.plan.tracked {
            let column = self.column(index);
            if column.same_bits(old.value(index), new.value(index)) {
                continue;
            }
            let start = out.len();
            if start > 1 {
                out.push(b',');
            }
            out.extend_from_slice(&column.json_key);
            out.extend_from_slice(b"{\"old\":");
            let old_start = out.len();
            column.push(&mut out, old.value(index));
            let old_end = out.len();
            out.extend_from_slice(b",\"new\":");
            let new_start = out.len();
            column.push(&mut out, new.value(index));
            // Other bits may say the same (1.0 and 1.00, a value stored out of line again).
            if out[old_start..old_end] == out[new_start..] {
                out.truncate(start);
            } else {
                out.push(b'}');
            }
        }
        out.push(b'}');
        out
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
            _ => self.text(column, value).parse().ok(),
        }
    }

    /// A value as text, without quotes.
    fn text(&self, column: usize, value: pg_sys::Datum) -> String {
        let mut out = Vec::new();
        self.column(column).push(&mut out, Some(value));
        let text = String::from_utf8_lossy(&out);
        text.trim_matches('"').to_owned()
    }

    /// Appends the event's `data`.
    pub fn push_data(&self, out: &mut Vec<u8>, event: &PlannedEvent, changes: &[u8]) {
        let row = self.subject();
        for step in &event.steps {
            match step {
                Step::Literal(literal) => out.extend_from_slice(literal),
                Step::Column(index) => self.column(*index).push(out, row.value(*index)),
                Step::Changes => out.extend_from_slice(changes),
                Step::Actor(column) => self.push_actor(out, *column),
                Step::Reason => match settings::reason() {
                    Some(reason) => json::push_string(out, &reason),
                    None => json::push_null(out),
                },
                Step::SecondsBetween(from, to) => match row.value(*from).zip(row.value(*to)) {
                    Some((from, to)) => match time::seconds_between(from.value() as i64, to.value() as i64) {
                        Some(seconds) => json::push_i64(out, seconds),
                        None => json::push_null(out),
                    },
                    None => json::push_null(out),
                },
                Step::SupplierName(column, key) => {
                    let type_oid = self.column(*column).type_oid;
                    let name = row.value(*column).and_then(|id| {
                        key.name(id, type_oid).unwrap_or_else(|fault| {
                            warning!("pg_webhooks could not read the supplier's name: {fault}");
                            None
                        })
                    });
                    match name {
                        Some(name) => json::push_string(out, &name),
                        None => json::push_null(out),
                    }
                }
            }
        }
    }

    /// The setting, else the row's column, else the session's user.
    fn push_actor(&self, out: &mut Vec<u8>, column: Option<usize>) {
        let in_row = column.and_then(|index| Some((self.column(index), self.subject().value(index)?)));
        match (settings::actor(), in_row) {
            (Some(actor), _) => json::push_string(out, &actor),
            (None, Some((column, value))) => column.push(out, Some(value)),
            (None, None) => json::push_string(out, &session_user()),
        }
    }
}

impl Column {
    /// Appends a value of this column.
    fn push(&self, out: &mut Vec<u8>, value: Option<pg_sys::Datum>) {
        match value {
            // SAFETY: the value comes from a row of this column's table.
            Some(value) => unsafe { self.writer.push(out, value) },
            None => json::push_null(out),
        }
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
                    -2 => std::ffi::CStr::from_ptr(start.cast()).count_bytes(),
                    fixed => fixed as usize,
                };
                std::slice::from_raw_parts(start, length)
            };
            bytes(old) == bytes(new)
        }
    }
}

fn session_user() -> String {
    // SAFETY: the session's user exists, or the call says NULL where it was dropped meanwhile.
    unsafe {
        let name = pg_sys::GetUserNameFromId(pg_sys::GetSessionUserId(), true);
        if name.is_null() { String::new() } else { json::utf8(std::ffi::CStr::from_ptr(name).to_bytes()).into_owned() }
    }
}
