//! Appending to the event log, past the executor: the one place of raw heap and index calls.
//!
//! A row goes straight into the day's partition and its one index, as the executor would put it there. Where the partition
//! is not laid out as this library knows it (other columns, indexes, triggers or checks), the executor inserts the row.
//! Access rights do not come into it: whoever may change an attached table makes events.

use std::cell::Cell;
use std::ffi::CString;

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use webhooks_core::ids::{self, Position};
use webhooks_core::time;

use crate::columns::attribute;
use crate::owner::guarded;
use crate::subscribers::Recipients;
use crate::{catalog, wakeup};

/// A day's partition of `webhooks.event`, as it was when it was locked.
pub struct Partition {
    /// The UTC day, counted from 2000-01-01.
    pub day: i32,
    /// The table.
    pub heap: pg_sys::Oid,
    /// Its one index, where it is laid out as it was made; `None` leaves the row to the executor.
    index: Option<Index>,
}

/// The columns of `webhooks.event` (sql/tables.sql). A later version may add some, and sessions keep the library they began
/// with.
const COLUMNS: [(&str, pg_sys::Oid); 9] = [
    ("occurred_at", pg_sys::TIMESTAMPTZOID),
    ("xid", pg_sys::XID8OID),
    ("seq", pg_sys::INT4OID),
    ("webhook_id", pg_sys::TEXTOID),
    ("name", pg_sys::TEXTOID),
    ("body", pg_sys::TEXTOID),
    ("endpoints", pg_sys::INT4ARRAYOID),
    ("secret_versions", pg_sys::INT4ARRAYOID),
    ("signatures", pg_sys::BYTEAARRAYOID),
];
/// Where the columns of the index, `xid` and `seq`, are among those.
const INDEXED: std::ops::Range<usize> = 1..3;

/// The index on the position.
struct Index {
    oid: pg_sys::Oid,
    /// Describes it to its access method; made once, for that costs as much as an insert.
    info: *mut pg_sys::IndexInfo,
}

/// An event on its way into the log: its position and time are settled, its body is still to be written.
pub struct Entry {
    /// `wh_…`.
    pub webhook_id: String,
    /// Microseconds since 2000-01-01 UTC.
    pub occurred_at: i64,
    position: Position,
}

thread_local! {
    /// The transaction that appended last, and the number of its next event.
    static NEXT: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
    /// This session's random part of ids.
    static NONCE: Cell<Option<u64>> = const { Cell::new(None) };
}

impl Entry {
    /// Takes the next position of the current transaction.
    pub fn next() -> Self {
        // SAFETY: inside a transaction, as any function call is; the row's change has assigned its id already.
        let xid = unsafe { pg_sys::GetTopFullTransactionId() }.value;
        let (last_xid, next_seq) = NEXT.get();
        let seq = if last_xid == xid { next_seq } else { 0 };
        NEXT.set((xid, seq + 1));
        let position = Position { xid, seq, nonce: nonce() };
        // SAFETY: reads the clock.
        let occurred_at = unsafe { pg_sys::GetCurrentTimestamp() };
        Self { webhook_id: ids::webhook_id(position), occurred_at, position }
    }

    /// Appends the event to its day's partition, signed for each of its recipients, and has the sidecar woken at commit.
    pub fn append(
        self,
        partition: &Partition,
        name: &str,
        body: &[u8],
        recipients: &Recipients,
    ) -> Result<String, String> {
        let signatures = recipients.signatures.sign(body);
        let mut values = [
            self.occurred_at.into_datum(),
            Some(pg_sys::Datum::from(self.position.xid)),
            (self.position.seq as i32).into_datum(),
            self.webhook_id.as_str().into_datum(),
            name.into_datum(),
            // A bytea is held as a text is.
            body.into_datum(),
            Some(recipients.endpoints.as_ptr().into()),
            Some(recipients.secret_versions.as_ptr().into()),
            Some(signatures.as_ptr().into()),
        ]
        .map(|value| value.expect("no column of an event is NULL"));
        // SAFETY: the values are those of COLUMNS; the partition was locked when it was looked up.
        unsafe {
            match &partition.index {
                Some(index) => partition.insert(index, &mut values),
                None => partition.execute_insert(&values)?,
            }
        }
        wakeup::at_commit();
        Ok(self.webhook_id)
    }
}

const READ: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
const WRITE: pg_sys::LOCKMODE = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
/// Opens what is locked already, or closes it and keeps the lock.
const NO_LOCK: pg_sys::LOCKMODE = pg_sys::NoLock as pg_sys::LOCKMODE;

