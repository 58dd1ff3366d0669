//! When to look for events, when to sleep, when to wake: the sidecar's half of the wake-up protocol. Pure: it says what
//! to do next, and is told what came of it.
//!
//! Writers must not pay for being heard, because NOTIFY takes a lock that serializes all commits. So a writer notifies
//! only while a sidecar sleeps, and to sleep is to hold a lock: `try_sleep()` takes a session-level ShareLock on
//! `webhooks.wakeup`. A writer, before it commits, tries RowExclusiveLock on that table without waiting, keeps it to
//! the end of its transaction, and notifies only if it did not get it.
//!
//! 1. **Awake**, the sidecar waits at the server until some transaction ends, and then looks. The wait reads shared
//!    memory a few thousand times a second, which costs far less than as many queries. After a look that found
//!    something the next one is delayed, the longer the more there was. When nothing has come for 50 ms, it calls
//!    `try_sleep()`. Not earlier, because the next burst would pay for a NOTIFY per commit until the sidecar has woken:
//!    this bounds their rate.
//! 2. **`try_sleep()` returns false** while a writer is between its pre-commit and its end. That writer did not notify,
//!    so the sidecar keeps looking; less often when a second has passed, for a prepared transaction may hold the lock.
//! 3. **`try_sleep()` returns true** when every writer that did not notify has ended. The sidecar *looks once more*:
//!    what they committed is visible now, and whoever commits later notifies. Then it waits.
//! 4. **Asleep**, a notification makes it call `stop_sleeping()` and look. It calls `stop_sleeping()` first, so that
//!    the writers behind stop notifying.
//! 5. **Backstop**: it looks every two seconds anyway. A prepared transaction cannot notify, and correctness never
//!    depends on NOTIFY. If it finds nothing, it stays asleep and keeps the lock; if it finds something, it goes on as
//!    in 4.
//! 6. **Now and then it lets the lock go** (`stop_sleeping()`, `try_sleep()`), so that a vacuum of `webhooks.wakeup`
//!    against wraparound, or a DROP EXTENSION, gets its turn.
//!
//! A new session starts awake, so every reconnect is a wake-up.

use std::time::{Duration, Instant};

/// The delay after a look that found events, besides [`DELAY_PER_EVENT`].
const DELAY_AFTER_EVENTS: Duration = Duration::from_micros(300);
/// The closer commits follow each other, the more of them a look should find: each takes processor time that the
/// writers could use.
const DELAY_PER_EVENT: Duration = Duration::from_micros(150);
/// The delay after a look that found transactions and no event.
const DELAY_AFTER_OTHERS: Duration = Duration::from_millis(1);
/// The longest that any of these delays becomes, with many workers too.
const MAX_DELAY: Duration = Duration::from_millis(5);
/// The longest wait at the server: the reading session may be needed for something else.
const MAX_WAIT: Duration = Duration::from_millis(5);
const SLEEP_RETRY_INTERVAL: Duration = Duration::from_millis(2);
const SLEEP_RETRY_INTERVAL_BLOCKED: Duration = Duration::from_millis(50);
/// How long sleep must have been refused to count as blocked.
const BLOCKED_AFTER: Duration = Duration::from_secs(1);
/// How long nothing must have come before it sleeps.
const QUIET_TIME: Duration = Duration::from_millis(50);
/// How long it keeps the lock at most.
const MAX_SLEEP: Duration = Duration::from_secs(20);

/// The state of the protocol.
#[derive(Debug)]
pub struct Wakeup {
    asleep_since: Option<Instant>,
    /// A reason to wake came up while asleep.
    is_called: bool,
    look_at: Instant,
    /// The next look waits for a commit, and at least so long; none where it does not wait.
    delay: Option<Duration>,
    sleep_at: Instant,
    refused_since: Option<Instant>,
    /// Workers of this process that look: together they cost what a few do.
    workers: u32,
    backstop: Duration,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `fetch`.
    Look,
    /// `wait_for_commit`, then `fetch`.
    WaitAndLook(WaitLimits),
    /// `try_sleep()`.
    TrySleep,
    /// `stop_sleeping()`.
    StopSleeping,
}

/// How long to wait for a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitLimits {
    /// The wait lasts so long even if a commit came at once.
    pub least: Duration,
    pub most: Duration,
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// Transactions that have ended and made no event.
    Others,
    /// So many events, and none behind them.
    Events(u32),
    /// Events, and more behind them.
    More,
}

