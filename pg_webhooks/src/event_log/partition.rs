//! A day's partition of the event log, and appending to it past the executor: the one place of raw heap and index calls.
//!
//! A row goes straight into the day's partition and its one index, as the executor would put it there. Where the partition
//! is not laid out as this library knows it (other columns, indexes, triggers or checks), the executor inserts the row.
//! Access rights do not come into it: whoever may change an attached table makes events.

use std::cell::Cell;
use std::ffi::CString;

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use webhooks_core::time;

use crate::fault::Fault;
use crate::postgres::{attribute, owner_of, relation, run_as};

/// A day's partition of `webhooks.event`, as it was when it was locked.
pub struct Partition {
    /// The UTC day, counted from 2000-01-01.
    pub day: i32,
    /// The table.
    pub heap: pg_sys::Oid,
    /// Its one index, where it is laid out as it was made; `None` leaves the row to the executor.
    index: Option<Index>,
    /// The transaction, and which of its subtransactions, that locked both last.
    locked_in: Cell<(u64, pg_sys::SubTransactionId)>,
}

/// The columns of `webhooks.event` (sql/tables.sql). A later version may add some, and sessions keep the library they began
/// with.
const COLUMNS: [(&str, pg_sys::Oid); 13] = [
    ("occurred_at", pg_sys::TIMESTAMPTZOID),
    ("xid", pg_sys::XID8OID),
    ("seq", pg_sys::INT4OID),
    ("ended", pg_sys::INT4OID),
    ("horizon", pg_sys::XID8OID),
    ("key", pg_sys::INT8OID),
    ("target", pg_sys::INT4OID),
    ("webhook_id", pg_sys::TEXTOID),
    ("name", pg_sys::TEXTOID),
    ("tenant", pg_sys::TEXTOID),
    ("signature", pg_sys::BYTEAOID),
    ("body", pg_sys::TEXTOID),
    ("extra", pg_sys::JSONBOID),
];

/// Those that a row may have no value for. Where a table demands one, the executor gives it the default.
const NULLABLE: [&str; 4] = ["key", "target", "tenant", "extra"];

/// A value for each of COLUMNS, and whether it is NULL.
pub struct Row {
    values: [pg_sys::Datum; COLUMNS.len()],
    nulls: [bool; COLUMNS.len()],
}

impl Row {
    /// Of a value for each of COLUMNS, `None` for NULL.
    pub fn new(values: [Option<pg_sys::Datum>; COLUMNS.len()]) -> Self {
        Self {
            values: values.map(|value| value.unwrap_or(pg_sys::Datum::from(0))),
            nulls: values.map(|value| value.is_none()),
        }
    }
}

/// Where the columns of the index, `xid` and `seq`, are among those.
const INDEXED_COLUMNS: std::ops::Range<usize> = 1..3;

/// The index on the position.
struct Index {
    oid: pg_sys::Oid,
    /// Describes it to its access method; made once, for that costs as much as an insert.
    info: *mut pg_sys::IndexInfo,
}

const READ_LOCK: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
const WRITE_LOCK: pg_sys::LOCKMODE = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
/// Opens what is locked already, or closes it and keeps the lock.
const NO_LOCK: pg_sys::LOCKMODE = pg_sys::NoLock as pg_sys::LOCKMODE;

impl Partition {
    /// The partition that a day's events go to: its own or, where housekeeping has not come to that day, the one of the days
    /// around it. `log` is `webhooks.event`.
    pub fn find(day: i32, log: pg_sys::Oid) -> Result<pg_sys::Oid, Fault> {
        let date = time::date(day).map(|date| date.to_string()).unwrap_or_default();
        let name = CString::new(format!("event_{}", date.replace('-', ""))).unwrap_or_default();
        // SAFETY: a look-up in the catalogue's cache.
        if let Some(own) = relation(&name).ok().filter(|own| unsafe { pg_sys::get_rel_relispartition(*own) }) {
            return Ok(own);
        }
        let sql = "SELECT partition::oid FROM webhooks.partitions($1), (SELECT date '2000-01-01' + $2) AS asked (day)
                    WHERE day >= first_day AND (day <= last_day OR last_day IS NULL)";
        let read = |client: &spi::SpiClient| {
            let row = client.select(sql, Some(1), &[log.into(), day.into()])?.first();
            if row.is_empty() { Ok(None) } else { row.get_one::<pg_sys::Oid>() }
        };
        let found =
            run_as(owner_of(log), || Spi::connect(read).unwrap_or_else(|error: spi::SpiError| error!("{error}")))?;
        found.ok_or(Fault::MissingDay(date))
    }