impl Partition {
    /// The partition of a day, where there is one.
    pub fn find(day: i32) -> Option<pg_sys::Oid> {
        let date: String = time::date(day)?.to_string().split('-').collect();
        let name = CString::new(format!("event_{date}")).ok()?;
        catalog::relation(&name).ok()
    }

    /// Creates the partition of a day that housekeeping has not come to; to be called as the log's owner.
    pub fn create(day: i32) -> pg_sys::Oid {
        Spi::connect_mut(|client| {
            let sql = "SELECT webhooks.create_partition('webhooks.event', date '2000-01-01' + $1)::oid";
            client
                .update(sql, Some(1), &[day.into()])
                .and_then(|rows| rows.first().get_one::<pg_sys::Oid>())
                .unwrap_or_else(|error| error!("{error}"))
                .expect("create_partition returns the partition")
        })
    }

    /// Locks a partition for appends until the transaction ends. What others have changed about it becomes known with the
    /// lock.
    pub fn lock(heap: pg_sys::Oid) {
        // SAFETY: waits for a lock, which an error releases.
        unsafe { pg_sys::LockRelationOid(heap, WRITE) }
    }

    /// Reads how a partition is laid out. To be called once it is locked: what was read before may be out of date by then.
    pub fn examine(day: i32, heap: pg_sys::Oid) -> Self {
        // SAFETY: the table is there and locked.
        unsafe {
            let open = pg_sys::table_open(heap, NO_LOCK);
            let index = if is_plain(open) { Index::only_one_of(open) } else { None };
            pg_sys::table_close(open, NO_LOCK);
            Self { day, heap, index }
        }
    }

    /// # Safety
    /// The partition is locked and plain; the values are those of COLUMNS; the index is its only one.
    unsafe fn insert(&self, index: &Index, values: &mut [pg_sys::Datum; COLUMNS.len()]) {
        let mut nulls = [false; COLUMNS.len()];
        // SAFETY: both relations have a writer's lock until the transaction ends, so the partition has just these columns
        // and the index its two; the index entry points to the tuple that was just put into the heap.
        unsafe {
            let heap = pg_sys::table_open(self.heap, NO_LOCK);
            let open_index = pg_sys::index_open(index.oid, WRITE);
            let tuple = pg_sys::heap_form_tuple((*heap).rd_att, values.as_mut_ptr(), nulls.as_mut_ptr());
            pg_sys::heap_insert(heap, tuple, pg_sys::GetCurrentCommandId(true), 0, std::ptr::null_mut());
            pg_sys::index_insert(
                open_index,
                values[INDEXED].as_mut_ptr(),
                nulls[INDEXED].as_mut_ptr(),
                &mut (*tuple).t_self,
                heap,
                pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO,
                false,
                index.info,
            );
            pg_sys::heap_freetuple(tuple);
            pg_sys::index_close(open_index, NO_LOCK);
            pg_sys::table_close(heap, NO_LOCK);
        }
    }

    /// The same by the executor, which knows every column and index.
    ///
    /// # Safety
    /// The values are those of COLUMNS.
    unsafe fn execute_insert(&self, values: &[pg_sys::Datum; COLUMNS.len()]) -> Result<(), String> {
        // SAFETY: the caller's promise.
        let values: Vec<_> =
            values.iter().zip(COLUMNS).map(|(value, (_, of))| unsafe { DatumWithOid::new(*value, of) }).collect();
        let names = COLUMNS.map(|(name, _)| name).join(", ");
        let sql = format!("INSERT INTO webhooks.event ({names}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
        guarded(catalog::owner_of(self.heap), || {
            Spi::run_with_args(&sql, &values).unwrap_or_else(|error| error!("{error}"))
        })
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
        let has_column = |(place, (_, type_oid)): (usize, (&str, pg_sys::Oid))| {
            let column = attribute(descriptor, place);
            column.atttypid == type_oid && !column.attisdropped && column.attgenerated == 0
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
            let open = pg_sys::index_open(oid, READ);
            let info = pgrx::PgMemoryContexts::TopMemoryContext.switch_to(|_| pg_sys::BuildIndexInfo(open));
            pg_sys::index_close(open, READ);
            let index = Self { oid, info };
            index.is_on_position().then_some(index)
        }
    }

    fn is_on_position(&self) -> bool {
        // SAFETY: made by BuildIndexInfo, and freed on drop.
        let info = unsafe { &*self.info };
        let columns = INDEXED.map(|place| place as i16 + 1);
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

/// Random bytes from Postgres' source of them.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // SAFETY: writes N bytes into an array of N.
    if !unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), N) } {
        error!("could not generate random bytes");
    }
    bytes
}

fn nonce() -> u64 {
    NONCE.get().unwrap_or_else(|| {
        let nonce = u64::from_le_bytes(random());
        NONCE.set(Some(nonce));
        nonce
    })
}
