//! When to ask for pending deliveries: at the time when the next one falls due, and when something happened that may
//! have made one sendable; every 20 ms at most. Pure.

use std::time::{Duration, Instant};

const SPACING: Duration = Duration::from_millis(20);
/// While awake, in case another's change made something due.
const AWAKE: Duration = Duration::from_millis(250);
/// While asleep; and the longest wait for a known time, so that a stepped clock costs no more than this.
const ASLEEP: Duration = Duration::from_secs(10);

/// The reasons to ask, and when it was asked last.
#[derive(Debug)]
pub struct Due {
    /// At the beginning: so long ago that it may be asked at once.
    asked_at: Instant,
    at: Option<Instant>,
    wanted: bool,
}

impl Due {
    /// Asks at once.
    pub fn new(now: Instant) -> Self {
        Self { asked_at: now - SPACING, at: None, wanted: true }
    }

    /// Something may be sendable now.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// The database is being asked now; what happens from here on is a new reason.
    pub fn asked(&mut self, now: Instant) {
        self.asked_at = now;
        self.wanted = false;
        self.at = None;
    }

    /// The answer: the next one falls due in `wait`.
    pub fn answered(&mut self, wait: Option<Duration>, now: Instant) {
        self.at = wait.map(|wait| now + wait.min(ASLEEP));
    }

    /// When to ask while watching for events.
    pub fn next_awake(&self) -> Instant {
        self.next(AWAKE)
    }

    /// When to ask while asleep.
    pub fn next_asleep(&self) -> Instant {
        self.next(ASLEEP)
    }

    fn next(&self, at_most: Duration) -> Instant {
        let earliest = self.asked_at + SPACING;
        if self.wanted {
            return earliest;
        }
        let latest = self.asked_at + at_most;
        self.at.map_or(latest, |at| at.min(latest)).max(earliest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> (Due, Instant) {
        let now = Instant::now();
        let mut due = Due::new(now);
        due.asked(now);
        (due, now)
    }

    #[test]
    fn the_first_question_is_asked_at_once() {
        let now = Instant::now();
        assert!(Due::new(now).next_awake() <= now && Due::new(now).next_asleep() <= now);
    }

    #[test]
    fn a_new_session_asks_though_nothing_has_happened() {
        let now = Instant::now();
        assert_eq!(Due::new(now).next_asleep(), now);
    }

    #[test]
    fn a_known_time_is_kept() {
        let (mut due, now) = asked();
        due.answered(Some(Duration::from_millis(100)), now);
        assert_eq!(due.next_asleep(), now + Duration::from_millis(100));
    }

    #[test]
    fn nobody_asks_more_often_than_every_20_ms() {
        let (mut due, now) = asked();
        due.answered(Some(Duration::ZERO), now);
        assert_eq!(due.next_awake(), now + SPACING);
        due.want();
        assert_eq!(due.next_awake(), now + SPACING);
    }

    #[test]
    fn a_reason_that_comes_while_the_database_is_asked_is_not_lost() {
        let (mut due, now) = asked();
        due.want();
        due.answered(None, now);
        assert_eq!(due.next_asleep(), now + SPACING);
    }

    #[test]
    fn nothing_pending_is_asked_about_now_and_then() {
        let (mut due, now) = asked();
        due.answered(None, now);
        assert_eq!((due.next_awake(), due.next_asleep()), (now + AWAKE, now + ASLEEP));
    }
}
