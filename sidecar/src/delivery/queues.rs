//! Who may send next. Each endpoint has a queue; those with something to send take turns, one delivery a turn, so that a
//! long queue delays nobody else. How many requests an endpoint may have at once follows from its answers, as a TCP
//! connection's window does: twice as many each round trip until the first loss, then one more a window, and half as many
//! at each loss. Besides:
//!
//! * *One at a time about a row.* Deliveries with the same key go one after another: the next one waits for an answer, for
//!   two seconds at most. Retries neither wait for one nor are waited for.
//! * *Silence.* Origins (scheme, host and port) that have had a request out for a second, and have answered none since,
//!   share half of all slots. Those whose last request timed out share an eighth, one request each.
//! * *Pace.* A 429 sets a rate, a little less than what was accepted in the second before. After a minute it grows. A
//!   `Retry-After` is a pause, which one request ends.
//! * *A failing endpoint stands still.* After a thousand failures with no success in between nothing more is read for it,
//!   and one delivery at a time probes it.
//!
//! A pure state machine under a clock of the caller's: it holds whatever stands for a delivery and sends nothing.

mod endpoint;
mod pace;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::endpoint::{Endpoint, MAX_PROBE_INTERVAL, Row};

/// How long a delivery waits for the answer to the one before it about the same row.
const MAX_ROW_WAIT: Duration = Duration::from_secs(2);
/// How long a request must be out, and nothing answered, for its origin to count as silent.
const SILENCE: Duration = Duration::from_secs(1);
/// How long an idle endpoint's window, pace and failures are remembered.
const MEMORY: Duration = Duration::from_secs(300);
/// How often [`advance`](Queues::advance) looks for silence.
const INSPECTION_INTERVAL: Duration = Duration::from_millis(100);
/// The most retries that are queued for one endpoint.
const MAX_QUEUED_RETRIES: usize = 256;

/// The queues of the endpoints, with what each may send.
#[derive(Debug)]
pub struct Queues<D> {
    endpoints: HashMap<i32, Endpoint<D>>,
    origins: HashMap<Arc<str>, Origin>,
    /// Endpoints that may have something to start, in turn.
    ring: VecDeque<i32>,
    /// Endpoints that wait for a share of the silent ones' slots.
    hushed: VecDeque<i32>,
    /// When endpoints that wait for their pace, a pause or a probe may go on.
    timers: BinaryHeap<Reverse<(Instant, i32)>>,
    limits: Limits,
    in_flight: usize,
    /// Requests of silent origins, and of those whose last request timed out.
    silent: usize,
    timed_out: usize,
    inspected_at: Instant,
}

/// How many requests may be under way.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub per_endpoint: usize,
    pub global: usize,
}

/// What an endpoint's options permit; none: what all may have.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EndpointLimits {
    pub in_flight: Option<usize>,
    pub per_second: Option<f64>,
}

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// A first attempt, about the row with this key.
    First(Option<i64>),
    Retry,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// 2xx.
    Accepted,
    /// An answer that says nothing of how much the endpoint can take.
    Answered,
    /// An answer or a broken connection that says that it is in trouble.
    Failed,
    /// 429, or 503 with Retry-After.
    Throttled(Option<Duration>),
    /// No answer at all.
    Silent,
    /// A fault of this process, or of its machine: it says nothing of the endpoint.
    Ours,
}

#[derive(Debug, Default)]
struct Origin {
    in_flight: usize,
    /// Since when a request has been out and nothing answered.
    unanswered_since: Option<Instant>,
    is_silent: bool,
    has_timed_out: bool,
}

impl<D> Queues<D> {
    /// Begins without work.
    pub fn new(limits: Limits, now: Instant) -> Self {
        Self {
            endpoints: HashMap::new(),
            origins: HashMap::new(),
            ring: VecDeque::new(),
            hushed: VecDeque::new(),
            timers: BinaryHeap::new(),
            limits,
            in_flight: 0,
            silent: 0,
            timed_out: 0,
            inspected_at: now,
        }
    }

    /// Changes the global limit. What is under way beyond it goes on.
    pub fn set_global_limit(&mut self, global: usize) {
        self.limits.global = global;
    }

    /// Queues a delivery.
    pub fn push(&mut self, endpoint: i32, origin: &str, limits: EndpointLimits, lane: Lane, delivery: D, now: Instant) {
        let state = self.endpoints.entry(endpoint).or_insert_with(|| Endpoint::new(Arc::from(origin), now));
        state.used_at = now;
        state.limits = limits;
        state.pace.most = limits.per_second;
        if *state.origin != *origin && state.in_flight == 0 {
            state.origin = Arc::from(origin);
        }
        match lane {
            Lane::Retry => state.retries.push_back(delivery),
            Lane::First(None) => state.firsts.push_back((None, delivery)),
            Lane::First(Some(key)) => match state.rows.get_mut(&key) {
                Some(row) => {
                    row.waiting.push_back(delivery);
                    state.waiting += 1;
                }
                None => {
                    state.rows.insert(key, Row { since: now, waiting: VecDeque::new() });
                    state.firsts.push_back((Some(key), delivery));
                }
            },
        }
        self.enter_ring(endpoint);
    }

