//! All that the sidecar knows under one lease: how far it has read, what it holds, what is under way and what is to
//! be reported. It outlives the sessions: while the database is away, requests under way go on and their results wait
//! here. It starts requests and does no database I/O.

use slab::Slab;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use super::endpoint_queues::{Admission, AttemptKind, EndpointQueues, Outcome, RequestLimits};
use super::event::{Attempt, Delivery, Ending, PendingKey, Settled, Source, Xid};
use super::failure::Failure;
use super::results::{Report, ResultBuffer};
use super::sender::Sender;
use super::session::{Chunk, DueQuery, Lease, ReadLimits, RenewedLease};
use super::wakeup::Found;
use super::watermark::{Position, Watermark, WindowPosition};

/// For events that nobody active wants: the cursor passes them without a result to travel with.
const CURSOR_SPACING: Duration = Duration::from_secs(1);
const CHUNK_EVENTS: usize = 500;
const CHUNK_BYTES: usize = 8 << 20;
/// Deliveries per event, as long as none have come: a first chunk of five hundred events could be of any size.
const CAUTIOUS_FAN_OUT: usize = 64;
/// Bodies held by the process; a chunk may go beyond it by its size.
const MAX_HELD_BYTES: usize = 16 << 20;

/// See the module.
pub struct Tenure {
    pub lease: Lease,
    /// From the database's settings.
    request_timeout: Duration,
    read: Position,
    watermark: Watermark,
    /// Since when events without deliveries have been passed that no report has told of.
    passed_at: Option<Instant>,
    queues: EndpointQueues<Arc<Delivery>>,
    flights: Slab<Flight>,
    landing: UnboundedSender<Landing>,
    /// Requests that are over.
    pub landed: UnboundedReceiver<Landing>,
    pub results: ResultBuffer,
    /// Pending deliveries in hand, until their result is committed.
    in_flight: HashSet<PendingKey>,
    /// Deliveries in hand, until their result is committed.
    held: usize,
    most_held: usize,
    most_bytes: usize,
    held_bytes: Arc<AtomicUsize>,
    /// Deliveries per event read, as of late.
    fan_out: usize,
    sender: Sender,
}

/// A request that is over: its number and its result.
pub type Landing = (usize, Attempt);

/// A request under way; dropping it breaks it off.
struct Flight {
    delivery: Arc<Delivery>,
    task: AbortHandle,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tenure {
    /// Begins at a position, with nothing in hand.
    pub fn new(lease: Lease, position: Position, sender: Sender, limits: RequestLimits) -> Self {
        let (landing, landed) = unbounded_channel();
        Self {
            lease,
            request_timeout: Duration::from_secs(30),
            read: position,
            watermark: Watermark::new(),
            passed_at: None,
            queues: EndpointQueues::new(limits),
            flights: Slab::new(),
            landing,
            landed,
            results: ResultBuffer::default(),
            in_flight: HashSet::new(),
            held: 0,
            most_held: limits.global,
            most_bytes: MAX_HELD_BYTES,
            held_bytes: Arc::new(AtomicUsize::new(0)),
            fan_out: CAUTIOUS_FAN_OUT,
            sender,
        }
    }

    /// Follows what a renewal told: of what the process may hold, `most_held` and [`MAX_HELD_BYTES`], each shard of its
    /// share gets a part.
    pub fn follow(&mut self, terms: RenewedLease, most_held: usize) {
        let share = terms.share.max(1);
        self.request_timeout = terms.request_timeout;
        self.most_held = (most_held / share).max(1);
        self.most_bytes = MAX_HELD_BYTES / share;
        self.queues.set_global_limit(self.most_held);
    }

    /// The sessions are back.
    pub fn resume(&mut self, now: Instant) {
        self.queues.restart_queue_clocks(now);
    }

    /// Where to read on.
    pub fn position(&self) -> Position {
        self.read.clone()
    }

    /// How many deliveries may be held.
    pub fn most_held(&self) -> usize {
        self.most_held
    }

    /// How many more deliveries may be held.
    pub fn room(&self) -> usize {
        self.most_held.saturating_sub(self.held)
    }

    /// How much to read next; none while there is no room.
    pub fn read_limits(&self) -> Option<ReadLimits> {
        let bytes = self.most_bytes.saturating_sub(self.held_bytes.load(Ordering::Relaxed)).min(CHUNK_BYTES);
        let events = (self.room() / self.fan_out).clamp(1, CHUNK_EVENTS);
        // Room for a whole event; a quarter is enough, which endpoints that hang can not hold.
        let enough = self.fan_out.min(self.most_held / 4).max(1);
        (self.room() >= enough && bytes > 0).then_some(ReadLimits { events: events as i32, bytes: bytes as i64 })
    }

    /// The bytes of the bodies that are held, where they are counted.
    pub fn held_bytes(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.held_bytes)
    }

