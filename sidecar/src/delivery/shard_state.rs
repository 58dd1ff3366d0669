//! All that the sidecar knows under one lease: how far it has read, what it holds, what is in flight and what is to be
//! reported. It outlives the sessions: while the database is away, requests in flight go on, and their results wait
//! here. It starts requests and makes no call of the database.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attempt::{Ending, Settled};
use super::endpoint_queues::{Admission, AttemptKind, EndpointQueues, Outcome, RequestLimits};
use super::event::{Delivery, PendingKey, Source};
use super::in_flight::{Completion, InFlightRequests};
use super::reader_state::ReaderState;
use super::results::{Report, ResultBuffer};
use super::sender::Sender;
use super::session::{Chunk, DueQuery, Lease, ReadLimits, RenewedLease};
use super::wakeup::Found;
use super::watermark::Position;

/// The state of one shard, from acquiring it to losing it.
pub struct ShardState {
    pub lease: Lease,
    pub reader: ReaderState,
    pub requests: InFlightRequests,
    pub results: ResultBuffer,
    queues: EndpointQueues<Arc<Delivery>>,
    /// Pending deliveries that are held.
    held_pending: HashSet<PendingKey>,
    /// How many deliveries are held: fetched, and their result not yet committed.
    held: usize,
    /// How many deliveries may be held.
    prefetch: usize,
    /// From the database's settings.
    request_timeout: Duration,
}

impl ShardState {
    /// Begins at a position, holding nothing.
    pub fn new(lease: Lease, position: Position, sender: Sender, limits: RequestLimits) -> Self {
        Self {
            lease,
            reader: ReaderState::new(position),
            requests: InFlightRequests::new(sender),
            results: ResultBuffer::default(),
            queues: EndpointQueues::new(limits),
            held_pending: HashSet::new(),
            held: 0,
            prefetch: limits.global,
            request_timeout: Duration::from_secs(30),
        }
    }

    /// Takes what a renewal told: of what the process may hold, each shard of its share gets a part.
    pub fn renewed(&mut self, renewed: RenewedLease, prefetch: usize) {
        let share = renewed.share.max(1);
        self.request_timeout = renewed.request_timeout;
        self.prefetch = (prefetch / share).max(1);
        self.reader.share_with(share);
        self.queues.set_global_limit(self.prefetch);
    }

    /// The sessions are back.
    pub fn resume(&mut self, now: Instant) {
        self.queues.restart_queue_clocks(now);
    }

    /// How many deliveries may be held.
    pub fn prefetch(&self) -> usize {
        self.prefetch
    }

    /// How many more deliveries may be held.
    pub fn room(&self) -> usize {
        self.prefetch.saturating_sub(self.held)
    }

    /// How many deliveries are held: the database does not have their results.
    pub fn held(&self) -> usize {
        self.held
    }

    /// How much to read next; none while there is not enough room.
    pub fn read_limits(&self) -> Option<ReadLimits> {
        self.reader.limits(self.room(), self.prefetch)
    }

    /// Takes what `fetch` returned.
    pub fn accept(&mut self, chunk: Chunk, now: Instant) -> Found {
        let (found, deliveries) = self.reader.accept(chunk, now);
        for delivery in deliveries {
            self.held += 1;
            self.admit(Arc::new(delivery), now);
        }
        found
    }

    fn admit(&mut self, delivery: Arc<Delivery>, now: Instant) {
        if delivery.event.damage.is_some() {
            return self.set_aside(delivery);
        }
        match self.queues.admit(delivery.endpoint, delivery, now) {
            Admission::Start(delivery) => self.requests.start(delivery, self.request_timeout),
            Admission::Queued => {}
            Admission::Defer(delivery) => self.defer(delivery),
        }
    }

    /// What to ask `fetch_due`.
    pub fn due_query(&mut self) -> DueQuery {
        let (rooms, room_for_others) = self.queues.retry_rooms();
        DueQuery { rooms, room_for_others, in_flight: self.held_pending.iter().copied().collect() }
    }

