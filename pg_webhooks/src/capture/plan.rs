//! A trigger's plan: the rules of its kind of table, compiled for the columns of its table.
//!
//! Only events that somebody subscribes to are in it. A body is a list of steps: the JSON between the values is made
//! once, here, so that a row only appends it.

use pgrx::prelude::*;
use webhooks_core::event_rules::{BOOKKEEPING_FIELDS, EventRule, Kind, Source, When};
use webhooks_core::json;
use webhooks_core::ordering::OrderingKey;

use super::attachment::{Attachment, Resolved};
use super::constant::Constant;
use super::supplier::SupplierKey;
use super::value::Writer;
use crate::fault::Fault;
use crate::postgres::{attribute, partition_root, primary_key};

/// What a row change of one table makes.
pub struct Plan {
    /// The columns of the table, by attribute number less one; `None` for dropped ones.
    pub columns: Vec<Option<Column>>,
    /// The columns whose change is news, in the order of their keys in `changes`.
    pub tracked: Vec<usize>,
    /// The events that somebody wants.
    pub events: Vec<PlannedEvent>,
    /// The ordering key of the table, or of the one that it is a partition of, to which a row's values are added.
    pub table_key: OrderingKey,
    /// The columns that tell its rows apart.
    pub key: Vec<usize>,
}

/// A column of the table.
pub struct Column {
    /// The specification's name where the table's is mapped to one, else its own.
    key: String,
    /// The key as it stands in `changes`, with its colon.
    pub json_key: Vec<u8>,
    /// How its values are written.
    pub writer: Writer,
    pub type_oid: pg_sys::Oid,
    /// The length in bytes, or -1 for a varlena, as in pg_attribute.
    pub length: i16,
    pub by_value: bool,
}

/// An event that a row change may make.
pub struct PlannedEvent {
    pub name: &'static str,
    pub when: PlannedWhen,
    pub steps: Vec<Step>,
    /// What goes in the place of a `data` that is too long: literals, and columns that tell which row it is of.
    pub truncated: Vec<Step>,
    /// Why it cannot be made: the table lacks a column that it needs.
    pub missing: Option<Fault>,
}

/// `event_rules::When` with columns in the place of fields.
pub enum PlannedWhen {
    Inserted,
    Changed,
    Deleted,
    FallsBelow(usize, usize),
    Becomes(usize, Constant),
    /// It cannot be told, for it hangs on a column that is gone: any insert, and any update that changes something.
    Unknown,
}

/// A piece of `data`.
pub enum Step {
    Literal(Vec<u8>),
    Column(usize),
    Changes,
    Actor(Option<usize>),
    Reason,
    SecondsBetween(usize, usize),
    SupplierName(SupplierKey),
}

impl Plan {
    /// Compiles the plan of a trigger for its table; `is_wanted` tells whether anybody subscribes to an event.
    pub fn compile(
        trigger: &pg_sys::TriggerData,
        is_wanted: impl Fn(&str) -> Result<bool, Fault>,
    ) -> Result<Self, Fault> {
        let attachment = Attachment::of(trigger)?;
        let relation = trigger.tg_relation;
        // SAFETY: Postgres gives a trigger function its table, open.
        let (resolved, columns) = unsafe {
            let resolved = attachment.resolve(relation);
            let columns = read_columns((*relation).rd_att, &resolved);
            (resolved, columns)
        };
        let table = Table { kind: attachment.kind, resolved, columns, relation };
        let mut events = Vec::new();
        for rule in table.kind.events {
            if is_wanted(rule.name)? {
                events.push(table.event(rule)?);
            }
        }
        let tracked = table.tracked();
        // SAFETY: the table is open.
        let (root, key) = unsafe { (partition_root((*relation).rd_id), table.key()) };
        let table_key = OrderingKey::of_table(root.to_u32());
        Ok(Self { columns: table.columns, tracked, events, table_key, key })
    }
}

/// # Safety
/// The descriptor is that of an open table.
unsafe fn read_columns(descriptor: pg_sys::TupleDesc, resolved: &Resolved) -> Vec<Option<Column>> {
    // SAFETY: the caller's promise.
    unsafe {
        let mut columns: Vec<Option<Column>> = (0..(*descriptor).natts).map(|_| None).collect();
        for (index, name) in &resolved.columns {
            let attribute = attribute(descriptor, *index);
            let key = resolved.key_of(*index, name);
            let mut json_key = Vec::new();
            json::push_key(&mut json_key, &key);
            columns[*index] = Some(Column {
                key,
                json_key,
                writer: Writer::of(attribute.atttypid),
                type_oid: attribute.atttypid,
                length: attribute.attlen,
                by_value: attribute.attbyval,
            });
        }
        columns
    }
}

/// The table while its plan is made.
struct Table {
    kind: &'static Kind,
    resolved: Resolved,
    columns: Vec<Option<Column>>,
    relation: pg_sys::Relation,
}

impl Table {
    fn find(&self, field: &str) -> Option<usize> {
        self.resolved.find(field)
    }

    fn required(&self, field: &'static str) -> Result<usize, Fault> {
        self.find(field).ok_or(Fault::MissingColumn { field, kind: self.kind.name })
    }

    /// The columns whose change is news, in ECMAScript's order of their keys.
    fn tracked(&self) -> Vec<usize> {
        let bookkeeping: Vec<usize> = BOOKKEEPING_FIELDS.iter().filter_map(|field| self.find(field)).collect();
        let (indices, keys): (Vec<usize>, Vec<&str>) = self
            .columns
            .iter()
            .enumerate()
            .filter(|(index, _)| !bookkeeping.contains(index) && !self.resolved.left_out.contains(index))
            .filter_map(|(index, column)| Some((index, column.as_ref()?.key.as_str())))
            .unzip();
        json::property_order(&keys).into_iter().map(|place| indices[place]).collect()
    }

