//! All that the sidecar knows under one lease: how far it has read, what it holds, what is in flight and what is to be
//! reported. It outlives the sessions: while the database is away, requests in flight go on, and their results wait
//! here. It starts requests and makes no call of the database.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use webhooks_core::retry;

use super::announcements::Announcements;
use super::attempt::{Attempt, Ending, Settled};
use super::event::{Delivery, PendingKey, Source};
use super::failure::Failure;
use super::in_flight::{Completion, InFlightRequests};
use super::queues::{Lane, Limits, Outcome, Queues};
use super::readers::{News, Query, ReadChunk, ReadSizes, Readers};
use super::results::{Report, ResultBuffer};
use super::sender::Sender;
use super::session::{AcquiredLease, DueQuery, Fetched, Lease, ReadLimits, RenewedLease, Reported};
use super::wakeup::Found;

const MAX_CHUNK_BYTES: usize = 8 << 20;
/// How much the process holds at most, of bodies and deliveries; a chunk may go beyond it by its size.
const MAX_HELD_BYTES: usize = 32 << 20;
/// How many pending deliveries are held at most.
const MAX_HELD_PENDING: usize = 2048;

/// The state of one shard, from acquiring it to losing it.
pub struct ShardState {
    pub lease: Lease,
    pub requests: InFlightRequests,
    pub results: ResultBuffer,
    readers: Readers,
    queues: Queues<Arc<Delivery>>,
    /// What the front's last look saw, as the database tells it.
    seen: Arc<str>,
    held_bytes: Arc<AtomicUsize>,
    max_held_bytes: usize,
    /// Pending deliveries that are held.
    held_pending: HashSet<PendingKey>,
    /// How many deliveries are held: fetched, and their result not yet committed.
    held: usize,
    /// How many of them were started: what may come twice after a crash. And how many may be.
    started: usize,
    max_started: usize,
    /// From the database's settings.
    request_timeout: Duration,
    /// What the log is to say of endpoints.
    pub announcements: Announcements,
}

impl ShardState {
    /// Begins where the database says, holding nothing.
    pub fn new(acquired: AcquiredLease, sender: Sender, sizes: ReadSizes, limits: Limits, now: Instant) -> Self {
        Self {
            lease: acquired.lease,
            requests: InFlightRequests::new(sender),
            results: ResultBuffer::default(),
            readers: Readers::new(sizes, acquired.done, acquired.rows),
            queues: Queues::new(limits, now),
            seen: acquired.seen,
            held_bytes: Arc::default(),
            max_held_bytes: MAX_HELD_BYTES,
            held_pending: HashSet::new(),
            held: 0,
            started: 0,
            max_started: limits.global,
            request_timeout: Duration::from_secs(30),
            announcements: Announcements::default(),
        }
    }

    /// Takes what a renewal told: of what the process may hold, each shard of its share gets a part.
    pub fn renewed(&mut self, renewed: RenewedLease, slots: usize) {
        let share = renewed.share.max(1);
        self.request_timeout = renewed.request_timeout;
        self.max_held_bytes = MAX_HELD_BYTES / share;
        self.max_started = (slots / share).max(1);
        self.queues.set_global_limit(self.max_started);
    }

    /// How many deliveries are held: the database does not have their results.
    pub fn held(&self) -> usize {
        self.held
    }

