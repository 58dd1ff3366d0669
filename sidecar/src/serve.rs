//! `pg-webhooks serve`: gets sessions and a lease, delivers, and begins again when either is lost. Every reconnect is
//! a wake. A problem is logged when it comes up and when it is over, not at every try.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::config::Serve;
use crate::database::Database;
use crate::deliver::Courier;
use crate::engine::Engine;
use crate::lanes::Limits;
use crate::progress::Position;
use crate::session::{Lease, SessionError, Sessions};
use crate::targets::Targets;
use crate::tenure::Tenure;

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// A session that held this long was a good one.
const GOOD: Duration = Duration::from_secs(2);
const STANDBY: Duration = Duration::from_millis(500);

/// Delivers until told to stop.
pub async fn run(settings: Serve, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let courier = Courier::new(Targets::new(&settings.allow_nets), settings.endpoint_in_flight as usize)?;
    let database = settings.database()?;
    let service = Service { owner: owner(), courier, database, tenure: None, trouble: None, stop, settings };
    // On a worker of its own: what the caller's thread spawns takes a detour.
    tokio::spawn(service.run()).await?;
    Ok(())
}

struct Service {
    settings: Serve,
    database: Database,
    courier: Courier,
    /// The same for the life of the process: so a shard comes back with its epoch after a lost session.
    owner: String,
    tenure: Option<Tenure>,
    trouble: Option<String>,
    stop: watch::Receiver<bool>,
}

impl Service {
    async fn run(mut self) {
        let mut wait = FIRST_WAIT;
        loop {
            let began = Instant::now();
            match self.shift().await {
                Ok(()) => return self.say_goodbye(),
                Err(SessionError::Stale(reason)) => {
                    tracing::warn!("{reason}; starting over");
                    self.tenure = None;
                }
                Err(error) => self.log_trouble(error.to_string()),
            }
            if began.elapsed() > GOOD {
                wait = FIRST_WAIT;
            }
            if self.stopped_during(sleep(wait)).await.is_none() {
                return self.say_goodbye();
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// From connecting to the loss of a session (an error) or a graceful stop.
    async fn shift(&mut self) -> Result<(), SessionError> {
        let database = self.database.clone();
        let Some(sessions) = self.stopped_during(Sessions::open(&database)).await else { return Ok(()) };
        let mut sessions = sessions?;
        let Some((lease, position)) = self.acquire(&sessions).await? else { return Ok(()) };
        let request_timeout = sessions.reports.renew(lease, self.settings.lease).await?;
        tracing::info!(shard = lease.shard, epoch = lease.epoch, "delivering");
        self.trouble = None;

        let tenure = match &mut self.tenure {
            Some(tenure) if tenure.lease == lease => tenure,
            other => {
                let limits = Limits {
                    per_endpoint: self.settings.endpoint_in_flight as usize,
                    global: self.settings.max_in_flight as usize,
                };
                other.insert(Tenure::new(lease, position, self.courier.clone(), limits))
            }
        };
        tenure.request_timeout = request_timeout;
        tenure.resume(Instant::now());
        Engine::new(&self.settings, &mut sessions, tenure).run(&mut self.stop).await
    }

    /// Waits for a shard; none where told to stop meanwhile.
    async fn acquire(&mut self, sessions: &Sessions) -> Result<Option<(Lease, Position)>, SessionError> {
        loop {
            if let Some(granted) = sessions.main.acquire(&self.owner, self.settings.lease).await? {
                return Ok(Some(granted));
            }
            self.log_standby();
            if self.stopped_during(sleep(STANDBY)).await.is_none() {
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

    fn log_trouble(&mut self, trouble: String) {
        if self.trouble.as_ref() != Some(&trouble) {
            tracing::error!("cannot deliver, trying again: {trouble}");
            self.trouble = Some(trouble);
        }
    }

    fn log_standby(&mut self) {
        const STANDBY: &str = "another sidecar delivers; standing by";
        if self.trouble.as_deref() != Some(STANDBY) {
            tracing::info!("{STANDBY}");
            self.trouble = Some(STANDBY.to_owned());
        }
    }

    fn say_goodbye(&self) {
        let unreported = self.tenure.as_ref().map_or(0, Tenure::held);
        tracing::info!(unreported, "stopped");
    }
}

/// `hostname-pid-random`.
fn owner() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "localhost".to_owned());
    let random = RandomState::new().build_hasher().finish();
    format!("{}-{}-{random:016x}", host.trim(), std::process::id())
}
