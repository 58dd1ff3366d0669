//! Bulkheads: a queue and a number of slots for each endpoint, so that one that hangs holds its own requests and
//! nothing else. A pure state machine; it holds whatever stands for a delivery and never sends anything.
//!
//! * An endpoint that *responded* in the last 250 ms is healthy and may use all the slots of an endpoint.
//! * The others are *unproven*. They share half of the global limit, and each may use a quarter of what is left of that
//!   half: one alone gets all its slots, a hundred hanging ones a handful each. When the half is used up, an endpoint
//!   gets one slot of the next quarter, to prove that it is healthy; not so one that is congested or whose last request
//!   timed out. The last quarter is for healthy endpoints alone.
//! * First attempts beyond the slots queue. An endpoint is *congested* when the oldest in its queue has waited for 250
//!   ms without a response from it, or for 1 s at all (it drains, but too slowly for what lies behind it in the log).
//!   Its queue is then deferred, and so is all that comes later and finds no slot, until the queue stays empty and half
//!   of the slots are free.
//! * Retries never queue and take at most half of an endpoint's slots: first attempts do not wait behind them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// How long a response proves an endpoint healthy, and how long a queue may wait for one.
const RESPONSE_WINDOW: Duration = Duration::from_millis(250);
const MAX_QUEUE_TIME: Duration = Duration::from_secs(1);

/// The endpoints with work in them; the others are forgotten.
#[derive(Debug)]
pub struct EndpointQueues<D> {
    endpoints: HashMap<i32, Endpoint<D>>,
    limits: RequestLimits,
    in_flight: usize,
    /// Requests of endpoints that are not `is_healthy`.
    unproven: usize,
    /// Endpoints whose last request timed out; remembered when they have no work, too.
    timed_out: HashSet<i32>,
}

/// How many requests may be in flight.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    pub per_endpoint: usize,
    pub global: usize,
}

/// What a request is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptKind {
    First,
    Retry,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint lives, whatever it said.
    Responded,
    TimedOut,
}

/// What to do with a first attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission<D> {
    Start(D),
    Queued,
    Defer(D),
}

#[derive(Debug)]
struct Endpoint<D> {
    firsts: usize,
    retries: usize,
    queue: VecDeque<(Instant, D)>,
    responded_at: Option<Instant>,
    is_healthy: bool,
    is_congested: bool,
    /// Retries may be waiting in the database for a slot here.
    wants_retries: bool,
}

impl<D> Default for Endpoint<D> {
    fn default() -> Self {
        Self {
            firsts: 0,
            retries: 0,
            queue: VecDeque::new(),
            responded_at: None,
            is_healthy: false,
            is_congested: false,
            wants_retries: false,
        }
    }
}

impl<D> Endpoint<D> {
    fn in_flight(&self) -> usize {
        self.firsts + self.retries
    }

    fn is_idle(&self) -> bool {
        self.in_flight() == 0 && self.queue.is_empty()
    }

    fn is_overdue(&self, now: Instant) -> bool {
        self.queue.front().is_some_and(|(since, _)| {
            let waited = now.duration_since(*since);
            waited > MAX_QUEUE_TIME || waited > RESPONSE_WINDOW && !self.is_healthy
        })
    }
}

impl<D> EndpointQueues<D> {
    /// Begins without work.
    pub fn new(limits: RequestLimits) -> Self {
        Self { endpoints: HashMap::new(), limits, in_flight: 0, unproven: 0, timed_out: HashSet::new() }
    }

    /// Changes the global limit. What is in flight beyond it goes on.
    pub fn set_global_limit(&mut self, global: usize) {
        self.limits.global = global;
    }

    /// Takes a first attempt; where it may start, it is counted.
    pub fn admit(&mut self, endpoint: i32, delivery: D, now: Instant) -> Admission<D> {
        let free = self.free(endpoint);
        let state = self.endpoints.entry(endpoint).or_default();
        if free > 0 && state.queue.is_empty() {
            self.count(endpoint, AttemptKind::First);
            Admission::Start(delivery)
        } else if state.is_congested {
            Admission::Defer(delivery)
        } else {
            state.queue.push_back((now, delivery));
            Admission::Queued
        }
    }

    /// Whether a retry may start; if so, it is counted.
    pub fn admit_retry(&mut self, endpoint: i32) -> bool {
        let room = self.retry_room(endpoint);
        if room > 0 {
            self.endpoints.entry(endpoint).or_default();
            self.count(endpoint, AttemptKind::Retry);
        }
        if room <= 1
            && let Some(state) = self.endpoints.get_mut(&endpoint)
        {
            state.wants_retries = true;
        }
        room > 0
    }

    /// A request is over. Then [`next`](Self::next) may have one to start. Returns whether there is room now for
    /// retries that had none.
    pub fn complete(&mut self, endpoint: i32, kind: AttemptKind, outcome: Outcome, now: Instant) -> bool {
        let state = self.endpoints.get_mut(&endpoint).expect("an endpoint is kept while it has requests");
        match kind {
            AttemptKind::First => state.firsts -= 1,
            AttemptKind::Retry => state.retries -= 1,
        }
        self.in_flight -= 1;
        if !state.is_healthy {
            self.unproven -= 1;
        }
        if outcome == Outcome::TimedOut {
            self.timed_out.insert(endpoint);
        } else {
            self.timed_out.remove(&endpoint);
            state.responded_at = Some(now);
            if !state.is_healthy {
                state.is_healthy = true;
                self.unproven -= state.in_flight();
            }
            if state.queue.is_empty() && state.in_flight() * 2 <= self.limits.per_endpoint {
                state.is_congested = false;
            }
        }
        let wanted = state.wants_retries && self.retry_room(endpoint) > 0;
        if wanted && let Some(state) = self.endpoints.get_mut(&endpoint) {
            state.wants_retries = false;
        }
        self.forget_if_idle(endpoint);
        wanted
    }

