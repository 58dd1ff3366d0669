//! One endpoint: what is queued for it, what is under way, and how much it can take.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pace::Pace;
use super::{EndpointLimits, Lane, Limits, Outcome};

/// How many requests to an endpoint are under way at first.
const INITIAL_WINDOW: f64 = 4.0;
/// How many failures in a row, with no success between them, make an endpoint stand still.
const MAX_FAILURES: usize = 1000;
const MIN_PROBE_INTERVAL: Duration = Duration::from_secs(1);
pub const MAX_PROBE_INTERVAL: Duration = Duration::from_secs(60);

/// The state of an endpoint with deliveries `D`.
#[derive(Debug)]
pub struct Endpoint<D> {
    pub origin: Arc<str>,
    pub limits: EndpointLimits,
    pub firsts: VecDeque<(Option<i64>, D)>,
    pub retries: VecDeque<D>,
    /// Of each row with a request under way: since when, and what waits for its answer.
    pub rows: HashMap<i64, Row<D>>,
    /// How many wait so.
    pub waiting: usize,
    pub in_flight: usize,
    pub window: f64,
    pub is_probing_window: bool,
    /// Losses of requests that began before it belong to the same congestion.
    pub halved_at: Option<Instant>,
    pub pace: Pace,
    pub failures: usize,
    pub probe_interval: Duration,
    pub is_in_ring: bool,
    pub is_retry_next: bool,
    pub wants_retries: bool,
    pub used_at: Instant,
}

/// What is about one row.
#[derive(Debug)]
pub struct Row<D> {
    pub since: Instant,
    pub waiting: VecDeque<D>,
}

impl<D> Endpoint<D> {
    /// Begins with an empty queue and a small window.
    pub fn new(origin: Arc<str>, now: Instant) -> Self {
        Self {
            origin,
            limits: EndpointLimits::default(),
            firsts: VecDeque::new(),
            retries: VecDeque::new(),
            rows: HashMap::new(),
            waiting: 0,
            in_flight: 0,
            window: INITIAL_WINDOW,
            is_probing_window: true,
            halved_at: None,
            pace: Pace::default(),
            failures: 0,
            probe_interval: MIN_PROBE_INTERVAL,
            is_in_ring: false,
            is_retry_next: false,
            wants_retries: false,
            used_at: now,
        }
    }

    /// Whether so many attempts have failed that it stands still.
    pub fn is_failing(&self) -> bool {
        self.failures >= MAX_FAILURES
    }

    /// How many requests it may have under way.
    pub fn slots(&self, limits: Limits) -> usize {
        let most = self.limits.in_flight.unwrap_or(limits.per_endpoint).max(1);
        if self.is_failing() || self.pace.is_paused { 1 } else { (self.window as usize).clamp(1, most) }
    }

    /// Whether it has something to start.
    pub fn has_ready(&self) -> bool {
        !self.firsts.is_empty() || !self.retries.is_empty()
    }

    /// The next delivery, of firsts and retries in turn.
    pub fn pop(&mut self, now: Instant) -> Option<(Lane, D)> {
        self.is_retry_next = !self.is_retry_next;
        if self.retries.is_empty() || !self.is_retry_next && !self.firsts.is_empty() {
            let (key, delivery) = self.firsts.pop_front()?;
            if let Some(row) = key.and_then(|key| self.rows.get_mut(&key)) {
                row.since = now;
            }
            return Some((Lane::First(key), delivery));
        }
        Some((Lane::Retry, self.retries.pop_front()?))
    }

    /// The answer about a row is there, or has been waited for long enough: the next one may go.
    pub fn release(&mut self, key: i64, now: Instant) {
        let Some(row) = self.rows.get_mut(&key) else { return };
        match row.waiting.pop_front() {
            Some(delivery) => {
                row.since = now;
                self.waiting -= 1;
                self.firsts.push_back((Some(key), delivery));
            }
            None => drop(self.rows.remove(&key)),
        }
    }

    /// Takes what came of a request into the window, the pace and the failures.
    pub fn count(&mut self, outcome: Outcome, started: Instant, limits: Limits, now: Instant) {
        match outcome {
            Outcome::Accepted => {
                if self.is_failing() {
                    self.pace.next_at = None;
                    self.probe_interval = MIN_PROBE_INTERVAL;
                }
                self.failures = 0;
                self.pace.accepted(now);
            }
            Outcome::Failed | Outcome::Throttled(_) | Outcome::Silent => self.failures += 1,
            Outcome::Answered | Outcome::Ours => {}
        }
        let is_loss = matches!(outcome, Outcome::Failed | Outcome::Throttled(_) | Outcome::Silent);
        let is_new = self.halved_at.is_none_or(|at| started > at);
        match outcome {
            Outcome::Ours => {}
            _ if is_loss && is_new => {
                if let Outcome::Throttled(pause) = outcome {
                    self.pace.throttle(pause, now);
                }
                self.window = (self.window / 2.0).max(1.0);
                self.is_probing_window = false;
                self.halved_at = Some(now);
            }
            _ if is_loss => {}
            _ => {
                self.window += if self.is_probing_window { 1.0 } else { 1.0 / self.window.floor() };
                self.window = self.window.min(self.limits.in_flight.unwrap_or(limits.per_endpoint) as f64);
            }
        }
    }

    /// How much is queued.
    pub fn queued(&self) -> usize {
        self.firsts.len() + self.retries.len() + self.waiting
    }

    /// Whether nothing is queued and nothing under way.
    pub fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.queued() == 0
    }
}