    /// Takes the next delivery that may start; it counts as under way.
    pub fn next(&mut self, now: Instant) -> Option<(i32, Lane, D)> {
        while self.in_flight < self.limits.global {
            let endpoint = self.ring.pop_front()?;
            let Some(state) = self.endpoints.get_mut(&endpoint) else { continue };
            state.is_in_ring = false;
            // It comes back with a completion.
            if !state.has_ready() || state.in_flight >= state.slots(self.limits) {
                continue;
            }
            if let Some(at) = state.pace.next_at.filter(|&at| at > now) {
                self.timers.push(Reverse((at, endpoint)));
                continue;
            }
            if !self.may_start(endpoint) {
                self.hushed.push_back(endpoint);
                continue;
            }
            let started = self.start(endpoint, now);
            self.enter_ring(endpoint);
            return started;
        }
        None
    }

    fn start(&mut self, endpoint: i32, now: Instant) -> Option<(i32, Lane, D)> {
        let state = self.endpoints.get_mut(&endpoint)?;
        let (lane, delivery) = state.pop(now)?;
        state.in_flight += 1;
        state.used_at = now;
        state.pace.started(now);
        if state.is_failing() {
            state.pace.next_at = Some(now + state.probe_interval);
            state.probe_interval = (state.probe_interval * 2).min(MAX_PROBE_INTERVAL);
        }
        self.in_flight += 1;
        let origin = self.origins.entry(Arc::clone(&state.origin)).or_default();
        origin.in_flight += 1;
        origin.unanswered_since.get_or_insert(now);
        self.silent += usize::from(origin.is_silent);
        self.timed_out += usize::from(origin.has_timed_out);
        Some((endpoint, lane, delivery))
    }

    /// Whether the endpoint's origin, if it is silent, has a share left.
    fn may_start(&self, endpoint: i32) -> bool {
        let Some(origin) = self.endpoints.get(&endpoint).and_then(|state| self.origins.get(&state.origin)) else {
            return true;
        };
        if origin.has_timed_out {
            return origin.in_flight == 0 && self.timed_out < (self.limits.global / 8).max(1);
        }
        !origin.is_silent || self.silent < self.limits.global / 2
    }

    /// A request is over. Then [`next`](Self::next) may have more to start. Returns whether there is room now for retries
    /// that had none.
    pub fn complete(&mut self, endpoint: i32, lane: Lane, outcome: Outcome, started: Instant, now: Instant) -> bool {
        self.in_flight -= 1;
        let Some(state) = self.endpoints.get_mut(&endpoint) else { return false };
        state.in_flight -= 1;
        state.used_at = now;
        state.count(outcome, started, self.limits, now);
        if let Lane::First(Some(key)) = lane {
            state.release(key, now);
        }
        let wants_retries = state.wants_retries && state.retries.len() * 2 <= MAX_QUEUED_RETRIES;
        state.wants_retries &= !wants_retries;
        let origin = Arc::clone(&state.origin);
        self.answered(&origin, outcome, now);
        self.enter_ring(endpoint);
        wants_retries
    }

    fn answered(&mut self, name: &Arc<str>, outcome: Outcome, now: Instant) {
        let Some(origin) = self.origins.get_mut(name) else { return };
        let was_hushed = origin.is_silent || origin.has_timed_out;
        self.silent -= if origin.is_silent { origin.in_flight } else { 0 };
        self.timed_out -= if origin.has_timed_out { origin.in_flight } else { 0 };
        origin.in_flight -= 1;
        match outcome {
            Outcome::Silent => origin.has_timed_out = true,
            Outcome::Ours => {}
            _ => {
                origin.has_timed_out = false;
                origin.is_silent = false;
                origin.unanswered_since = Some(now);
            }
        }
        if origin.in_flight == 0 {
            origin.unanswered_since = None;
            origin.is_silent = false;
        }
        self.silent += if origin.is_silent { origin.in_flight } else { 0 };
        self.timed_out += if origin.has_timed_out { origin.in_flight } else { 0 };
        if origin.in_flight == 0 && !origin.has_timed_out {
            self.origins.remove(name);
        }
        if was_hushed {
            // Its slot is free for two others, of which one may be of the other share.
            for _ in 0..2 {
                if let Some(endpoint) = self.hushed.pop_front() {
                    self.enter_ring(endpoint);
                }
            }
        }
    }