impl Wakeup {
    /// Begins awake, and looks at once.
    pub fn new(backstop: Duration, now: Instant) -> Self {
        Self {
            asleep_since: None,
            is_called: false,
            look_at: now,
            delay: None,
            sleep_at: now + QUIET_TIME,
            refused_since: None,
            workers: 1,
            backstop,
        }
    }

    /// Tells how many workers of this process look.
    pub fn share_with(&mut self, workers: usize) {
        self.workers = u32::try_from(workers).unwrap_or(u32::MAX).max(1);
    }

    /// What to do next, and when.
    pub fn next(&self, now: Instant) -> (Action, Instant) {
        match self.asleep_since {
            Some(_) if self.is_called => (Action::StopSleeping, now),
            Some(since) if now >= since + MAX_SLEEP => (Action::StopSleeping, now),
            Some(_) => (Action::Look, self.look_at),
            None if self.sleep_at <= self.look_at => (Action::TrySleep, self.sleep_at),
            None => (self.look(), self.look_at),
        }
    }

    /// Whether writers notify.
    pub fn is_asleep(&self) -> bool {
        self.asleep_since.is_some()
    }

    /// A notification came.
    pub fn notified(&mut self) {
        self.is_called = self.is_asleep();
    }

    fn look(&self) -> Action {
        let until_sleep = self.sleep_at.saturating_duration_since(self.look_at);
        let limits = |least| WaitLimits { least, most: MAX_WAIT.min(until_sleep) };
        self.delay.map_or(Action::Look, |least| Action::WaitAndLook(limits(least)))
    }

    /// `fetch` returned.
    pub fn looked(&mut self, found: Found, now: Instant) {
        self.look_at = now;
        self.delay = match found {
            Found::Nothing => Some(Duration::ZERO),
            Found::Others => Some(self.shared(DELAY_AFTER_OTHERS)),
            Found::Events(count) => Some(self.shared(DELAY_AFTER_EVENTS + DELAY_PER_EVENT * count)),
            Found::More => None,
        };
        match found {
            Found::Nothing | Found::Others if self.is_asleep() => self.look_at = now + self.backstop,
            Found::Nothing | Found::Others if self.is_blocked(now) => self.look_at = now + SLEEP_RETRY_INTERVAL_BLOCKED,
            Found::Nothing | Found::Others => {}
            Found::Events(_) | Found::More => {
                self.is_called = self.is_asleep();
                self.sleep_at = now + QUIET_TIME;
            }
        }
    }

    fn shared(&self, delay: Duration) -> Duration {
        (delay * self.workers).min(MAX_DELAY)
    }

    /// `try_sleep()` returned true.
    pub fn slept(&mut self, now: Instant) {
        self.asleep_since = Some(now);
        self.refused_since = None;
        self.look_at = now;
    }

    /// `try_sleep()` returned false.
    pub fn refused(&mut self, now: Instant) {
        self.refused_since.get_or_insert(now);
        self.look_at = now;
        self.delay = None;
        let interval = if self.is_blocked(now) { SLEEP_RETRY_INTERVAL_BLOCKED } else { SLEEP_RETRY_INTERVAL };
        self.sleep_at = now + interval;
    }

    /// `stop_sleeping()` returned.
    pub fn woke(&mut self, now: Instant) {
        self.asleep_since = None;
        self.look_at = now;
        self.delay = None;
        // If nobody called, the lock was only to be let go for a moment.
        self.sleep_at = if self.is_called { now + QUIET_TIME } else { now };
        self.is_called = false;
    }

