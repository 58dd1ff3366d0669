//! The loop that owns all state: session → fetch → queues → send → report. Three hands work at once, each with one
//! call of the database at a time: one reads (and sleeps and wakes), one reports, one tends the lease. Requests run in
//! tasks of their own and come back through a channel.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::event::Delivery;
use super::retry_timer::RetryTimer;
use super::session::{Chunk, RenewedLease, SessionError, Sessions};
use super::shard_state::{Landing, Tenure};
use super::shared::Shared;
use super::wakeup::{Action, Wakeup};

const INSPECT: Duration = Duration::from_millis(50);
const MAINTAIN: Duration = Duration::from_secs(300);
/// With less room than this, a look waits for more, but not for long.
const ROOM_WORTH_A_LOOK: usize = 128;
const WAIT_FOR_ROOM: Duration = Duration::from_millis(5);
/// For the last reports of a graceful stop.
const LAST_WORDS: Duration = Duration::from_secs(5);
const LANDINGS: usize = 256;

type Call<T> = Option<Pin<Box<dyn Future<Output = Result<T, SessionError>> + Send>>>;

/// What the reading hand brought.
enum Reading {
    Looked(Chunk),
    Due(Vec<Delivery>, Option<Duration>),
    Slept(bool),
    Woke(Option<Chunk>),
}

/// What the tending hand did.
enum Tending {
    Renewed(RenewedLease),
    Maintained,
    Left,
}

/// Why the loop ended, all being reported and the shard released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process stops.
    Stopped,
    /// The shard is beyond this process' share.
    GivenBack,
}

/// How far a graceful stop has come.
enum Phase {
    Running,
    /// Requests may finish until then.
    Finishing(Instant),
    /// The results go out, until then.
    Reporting(Instant),
}

/// The loop's state besides what outlives the sessions.
pub struct Engine<'a> {
    shared: &'a Shared,
    sessions: &'a mut Sessions,
    tenure: &'a mut Tenure,
    wakeup: Wakeup,
    retry_timer: RetryTimer,
    reading: Call<Reading>,
    reporting: Call<Vec<i32>>,
    tending: Call<Tending>,
    looked_at: Instant,
    inspect_at: Instant,
    renew_at: Instant,
    maintain_at: Instant,
    leave: bool,
    end: End,
    phase: Phase,
}

impl<'a> Engine<'a> {
    /// Ready to run; the lease has just been renewed.
    pub fn new(shared: &'a Shared, sessions: &'a mut Sessions, tenure: &'a mut Tenure) -> Self {
        let (now, settings) = (Instant::now(), &shared.settings);
        Self {
            wakeup: Wakeup::new(settings.backstop, now),
            retry_timer: RetryTimer::new(now),
            reading: None,
            reporting: None,
            tending: None,
            looked_at: now,
            inspect_at: now + INSPECT,
            renew_at: now + settings.lease / 2,
            maintain_at: now,
            leave: false,
            end: End::Stopped,
            phase: Phase::Running,
            shared,
            sessions,
            tenure,
        }
    }

    /// Delivers until a graceful end, or until a session or the lease is lost.
    pub async fn run(mut self, stop: &mut watch::Receiver<bool>) -> Result<End, SessionError> {
        let mut landings: Vec<Landing> = Vec::with_capacity(LANDINGS);
        if let Some(report) = self.tenure.results.unacknowledged() {
            self.send(report);
        }
        loop {
            if *stop.borrow_and_update() && matches!(self.phase, Phase::Running) {
                self.stop(Instant::now());
            }
            if self.is_done(Instant::now()) {
                return self.release().await;
            }
            let next = self.advance(Instant::now());
            tokio::select! {
                _ = self.tenure.landed.recv_many(&mut landings, LANDINGS) => {
                    let now = Instant::now();
                    for landing in landings.drain(..) {
                        if self.tenure.land(landing, now) {
                            self.retry_timer.request();
                        }
                    }
                }
                reading = finish(&mut self.reading) => self.read(reading?, Instant::now()),
                disabled = finish(&mut self.reporting) => self.reported(&disabled?),
                tending = finish(&mut self.tending) => self.tended(tending?, Instant::now()),
                told = self.sessions.notifications.recv() => match told {
                    Some(()) => self.wakeup.notified(),
                    None => return Err(SessionError::Lost("the session with Postgres was lost".to_owned())),
                },
                () = sleep_until(next.into()) => {}
                Ok(()) = stop.changed() => {}
            }
        }
    }

