//! The loop that owns a shard's state: fetch, queue, send, report. Four parts of it work at once, each with one call of
//! the database at a time: the reader, the one that catches up, the reporter and the lease keeper. Requests run in tasks of their own and
//! come back through a channel.

mod catch_up;
mod lease_keeper;
mod reader;

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::sleep_until;

use self::catch_up::CatchUpAnswer;
use self::lease_keeper::KeeperAnswer;
use self::reader::ReaderAnswer;
use super::in_flight::Completion;
use super::results::Report;
use super::retry_timer::RetryTimer;
use super::session::{Reported, SessionError, Sessions};
use super::shard_state::ShardState;
use super::shared::Shared;
use super::wakeup::Wakeup;

/// How long the last reports of a graceful stop may take, and then the release of the shard.
const LAST_REPORTS_TIMEOUT: Duration = Duration::from_secs(5);
/// How many completed requests are taken before the loop looks at the rest.
const MAX_COMPLETIONS: usize = 256;

type Call<T> = Option<Pin<Box<dyn Future<Output = Result<T, SessionError>> + Send>>>;

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
    /// Requests in flight may finish until then.
    Finishing(Instant),
    /// The results are reported, until then.
    Reporting(Instant),
}

/// The loop's state, besides what outlives the sessions.
pub struct Engine<'a> {
    shared: &'a Shared,
    sessions: &'a mut Sessions,
    state: &'a mut ShardState,
    wakeup: Wakeup,
    retry_timer: RetryTimer,
    reading: Call<ReaderAnswer>,
    catching_up: Call<CatchUpAnswer>,
    reporting: Call<Reported>,
    keeping: Call<KeeperAnswer>,
    renew_at: Instant,
    must_leave: bool,
    end: End,
    phase: Phase,
}

impl<'a> Engine<'a> {
    /// Begins; the lease has just been renewed.
    pub fn new(shared: &'a Shared, sessions: &'a mut Sessions, state: &'a mut ShardState) -> Self {
        let (now, settings) = (Instant::now(), &shared.settings);
        Self {
            wakeup: Wakeup::new(settings.backstop, now),
            retry_timer: RetryTimer::new(now),
            reading: None,
            catching_up: None,
            reporting: None,
            keeping: None,
            renew_at: now + settings.lease / 2,
            must_leave: false,
            end: End::Stopped,
            phase: Phase::Running,
            shared,
            sessions,
            state,
        }
    }

    /// Delivers until a graceful end, or until a session or the lease is lost.
    pub async fn run(mut self, stop: &mut watch::Receiver<bool>) -> Result<End, SessionError> {
        let mut completions: Vec<Completion> = Vec::with_capacity(MAX_COMPLETIONS);
        if let Some(report) = self.state.results.unacknowledged() {
            self.report(report);
        }
        loop {
            if *stop.borrow_and_update() && self.is_running() {
                self.stop(Instant::now());
            }
            self.advance_stop(Instant::now());
            if self.is_over(Instant::now()) {
                return self.release().await;
            }
            let next = self.advance(Instant::now());
            tokio::select! {
                () = self.state.requests.completed(&mut completions, MAX_COMPLETIONS) => {
                    self.complete(&mut completions, Instant::now());
                }
                answer = finish(&mut self.reading) => self.read(answer?, Instant::now()),
                answer = finish(&mut self.catching_up) => self.caught_up(answer?, Instant::now()),
                reported = finish(&mut self.reporting) => self.reported(&reported?),
                answer = finish(&mut self.keeping) => self.kept(answer?, Instant::now()),
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
        self.state.advance(now);
        if let Some(at) = self.state.advance_at() {
            next = next.min(at);
        }
        if self.reading.is_none() && self.is_running() {
            next = next.min(self.advance_reader(now));
        }
        if self.catching_up.is_none() && self.is_running() {
            next = next.min(self.advance_catch_up(now));
        }
        if self.reporting.is_none() {
            match self.state.pack_due_report(now) {
                Some(report) => self.report(report),
                None => next = self.state.report_due_at(now).map_or(next, |at| next.min(at)),
            }
        }
        if self.keeping.is_none() {
            next = next.min(self.advance_keeper(now));
        }
        if let Phase::Finishing(until) | Phase::Reporting(until) = self.phase {
            next = next.min(until);
        }
        next
    }

    fn complete(&mut self, completions: &mut Vec<Completion>, now: Instant) {
        for completion in completions.drain(..) {
            if self.state.complete(completion, now) {
                self.retry_timer.request();
            }
        }
    }
}

/// The reporter.
impl Engine<'_> {
    fn report(&mut self, report: Arc<Report>) {
        let (session, lease) = (self.sessions.write.clone(), self.state.lease);
        let said = self.state.announcements.take();
        self.reporting = Some(Box::pin(async move {
            let reported = session.report(lease, &report).await?;
            session.announce(&said, &reported.disabled).await;
            Ok(reported)
        }));
    }

    fn reported(&mut self, reported: &Reported) {
        if !reported.disabled.is_empty() {
            // Its queue is to be dropped: that is told with a look.
            self.wakeup.notified();
        }
        if self.state.reported(reported, Instant::now()) {
            self.retry_timer.request();
        }
    }
}

/// The graceful end.
impl Engine<'_> {
    fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }

    fn stop(&mut self, now: Instant) {
        let shard = self.state.lease.shard;
        tracing::info!(shard, in_flight = self.state.requests.len(), "stopping");
        // While this shard finishes its requests the others may have those that are done.
        self.must_leave = true;
        self.finish_requests(now);
    }

    fn give_back(&mut self, now: Instant) {
        let shard = self.state.lease.shard;
        tracing::info!(shard, in_flight = self.state.requests.len(), "another sidecar came; giving the shard back");
        self.end = End::GivenBack;
        self.finish_requests(now);
    }

    fn finish_requests(&mut self, now: Instant) {
        self.state.drop_queues();
        self.phase = Phase::Finishing(now + self.shared.settings.grace);
    }

    /// Moves a graceful stop on: from the requests to their reports, and then to the last place of the cursor.
    fn advance_stop(&mut self, now: Instant) {
        if let Phase::Finishing(until) = self.phase
            && (self.state.requests.len() == 0 || until <= now)
        {
            self.state.abort_requests();
            self.phase = Phase::Reporting(now + LAST_REPORTS_TIMEOUT);
        }
        if matches!(self.phase, Phase::Reporting(_)) && self.reporting.is_none() && !self.state.results.is_empty() {
            let report = self.state.pack_report(now);
            self.report(report);
        }
    }

    fn has_reported_all(&self) -> bool {
        self.state.results.is_empty() && self.reading.is_none() && self.catching_up.is_none()
    }

    /// Whether a graceful stop has come to its end, or has no time left.
    fn is_over(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Reporting(until) if until <= now || self.has_reported_all())
    }

    /// Releases the shard, for writers and the other sidecars; without this they notice by themselves.
    async fn release(self) -> Result<End, SessionError> {
        let deliveries = self.state.held();
        if deliveries > 0 {
            tracing::warn!(deliveries, "stopped before all was reported; these will be sent again");
        }
        let session = &self.sessions.read;
        let farewell = async { tokio::try_join!(session.stop_sleeping(), session.release(self.state.lease)) };
        let _ = tokio::time::timeout(LAST_REPORTS_TIMEOUT, farewell).await;
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