    /// Whether sleep has been refused for long.
    fn is_blocked(&self, now: Instant) -> bool {
        self.refused_since.is_some_and(|since| now >= since + BLOCKED_AFTER)
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
    fn asleep() -> (Wakeup, Instant) {
        let start = Instant::now();
        let mut wakeup = Wakeup::new(SECOND, start);
        wakeup.slept(start);
        wakeup.looked(Found::Nothing, start);
        (wakeup, start)
    }

    /// What a look at `now` is, if one is due.
    fn limits(wakeup: &Wakeup, now: Instant) -> Option<WaitLimits> {
        match wakeup.next(now) {
            (Action::WaitAndLook(limits), at) if at <= now => Some(limits),
            _ => None,
        }
    }

    #[test]
    fn it_looks_until_nothing_came_for_50_ms() {
        let mut now = Instant::now();
        let mut wakeup = Wakeup::new(SECOND, now);
        assert_eq!(wakeup.next(now).0, Action::Look, "the first look need not wait for a commit");
        wakeup.looked(Found::Events(1), now);
        let quiet = now + QUIET_TIME;
        while let Some(limits) = limits(&wakeup, now) {
            now += limits.most;
            wakeup.looked(Found::Nothing, now);
        }
        assert_eq!((wakeup.next(now), now), ((Action::TrySleep, quiet), quiet));
    }

    #[test]
    fn looks_are_delayed_where_commits_follow_each_other() {
        let now = Instant::now();
        let mut wakeup = Wakeup::new(SECOND, now);
        let least_after = |wakeup: &mut Wakeup, found| {
            wakeup.looked(found, now);
            limits(wakeup, now).map(|limits| limits.least)
        };
        assert_eq!(least_after(&mut wakeup, Found::Nothing), Some(Duration::ZERO));
        assert_eq!(least_after(&mut wakeup, Found::Events(2)), Some(DELAY_AFTER_EVENTS + 2 * DELAY_PER_EVENT));
        assert_eq!(least_after(&mut wakeup, Found::Events(500)), Some(MAX_DELAY));
        assert_eq!(least_after(&mut wakeup, Found::Others), Some(DELAY_AFTER_OTHERS));
        assert_eq!(least_after(&mut wakeup, Found::More), None, "what is there already is not waited for");
        wakeup.share_with(3);
        assert_eq!(least_after(&mut wakeup, Found::Others), Some(3 * DELAY_AFTER_OTHERS));
        wakeup.share_with(64);
        assert_eq!(least_after(&mut wakeup, Found::Others), Some(MAX_DELAY));
    }

    #[test]
    fn it_looks_once_more_after_it_fell_asleep() {
        let now = Instant::now();
        let mut wakeup = Wakeup::new(SECOND, now);
        wakeup.slept(now);
        assert_eq!(wakeup.next(now), (Action::Look, now));
        wakeup.looked(Found::Nothing, now);
        assert_eq!(wakeup.next(now), (Action::Look, now + SECOND));
    }

    #[test]
    fn what_that_look_finds_wakes_it() {
        let now = Instant::now();
        let mut wakeup = Wakeup::new(SECOND, now);
        wakeup.slept(now);
        wakeup.looked(Found::Events(1), now);
        assert_eq!(wakeup.next(now).0, Action::StopSleeping);
        wakeup.woke(now);
        assert_eq!(wakeup.next(now), (Action::Look, now));
    }

    #[test]
    fn a_notification_wakes_it() {
        let (mut wakeup, start) = asleep();
        wakeup.notified();
        assert_eq!(wakeup.next(start + ms(500)), (Action::StopSleeping, start + ms(500)));
        wakeup.woke(start + ms(500));
        assert_eq!(wakeup.next(start + ms(501)).0, Action::Look);
        wakeup.looked(Found::Nothing, start + ms(501));
        assert!(limits(&wakeup, start + ms(501)).is_some(), "and it stays awake for what follows");
    }

    #[test]
    fn a_backstop_look_that_finds_nothing_keeps_the_lock() {
        let (mut wakeup, start) = asleep();
        for second in 1..19 {
            assert_eq!(wakeup.next(start + SECOND * second), (Action::Look, start + SECOND * second));
            wakeup.looked(Found::Nothing, start + SECOND * second);
        }
    }

    #[test]
    fn the_lock_is_let_go_now_and_then() {
        let (mut wakeup, start) = asleep();
        let now = start + MAX_SLEEP;
        assert_eq!(wakeup.next(now).0, Action::StopSleeping);
        wakeup.woke(now);
        assert_eq!(wakeup.next(now), (Action::TrySleep, now));
    }

    #[test]
    fn refused_sleep_is_tried_again_after_a_look_and_at_leisure_after_a_second() {
        let start = Instant::now();
        let mut wakeup = Wakeup::new(SECOND, start);
        wakeup.refused(start);
        assert_eq!(wakeup.next(start), (Action::Look, start));
        wakeup.looked(Found::Nothing, start);
        assert_eq!(limits(&wakeup, start).map(|limits| limits.most), Some(SLEEP_RETRY_INTERVAL));
        wakeup.looked(Found::Nothing, start + SLEEP_RETRY_INTERVAL);
        assert_eq!(wakeup.next(start + SLEEP_RETRY_INTERVAL), (Action::TrySleep, start + SLEEP_RETRY_INTERVAL));
        wakeup.refused(start + SECOND);
        wakeup.looked(Found::Nothing, start + SECOND);
        assert_eq!(wakeup.next(start + SECOND).1, start + SECOND + SLEEP_RETRY_INTERVAL_BLOCKED);
    }
}