    /// Starts all that is due, and says when to come again at the latest.
    fn advance(&mut self, now: Instant) -> Instant {
        let mut next = now + self.shared.settings.backstop;
        if self.tenure.is_busy() {
            if self.inspect_at <= now {
                self.tenure.inspect(now);
                self.inspect_at = now + INSPECT;
            }
            next = next.min(self.inspect_at);
        }
        if self.reading.is_none() && matches!(self.phase, Phase::Running) {
            next = next.min(self.advance_reading(now));
        }
        if self.reporting.is_none() {
            match self.tenure.pack_report(now) {
                Some(report) => self.send(report),
                None => next = self.tenure.report_due_at(now).map_or(next, |at| next.min(at)),
            }
        }
        if self.tending.is_none() {
            next = next.min(self.advance_tending(now));
        }
        if let Phase::Finishing(until) | Phase::Reporting(until) = self.phase {
            next = next.min(until);
        }
        next
    }

    /// The reading hand: wakes, asks for what is due, looks for events or falls asleep.
    fn advance_reading(&mut self, now: Instant) -> Instant {
        let never = now + self.shared.settings.backstop;
        self.wakeup.share_with(self.shared.held_shards());
        let (action, mut at) = self.wakeup.next(now);
        if action == Action::StopSleeping {
            self.awake();
            return never;
        }
        // Without room there is nothing to ask for; the next report makes some.
        let Some(read_limits) = self.tenure.read_limits() else { return never };
        let due_at =
            if self.wakeup.is_asleep() { self.retry_timer.next_asleep() } else { self.retry_timer.next_awake() };
        if due_at <= now {
            self.ask_due(now);
            return never;
        }
        let is_look = matches!(action, Action::Look | Action::WaitAndLook(_));
        if is_look && self.tenure.room() < ROOM_WORTH_A_LOOK.min(self.tenure.most_held() / 4) {
            at = at.max(self.looked_at + WAIT_FOR_ROOM);
        }
        if at > now {
            return at.min(due_at);
        }
        let read = self.sessions.read.clone();
        if !is_look {
            self.reading = Some(Box::pin(async move { read.try_sleep().await.map(Reading::Slept) }));
            return never;
        }
        self.looked_at = now;
        let (lease, position, held_bytes) = (self.tenure.lease, self.tenure.position(), self.tenure.held_bytes());
        self.reading = Some(Box::pin(async move {
            let chunk = match action {
                Action::WaitAndLook(limits) => {
                    read.wait_and_fetch(lease, position, read_limits, held_bytes, limits.at_most(due_at - now)).await?
                }
                _ => read.fetch(lease, position, read_limits, held_bytes).await?,
            };
            Ok(Reading::Looked(chunk))
        }));
        never
    }

    /// `awake()` and, in the same round trip, the first look.
    fn awake(&mut self) {
        let read = self.sessions.read.clone();
        let (lease, position, held_bytes) = (self.tenure.lease, self.tenure.position(), self.tenure.held_bytes());
        self.reading = Some(match self.tenure.read_limits() {
            None => Box::pin(async move { read.awake().await.map(|()| Reading::Woke(None)) }),
            Some(read_limits) => Box::pin(async move {
                let ((), chunk) = tokio::try_join!(read.awake(), read.fetch(lease, position, read_limits, held_bytes))?;
                Ok(Reading::Woke(Some(chunk)))
            }),
        });
    }

    fn ask_due(&mut self, now: Instant) {
        self.retry_timer.asked(now);
        let read = self.sessions.read.clone();
        let (lease, query, held_bytes) = (self.tenure.lease, self.tenure.due_query(), self.tenure.held_bytes());
        self.reading = Some(Box::pin(async move {
            let (deliveries, wait) = read.fetch_due(lease, query, held_bytes).await?;
            Ok(Reading::Due(deliveries, wait))
        }));
    }

    fn read(&mut self, reading: Reading, now: Instant) {
        // What is read after the stop is not taken: the cursor stays before it.
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        match reading {
            Reading::Looked(chunk) => self.looked(chunk, now),
            Reading::Due(deliveries, wait) => {
                self.retry_timer.answered(wait, now);
                self.tenure.accept_due(deliveries);
            }
            Reading::Slept(true) => {
                self.wakeup.slept(now);
                self.retry_timer.request();
            }
            Reading::Slept(false) => self.wakeup.refused(now),
            Reading::Woke(chunk) => {
                self.wakeup.woke(now);
                if let Some(chunk) = chunk {
                    self.looked(chunk, now);
                }
            }
        }
    }

