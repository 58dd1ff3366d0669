//! When to look for events, when to sleep, when to wake: the sidecar's side of the wake-up protocol. Pure: it says
//! what to do next and is told what came of it.
//!
//! Writers must not pay for being heard: NOTIFY takes a lock that serializes all commits. So a writer notifies only
//! while a sidecar sleeps, and sleeping is a lock: `try_sleep()` takes a session-level ShareLock on
//! `webhooks.wakeup`; a writer, before it commits, tries RowExclusiveLock on that table without waiting, keeps it to
//! the end of its transaction, and notifies only if it failed.
//!
//! 1. **Awake**: *watch*, which is to wait at the server until some transaction ends, and then to look; the wait is a glance
//!    at shared memory a few thousand times a second, far less than as many questions. A look is spaced from one that
//!    found something, the further the more that was. Nothing
//!    came for 50 ms → `try_sleep()`. Why not at once: the next burst would pay for a NOTIFY per commit until the
//!    sidecar has woken; so their rate is bounded.
//! 2. **`try_sleep()` is false**: a writer is between its pre-commit and its end. It did not notify; keep looking. When
//!    it stays false for a second (a prepared transaction holds the lock), look at leisure.
//! 3. **`try_sleep()` is true**: every writer that did not notify has ended. *Look once more*: what they committed
//!    is visible now, and whoever commits later notifies. Then wait.
//! 4. **Asleep**: a notification → `awake()` and look. `awake()` first, so that the writers behind stop notifying.
//! 5. **Backstop**: look every two seconds anyway. A prepared transaction cannot notify, and no correctness hangs on
//!    NOTIFY. Nothing found: stay asleep and keep the lock. Something found: as in 4.
//! 6. **Now and then let go** (`awake()`, `try_sleep()`): a vacuum of `webhooks.wakeup` against wraparound, or a DROP EXTENSION,
//!    wants its turn.
//!
//! A new session starts awake: every reconnect is a wake.

use std::time::{Duration, Instant};

/// Between a look that found events and the next, besides [`SPACING_PER_EVENT`].
const SPACING: Duration = Duration::from_micros(300);
/// The closer commits follow each other, the more of them a look should find: it takes processor time that the writers
/// could use.
const SPACING_PER_EVENT: Duration = Duration::from_micros(150);
/// Between a look that found what others did, and no event, and the next.
const SPACING_OF_OTHERS: Duration = Duration::from_millis(1);
/// The longest that any of these becomes, with many berths too.
const WIDEST: Duration = Duration::from_millis(5);
/// At the server: something else may come up for the reading session meanwhile.
const LONGEST_WATCH: Duration = Duration::from_millis(5);
const RETRY_SLEEP: Duration = Duration::from_millis(2);
const RETRY_SLEEP_HELD_OFF: Duration = Duration::from_millis(50);
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
    /// The next look is to be a watch, whose wait lasts at least so long.
    spacing: Option<Duration>,
    sleep_at: Instant,
    refused_since: Option<Instant>,
    /// Berths of this process that watch: together they cost what a few do.
    berths: u32,
    backstop: Duration,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `fetch`.
    Look,
    /// `wait_for_commit`, then `fetch`.
    Watch(Patience),
    /// `try_sleep()`.
    TrySleep,
    /// `awake()`.
    Awake,
}

/// How long to wait for a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Even if one came at once.
    pub least: Duration,
    pub most: Duration,
}

impl Patience {
    /// No longer than that.
    pub fn at_most(self, most: Duration) -> Self {
        Self { least: self.least, most: self.most.min(most) }
    }
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// Transactions have ended, and made no event.
    Others,
    /// So many.
    Events(u32),
    /// And there is more behind them.
    More,
}

impl Wake {
    /// Awake, and looking at once.
    pub fn new(backstop: Duration, now: Instant) -> Self {
        Self {
            asleep_since: None,
            called: false,
            look_at: now,
            spacing: None,
            sleep_at: now + QUIET,
            refused_since: None,
            berths: 1,
            backstop,
        }
    }

    /// So many berths of this process watch.
    pub fn share_with(&mut self, berths: usize) {
        self.berths = u32::try_from(berths).unwrap_or(u32::MAX).max(1);
    }

