//! A berth of the crew: gets sessions and a shard, delivers, and begins again when either is lost. Every reconnect is
//! a wake. What it knows under one lease outlives its sessions: it comes back to its shard under the same name and
//! reports what was in flight.

use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::sleep;

use super::endpoint_queues::RequestLimits;
use super::engine::{End, Engine};
use super::session::{Grant, SessionError, Sessions};
use super::shard_state::Tenure;
use crate::serve::{Crew, Duty};

const FIRST_RETRY_DELAY: Duration = Duration::from_millis(50);
const LONGEST_RETRY_DELAY: Duration = Duration::from_secs(2);
/// After sessions that held this long the delays begin anew.
const GOOD_SESSION_TIME: Duration = Duration::from_secs(2);
const SCOUT_INTERVAL: Duration = Duration::from_millis(500);

/// See the module.
pub struct Berth {
    crew: Arc<Crew>,
    number: u32,
    duty: Option<Duty>,
    tenure: Option<Tenure>,
    stop: watch::Receiver<bool>,
}

/// A berth is over.
pub struct Ended {
    /// Deliveries whose result the database does not have.
    pub unreported: usize,
}

impl Berth {
    /// A scout.
    pub fn new(crew: &Arc<Crew>, number: u32, duty: Duty, stop: watch::Receiver<bool>) -> Self {
        Self { crew: Arc::clone(crew), number, duty: Some(duty), tenure: None, stop }
    }

    /// Until told to stop, or until there is nothing to do that another berth does not.
    pub async fn run(mut self) -> Ended {
        let mut wait = FIRST_RETRY_DELAY;
        loop {
            let began = Instant::now();
            match self.shift().await {
                Ok(End::Stopped) => return self.ended(),
                Ok(End::GivenBack) => self.leave_shard(),
                Err(SessionError::Stale(reason)) => {
                    tracing::warn!("{reason}; starting over");
                    self.leave_shard();
                }
                Err(error) => self.crew.log_trouble(&error.to_string()),
            }
            if self.duty.is_none() {
                return self.ended();
            }
            if began.elapsed() > GOOD_SESSION_TIME {
                wait = FIRST_RETRY_DELAY;
            }
            if self.stopped_during(sleep(wait)).await.is_none() {
                return self.ended();
            }
            wait = (wait * 2).min(LONGEST_RETRY_DELAY);
        }
    }

    /// From connecting to the loss of a session (an error) or a graceful end.
    async fn shift(&mut self) -> Result<End, SessionError> {
        let crew = Arc::clone(&self.crew);
        let sessions = self.stopped_during(Sessions::open(&crew.database, &crew.name)).await;
        let Some(sessions) = sessions else { return Ok(End::Stopped) };
        let mut sessions = sessions?;
        let Some(grant) = self.acquire(&sessions).await? else { return Ok(End::Stopped) };
        let Grant { lease, epoch, position, shards } = grant;
        if let Some(duty) = &mut self.duty {
            duty.hold(shards);
        }
        if let Some(tenure) = self.tenure.take_if(|tenure| tenure.lease != lease) {
            let (shard, deliveries) = (tenure.lease.shard, tenure.held());
            tracing::warn!(
                shard,
                deliveries,
                "the lease was over, as after a crash of Postgres: what was in hand is read again"
            );
        }
        let most_held = crew.settings.prefetch as usize;
        let tenure = self.tenure.get_or_insert_with(|| {
            let limits = RequestLimits { per_endpoint: crew.settings.endpoint_in_flight as usize, global: most_held };
            Tenure::new(lease, position, crew.sender.clone(), limits)
        });
        tenure.follow(sessions.reports.renew(lease, crew.settings.lease).await?, most_held);
        tracing::info!(shard = lease.shard, epoch, "delivering");
        crew.clear_trouble();
        tenure.resume(Instant::now());
        Engine::new(&crew, &mut sessions, tenure).run(&mut self.stop).await
    }

    /// Waits for a shard; none where told to stop meanwhile.
    async fn acquire(&mut self, sessions: &Sessions) -> Result<Option<Grant>, SessionError> {
        let owner = format!("{}/{}", self.crew.name, self.number);
        loop {
            let known = self.tenure.as_ref().map(|tenure| tenure.lease);
            if let Some(grant) = sessions.main.acquire(&owner, self.crew.settings.lease, known).await? {
                return Ok(Some(grant));
            }
            if let Some(tenure) = &self.tenure {
                return Err(SessionError::Stale(format!("shard {} was taken over", tenure.lease.shard)));
            }
            self.crew.log_standby();
            if self.stopped_during(sleep(SCOUT_INTERVAL)).await.is_none() {
                return Ok(None);
            }
        }
    }

    /// The outcome of `work`, or none when told to stop before.
    async fn stopped_during<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            outcome = work => Some(outcome),
            _ = self.stop.wait_for(|stop| *stop) => None,
        }
    }

    /// Drops what was known under the lease that is over; then this is the scout, unless another is.
    fn leave_shard(&mut self) {
        self.tenure = None;
        self.duty = None;
        self.duty = self.crew.scout();
    }

    fn ended(self) -> Ended {
        Ended { unreported: self.tenure.as_ref().map_or(0, Tenure::held) }
    }
}