    /// Locks a partition for appends until the transaction ends. What others have changed about it becomes known with the
    /// lock.
    pub fn lock_table(heap: pg_sys::Oid) {
        // SAFETY: waits for a lock, which an error releases.
        unsafe { pg_sys::LockRelationOid(heap, WRITE_LOCK) }
    }

    /// Locks the partition and its index for the appends of the transaction with this id, the current one. A subtransaction
    /// does so once, and every one anew: when one aborts, its locks go.
    pub fn lock(&self, xid: u64) {
        // SAFETY: in a transaction, as any function call is.
        let this = (xid, unsafe { pg_sys::GetCurrentSubTransactionId() });
        if self.locked_in.get() != this {
            Self::lock_table(self.heap);
            // SAFETY: as for the table.
            self.index.iter().for_each(|index| unsafe { pg_sys::LockRelationOid(index.oid, WRITE_LOCK) });
            self.locked_in.set(this);
        }
    }

    /// Reads how a partition is laid out. To be called once its table is locked: what was read before may be out of date by
    /// then.
    pub fn examine(day: i32, heap: pg_sys::Oid) -> Self {
        // SAFETY: the table is there and locked.
        unsafe {
            let open = pg_sys::table_open(heap, NO_LOCK);
            let index = if is_plain(open) { Index::only_one_of(open) } else { None };
            pg_sys::table_close(open, NO_LOCK);
            Self { day, heap, index, locked_in: Cell::default() }
        }
    }

    /// Appends a row.
    ///
    /// # Safety
    /// The values are those of COLUMNS; the partition was locked in this subtransaction and has not been changed since it was examined.
    pub unsafe fn append(&self, row: &mut Row) -> Result<(), Fault> {
        // SAFETY: the caller's promise.
        unsafe {
            match &self.index {
                Some(index) => self.insert(index, row),
                None => return self.execute_insert(row),
            }
        }
        Ok(())
    }

    /// # Safety
    /// The partition is locked and plain; the values are those of COLUMNS; the index is its only one.
    unsafe fn insert(&self, index: &Index, row: &mut Row) {
        let (values, nulls) = (row.values.as_mut_ptr(), row.nulls.as_mut_ptr());
        // SAFETY: both relations have a writer's lock until the transaction ends, so the partition has just these columns
        // and the index its two; the index entry points to the tuple that was just put into the heap. What an error leaves
        // behind has no destructor.
        unsafe {
            pg_sys::ffi::pg_guard_ffi_boundary(|| {
                let heap = unguarded::table_open(self.heap, NO_LOCK);
                let open_index = unguarded::index_open(index.oid, NO_LOCK);
                let tuple = unguarded::heap_form_tuple((*heap).rd_att, values, nulls);
                unguarded::heap_insert(heap, tuple, unguarded::GetCurrentCommandId(true), 0, std::ptr::null_mut());
                unguarded::index_insert(
                    open_index,
                    values.add(INDEXED_COLUMNS.start),
                    nulls.add(INDEXED_COLUMNS.start),
                    &mut (*tuple).t_self,
                    heap,
                    pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO,
                    false,
                    index.info,
                );
                unguarded::heap_freetuple(tuple);
                unguarded::index_close(open_index, NO_LOCK);
                unguarded::table_close(heap, NO_LOCK);
            })
        }
    }

    /// The same by the executor, which knows every column and index.
    ///
    /// # Safety
    /// The values are those of COLUMNS.
    unsafe fn execute_insert(&self, row: &Row) -> Result<(), Fault> {
        // What is NULL is left out: a table of another version need not have the column.
        let present: Vec<usize> = (0..COLUMNS.len()).filter(|place| !row.nulls[*place]).collect();
        let value = |place: &usize| {
            // SAFETY: the caller's promise.
            unsafe { DatumWithOid::new(row.values[*place], COLUMNS[*place].1) }
        };
        let values: Vec<_> = present.iter().map(value).collect();
        let names: Vec<_> = present.iter().map(|place| COLUMNS[*place].0).collect();
        let numbers: Vec<_> = (1..=present.len()).map(|number| format!("${number}")).collect();
        let sql = format!("INSERT INTO webhooks.event ({}) VALUES ({})", names.join(", "), numbers.join(", "));
        run_as(owner_of(self.heap), || Spi::run_with_args(&sql, &values).unwrap_or_else(|error| error!("{error}")))
    }
}