    /// The next step and when it is due.
    pub fn next(&self, now: Instant) -> (Step, Instant) {
        match self.asleep_since {
            Some(_) if self.called => (Step::Awake, now),
            Some(since) if now >= since + LET_GO => (Step::Awake, now),
            Some(_) => (Step::Look, self.look_at),
            None if self.sleep_at <= self.look_at => (Step::TrySleep, self.sleep_at),
            None => (self.look(), self.look_at),
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

    fn look(&self) -> Step {
        let until_sleep = self.sleep_at.saturating_duration_since(self.look_at);
        let patience = |least| Patience { least, most: LONGEST_WATCH.min(until_sleep) };
        self.spacing.map_or(Step::Look, |least| Step::Watch(patience(least)))
    }

    /// `fetch` returned.
    pub fn looked(&mut self, found: Found, now: Instant) {
        self.look_at = now;
        self.spacing = match found {
            Found::Nothing => Some(Duration::ZERO),
            Found::Others => Some(self.spaced(SPACING_OF_OTHERS)),
            Found::Events(count) => Some(self.spaced(SPACING + SPACING_PER_EVENT * count)),
            Found::More => None,
        };
        match found {
            Found::Nothing | Found::Others if self.is_asleep() => self.look_at = now + self.backstop,
            Found::Nothing | Found::Others if self.is_held_off(now) => self.look_at = now + RETRY_SLEEP_HELD_OFF,
            Found::Nothing | Found::Others => {}
            Found::Events(_) | Found::More => {
                self.called = self.is_asleep();
                self.sleep_at = now + QUIET;
            }
        }
    }

    fn spaced(&self, by: Duration) -> Duration {
        (by * self.berths).min(WIDEST)
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
        self.spacing = None;
        self.sleep_at = now + if self.is_held_off(now) { RETRY_SLEEP_HELD_OFF } else { RETRY_SLEEP };
    }

    /// `awake()` returned.
    pub fn woke(&mut self, now: Instant) {
        self.asleep_since = None;
        self.look_at = now;
        self.spacing = None;
        // Let go for a moment only: nobody called.
        self.sleep_at = if self.called { now + QUIET } else { now };
        self.called = false;
    }

    /// Whether somebody has kept it from sleeping for long.
    fn is_held_off(&self, now: Instant) -> bool {
        self.refused_since.is_some_and(|since| now >= since + HELD_OFF)
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

    /// What a look at `now` is, if one is due.
    fn patience(wake: &Wake, now: Instant) -> Option<Patience> {
        match wake.next(now) {
            (Step::Watch(patience), at) if at <= now => Some(patience),
            _ => None,
        }
    }

    #[test]
    fn it_watches_until_nothing_came_for_50_ms() {
        let mut now = Instant::now();
        let mut wake = Wake::new(SECOND, now);
        assert_eq!(wake.next(now).0, Step::Look, "the first look need not wait for a commit");
        wake.looked(Found::Events(1), now);
        let quiet = now + QUIET;
        while let Some(patience) = patience(&wake, now) {
            now += patience.most;
            wake.looked(Found::Nothing, now);
        }
        assert_eq!((wake.next(now), now), ((Step::TrySleep, quiet), quiet));
    }

    #[test]
    fn looks_are_spaced_where_commits_follow_each_other() {
        let now = Instant::now();
        let mut wake = Wake::new(SECOND, now);
        let least_after = |wake: &mut Wake, found| {
            wake.looked(found, now);
            patience(wake, now).map(|patience| patience.least)
        };
        assert_eq!(least_after(&mut wake, Found::Nothing), Some(Duration::ZERO));
        assert_eq!(least_after(&mut wake, Found::Events(2)), Some(SPACING + 2 * SPACING_PER_EVENT));
        assert_eq!(least_after(&mut wake, Found::Events(500)), Some(WIDEST));
        assert_eq!(least_after(&mut wake, Found::Others), Some(SPACING_OF_OTHERS));
        assert_eq!(least_after(&mut wake, Found::More), None, "what is there already is not waited for");
        wake.share_with(3);
        assert_eq!(least_after(&mut wake, Found::Others), Some(3 * SPACING_OF_OTHERS));
        wake.share_with(64);
        assert_eq!(least_after(&mut wake, Found::Others), Some(WIDEST));
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
        wake.looked(Found::Events(1), now);
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
        assert_eq!(wake.next(start + ms(501)).0, Step::Look);
        wake.looked(Found::Nothing, start + ms(501));
        assert!(patience(&wake, start + ms(501)).is_some(), "and it stays awake for what follows");
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
        assert_eq!(patience(&wake, start).map(|patience| patience.most), Some(RETRY_SLEEP));
        wake.looked(Found::Nothing, start + RETRY_SLEEP);
        assert_eq!(wake.next(start + RETRY_SLEEP), (Step::TrySleep, start + RETRY_SLEEP));
        wake.refused(start + SECOND);
        wake.looked(Found::Nothing, start + SECOND);
        assert_eq!(wake.next(start + SECOND).1, start + SECOND + RETRY_SLEEP_HELD_OFF);
    }
}