    /// Takes the next queued delivery that may start; it is counted.
    pub fn next(&mut self, endpoint: i32) -> Option<D> {
        if self.free(endpoint) == 0 {
            return None;
        }
        let (_, delivery) = self.endpoints.get_mut(&endpoint)?.queue.pop_front()?;
        self.count(endpoint, AttemptKind::First);
        Some(delivery)
    }

    /// Finds out who has not responded and whose queue has waited for too long; returns the deliveries to defer. To be
    /// called every 50 ms or so while there is work.
    pub fn inspect(&mut self, now: Instant) -> Vec<D> {
        let mut deferred = Vec::new();
        for state in self.endpoints.values_mut() {
            if state.is_healthy && state.responded_at.is_none_or(|at| now.duration_since(at) > RESPONSE_WINDOW) {
                state.is_healthy = false;
                self.unproven += state.in_flight();
            }
            if state.is_overdue(now) {
                state.is_congested = true;
                deferred.extend(state.queue.drain(..).map(|(_, delivery)| delivery));
            }
        }
        self.endpoints.retain(|_, state| !state.is_idle());
        deferred
    }

    /// The endpoints with something queued: slots may have come free for them elsewhere.
    pub fn queued(&self) -> Vec<i32> {
        self.endpoints.iter().filter(|(_, state)| !state.queue.is_empty()).map(|(&endpoint, _)| endpoint).collect()
    }

    /// Empties the queue of one endpoint.
    pub fn clear(&mut self, endpoint: i32) -> Vec<D> {
        let cleared = self
            .endpoints
            .get_mut(&endpoint)
            .map(|state| state.queue.drain(..).map(|(_, delivery)| delivery).collect());
        self.forget_if_idle(endpoint);
        cleared.unwrap_or_default()
    }

    /// Counts the waiting from now: nothing could move while the database was away.
    pub fn restart_queue_clocks(&mut self, now: Instant) {
        for state in self.endpoints.values_mut() {
            state.queue.iter_mut().for_each(|(since, _)| *since = now);
        }
    }

    /// The number of retries that each endpoint here has room for, and that any other endpoint has.
    pub fn retry_rooms(&mut self) -> (Vec<(i32, i32)>, i32) {
        let endpoints: Vec<i32> = self.endpoints.keys().copied().collect();
        let rooms = endpoints.into_iter().map(|endpoint| (endpoint, self.retry_room(endpoint)));
        let rooms: Vec<(i32, i32)> =
            rooms.map(|(endpoint, room)| (endpoint, i32::try_from(room).unwrap_or(i32::MAX))).collect();
        for (endpoint, _) in rooms.iter().filter(|(_, room)| *room == 0) {
            self.endpoints.get_mut(endpoint).expect("it was just listed").wants_retries = true;
        }
        let elsewhere = half(self.unproven_slots()).min(self.limits.global.saturating_sub(self.in_flight));
        (rooms, i32::try_from(elsewhere).unwrap_or(i32::MAX))
    }

    /// Whether nothing is queued and nothing in flight.
    pub fn is_idle(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// How many more requests the endpoint may get.
    fn free(&self, endpoint: i32) -> usize {
        let state = self.endpoints.get(&endpoint);
        let in_flight = state.map_or(0, Endpoint::in_flight);
        self.slots(endpoint).saturating_sub(in_flight).min(self.limits.global.saturating_sub(self.in_flight))
    }

    /// How many requests the endpoint may have.
    fn slots(&self, endpoint: i32) -> usize {
        let state = self.endpoints.get(&endpoint);
        if state.is_some_and(|state| state.is_healthy) {
            return self.limits.per_endpoint;
        }
        let suspect = self.timed_out.contains(&endpoint) || state.is_some_and(|state| state.is_congested);
        if suspect && self.unproven >= self.limits.global / 2 { 0 } else { self.unproven_slots() }
    }

    fn unproven_slots(&self) -> usize {
        let left = (self.limits.global / 2).saturating_sub(self.unproven);
        let at_least = usize::from(self.unproven * 4 < self.limits.global * 3);
        self.limits.per_endpoint.min((left / 4).max(at_least))
    }

    fn retry_room(&self, endpoint: i32) -> usize {
        let retries = self.endpoints.get(&endpoint).map_or(0, |state| state.retries);
        half(self.slots(endpoint)).saturating_sub(retries).min(self.free(endpoint))
    }

    fn count(&mut self, endpoint: i32, kind: AttemptKind) {
        let state = self.endpoints.get_mut(&endpoint).expect("the endpoint was entered before");
        match kind {
            AttemptKind::First => state.firsts += 1,
            AttemptKind::Retry => state.retries += 1,
        }
        self.in_flight += 1;
        if !state.is_healthy {
            self.unproven += 1;
        }
    }

    fn forget_if_idle(&mut self, endpoint: i32) {
        if self.endpoints.get(&endpoint).is_some_and(Endpoint::is_idle) {
            self.endpoints.remove(&endpoint);
        }
    }
}

/// The slots that retries may use.
fn half(slots: usize) -> usize {
    slots.div_ceil(2)
}

#[cfg(test)]
mod tests;