    /// Takes what `fetch` returned.
    pub fn accept(&mut self, chunk: Chunk, now: Instant) -> Found {
        let window_from = Arc::clone(&self.read.window_from);
        let position_at = |xid, seq| Position {
            window_from: Arc::clone(&window_from),
            window: Some(WindowPosition { window_to: Arc::clone(&chunk.window_to), xid, seq }),
        };
        if chunk.events > 0 && chunk.deliveries.is_empty() {
            self.passed_at.get_or_insert(now);
        }
        let found = match (chunk.stopped_at, chunk.events) {
            (Some(_), _) => Found::More,
            (None, 0) if chunk.window_to == self.read.window_from => Found::Nothing,
            (None, 0) => Found::Others,
            (None, count) => Found::Events(u32::try_from(count).unwrap_or(u32::MAX)),
        };

        // Events without a delivery count: what a paused endpoint misses would be read a few events at a time, forever.
        if chunk.events > 0 {
            self.fan_out = chunk.deliveries.len().div_ceil(chunk.events).max(self.fan_out / 2).max(1);
        }
        let mut last: Option<((Xid, i32), u64)> = None;
        for mut delivery in chunk.deliveries {
            let at = (delivery.event.xid, delivery.event.seq);
            let entry = match last {
                Some((event, entry)) if event == at => entry,
                _ => self.watermark.enter(position_at(at.0, at.1)),
            };
            last = Some((at, entry));
            self.watermark.add(entry);
            delivery.source = Source::Log(entry);
            self.held += 1;
            self.admit(Arc::new(delivery), now);
        }

        self.read = match chunk.stopped_at {
            Some((xid, seq)) => position_at(xid, seq),
            None => Position { window_from: chunk.window_to, window: None },
        };
        self.watermark.pass(self.read.clone());
        found
    }

    fn admit(&mut self, delivery: Arc<Delivery>, now: Instant) {
        if delivery.event.unreadable.is_some() {
            return self.set_aside(delivery);
        }
        match self.queues.admit(delivery.endpoint, delivery, now) {
            Admission::Start(delivery) => self.start(delivery),
            Admission::Queued => {}
            Admission::Defer(delivery) => self.defer(delivery),
        }
    }

    /// What to ask `fetch_due`.
    pub fn due_query(&mut self) -> DueQuery {
        let (rooms, room_for_others) = self.queues.retry_rooms();
        DueQuery { rooms, room_for_others, in_flight: self.in_flight.iter().copied().collect() }
    }

    /// Takes what `fetch_due` returned. What finds no room is forgotten: it stays pending.
    pub fn accept_due(&mut self, deliveries: Vec<Delivery>) {
        for delivery in deliveries {
            let is_readable = delivery.event.unreadable.is_none();
            if self.room() == 0 || is_readable && !self.queues.admit_retry(delivery.endpoint) {
                continue;
            }
            self.held += 1;
            self.in_flight.insert(delivery.pending_key());
            if is_readable {
                self.start(Arc::new(delivery));
            } else {
                self.set_aside(Arc::new(delivery));
            }
        }
    }

    /// Takes a request that is over; true if retries may have room now.
    pub fn land(&mut self, (number, attempt): Landing, now: Instant) -> bool {
        let Some(flight) = self.flights.try_remove(number) else { return false };
        let delivery = Arc::clone(&flight.delivery);
        let endpoint = delivery.endpoint;
        let outcome = if attempt.was_answered() { Outcome::Responded } else { Outcome::TimedOut };
        let kind = if delivery.source == Source::Pending { AttemptKind::Retry } else { AttemptKind::First };
        self.results.put(Settled { delivery, ending: Ending::Attempted(attempt) });
        let retry_room = self.queues.complete(endpoint, kind, outcome, now);
        self.start_queued(endpoint);
        retry_room
    }

    /// Defers what has waited in a queue for too long.
    pub fn inspect(&mut self, now: Instant) {
        for delivery in self.queues.inspect(now) {
            self.defer(delivery);
        }
        for endpoint in self.queues.queued() {
            self.start_queued(endpoint);
        }
    }

    /// Whether there is anything to [inspect](Self::inspect).
    pub fn is_busy(&self) -> bool {
        !self.queues.is_idle()
    }

