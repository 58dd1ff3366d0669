//! A worker opens sessions, acquires a shard and delivers its events, and begins again when it loses either. Every
//! reconnect is a wake-up. What it knows under one lease outlives its sessions: it comes back to its shard under the
//! same name and reports what was in flight.

use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::engine::{End, Engine};
use super::housekeeping;
use super::queues::Limits;
use super::readers::ReadSizes;
use super::session::{AcquiredLease, SessionError, Sessions};
use super::shard_state::ShardState;
use super::shared::{RoleGuard, Shared};

const MIN_RECONNECT_DELAY: Duration = Duration::from_millis(50);
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(2);
/// How long sessions must have held for the delays to begin anew.
const STABLE_SESSION_TIME: Duration = Duration::from_secs(2);
const READ_SIZES: ReadSizes = ReadSizes { chunk: 500, held: 1024 };
/// How often a candidate looks for a shard.
const ACQUIRE_INTERVAL: Duration = Duration::from_millis(500);

/// One worker, a task of its own.
pub struct Worker {
    shared: Arc<Shared>,
    number: u32,
    /// None once it has lost its shard and is no candidate.
    role: Option<RoleGuard>,
    state: Option<ShardState>,
    stop: watch::Receiver<bool>,
}

/// What a worker leaves when it ends.
pub struct Ended {
    /// Deliveries with a result that the database does not know.
    pub unreported: usize,
}

impl Worker {
    /// Begins as the candidate. `number` tells it from the other workers of the process.
    pub fn new(shared: &Arc<Shared>, number: u32, role: RoleGuard, stop: watch::Receiver<bool>) -> Self {
        Self { shared: Arc::clone(shared), number, role: Some(role), state: None, stop }
    }

    /// Works until told to stop, or until it has no shard and another worker is the candidate.
    pub async fn run(mut self) -> Ended {
        let mut wait = MIN_RECONNECT_DELAY;
        loop {
            let began = Instant::now();
            match self.run_session().await {
                Ok(End::Stopped) => return self.ended(),
                Ok(End::GivenBack) => self.leave_shard(),
                Err(SessionError::Stale(reason)) => {
                    tracing::warn!("{reason}; starting over");
                    self.leave_shard();
                }
                Err(error) => self.shared.log_trouble(&error.to_string()),
            }
            if self.role.is_none() {
                return self.ended();
            }
            if began.elapsed() > STABLE_SESSION_TIME {
                wait = MIN_RECONNECT_DELAY;
            }
            if self.stopped_during(sleep(wait)).await.is_none() {
                return self.ended();
            }
            wait = (wait * 2).min(MAX_RECONNECT_DELAY);
        }
    }

    /// Connects, acquires a shard and delivers, until a session is lost (an error) or a graceful end.
    async fn run_session(&mut self) -> Result<End, SessionError> {
        let shared = Arc::clone(&self.shared);
        let opening = Sessions::open(&shared.database, &shared.name, shared.settings.lease);
        let sessions = self.stopped_during(opening).await;
        let Some(sessions) = sessions else { return Ok(End::Stopped) };
        let mut sessions = sessions?;
        let Some(acquired) = self.acquire(&sessions).await? else { return Ok(End::Stopped) };
        let AcquiredLease { lease, epoch, shards, .. } = acquired;
        if let Some(role) = &mut self.role {
            role.hold(shards);
        }
        if let Some(state) = self.state.take_if(|state| state.lease != lease) {
            let (shard, deliveries) = (state.lease.shard, state.held());
            tracing::warn!(
                shard,
                deliveries,
                "the lease was over, as after a crash of Postgres: what was in hand is read again"
            );
        }
        let prefetch = shared.settings.prefetch as usize;
        let limits = Limits { per_endpoint: shared.settings.endpoint_in_flight as usize, global: prefetch };
        let state = self.state.get_or_insert_with(|| {
            ShardState::new(acquired, shared.sender.clone(), READ_SIZES, limits, Instant::now())
        });
        state.renewed(sessions.write.renew(lease, shared.settings.lease).await?, prefetch);
        tracing::info!(shard = lease.shard, epoch, "delivering");
        shared.clear_trouble();
        // Ends with this function. One of all owners does the housekeeping: there always is a shard 0.
        let mut housekeeping = JoinSet::new();
        if lease.shard == 0 {
            housekeeping.spawn(housekeeping::run(Arc::clone(&shared)));
        }
        Engine::new(&shared, &mut sessions, state).run(&mut self.stop).await
    }

    /// Waits for a shard; returns none when told to stop before.
    async fn acquire(&mut self, sessions: &Sessions) -> Result<Option<AcquiredLease>, SessionError> {
        let owner = format!("{}/{}", self.shared.name, self.number);
        loop {
            let known = self.state.as_ref().map(|state| state.lease);
            if let Some(acquired) = sessions.read.acquire(&owner, self.shared.settings.lease, known).await? {
                return Ok(Some(acquired));
            }
            if let Some(state) = &self.state {
                return Err(SessionError::Stale(format!("shard {} was taken over", state.lease.shard)));
            }
            self.shared.log_standby();
            if self.stopped_during(sleep(ACQUIRE_INTERVAL)).await.is_none() {
                return Ok(None);
            }
        }
    }

    /// Returns the outcome of `work`, or none when told to stop before.
    async fn stopped_during<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            outcome = work => Some(outcome),
            _ = self.stop.wait_for(|stop| *stop) => None,
        }
    }

    /// Drops what was known under the lease that is over, and becomes the candidate unless another worker is.
    fn leave_shard(&mut self) {
        self.state = None;
        // Dropped first: while this worker counts as a holder, a candidate may not be wanted.
        self.role = None;
        self.role = self.shared.become_candidate();
    }

    fn ended(self) -> Ended {
        Ended { unreported: self.state.as_ref().map_or(0, ShardState::held) }
    }
}