    /// Takes what `fetch_due` returned. What finds no room is forgotten: it stays pending.
    pub fn accept_due(&mut self, deliveries: Vec<Delivery>) {
        for delivery in deliveries {
            let is_readable = delivery.event.damage.is_none();
            if self.room() == 0 || is_readable && !self.queues.admit_retry(delivery.endpoint) {
                continue;
            }
            self.held += 1;
            self.held_pending.insert(delivery.pending_key());
            if is_readable {
                self.requests.start(Arc::new(delivery), self.request_timeout);
            } else {
                self.set_aside(Arc::new(delivery));
            }
        }
    }

    /// Takes a request that is over; returns whether retries may have room now.
    pub fn complete(&mut self, completion: Completion, now: Instant) -> bool {
        let Some(delivery) = self.requests.take(&completion) else { return false };
        let attempt = completion.attempt;
        let endpoint = delivery.endpoint;
        let outcome = if attempt.was_answered() { Outcome::Responded } else { Outcome::TimedOut };
        let kind = if delivery.source == Source::Pending { AttemptKind::Retry } else { AttemptKind::First };
        self.results.put(Settled { delivery, ending: Ending::Attempted(attempt) });
        let has_retry_room = self.queues.complete(endpoint, kind, outcome, now);
        self.start_queued(endpoint);
        has_retry_room
    }

    /// Defers what has waited in a queue for too long, and starts what has found a slot.
    pub fn inspect_queues(&mut self, now: Instant) {
        for delivery in self.queues.inspect(now) {
            self.defer(delivery);
        }
        for endpoint in self.queues.queued() {
            self.start_queued(endpoint);
        }
    }

    /// Whether there are queues to [inspect](Self::inspect_queues).
    pub fn has_queues(&self) -> bool {
        !self.queues.is_idle()
    }

    /// When the next report is due, if none is under way.
    pub fn report_due_at(&self, now: Instant) -> Option<Instant> {
        [self.results.due_at(now), self.reader.cursor_due_at()].into_iter().flatten().min()
    }

    /// Packs the report that is due; none where none is.
    pub fn pack_due_report(&mut self, now: Instant) -> Option<Arc<Report>> {
        self.report_due_at(now).filter(|at| *at <= now)?;
        self.pack_report(now)
    }

    /// Packs what results there are, and the cursor; none where there is no result and the cursor has not moved.
    pub fn pack_report(&mut self, now: Instant) -> Option<Arc<Report>> {
        self.reader.cursor_packed();
        let report = self.results.pack(&mut self.reader.watermark, now);
        if report.cursor.is_none() && report.settled.is_empty() {
            self.results.acknowledged();
            return None;
        }
        Some(report)
    }

    /// The report is committed, and has disabled these endpoints. Returns whether it left something pending.
    pub fn reported(&mut self, disabled: &[i32]) -> bool {
        let Some(report) = self.results.acknowledged() else { return false };
        self.held -= report.settled.len();
        for settled in report.settled.iter().filter(|settled| settled.delivery.source == Source::Pending) {
            self.held_pending.remove(&settled.delivery.pending_key());
        }
        for &endpoint in disabled {
            self.defer_queue(endpoint);
        }
        report.leaves_pending()
    }

    /// Defers all that is queued.
    pub fn defer_queues(&mut self) {
        for endpoint in self.queues.queued() {
            self.defer_queue(endpoint);
        }
    }

    /// Aborts the requests in flight, and defers them.
    pub fn abort_requests(&mut self) {
        for delivery in self.requests.abort() {
            self.defer(delivery);
        }
    }

    fn start_queued(&mut self, endpoint: i32) {
        while let Some(delivery) = self.queues.next(endpoint) {
            self.requests.start(delivery, self.request_timeout);
        }
    }

    fn defer_queue(&mut self, endpoint: i32) {
        for delivery in self.queues.clear(endpoint) {
            self.defer(delivery);
        }
    }

    fn set_aside(&mut self, delivery: Arc<Delivery>) {
        self.results.put(Settled { delivery, ending: Ending::Unreadable });
    }

    fn defer(&mut self, delivery: Arc<Delivery>) {
        self.results.put(Settled { delivery, ending: Ending::Deferred });
    }
}