    /// The counter of the bytes that are held.
    pub fn held_bytes(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.held_bytes)
    }

    /// What the front's last look saw.
    pub fn seen(&self) -> Arc<str> {
        Arc::clone(&self.seen)
    }

    /// What the front reads next, and how much of it; none while too much is held.
    pub fn front_query(&mut self) -> Option<(Query, ReadLimits)> {
        let limits = self.read_limits(self.max_held_bytes)?;
        Some((self.readers.front_query(), limits))
    }

    /// What the sweep reads next, and how much of it: half of what may be held is the front's alone.
    pub fn sweep_query(&mut self) -> Option<(Query, ReadLimits)> {
        if !self.readers.has_laggards() {
            return None;
        }
        let limits = self.read_limits(self.max_held_bytes / 2)?;
        let queues = &self.queues;
        Some((self.readers.sweep_query(|endpoint| queues.may_read(endpoint))?, limits))
    }

    /// Whether there are endpoints to catch up for.
    pub fn has_laggards(&self) -> bool {
        self.readers.has_laggards()
    }

    fn read_limits(&self, max_held: usize) -> Option<ReadLimits> {
        let bytes = max_held.saturating_sub(self.held_bytes.load(Ordering::Relaxed)).min(MAX_CHUNK_BYTES);
        (bytes > 0).then_some(ReadLimits { events: self.readers.chunk_size() as i32, bytes: bytes as i64 })
    }

    /// Takes what `news` returned, before what the look returned that told of it.
    pub fn accept_news(&mut self, news: Vec<News>) {
        let seen_before = self.readers.front().xmax();
        for told in news {
            let endpoint = told.endpoint;
            if self.readers.take_news(told, seen_before) {
                self.drop_queue(endpoint);
            }
        }
    }

    /// Takes what `fetch` returned; says what it found.
    pub fn accept(&mut self, query: &Query, fetched: Fetched, now: Instant) -> Found {
        let Fetched { deliveries, done, is_complete, events, left_out, seen } = fetched;
        let is_front = query.only.is_none();
        let found = match (is_complete, events) {
            (false, _) => Found::More,
            (true, 0) if done == *self.readers.front() => Found::Nothing,
            (true, 0) => Found::Others,
            (true, count) => Found::Events(u32::try_from(count).unwrap_or(u32::MAX)),
        };
        if is_front {
            self.seen = seen;
        }
        for delivery in self.readers.accept(query, ReadChunk { deliveries, done, is_complete, events, left_out }, now) {
            self.held += 1;
            let delivery = Arc::new(delivery);
            if delivery.event.damage.is_some() {
                self.set_aside(delivery);
            } else {
                let lane = Lane::First(delivery.event.key);
                self.queue(delivery, lane, now);
            }
        }
        self.start_next(now);
        found
    }

    fn queue(&mut self, delivery: Arc<Delivery>, lane: Lane, now: Instant) {
        let (endpoint, limits) = (delivery.endpoint, delivery.limits);
        self.queues.push(endpoint, delivery.origin(), limits, lane, Arc::clone(&delivery), now);
    }

    /// While too much is held, the endpoint with the longest queue gives it back, to be read for it again later.
    pub fn relieve(&mut self) {
        if self.read_limits(self.max_held_bytes).is_none()
            && let Some(endpoint) = self.queues.longest()
        {
            self.readers.give_back(endpoint);
            self.drop_queue(endpoint);
        }
    }

    /// What to ask `fetch_due`; none while no more pending deliveries may be held.
    pub fn due_query(&mut self) -> Option<DueQuery> {
        let bytes = self.read_limits(self.max_held_bytes)?.bytes;
        if self.held_pending.len() >= MAX_HELD_PENDING {
            return None;
        }
        let (rooms, room_for_others) = self.queues.retry_rooms();
        Some(DueQuery { rooms, room_for_others, in_flight: self.held_pending.iter().copied().collect(), bytes })
    }

    /// Takes what `fetch_due` returned.
    pub fn accept_due(&mut self, deliveries: Vec<Delivery>, now: Instant) {
        for delivery in deliveries {
            // It was asked twice.
            if !self.held_pending.insert(delivery.pending_key()) {
                continue;
            }
            self.held += 1;
            let delivery = Arc::new(delivery);
            if delivery.event.damage.is_some() {
                self.set_aside(delivery);
            } else {
                self.queue(delivery, Lane::Retry, now);
            }
        }
        self.start_next(now);
    }

    /// Takes a request that is over; returns whether retries may have room now.
    pub fn complete(&mut self, completion: Completion, now: Instant) -> bool {
        let Some(delivery) = self.requests.take(&completion) else { return false };
        let attempt = completion.attempt;
        let lane = match delivery.source {
            Source::Pending => Lane::Retry,
            Source::Log(_) => Lane::First(delivery.event.key),
        };
        let has_room = self.queues.complete(delivery.endpoint, lane, outcome_of(&attempt), attempt.started, now);
        match attempt.error() {
            None => self.announcements.succeeded(delivery.endpoint, now),
            Some(error) if !attempt.is_ours() => self.announcements.failed(delivery.endpoint, || error, now),
            Some(_) => {}
        }
        self.results.put(Settled { delivery, ending: Ending::Attempted(attempt) });
        self.start_next(now);
        has_room
    }

    /// Goes on with time, and starts what may start.
    pub fn advance(&mut self, now: Instant) {
        self.queues.advance(now);
        self.start_next(now);
    }

    /// When to [advance](Self::advance) at the latest.
    pub fn advance_at(&self) -> Option<Instant> {
        self.queues.advance_at()
    }

    fn start_next(&mut self, now: Instant) {
        while self.started < self.max_started
            && let Some((_, _, delivery)) = self.queues.next(now)
        {
            self.started += 1;
            let deadline = delivery.timeout.unwrap_or(self.request_timeout);
            self.requests.start(delivery, deadline);
        }
    }

    /// When the next report is due, if none is under way.
    pub fn report_due_at(&self, now: Instant) -> Option<Instant> {
        [self.results.due_at(now), self.readers.rows_due_at()].into_iter().flatten().min()
    }

    /// Packs the report that is due; none where none is.
    pub fn pack_due_report(&mut self, now: Instant) -> Option<Arc<Report>> {
        self.report_due_at(now).filter(|at| *at <= now)?;
        Some(self.pack_report(now))
    }

    /// Packs what results there are, and the cursor.
    pub fn pack_report(&mut self, now: Instant) -> Arc<Report> {
        self.results.pack(&mut self.readers, now)
    }

    /// The report is committed. Returns whether it left something pending.
    pub fn reported(&mut self, reported: &Reported, now: Instant) -> bool {
        let Some(report) = self.results.acknowledged() else { return false };
        self.held -= report.settled.len();
        self.started -= report.settled.iter().filter(|settled| matches!(settled.ending, Ending::Attempted(_))).count();
        self.readers.written(&report.rows, &reported.written);
        let mut of_log: HashMap<i32, usize> = HashMap::new();
        for settled in &report.settled {
            match settled.delivery.source {
                Source::Pending => drop(self.held_pending.remove(&settled.delivery.pending_key())),
                Source::Log(_) => *of_log.entry(settled.delivery.endpoint).or_default() += 1,
            }
        }
        for (endpoint, deliveries) in of_log {
            self.readers.acknowledged(endpoint, deliveries);
        }
        self.start_next(now);
        report.leaves_pending()
    }

    /// Drops all that is queued: the database has it.
    pub fn drop_queues(&mut self) {
        for endpoint in self.queues.queued() {
            self.drop_queue(endpoint);
        }
    }

    /// Aborts the requests in flight, whose results nobody will know.
    pub fn abort_requests(&mut self) {
        self.requests.abort();
    }

    fn drop_queue(&mut self, endpoint: i32) {
        let dropped = self.queues.clear(endpoint);
        self.held -= dropped.len();
        let (pending, of_log): (Vec<_>, Vec<_>) =
            dropped.into_iter().partition(|delivery| delivery.source == Source::Pending);
        for delivery in pending {
            self.held_pending.remove(&delivery.pending_key());
        }
        self.readers.dropped(endpoint, of_log.len());
    }

    fn set_aside(&mut self, delivery: Arc<Delivery>) {
        self.results.put(Settled { delivery, ending: Ending::Unreadable });
    }
}

/// What an attempt says of how much its endpoint can take.
fn outcome_of(attempt: &Attempt) -> Outcome {
    let response = match &attempt.outcome {
        Ok(response) => response,
        Err(_) if attempt.is_ours() => return Outcome::Ours,
        Err(Failure::Timeout | Failure::ConnectTimeout | Failure::Unreachable) => return Outcome::Silent,
        Err(_) => return Outcome::Failed,
    };
    let asked = response.retry_after.as_deref().and_then(|value| retry::parse_retry_after(value, SystemTime::now()));
    match response.status.as_u16() {
        200..=299 => Outcome::Accepted,
        429 => Outcome::Throttled(asked),
        503 if asked.is_some() => Outcome::Throttled(asked),
        408 | 500.. => Outcome::Failed,
        _ => Outcome::Answered,
    }
}
