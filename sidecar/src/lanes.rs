//! Bulkheads: one lane per endpoint, so that an endpoint that hangs holds its own requests and nothing else. A pure
//! state machine; it holds whatever stands for a delivery and never sends anything.
//!
//! * A lane that has *answered* in the last 250 ms may use all the slots of an endpoint.
//! * Lanes that have not are *doubtful*. They share half of the global limit, and each may use a quarter of what is left
//!   of that half: alone it gets all its slots, among a hundred hanging ones a handful. When the half is used up, a
//!   lane gets one slot from the next quarter, to show that it is healthy; not so one that is congested or whose
//!   endpoint ran into the timeout the last time. The last quarter is for healthy lanes alone.
//! * First attempts beyond the slots queue. A lane is *congested* when its oldest has waited for 250 ms without an
//!   answer from the endpoint, or for 1 s at all (it drains, but too slowly for what lies behind it in the log). Its
//!   queue is then deferred, and so is all that comes later and finds no slot, until the queue stays empty and half
//!   of the slots are free.
//! * Retries never queue and take at most half of a lane's slots: first attempts do not wait behind them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

const RECENT: Duration = Duration::from_millis(250);
const TOO_LONG: Duration = Duration::from_secs(1);

/// All lanes with work in them; the others are forgotten.
#[derive(Debug)]
pub struct Lanes<D> {
    lanes: HashMap<i32, Lane<D>>,
    limits: Limits,
    in_flight: usize,
    /// Requests of lanes that are not `healthy`.
    doubtful: usize,
    /// Endpoints whose last request ran into the timeout; remembered beyond their lanes.
    silent: HashSet<i32>,
}

/// How many requests may be under way.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub per_endpoint: usize,
    pub global: usize,
}

/// What a request is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    First,
    Retry,
}

/// How a request ended, as far as its lane cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The endpoint lives, whatever it said.
    Answer,
    Silence,
}

/// What to do with a first attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission<D> {
    Start(D),
    Queued,
    Defer(D),
}

#[derive(Debug)]
struct Lane<D> {
    firsts: usize,
    retries: usize,
    queue: VecDeque<(Instant, D)>,
    answered_at: Option<Instant>,
    healthy: bool,
    congested: bool,
    /// Retries may be waiting in the database for a slot here.
    wants_retries: bool,
}

impl<D> Default for Lane<D> {
    fn default() -> Self {
        Self {
            firsts: 0,
            retries: 0,
            queue: VecDeque::new(),
            answered_at: None,
            healthy: false,
            congested: false,
            wants_retries: false,
        }
    }
}

impl<D> Lane<D> {
    fn in_flight(&self) -> usize {
        self.firsts + self.retries
    }

    fn is_idle(&self) -> bool {
        self.in_flight() == 0 && self.queue.is_empty()
    }

    fn is_overdue(&self, now: Instant) -> bool {
        self.queue.front().is_some_and(|(since, _)| {
            let waited = now.duration_since(*since);
            waited > TOO_LONG || waited > RECENT && !self.healthy
        })
    }
}

impl<D> Lanes<D> {
    pub fn new(limits: Limits) -> Self {
        Self { lanes: HashMap::new(), limits, in_flight: 0, doubtful: 0, silent: HashSet::new() }
    }

    /// Changes the global limit. What is under way beyond it goes on.
    pub fn limit(&mut self, global: usize) {
        self.limits.global = global;
    }

    /// Takes a first attempt in.
    pub fn admit(&mut self, endpoint: i32, delivery: D, now: Instant) -> Admission<D> {
        let free = self.free(endpoint);
        let lane = self.lanes.entry(endpoint).or_default();
        if free > 0 && lane.queue.is_empty() {
            self.count(endpoint, Kind::First);
            Admission::Start(delivery)
        } else if lane.congested {
            Admission::Defer(delivery)
        } else {
            lane.queue.push_back((now, delivery));
            Admission::Queued
        }
    }

    /// Whether a retry may start; if so it is counted.
    pub fn admit_retry(&mut self, endpoint: i32) -> bool {
        let room = self.retry_room(endpoint);
        if room > 0 {
            self.lanes.entry(endpoint).or_default();
            self.count(endpoint, Kind::Retry);
        }
        if room <= 1
            && let Some(lane) = self.lanes.get_mut(&endpoint)
        {
            lane.wants_retries = true;
        }
        room > 0
    }

    /// A request is over. Then [`next`](Self::next) may have one to start; true means that there is room now for
    /// retries that had none.
    pub fn complete(&mut self, endpoint: i32, kind: Kind, sign: Sign, now: Instant) -> bool {
        let lane = self.lanes.get_mut(&endpoint).expect("a lane is kept while it has requests");
        match kind {
            Kind::First => lane.firsts -= 1,
            Kind::Retry => lane.retries -= 1,
        }
        self.in_flight -= 1;
        if !lane.healthy {
            self.doubtful -= 1;
        }
        if sign == Sign::Silence {
            self.silent.insert(endpoint);
        } else {
            self.silent.remove(&endpoint);
            lane.answered_at = Some(now);
            if !lane.healthy {
                lane.healthy = true;
                self.doubtful -= lane.in_flight();
            }
            if lane.queue.is_empty() && lane.in_flight() * 2 <= self.limits.per_endpoint {
                lane.congested = false;
            }
        }
        let wanted = lane.wants_retries && self.retry_room(endpoint) > 0;
        if wanted && let Some(lane) = self.lanes.get_mut(&endpoint) {
            lane.wants_retries = false;
        }
        self.forget_if_idle(endpoint);
        wanted
    }

