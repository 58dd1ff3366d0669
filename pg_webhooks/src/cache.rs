//! What a session remembers between rows: plans, which events are wanted, and the log's partition and key. It only memoises
//! tables, so forgetting costs a re-read and never correctness.
//!
//! A change of subscriptions, of an attached table or of the log's partitions reaches every session as a relcache
//! invalidation, at the commit that made it. The callback sets a flag and does nothing else; the next row forgets all.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use pgrx::prelude::*;
use webhooks_core::event_rules;
use webhooks_core::signature::Signer;

use crate::event_log::Partition;
use crate::fault::Fault;
use crate::postgres::{function_name, owner_of, referenced_by, relation, run_as};

#[derive(Default)]
struct Cache {
    /// Whether anybody subscribes, by the event's name.
    wanted: HashMap<String, bool>,
    /// The same for a kind of table, by the function that asks.
    wanted_kinds: Vec<(pg_sys::Oid, bool)>,
    /// What signs the rows of the log.
    signer: Option<Rc<Signer>>,
    /// By the trigger's oid. The plan's type is the caller's business.
    plans: BTreeMap<u32, Rc<dyn Any>>,
    partition: Option<Rc<Partition>>,
    wakeup: Option<pg_sys::Oid>,
}

/// No session remembers more names of events than these: an application makes them up for `emit`.
const MAX_NAMES: usize = 65_536;

thread_local! {
    static STALE: Cell<bool> = const { Cell::new(false) };
    /// The relations whose change makes the cache stale.
    static WATCHED: RefCell<Vec<pg_sys::Oid>> = const { RefCell::new(Vec::new()) };
    static CACHE: RefCell<Cache> = RefCell::new(Cache::default());
}

/// Registers the invalidation callback; once a session (Postgres has ten slots for all extensions together).
pub fn register() {
    // SAFETY: the callback is guarded and lives as long as the library, which is never unloaded.
    unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(on_invalidation), pg_sys::Datum::from(0)) }
}

#[pg_guard]
unsafe extern "C-unwind" fn on_invalidation(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    let concerned = relation == pg_sys::InvalidOid || WATCHED.with_borrow(|watched| watched.contains(&relation));
    if concerned {
        STALE.set(true);
    }
}

/// Forgets everything if something has changed since. Called where something is asked for from outside, never inside the
/// callback, and never while something is put together: what changes meanwhile is for the next question, and what is watched
/// stays watched.
fn forget_if_stale() {
    if STALE.replace(false) {
        // Dropped outside of the borrow: a partition's drop calls Postgres.
        drop(CACHE.take());
        WATCHED.with_borrow_mut(Vec::clear);
    }
}

/// Marks the cache stale whenever this relation changes. To be called before the relation is read.
fn watch(relation: pg_sys::Oid) {
    WATCHED.with_borrow_mut(|watched| {
        if !watched.contains(&relation) {
            watched.push(relation);
        }
    });
}

/// The plan of a trigger, which `compile` makes where none is known; it is told how to ask whether an event is wanted.
pub fn plan<P: 'static>(
    trigger: &pg_sys::TriggerData,
    compile: impl FnOnce(&pg_sys::TriggerData, fn(&str) -> Result<bool, Fault>) -> Result<P, Fault>,
) -> Result<Rc<P>, Fault> {
    forget_if_stale();
    // SAFETY: Postgres gives a trigger function a valid trigger and relation.
    let (trigger_oid, relation_oid) = unsafe { ((*trigger.tg_trigger).tgoid.to_u32(), (*trigger.tg_relation).rd_id) };
    let known = CACHE.with_borrow(|cache| cache.plans.get(&trigger_oid).cloned());
    if let Some(plan) = known.and_then(|plan| plan.downcast().ok()) {
        return Ok(plan);
    }
    watch(relation_oid);
    // A plan holds the names of the table that an import's supplier is in, and of its columns.
    // SAFETY: Postgres gives a trigger function its table, open.
    unsafe { referenced_by(trigger.tg_relation) }.into_iter().for_each(watch);
    let plan = Rc::new(compile(trigger, known_wanted)?);
    CACHE.with_borrow_mut(|cache| cache.plans.insert(trigger_oid, plan.clone()));
    Ok(plan)
}

/// Whether anybody subscribes to an event of the kind of table that `webhooks.wanted_<kind>()` is for. Asked for every row, so
/// two comparisons must do.
pub fn is_kind_wanted(function: pg_sys::Oid) -> Result<bool, Fault> {
    forget_if_stale();
    let known = CACHE.with_borrow(|cache| cache.wanted_kinds.iter().find(|(known, _)| *known == function).copied());
    if let Some((_, wanted)) = known {
        return Ok(wanted);
    }
    let name = function_name(function);
    let kind = name.strip_prefix("wanted_").and_then(event_rules::kind);
    let kind = kind.ok_or(Fault::UnknownKind(name))?;
    let mut wanted = false;
    for event in kind.events {
        wanted |= known_wanted(event.name)?;
    }
    CACHE.with_borrow_mut(|cache| cache.wanted_kinds.push((function, wanted)));
    Ok(wanted)
}