    /// The columns of the primary key, in the order of their names, for partitions may have them in another one; without
    /// one, the field `id`.
    ///
    /// # Safety
    /// The table is open.
    unsafe fn key(&self) -> Vec<usize> {
        // SAFETY: the caller's promise.
        let mut key = unsafe { primary_key(self.relation) };
        key.retain(|index| self.columns[*index].is_some());
        key.sort_by_key(|index| self.columns[*index].as_ref().map(|column| &column.key));
        if key.is_empty() { self.find("id").into_iter().collect() } else { key }
    }

    /// Plans an event. One that lacks a column is planned as missing, and the table's others go on.
    fn event(&self, rule: &EventRule) -> Result<PlannedEvent, Fault> {
        self.complete(rule).or_else(|fault| match fault {
            Fault::MissingColumn { .. } => Ok(PlannedEvent {
                name: rule.name,
                when: self.when(rule).unwrap_or(PlannedWhen::Unknown),
                steps: Vec::new(),
                truncated: Vec::new(),
                missing: Some(fault),
            }),
            fault => Err(fault),
        })
    }

    fn complete(&self, rule: &EventRule) -> Result<PlannedEvent, Fault> {
        let when = self.when(rule)?;
        let mut steps = Steps(vec![Step::Literal(Vec::new())]);
        self.object(&mut steps, rule.data)?;
        let truncated = self.truncated(rule)?;
        Ok(PlannedEvent { name: rule.name, when, steps: steps.0, truncated, missing: None })
    }

    fn when(&self, rule: &EventRule) -> Result<PlannedWhen, Fault> {
        Ok(match rule.when {
            When::Inserted => PlannedWhen::Inserted,
            When::Changed => PlannedWhen::Changed,
            When::Deleted => PlannedWhen::Deleted,
            When::FallsBelow(value, limit) => PlannedWhen::FallsBelow(self.required(value)?, self.required(limit)?),
            When::Becomes(field, value) => {
                let column = self.required(field)?;
                // SAFETY: the table is open and has the column.
                let described = unsafe { attribute((*self.relation).rd_att, column) };
                PlannedWhen::Becomes(column, Constant::of(value, described))
            }
        })
    }

    fn truncated(&self, rule: &EventRule) -> Result<Vec<Step>, Fault> {
        let mut steps = Steps(vec![Step::Literal(b"{".to_vec())]);
        for (key, source) in self.kind.identity_of(rule) {
            steps.key(key);
            self.source(&mut steps, source)?;
            steps.literal(b",");
        }
        steps.literal(b"\"truncated\":true}");
        Ok(steps.0)
    }

    fn object(&self, steps: &mut Steps, members: &[(&str, Source)]) -> Result<(), Fault> {
        steps.literal(b"{");
        for (place, (key, source)) in members.iter().enumerate() {
            if place > 0 {
                steps.literal(b",");
            }
            steps.key(key);
            self.source(steps, source)?;
        }
        steps.literal(b"}");
        Ok(())
    }

    fn source(&self, steps: &mut Steps, source: &Source) -> Result<(), Fault> {
        match *source {
            Source::Column(field) => steps.step(Step::Column(self.required(field)?)),
            Source::Changes => steps.step(Step::Changes),
            Source::Actor(field) => steps.step(Step::Actor(self.find(field))),
            Source::Reason => steps.step(Step::Reason),
            Source::SecondsBetween(from, to) => {
                let (from, to) = (self.required(from)?, self.required(to)?);
                if self.are_timestamps(from, to) {
                    steps.step(Step::SecondsBetween(from, to));
                } else {
                    steps.literal(b"null");
                }
            }
            Source::SupplierName(own, reference) => {
                let reference = self.required(reference)?;
                match (self.find(own), self.supplier_key(reference)?) {
                    (Some(column), _) => steps.step(Step::Column(column)),
                    (None, Some(key)) => steps.step(Step::SupplierName(key)),
                    (None, None) => steps.literal(b"null"),
                }
            }
            Source::Text(text) => {
                let mut quoted = Vec::new();
                json::push_string(&mut quoted, text);
                steps.literal(&quoted);
            }
            Source::Object(members) => self.object(steps, members)?,
        }
        Ok(())
    }

    /// Whether both are timestamps of one type: the time between one with a zone and one without depends on the session.
    fn are_timestamps(&self, from: usize, to: usize) -> bool {
        let writer = |column: usize| self.columns[column].as_ref().map(|column| &column.writer);
        matches!(
            (writer(from), writer(to)),
            (Some(Writer::Timestamp), Some(Writer::Timestamp)) | (Some(Writer::TimestampTz), Some(Writer::TimestampTz))
        )
    }

    fn supplier_key(&self, reference: usize) -> Result<Option<SupplierKey>, Fault> {
        // SAFETY: the table is open.
        let table = unsafe { (*self.relation).rd_id };
        SupplierKey::of(table, reference as i16 + 1)
    }
}

/// Steps under construction; literals that follow each other become one.
struct Steps(Vec<Step>);

impl Steps {
    fn literal(&mut self, bytes: &[u8]) {
        match self.0.last_mut() {
            Some(Step::Literal(literal)) => literal.extend_from_slice(bytes),
            _ => self.0.push(Step::Literal(bytes.to_vec())),
        }
    }

    fn key(&mut self, key: &str) {
        let mut json_key = Vec::new();
        json::push_key(&mut json_key, key);
        self.literal(&json_key);
    }

    fn step(&mut self, step: Step) {
        self.0.push(step);
    }
}
