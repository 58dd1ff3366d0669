//! What the workers of a process have in common: its name and settings, the sender, and who holds a shard or looks for
//! one.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;

use super::outbound::Outbound;
use super::sender::Sender;
use crate::database::Database;
use crate::open_files;
use crate::settings::Settings;

/// How often a problem that lasts is logged.
const TROUBLE_INTERVAL: Duration = Duration::from_secs(60);

/// The state that all workers share.
pub struct Shared {
    /// `hostname-pid-random`, the same for the life of the process.
    pub name: String,
    pub settings: Settings,
    pub database: Database,
    pub sender: Sender,
    roles: watch::Sender<Roles>,
    /// What was logged last, and when.
    trouble: Mutex<Option<(String, Instant)>>,
}

/// Which roles the workers of a process have.
#[derive(Debug)]
pub struct Roles {
    /// Workers that hold a shard.
    holders: usize,
    /// The shards that there are in the database.
    shards: usize,
    has_candidate: bool,
}

impl Shared {
    /// Begins with no worker.
    pub fn new(settings: Settings) -> anyhow::Result<Self> {
        Ok(Self {
            name: process_name()?,
            sender: Sender::new(Outbound::new(&settings.outbound)?, open_files::max_connections())?,
            database: settings.database()?,
            settings,
            roles: watch::Sender::new(Roles { holders: 0, shards: 1, has_candidate: false }),
            trouble: Mutex::new(None),
        })
    }

    /// Changes when a worker takes or loses a shard, or ends.
    pub fn subscribe_to_roles(&self) -> watch::Receiver<Roles> {
        self.roles.subscribe()
    }

    /// The candidate's role, if there may be another shard to hold and nobody looks for it.
    pub fn become_candidate(self: &Arc<Self>) -> Option<RoleGuard> {
        let is_wanted = self.roles.send_if_modified(|roles| {
            let is_wanted = !roles.has_candidate && roles.holders < roles.shards;
            roles.has_candidate |= is_wanted;
            is_wanted
        });
        is_wanted.then(|| RoleGuard { shared: Arc::clone(self), is_candidate: true })
    }

    /// How many shards this process holds.
    pub fn held_shards(&self) -> usize {
        self.roles.borrow().holders
    }

    /// Logs a problem when it comes up and once a minute while it lasts, not at every try of every worker.
    pub fn log_trouble(&self, trouble: &str) {
        if self.is_news(trouble, TROUBLE_INTERVAL) {
            tracing::error!(database = self.database.address(), "cannot deliver, trying again: {trouble}");
        }
    }

    /// Logs that the candidate found no shard.
    pub fn log_standby(&self) {
        const STANDBY: &str = "another sidecar delivers; standing by";
        if self.held_shards() == 0 && self.is_news(STANDBY, Duration::MAX) {
            tracing::info!("{STANDBY}");
        }
    }

    /// A worker delivers: what was wrong is over.
    pub fn clear_trouble(&self) {
        *self.trouble.lock().expect("nobody panics under it") = None;
    }

    /// Whether it was not what was logged last, less than `interval` ago.
    fn is_news(&self, trouble: &str, interval: Duration) -> bool {
        let mut known = self.trouble.lock().expect("nobody panics under it");
        let is_known = known.as_ref().is_some_and(|(known, at)| known == trouble && at.elapsed() < interval);
        if !is_known {
            *known = Some((trouble.to_owned(), Instant::now()));
        }
        !is_known
    }
}

/// Counts a worker as the candidate, then as a holder, until it is dropped: when the worker ends or loses its shard.
pub struct RoleGuard {
    shared: Arc<Shared>,
    is_candidate: bool,
}

impl RoleGuard {
    /// The worker has a shard of so many; another may become the candidate.
    pub fn hold(&mut self, shards: usize) {
        self.shared.roles.send_modify(|roles| {
            roles.shards = shards;
            if self.is_candidate {
                roles.has_candidate = false;
                roles.holders += 1;
            }
        });
        self.is_candidate = false;
    }
}

impl Drop for RoleGuard {
    fn drop(&mut self) {
        self.shared.roles.send_modify(|roles| {
            if self.is_candidate {
                roles.has_candidate = false;
            } else {
                roles.holders -= 1;
            }
        });
    }
}

fn process_name() -> anyhow::Result<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "localhost".to_owned());
    Ok(format!("{}-{}-{:016x}", host.trim(), std::process::id(), getrandom::u64()?))
}