/// Functions of Postgres without pgrx' guard against its errors: each guard costs as much as a small function, and one around
/// all of them does.
mod unguarded {
    use std::ffi::c_int;

    use pgrx::pg_sys::*;

    unsafe extern "C-unwind" {
        pub fn table_open(oid: Oid, lock: LOCKMODE) -> Relation;
        pub fn table_close(relation: Relation, lock: LOCKMODE);
        pub fn index_open(oid: Oid, lock: LOCKMODE) -> Relation;
        pub fn index_close(index: Relation, lock: LOCKMODE);
        pub fn heap_form_tuple(descriptor: TupleDesc, values: *const Datum, nulls: *const bool) -> HeapTuple;
        pub fn heap_freetuple(tuple: HeapTuple);
        pub fn GetCurrentCommandId(used: bool) -> CommandId;
        pub fn heap_insert(
            heap: Relation,
            tuple: HeapTuple,
            command: CommandId,
            options: c_int,
            state: BulkInsertState,
        );
        pub fn index_insert(
            index: Relation,
            values: *mut Datum,
            nulls: *mut bool,
            place: ItemPointer,
            heap: Relation,
            check: IndexUniqueCheck::Type,
            is_unchanged: bool,
            info: *mut IndexInfo,
        ) -> bool;
    }
}

/// Whether a row of a partition is COLUMNS and nothing else, and nothing looks at it but the indexes.
///
/// # Safety
/// The partition is open and locked.
unsafe fn is_plain(partition: pg_sys::Relation) -> bool {
    // SAFETY: the caller's promise; what a relation points to is there while it is open.
    unsafe {
        let partition = &*partition;
        let descriptor = partition.rd_att;
        let has_column = |(place, (name, type_oid)): (usize, (&str, pg_sys::Oid))| {
            let column = attribute(descriptor, place);
            let takes_null = !column.attnotnull || !NULLABLE.contains(&name);
            column.atttypid == type_oid && !column.attisdropped && column.attgenerated == 0 && takes_null
        };
        (*descriptor).natts as usize == COLUMNS.len()
            && COLUMNS.into_iter().enumerate().all(has_column)
            && (*descriptor).constr.as_ref().is_none_or(|constraints| constraints.num_check == 0)
            && partition.trigdesc.is_null()
            && partition.rd_tableam == pg_sys::GetHeapamTableAmRoutine()
    }
}

impl Index {
    /// The index of a partition, where it is the only one and just that on the position.
    ///
    /// # Safety
    /// The partition is open and locked.
    unsafe fn only_one_of(partition: pg_sys::Relation) -> Option<Self> {
        // SAFETY: the caller's promise; an index in the list is there while its table is locked.
        unsafe {
            let indexes = pgrx::PgList::<pg_sys::Oid>::from_pg(pg_sys::RelationGetIndexList(partition));
            let oid = indexes.get_oid(0).filter(|_| indexes.len() == 1)?;
            let open = pg_sys::index_open(oid, READ_LOCK);
            let info = pgrx::PgMemoryContexts::TopMemoryContext.switch_to(|_| pg_sys::BuildIndexInfo(open));
            pg_sys::index_close(open, READ_LOCK);
            let index = Self { oid, info };
            index.is_on_position().then_some(index)
        }
    }

    fn is_on_position(&self) -> bool {
        // SAFETY: made by BuildIndexInfo, and freed on drop.
        let info = unsafe { &*self.info };
        let columns = INDEXED_COLUMNS.map(|place| place as i16 + 1);
        info.ii_Am == pg_sys::BTREE_AM_OID
            && info.ii_IndexAttrNumbers[..info.ii_NumIndexAttrs as usize].iter().copied().eq(columns)
            && info.ii_Predicate.is_null()
            && !info.ii_Unique
            && info.ii_ReadyForInserts
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        // SAFETY: allocated in TopMemoryContext by only_one_of, and pointed to by nothing else.
        unsafe { pg_sys::pfree(self.info.cast()) }
    }
}