    /// Goes on with time: pauses end, waits for a row end, origins fall silent.
    pub fn advance(&mut self, now: Instant) {
        while let Some(&Reverse((at, endpoint))) = self.timers.peek()
            && at <= now
        {
            self.timers.pop();
            self.enter_ring(endpoint);
        }
        if now < self.inspected_at + INSPECTION_INTERVAL {
            return;
        }
        self.inspected_at = now;
        self.silent = 0;
        for origin in self.origins.values_mut() {
            origin.is_silent = origin.unanswered_since.is_some_and(|since| now >= since + SILENCE);
            self.silent += if origin.is_silent { origin.in_flight } else { 0 };
        }
        let mut overdue = Vec::new();
        for (&endpoint, state) in self.endpoints.iter().filter(|(_, state)| state.waiting > 0) {
            let is_overdue = |row: &Row<D>| !row.waiting.is_empty() && now >= row.since + MAX_ROW_WAIT;
            overdue.extend(state.rows.iter().filter(|(_, row)| is_overdue(row)).map(|(&key, _)| (endpoint, key)));
        }
        for (endpoint, key) in overdue {
            if let Some(state) = self.endpoints.get_mut(&endpoint)
                // Its turn has not come yet: that is no wait for an answer.
                && !state.firsts.iter().any(|(queued, _)| *queued == Some(key))
            {
                state.release(key, now);
                self.enter_ring(endpoint);
            }
        }
        for endpoint in std::mem::take(&mut self.hushed) {
            self.enter_ring(endpoint);
        }
        self.endpoints.retain(|_, state| !state.is_idle() || now < state.used_at + MEMORY);
        let endpoints = &self.endpoints;
        let is_used = |name: &Arc<str>| endpoints.values().any(|state| state.origin == *name);
        if self.origins.len() > 2 * endpoints.len() + 1024 {
            self.origins.retain(|name, origin| origin.in_flight > 0 || is_used(name));
        }
    }

    /// When to [advance](Self::advance) at the latest; none while there is nothing to do.
    pub fn advance_at(&self) -> Option<Instant> {
        let timer = self.timers.peek().map(|&Reverse((at, _))| at);
        let is_at_work = self.in_flight > 0 || !self.hushed.is_empty();
        let inspection = is_at_work.then(|| self.inspected_at + INSPECTION_INTERVAL);
        [timer, inspection].into_iter().flatten().min()
    }

    /// Takes out what is queued and was not started: first attempts and retries.
    pub fn clear(&mut self, endpoint: i32) -> Vec<D> {
        let Some(state) = self.endpoints.get_mut(&endpoint) else { return Vec::new() };
        let mut cleared: Vec<D> = Vec::new();
        for (key, delivery) in state.firsts.drain(..) {
            cleared.push(delivery);
            if let Some(key) = key {
                // Nothing of it is under way.
                cleared.extend(state.rows.remove(&key).map(|row| row.waiting).unwrap_or_default());
            }
        }
        for row in state.rows.values_mut() {
            cleared.extend(row.waiting.drain(..));
        }
        cleared.extend(state.retries.drain(..));
        state.waiting = 0;
        cleared
    }

    /// The endpoints with something queued.
    pub fn queued(&self) -> Vec<i32> {
        self.endpoints.iter().filter(|(_, state)| state.queued() > 0).map(|(&endpoint, _)| endpoint).collect()
    }

    /// The endpoint that has most queued.
    pub fn longest(&self) -> Option<i32> {
        self.endpoints.iter().max_by_key(|(_, state)| state.queued()).map(|(&endpoint, _)| endpoint)
    }

    /// Whether events are to be read for an endpoint.
    pub fn may_read(&self, endpoint: i32) -> bool {
        self.endpoints.get(&endpoint).is_none_or(|state| !state.is_failing())
    }

    /// How many more retries each endpoint here can take, and any other.
    pub fn retry_rooms(&mut self) -> (Vec<(i32, i32)>, i32) {
        let limits = self.limits;
        let room = |state: &mut Endpoint<D>| {
            let most = if state.is_failing() { 1 } else { (state.slots(limits) * 4).clamp(8, MAX_QUEUED_RETRIES) };
            let room = most.saturating_sub(state.retries.len());
            state.wants_retries = true;
            i32::try_from(room).unwrap_or(i32::MAX)
        };
        let rooms = self.endpoints.iter_mut().map(|(&endpoint, state)| (endpoint, room(state))).collect();
        (rooms, 16)
    }

    fn enter_ring(&mut self, endpoint: i32) {
        if let Some(state) = self.endpoints.get_mut(&endpoint)
            && !state.is_in_ring
            && state.has_ready()
        {
            state.is_in_ring = true;
            self.ring.push_back(endpoint);
        }
    }
}

#[cfg(test)]
mod tests;