    /// The next queued delivery that may start; it is counted.
    pub fn next(&mut self, endpoint: i32) -> Option<D> {
        if self.free(endpoint) == 0 {
            return None;
        }
        let (_, delivery) = self.lanes.get_mut(&endpoint)?.queue.pop_front()?;
        self.count(endpoint, Kind::First);
        Some(delivery)
    }

    /// To be called every 50 ms or so while there is work: who has not answered, and whose queue waits for too long?
    /// Returns the deliveries to defer.
    pub fn inspect(&mut self, now: Instant) -> Vec<D> {
        let mut deferred = Vec::new();
        for lane in self.lanes.values_mut() {
            if lane.healthy && lane.answered_at.is_none_or(|at| now.duration_since(at) > RECENT) {
                lane.healthy = false;
                self.doubtful += lane.in_flight();
            }
            if lane.is_overdue(now) {
                lane.congested = true;
                deferred.extend(lane.queue.drain(..).map(|(_, delivery)| delivery));
            }
        }
        self.lanes.retain(|_, lane| !lane.is_idle());
        deferred
    }

    /// Endpoints with something queued: slots may have come free for them elsewhere.
    pub fn queued(&self) -> Vec<i32> {
        self.lanes.iter().filter(|(_, lane)| !lane.queue.is_empty()).map(|(&endpoint, _)| endpoint).collect()
    }

    /// Empties the queue of one endpoint.
    pub fn clear(&mut self, endpoint: i32) -> Vec<D> {
        let cleared =
            self.lanes.get_mut(&endpoint).map(|lane| lane.queue.drain(..).map(|(_, delivery)| delivery).collect());
        self.forget_if_idle(endpoint);
        cleared.unwrap_or_default()
    }

    /// Waiting begins anew: nothing could move while the database was away.
    pub fn forgive(&mut self, now: Instant) {
        for lane in self.lanes.values_mut() {
            lane.queue.iter_mut().for_each(|(since, _)| *since = now);
        }
    }

    /// For each lane the retries that it has room for, and last the room of all other endpoints.
    pub fn retry_rooms(&mut self) -> (Vec<(i32, i32)>, i32) {
        let endpoints: Vec<i32> = self.lanes.keys().copied().collect();
        let rooms = endpoints.into_iter().map(|endpoint| (endpoint, self.retry_room(endpoint)));
        let rooms: Vec<(i32, i32)> =
            rooms.map(|(endpoint, room)| (endpoint, i32::try_from(room).unwrap_or(i32::MAX))).collect();
        for (endpoint, _) in rooms.iter().filter(|(_, room)| *room == 0) {
            self.lanes.get_mut(endpoint).expect("it was just listed").wants_retries = true;
        }
        let elsewhere = half(self.doubtful_slots()).min(self.limits.global.saturating_sub(self.in_flight));
        (rooms, i32::try_from(elsewhere).unwrap_or(i32::MAX))
    }

    /// Whether nothing is queued and nothing under way.
    pub fn is_idle(&self) -> bool {
        self.lanes.is_empty()
    }

    /// How many more requests the endpoint may get.
    fn free(&self, endpoint: i32) -> usize {
        let lane = self.lanes.get(&endpoint);
        let in_flight = lane.map_or(0, Lane::in_flight);
        self.slots(endpoint).saturating_sub(in_flight).min(self.limits.global.saturating_sub(self.in_flight))
    }

    /// How many requests the endpoint may have.
    fn slots(&self, endpoint: i32) -> usize {
        let lane = self.lanes.get(&endpoint);
        if lane.is_some_and(|lane| lane.healthy) {
            return self.limits.per_endpoint;
        }
        let suspect = self.silent.contains(&endpoint) || lane.is_some_and(|lane| lane.congested);
        if suspect && self.doubtful >= self.limits.global / 2 { 0 } else { self.doubtful_slots() }
    }

    fn doubtful_slots(&self) -> usize {
        let left = (self.limits.global / 2).saturating_sub(self.doubtful);
        let at_least = usize::from(self.doubtful * 4 < self.limits.global * 3);
        self.limits.per_endpoint.min((left / 4).max(at_least))
    }

    fn retry_room(&self, endpoint: i32) -> usize {
        let retries = self.lanes.get(&endpoint).map_or(0, |lane| lane.retries);
        half(self.slots(endpoint)).saturating_sub(retries).min(self.free(endpoint))
    }

    fn count(&mut self, endpoint: i32, kind: Kind) {
        let lane = self.lanes.get_mut(&endpoint).expect("the lane was made before");
        match kind {
            Kind::First => lane.firsts += 1,
            Kind::Retry => lane.retries += 1,
        }
        self.in_flight += 1;
        if !lane.healthy {
            self.doubtful += 1;
        }
    }

    fn forget_if_idle(&mut self, endpoint: i32) {
        if self.lanes.get(&endpoint).is_some_and(Lane::is_idle) {
            self.lanes.remove(&endpoint);
        }
    }
}

/// The slots that retries may use.
fn half(slots: usize) -> usize {
    slots.div_ceil(2)
}

#[cfg(test)]
mod tests;
