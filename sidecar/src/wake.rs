//! When to look for events, when to sleep, when to wake: the sidecar's side of the wake-up protocol. Pure: it says
//! what to do next and is told what came of it.
//!
//! Writers must not pay for being heard: NOTIFY takes a lock that serializes all commits. So a writer notifies only
//! while a sidecar sleeps, and sleeping is a lock: `try_sleep()` takes a session-level ShareLock on
//! `webhooks.wakeup`; a writer, before it commits, tries RowExclusiveLock on that table without waiting, keeps it to
//! the end of its transaction, and notifies only if it failed.
//!
//! 1. **Awake**: poll every millisecond or two. Nothing came for 50 ms → `try_sleep()`. Why not at once: the
//!    next burst would pay for a NOTIFY per commit until the sidecar has woken; so their rate is bounded.
//! 2. **`try_sleep()` is false**: a writer is between its pre-commit and its end. It did not notify; keep polling. When
//!    it stays false for a second (a prepared transaction holds the lock), poll at leisure.
//! 3. **`try_sleep()` is true**: every writer that did not notify has ended. *Look once more*: what they committed
//!    is visible now, and whoever commits later notifies. Then wait.
//! 4. **Asleep**: a notification → `awake()` and poll. `awake()` first, so that the writers behind stop notifying.
//! 5. **Backstop**: look every two seconds anyway. A prepared transaction cannot notify, and no correctness hangs on
//!    NOTIFY. Nothing found: stay asleep and keep the lock. Something found: as in 4.
//! 6. **Now and then let go** (`awake()`, `try_sleep()`): a vacuum of `webhooks.wakeup` against wraparound, or a DROP EXTENSION,
//!    wants its turn.
//!
//! A new session starts awake: every reconnect is a wake.

use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(1);
const POLL_REFUSED: Duration = Duration::from_millis(2);
const POLL_HELD_OFF: Duration = Duration::from_millis(50);
const HELD_OFF: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_millis(50);
const LET_GO: Duration = Duration::from_secs(20);

/// The state of the protocol.
#[derive(Debug)]
pub struct Wake {
    asleep_since: Option<Instant>,
    /// A reason to wake came up while asleep.
    called: bool,
    look_at: Instant,
    sleep_at: Instant,
    refused_since: Option<Instant>,
    backstop: Duration,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `fetch`.
    Look,
    /// `try_sleep()`.
    TrySleep,
    /// `awake()`.
    Awake,
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    Events,
    /// And there is more behind them.
    More,
}

impl Wake {
    /// Awake, and looking at once.
    pub fn new(backstop: Duration, now: Instant) -> Self {
        Self { asleep_since: None, called: false, look_at: now, sleep_at: now + QUIET, refused_since: None, backstop }
    }

    /// The next step and when it is due.
    pub fn next(&self, now: Instant) -> (Step, Instant) {
        match self.asleep_since {
            Some(_) if self.called => (Step::Awake, now),
            Some(since) if now >= since + LET_GO => (Step::Awake, now),
            Some(_) => (Step::Look, self.look_at),
            None if self.sleep_at <= self.look_at => (Step::TrySleep, self.sleep_at),
            None => (Step::Look, self.look_at),
        }
    }

    /// Whether writers notify.
    pub fn is_asleep(&self) -> bool {
        self.asleep_since.is_some()
    }

    /// A notification came.
    pub fn notified(&mut self) {
        self.called = self.is_asleep();
    }

    /// `fetch` returned.
    pub fn looked(&mut self, found: Found, now: Instant) {
        match found {
            Found::Nothing if self.is_asleep() => self.look_at = now + self.backstop,
            Found::Nothing => self.look_at = now + self.poll_interval(now),
            Found::Events | Found::More => {
                self.called = self.is_asleep();
                self.look_at = if found == Found::More { now } else { now + POLL };
                self.sleep_at = now + QUIET;
            }
        }
    }

    /// `try_sleep()` was true.
    pub fn slept(&mut self, now: Instant) {
        self.asleep_since = Some(now);
        self.refused_since = None;
        self.look_at = now;
    }