    /// When the next report should leave, none being under way.
    pub fn report_due_at(&self, now: Instant) -> Option<Instant> {
        let cursor_due_at = self.passed_at.map(|passed_at| passed_at + CURSOR_SPACING);
        [self.results.due_at(now), cursor_due_at].into_iter().flatten().min()
    }

    /// The report to send now, if it is time.
    pub fn pack_report(&mut self, now: Instant) -> Option<Arc<Report>> {
        self.report_due_at(now).filter(|at| *at <= now)?;
        self.pack_cursor(now)
    }

    /// What results there are, and the cursor; none if there is neither a result nor a move.
    pub fn pack_cursor(&mut self, now: Instant) -> Option<Arc<Report>> {
        self.passed_at = None;
        let report = self.results.pack(&mut self.watermark, now);
        if report.cursor.is_none() && report.settled.is_empty() {
            self.results.acknowledged();
            return None;
        }
        Some(report)
    }

    /// The report is committed, and these endpoints are disabled by it. True if it left something pending.
    pub fn reported(&mut self, disabled: &[i32]) -> bool {
        let Some(report) = self.results.acknowledged() else { return false };
        self.held -= report.settled.len();
        for settled in report.settled.iter().filter(|settled| settled.delivery.source == Source::Pending) {
            self.in_flight.remove(&settled.delivery.pending_key());
        }
        for &endpoint in disabled {
            for delivery in self.queues.clear(endpoint) {
                self.defer(delivery);
            }
        }
        report.leaves_pending()
    }

    /// Starts nothing more: what is queued is for later.
    pub fn close(&mut self) {
        for endpoint in self.queues.queued() {
            for delivery in self.queues.clear(endpoint) {
                self.defer(delivery);
            }
        }
    }

    /// Breaks the requests under way off; they are for later.
    pub fn break_off(&mut self) {
        for flight in self.flights.drain().collect::<Vec<_>>() {
            self.defer(Arc::clone(&flight.delivery));
        }
    }

    /// Requests under way.
    pub fn under_way(&self) -> usize {
        self.flights.len()
    }

    /// Deliveries whose result the database does not have.
    pub fn held(&self) -> usize {
        self.held
    }

    fn start_queued(&mut self, endpoint: i32) {
        while let Some(delivery) = self.queues.next(endpoint) {
            self.start(delivery);
        }
    }

    fn start(&mut self, delivery: Arc<Delivery>) {
        let seat = self.flights.vacant_entry();
        let ticket = Ticket { number: seat.key(), landing: self.landing.clone(), attempt: None };
        let (sender, sent, deadline) = (self.sender.clone(), Arc::clone(&delivery), self.request_timeout);
        let task = tokio::spawn(async move {
            let mut ticket = ticket;
            ticket.attempt = Some(sender.send(&sent, deadline).await);
        });
        seat.insert(Flight { delivery, task: task.abort_handle() });
    }

    fn set_aside(&mut self, delivery: Arc<Delivery>) {
        self.results.put(Settled { delivery, ending: Ending::Unreadable });
    }

    fn defer(&mut self, delivery: Arc<Delivery>) {
        self.results.put(Settled { delivery, ending: Ending::Deferred });
    }
}

/// Hands the result in when the request's task ends, however it ends: no delivery is lost to a panic.
struct Ticket {
    number: usize,
    landing: UnboundedSender<Landing>,
    attempt: Option<Attempt>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let panicked = || Attempt { started: Instant::now(), took_ms: 0, outcome: Err(Failure::Internal) };
        let attempt = self.attempt.take().unwrap_or_else(panicked);
        // Nobody listens when the lease is over.
        let _ = self.landing.send((self.number, attempt));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::egress::EgressPolicy;

    #[test]
    fn events_that_nobody_active_wants_are_soon_read_many_at_a_time() {
        let now = Instant::now();
        let limits = RequestLimits { per_endpoint: 32, global: 1024 };
        let sender = Sender::new(EgressPolicy::new(&[]), 1).expect("a client");
        let start = Position { window_from: "1:1:".into(), window: None };
        let mut tenure = Tenure::new(Lease { shard: 0, id: 1 }, start, sender, limits);
        assert_eq!(tenure.read_limits().map(|limits| limits.events), Some(16), "cautious, while nothing is known");
        for _ in 0..6 {
            let events = tenure.read_limits().map_or(0, |limits| limits.events as usize);
            tenure.accept(
                Chunk { deliveries: vec![], window_to: "1:9:".into(), events, stopped_at: Some((Xid(1), 1)) },
                now,
            );
        }
        assert_eq!(tenure.read_limits().map(|limits| limits.events), Some(500));
    }
}
