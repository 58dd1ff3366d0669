//! How fast an endpoint may be sent to: what its options permit, and what its 429s have shown.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How much of what was accepted in a second a paced endpoint gets.
const PACE_MARGIN: f64 = 0.97;
const PACE_HELD_FOR: Duration = Duration::from_secs(60);
const PACE_GROWTH_PER_SECOND: f64 = 0.05;
const MIN_PACE: f64 = 0.2;
const MAX_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// How fast an endpoint may be sent to.
#[derive(Debug, Default)]
pub struct Pace {
    /// Requests a second that the endpoint's options permit.
    pub most: Option<f64>,
    /// Requests a second that a 429 has set; none: as many as the window lets.
    rate: Option<f64>,
    set_at: Option<Instant>,
    pub next_at: Option<Instant>,
    /// One request has to be accepted before others follow.
    pub is_paused: bool,
    /// When requests were accepted in the last second.
    accepted: VecDeque<Instant>,
}

impl Pace {
    /// A request was accepted: a pause is over.
    pub fn accepted(&mut self, now: Instant) {
        self.is_paused = false;
        self.accepted.push_back(now);
        self.forget(now);
    }

    fn forget(&mut self, now: Instant) {
        while self.accepted.front().is_some_and(|&at| now >= at + Duration::from_secs(1)) {
            self.accepted.pop_front();
        }
    }

    /// The endpoint has said that it gets too much, and when to come again.
    pub fn throttle(&mut self, pause: Option<Duration>, now: Instant) {
        self.forget(now);
        let accepted = self.accepted.len() as f64;
        let before = self.set_rate(now).unwrap_or(f64::INFINITY);
        let rate = if accepted > 0.0 { PACE_MARGIN * accepted } else { before / 2.0 };
        self.rate = Some(if rate.is_finite() { rate.max(MIN_PACE) } else { 1.0 });
        self.set_at = Some(now);
        self.is_paused = pause.is_some();
        let pause = pause.unwrap_or_default().min(MAX_PAUSE);
        self.next_at = Some(now + pause.max(self.interval(now)));
    }

    /// How many requests may begin in a second.
    fn rate(&self, now: Instant) -> Option<f64> {
        let set = self.set_rate(now);
        self.most.map_or(set, |most| Some(set.map_or(most, |set| set.min(most))))
    }

    /// The rate that a 429 has set, by now: it is held for a while, and then grows.
    fn set_rate(&self, now: Instant) -> Option<f64> {
        let grown_for = now.saturating_duration_since(self.set_at? + PACE_HELD_FOR).as_secs_f64();
        Some(self.rate? * (1.0 + PACE_GROWTH_PER_SECOND * grown_for))
    }

    fn interval(&self, now: Instant) -> Duration {
        self.rate(now).map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate))
    }

    /// A request starts: the next one has to wait for its time.
    pub fn started(&mut self, now: Instant) {
        if self.rate(now).is_some() {
            // What was not used is lost, but for the delay with which a timer comes.
            let interval = self.interval(now);
            let due_at = self.next_at.unwrap_or(now);
            self.next_at = Some(due_at.max(now - interval.min(Duration::from_millis(100))) + interval);
        }
    }
}