    /// `try_sleep()` was false.
    pub fn refused(&mut self, now: Instant) {
        self.refused_since.get_or_insert(now);
        self.look_at = now;
        self.sleep_at = now + self.poll_interval(now);
    }

    /// `awake()` returned.
    pub fn woke(&mut self, now: Instant) {
        self.asleep_since = None;
        self.look_at = now;
        // Let go for a moment only: nobody called.
        self.sleep_at = if self.called { now + QUIET } else { now };
        self.called = false;
    }

    fn poll_interval(&self, now: Instant) -> Duration {
        match self.refused_since {
            None => POLL,
            Some(since) if now < since + HELD_OFF => POLL_REFUSED,
            Some(_) => POLL_HELD_OFF,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// A sidecar that fell asleep at the returned time and has looked once more.
    fn asleep() -> (Wake, Instant) {
        let start = Instant::now();
        let mut wake = Wake::new(SECOND, start);
        wake.slept(start);
        wake.looked(Found::Nothing, start);
        (wake, start)
    }

    #[test]
    fn it_polls_until_nothing_came_for_50_ms() {
        let start = Instant::now();
        let mut wake = Wake::new(SECOND, start);
        let mut now = start;
        let mut looks = 0;
        loop {
            let (step, at) = wake.next(now);
            now = at;
            if step == Step::TrySleep {
                break;
            }
            wake.looked(if now < start + ms(100) { Found::Events } else { Found::Nothing }, now);
            looks += 1;
        }
        assert!(now >= start + ms(149) && now <= start + ms(151), "{:?}", now - start);
        assert!(looks > 100);
    }

    #[test]
    fn it_looks_once_more_after_it_fell_asleep() {
        let now = Instant::now();
        let mut wake = Wake::new(SECOND, now);
        wake.slept(now);
        assert_eq!(wake.next(now), (Step::Look, now));
        wake.looked(Found::Nothing, now);
        assert_eq!(wake.next(now), (Step::Look, now + SECOND));
    }

    #[test]
    fn what_that_look_finds_wakes_it() {
        let now = Instant::now();
        let mut wake = Wake::new(SECOND, now);
        wake.slept(now);
        wake.looked(Found::Events, now);
        assert_eq!(wake.next(now).0, Step::Awake);
        wake.woke(now);
        assert_eq!(wake.next(now), (Step::Look, now));
    }

    #[test]
    fn a_notification_wakes_it() {
        let (mut wake, start) = asleep();
        wake.notified();
        assert_eq!(wake.next(start + ms(500)), (Step::Awake, start + ms(500)));
        wake.woke(start + ms(500));
        wake.looked(Found::Nothing, start + ms(501));
        assert_eq!(wake.next(start + ms(501)).0, Step::Look);
    }

    #[test]
    fn a_backstop_look_that_finds_nothing_keeps_the_lock() {
        let (mut wake, start) = asleep();
        for second in 1..19 {
            assert_eq!(wake.next(start + SECOND * second), (Step::Look, start + SECOND * second));
            wake.looked(Found::Nothing, start + SECOND * second);
        }
    }

    #[test]
    fn the_lock_is_let_go_now_and_then() {
        let (mut wake, start) = asleep();
        let now = start + LET_GO;
        assert_eq!(wake.next(now).0, Step::Awake);
        wake.woke(now);
        assert_eq!(wake.next(now), (Step::TrySleep, now));
    }

    #[test]
    fn refused_sleep_is_tried_again_after_a_look_and_at_leisure_after_a_second() {
        let start = Instant::now();
        let mut wake = Wake::new(SECOND, start);
        wake.refused(start);
        assert_eq!(wake.next(start), (Step::Look, start));
        wake.looked(Found::Nothing, start);
        assert_eq!(wake.next(start), (Step::TrySleep, start + POLL_REFUSED));
        wake.refused(start + SECOND);
        wake.looked(Found::Nothing, start + SECOND);
        assert_eq!(wake.next(start + SECOND).1, start + SECOND + POLL_HELD_OFF);
    }
}
