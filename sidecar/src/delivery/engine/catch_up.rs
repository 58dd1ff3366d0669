//! Catching up: reads for the endpoints that have fallen behind, and asks for pending deliveries that are due, one call of
//! the database at a time.

use std::time::{Duration, Instant};

use super::Engine;
use crate::delivery::event::Delivery;
use crate::delivery::readers::Query;
use crate::delivery::session::{Fetched, Look};

/// How often it looks whether a laggard has room again.
const SWEEP_INTERVAL: Duration = Duration::from_millis(10);

/// What a call returned.
pub enum CatchUpAnswer {
    Swept(Query, Fetched),
    Due(Vec<Delivery>, Option<Duration>),
}

impl Engine<'_> {
    /// Asks for what is due, or reads for those behind.
    pub fn advance_catch_up(&mut self, now: Instant) -> Instant {
        let never = now + self.shared.settings.backstop;
        let due_at =
            if self.wakeup.is_asleep() { self.retry_timer.next_asleep() } else { self.retry_timer.next_awake() };
        if due_at <= now && self.fetch_due(now) {
            return never;
        }
        if self.sweep() {
            return never;
        }
        let due_at = if due_at <= now { now + SWEEP_INTERVAL } else { due_at };
        if self.state.has_laggards() { due_at.min(now + SWEEP_INTERVAL) } else { due_at }
    }

    fn fetch_due(&mut self, now: Instant) -> bool {
        let Some(query) = self.state.due_query() else { return false };
        self.retry_timer.asked(now);
        let (session, lease, held_bytes) = (self.sessions.catch_up.clone(), self.state.lease, self.state.held_bytes());
        self.catching_up = Some(Box::pin(async move {
            let (deliveries, wait) = session.fetch_due(lease, query, held_bytes).await?;
            Ok(CatchUpAnswer::Due(deliveries, wait))
        }));
        true
    }

    fn sweep(&mut self) -> bool {
        let Some((query, limits)) = self.state.sweep_query() else { return false };
        let look = Look { lease: self.state.lease, query, seen: self.state.seen(), limits };
        let (session, held_bytes) = (self.sessions.catch_up.clone(), self.state.held_bytes());
        self.catching_up = Some(Box::pin(async move {
            let query = look.query.clone();
            Ok(CatchUpAnswer::Swept(query, session.look(look, held_bytes).await?))
        }));
        true
    }

    pub fn caught_up(&mut self, answer: CatchUpAnswer, now: Instant) {
        // What is read after the stop is not taken.
        if !self.is_running() {
            return;
        }
        match answer {
            CatchUpAnswer::Swept(query, fetched) => drop(self.state.accept(&query, fetched, now)),
            CatchUpAnswer::Due(deliveries, wait) => {
                self.retry_timer.answered(wait, now);
                self.state.accept_due(deliveries, now);
            }
        }
    }
}
