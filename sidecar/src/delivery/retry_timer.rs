//! When to ask for pending deliveries: when the next one falls due, and when something may have made one sendable, but
//! never more often than every 20 ms. Pure.

use std::time::{Duration, Instant};

const MIN_INTERVAL: Duration = Duration::from_millis(20);
/// The longest interval while awake: another sidecar or a person may have made something due.
const MAX_INTERVAL_AWAKE: Duration = Duration::from_millis(250);
/// The longest interval while asleep, and the longest wait for a known time: a clock that was set costs no more.
const MAX_INTERVAL_ASLEEP: Duration = Duration::from_secs(10);

/// The reasons to ask, and when it was asked last.
#[derive(Debug)]
pub struct RetryTimer {
    asked_at: Instant,
    next_due_at: Option<Instant>,
    is_requested: bool,
}

impl RetryTimer {
    /// Asks at once.
    pub fn new(now: Instant) -> Self {
        Self { asked_at: now - MIN_INTERVAL, next_due_at: None, is_requested: true }
    }

    /// Something may be sendable now.
    pub fn request(&mut self) {
        self.is_requested = true;
    }

    /// The database is being asked now; a request from here on is a new one.
    pub fn asked(&mut self, now: Instant) {
        self.asked_at = now;
        self.is_requested = false;
        self.next_due_at = None;
    }

    /// The answer came: the next delivery falls due in `wait`.
    pub fn answered(&mut self, wait: Option<Duration>, now: Instant) {
        self.next_due_at = wait.map(|wait| now + wait.min(MAX_INTERVAL_ASLEEP));
    }

    /// When to ask while awake.
    pub fn next_awake(&self) -> Instant {
        self.next(MAX_INTERVAL_AWAKE)
    }

    /// When to ask while asleep.
    pub fn next_asleep(&self) -> Instant {
        self.next(MAX_INTERVAL_ASLEEP)
    }

    fn next(&self, max_interval: Duration) -> Instant {
        let earliest = self.asked_at + MIN_INTERVAL;
        if self.is_requested {
            return earliest;
        }
        let latest = self.asked_at + max_interval;
        self.next_due_at.map_or(latest, |at| at.min(latest)).max(earliest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> (RetryTimer, Instant) {
        let now = Instant::now();
        let mut timer = RetryTimer::new(now);
        timer.asked(now);
        (timer, now)
    }

    #[test]
    fn the_first_question_is_asked_at_once() {
        let now = Instant::now();
        assert!(RetryTimer::new(now).next_awake() <= now && RetryTimer::new(now).next_asleep() <= now);
    }

    #[test]
    fn a_new_session_asks_though_nothing_has_happened() {
        let now = Instant::now();
        assert_eq!(RetryTimer::new(now).next_asleep(), now);
    }

    #[test]
    fn a_known_time_is_kept() {
        let (mut timer, now) = asked();
        timer.answered(Some(Duration::from_millis(100)), now);
        assert_eq!(timer.next_asleep(), now + Duration::from_millis(100));
    }

    #[test]
    fn nobody_asks_more_often_than_every_20_ms() {
        let (mut timer, now) = asked();
        timer.answered(Some(Duration::ZERO), now);
        assert_eq!(timer.next_awake(), now + MIN_INTERVAL);
        timer.request();
        assert_eq!(timer.next_awake(), now + MIN_INTERVAL);
    }

    #[test]
    fn a_request_that_comes_while_the_database_is_asked_is_not_lost() {
        let (mut timer, now) = asked();
        timer.request();
        timer.answered(None, now);
        assert_eq!(timer.next_asleep(), now + MIN_INTERVAL);
    }

    #[test]
    fn nothing_pending_is_asked_about_now_and_then() {
        let (mut timer, now) = asked();
        timer.answered(None, now);
        assert_eq!((timer.next_awake(), timer.next_asleep()), (now + MAX_INTERVAL_AWAKE, now + MAX_INTERVAL_ASLEEP));
    }
}