    fn looked(&mut self, chunk: Chunk, now: Instant) {
        let found = self.tenure.accept(chunk, now);
        self.wakeup.looked(found, now);
    }

    fn send(&mut self, report: Arc<super::results::Report>) {
        let (write, lease) = (self.sessions.write.clone(), self.tenure.lease);
        self.reporting = Some(Box::pin(async move { write.report(lease, &report).await }));
    }

    fn reported(&mut self, disabled: &[i32]) {
        for endpoint in disabled {
            tracing::warn!(endpoint, "endpoint disabled; webhooks.list() says why");
        }
        if self.tenure.reported(disabled) {
            self.retry_timer.request();
        }
    }

    /// The tending hand: keeps the lease and the house.
    fn advance_tending(&mut self, now: Instant) -> Instant {
        let write = self.sessions.write.clone();
        if self.leave {
            self.leave = false;
            let (read, sidecar) = (self.sessions.read.clone(), self.shared.name.clone());
            self.tending =
                Some(Box::pin(async move { Sessions::leave(&read, &write, &sidecar).await.map(|()| Tending::Left) }));
        } else if self.renew_at <= now {
            self.renew_at = now + self.shared.settings.lease / 2;
            let (lease, duration) = (self.tenure.lease, self.shared.settings.lease);
            self.tending = Some(Box::pin(async move { write.renew(lease, duration).await.map(Tending::Renewed) }));
        } else if self.keeps_house() && self.maintain_at <= now && matches!(self.phase, Phase::Running) {
            self.maintain_at = now + MAINTAIN;
            self.tending = Some(Box::pin(async move {
                write.maintain().await;
                Ok(Tending::Maintained)
            }));
        }
        self.renew_at
    }

    /// One of all the owners does: there always is a shard 0.
    fn keeps_house(&self) -> bool {
        self.tenure.lease.shard == 0
    }

    fn tended(&mut self, tending: Tending, now: Instant) {
        let Tending::Renewed(terms) = tending else { return };
        self.tenure.follow(terms, self.shared.settings.prefetch as usize);
        if terms.give_back && matches!(self.phase, Phase::Running) {
            self.give_back(now);
        }
    }

    fn stop(&mut self, now: Instant) {
        let shard = self.tenure.lease.shard;
        tracing::info!(shard, under_way = self.tenure.under_way(), "stopping");
        // While this shard finishes its requests the others may have those that are done.
        self.leave = true;
        self.finish_requests(now);
    }

    fn give_back(&mut self, now: Instant) {
        let shard = self.tenure.lease.shard;
        tracing::info!(shard, under_way = self.tenure.under_way(), "another sidecar came; giving the shard back");
        self.end = End::GivenBack;
        self.finish_requests(now);
    }

    fn finish_requests(&mut self, now: Instant) {
        self.tenure.close();
        self.phase = Phase::Finishing(now + self.shared.settings.grace);
    }

    /// Moves a graceful stop on; true at its end.
    fn is_done(&mut self, now: Instant) -> bool {
        if let Phase::Finishing(until) = self.phase
            && (self.tenure.under_way() == 0 || until <= now)
        {
            self.tenure.break_off();
            self.phase = Phase::Reporting(now + LAST_WORDS);
        }
        match self.phase {
            Phase::Reporting(until) if until <= now => {
                tracing::warn!(
                    deliveries = self.tenure.held(),
                    "stopped before all was reported; these will be sent again"
                );
                true
            }
            Phase::Reporting(_) => self.tenure.results.is_empty() && self.reading.is_none() && !self.send_cursor(now),
            Phase::Running | Phase::Finishing(_) => false,
        }
    }

    /// Whether the cursor had moved since the last report, and is on its way.
    fn send_cursor(&mut self, now: Instant) -> bool {
        self.tenure.pack_cursor(now).map(|report| self.send(report)).is_some()
    }

    /// Lets writers and the other sidecars know; without this they notice by themselves.
    async fn release(self) -> Result<End, SessionError> {
        let read = &self.sessions.read;
        let farewell = async { tokio::try_join!(read.awake(), read.release(self.tenure.lease)) };
        let _ = tokio::time::timeout(LAST_WORDS, farewell).await;
        Ok(self.end)
    }
}

/// Waits for a call, forever where none is under way.
async fn finish<T>(call: &mut Call<T>) -> Result<T, SessionError> {
    let Some(under_way) = call else { return pending().await };
    let outcome = under_way.await;
    *call = None;
    outcome
}