/// Whether anybody subscribes to an event. Who does is looked up when it is read (sql/sidecar.sql), so a writer pays nothing
/// for a subscriber. Disabled endpoints count: their events are in the log for a later replay.
pub fn is_wanted(event: &str) -> Result<bool, Fault> {
    forget_if_stale();
    known_wanted(event)
}

fn known_wanted(event: &str) -> Result<bool, Fault> {
    if let Some(wanted) = CACHE.with_borrow(|cache| cache.wanted.get(event).copied()) {
        return Ok(wanted);
    }
    watch(relation(c"subscription_change")?);
    // It only reads, so it takes no transaction id: where nobody subscribes, emit leaves no trace.
    let ask = |client: &spi::SpiClient| {
        client.select("SELECT webhooks.is_wanted($1)", Some(1), &[event.into()])?.first().get_one::<bool>()
    };
    let wanted = run_as(owner_of(relation(c"subscription")?), || {
        Spi::connect(ask).unwrap_or_else(|error: spi::SpiError| error!("{error}"))
    })?;
    // An answer is never NULL.
    let wanted = wanted.unwrap_or(true);
    CACHE.with_borrow_mut(|cache| {
        if cache.wanted.len() >= MAX_NAMES {
            cache.wanted.clear();
        }
        cache.wanted.insert(event.to_owned(), wanted);
    });
    Ok(wanted)
}

/// What signs the rows of the log.
pub fn signer() -> Result<Rc<Signer>, Fault> {
    forget_if_stale();
    if let Some(signer) = CACHE.with_borrow(|cache| cache.signer.clone()) {
        return Ok(signer);
    }
    let log_key = relation(c"log_key")?;
    watch(log_key);
    let key = run_as(owner_of(log_key), || {
        Spi::get_one::<Vec<u8>>("SELECT key FROM webhooks.log_key").unwrap_or_else(|error| error!("{error}"))
    })?;
    let signer = Rc::new(Signer::with_key(&key.ok_or_else(|| Fault::MissingTable("log_key".to_owned()))?));
    CACHE.with_borrow_mut(|cache| cache.signer = Some(signer.clone()));
    Ok(signer)
}

/// The log's partition for a UTC day, counted from 2000-01-01, locked for appends of the transaction with this id.
pub fn partition(day: i32, xid: u64) -> Result<Rc<Partition>, Fault> {
    forget_if_stale();
    if let Some(partition) = CACHE.with_borrow(|cache| cache.partition.clone())
        && partition.day == day
    {
        partition.lock(xid);
        // Invalidations arrive with the lock: one that somebody sent before it was granted makes the cache stale here.
        if !STALE.get() {
            return Ok(partition);
        }
    }
    let event = relation(c"event")?;
    let heap = lock_partition(day, event)?;
    let partition = Rc::new(Partition::examine(day, heap));
    partition.lock(xid);
    CACHE.with_borrow_mut(|cache| cache.partition = Some(partition.clone()));
    Ok(partition)
}

/// Finds the day's partition and locks it.
fn lock_partition(day: i32, event: pg_sys::Oid) -> Result<pg_sys::Oid, Fault> {
    let mut heap = Partition::find(day, event)?;
    loop {
        watch(heap);
        Partition::lock_table(heap);
        // While the lock was waited for the table may have gone, or housekeeping may have given the day one of its own.
        let found = Partition::find(day, event)?;
        if found == heap {
            return Ok(heap);
        }
        heap = found;
    }
}

/// The table whose lock says whether a sidecar sleeps. Missing while the extension is being dropped.
pub fn wakeup() -> Result<pg_sys::Oid, Fault> {
    forget_if_stale();
    if let Some(wakeup) = CACHE.with_borrow(|cache| cache.wakeup) {
        return Ok(wakeup);
    }
    let wakeup = relation(c"wakeup")?;
    watch(wakeup);
    CACHE.with_borrow_mut(|cache| cache.wakeup = Some(wakeup));
    Ok(wakeup)
}

/// Makes every session ask anew who subscribes to what once this transaction commits. A statement trigger of
/// `webhooks.subscription`.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn forget_subscriptions(_call: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    if let Ok(subscription_change) = relation(c"subscription_change") {
        // SAFETY: a queued message to all sessions, this one included.
        unsafe { pg_sys::CacheInvalidateRelcacheByRelid(subscription_change) }
    }
    pg_sys::Datum::from(0)
}

/// Tells Postgres how `forget_subscriptions` is called.
#[unsafe(no_mangle)]
pub extern "C" fn pg_finfo_forget_subscriptions() -> &'static pg_sys::Pg_finfo_record {
    &pg_sys::Pg_finfo_record { api_version: 1 }
}
