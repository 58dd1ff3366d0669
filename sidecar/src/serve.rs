//! `pg-webhooks serve`: a crew of berths, one for each shard that this process holds, and at most one that scouts for
//! another. A process that holds all shards has no scout; one that holds none is a standby, and its only berth
//! scouts.
//!
//! How many shards a process may hold is the database's business (`webhooks.fair_share`). A berth learns it when it
//! looks for a shard, and when it renews its lease; the crew only sees to it that somebody looks.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};

use crate::api;
use crate::database::Database;
use crate::delivery::egress::EgressPolicy;
use crate::delivery::sender::Sender;
use crate::delivery::worker::{Berth, Ended};
use crate::settings::Settings;

/// What a sidecar should be able to open: a connection for each delivery held, idle ones besides, the API's.
const ENOUGH_OPEN_FILES: u64 = 4096;
/// Before another berth takes the place of one that panicked: it may panic as soon.
const PANIC_DELAY: Duration = Duration::from_secs(1);

/// Delivers until told to stop.
pub async fn run(settings: Settings, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    raise_open_files_limit();
    // The API comes first: it installs the recorder in which the sender looks its metrics up.
    let api = match settings.listen {
        Some(address) => Some(api::start(address, settings.database()?, settings.api_rate, stop.clone()).await?),
        None => None,
    };
    let crew = Arc::new(Crew {
        name: name(),
        sender: Sender::new(EgressPolicy::new(&settings.allow_nets), settings.endpoint_in_flight as usize)?,
        database: settings.database()?,
        settings,
        roll: watch::Sender::new(Roll { held: 0, shards: 1, is_scouting: false }),
        trouble: Mutex::new(None),
    });
    let mut roll = crew.roll.subscribe();
    let mut berths = JoinSet::new();
    let mut numbers: HashMap<Id, u32> = HashMap::new();
    let mut unreported = 0;
    loop {
        if !*stop.borrow()
            && let Some(duty) = crew.scout()
        {
            let is_taken = |number: &u32| numbers.values().any(|taken| taken == number);
            let number = (1..).find(|number| !is_taken(number)).expect("numbers do not run out");
            // On a worker of its own: what the caller's thread spawns takes a detour.
            let task = berths.spawn(Berth::new(&crew, number, duty, stop.clone()).run());
            numbers.insert(task.id(), number);
        }
        tokio::select! {
            ended = berths.join_next_with_id() => {
                let Some(ended) = ended else { break };
                match settle(ended, &mut numbers) {
                    Some(left) => unreported += left,
                    None => tokio::time::sleep(PANIC_DELAY).await,
                }
            }
            Ok(()) = roll.changed() => {}
        }
    }
    if let Some(api) = api {
        api.await?;
    }
    tracing::info!(unreported, "stopped");
    Ok(())
}

/// Frees the number of a berth that has ended, and says how much it left unreported; none if it panicked. Then its
/// sessions are gone, and another berth can have its shard at once.
fn settle(ended: Result<(Id, Ended), JoinError>, numbers: &mut HashMap<Id, u32>) -> Option<usize> {
    match ended {
        Ok((task, ended)) => {
            numbers.remove(&task);
            Some(ended.unreported)
        }
        Err(panic) => {
            let worker = numbers.remove(&panic.id());
            tracing::error!(worker, "a worker has ended, another takes its place: {panic}");
            None
        }
    }
}

/// What the berths of a process have in common.
pub struct Crew {
    /// `hostname-pid-random`, the same for the life of the process.
    pub name: String,
    pub settings: Settings,
    pub database: Database,
    pub sender: Sender,
    roll: watch::Sender<Roll>,
    trouble: Mutex<Option<String>>,
}

/// Who does what.
#[derive(Debug)]
struct Roll {
    /// Berths with a shard.
    held: usize,
    /// As many as there are in the database.
    shards: usize,
    is_scouting: bool,
}

impl Crew {
    /// The duty to scout, if another shard may be found and nobody scouts yet.
    pub fn scout(self: &Arc<Self>) -> Option<Duty> {
        let is_wanted = self.roll.send_if_modified(|roll| {
            let is_wanted = !roll.is_scouting && roll.held < roll.shards;
            roll.is_scouting |= is_wanted;
            is_wanted
        });
        is_wanted.then(|| Duty { crew: Arc::clone(self), is_scout: true })
    }

    /// How many shards this process holds.
    pub fn held(&self) -> usize {
        self.roll.borrow().held
    }

    /// Logs a problem when it comes up, not at every try of every berth.
    pub fn log_trouble(&self, trouble: &str) {
        if self.is_news(trouble) {
            tracing::error!(database = self.database.address(), "cannot deliver, trying again: {trouble}");
        }
    }

    /// The scout found nothing.
    pub fn log_standby(&self) {
        const STANDBY: &str = "another sidecar delivers; standing by";
        if self.held() == 0 && self.is_news(STANDBY) {
            tracing::info!("{STANDBY}");
        }
    }

    /// A berth delivers: what was wrong is over.
    pub fn clear_trouble(&self) {
        *self.trouble.lock().expect("nobody panics under it") = None;
    }

    fn is_news(&self, trouble: &str) -> bool {
        let mut known = self.trouble.lock().expect("nobody panics under it");
        let is_news = known.as_deref() != Some(trouble);
        *known = Some(trouble.to_owned());
        is_news
    }
}

/// What a berth is there for: scouting at first, then a shard. Dropped with the berth, or when its shard is lost.
pub struct Duty {
    crew: Arc<Crew>,
    is_scout: bool,
}

impl Duty {
    /// The berth has a shard of so many; another may scout.
    pub fn hold(&mut self, shards: usize) {
        self.crew.roll.send_modify(|roll| {
            roll.shards = shards;
            if self.is_scout {
                roll.is_scouting = false;
                roll.held += 1;
            }
        });
        self.is_scout = false;
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        self.crew.roll.send_modify(|roll| {
            if self.is_scout {
                roll.is_scouting = false;
            } else {
                roll.held -= 1;
            }
        });
    }
}

/// Allows as many open files as the system permits: each connection to a receiver is one, and many systems start a
/// process with 1,024.
fn raise_open_files_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < ENOUGH_OPEN_FILES => {
            tracing::warn!(limit, "few files may be open at once, and each connection is one; raise ulimit -Hn");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!("cannot raise the limit of open files: {error}"),
    }
}

fn name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "localhost".to_owned());
    let random = RandomState::new().build_hasher().finish();
    format!("{}-{}-{random:016x}", host.trim(), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_worker_that_panics_leaves_its_number_to_another() {
        let mut workers = JoinSet::new();
        let mut numbers = HashMap::new();
        numbers.insert(workers.spawn(async { panic!("a fault of ours") }).id(), 1);
        let ended = workers.join_next_with_id().await.expect("there is one");
        assert_eq!(settle(ended, &mut numbers), None);
        numbers.insert(workers.spawn(async { Ended { unreported: 3 } }).id(), 1);
        let ended = workers.join_next_with_id().await.expect("there is one");
        assert_eq!(settle(ended, &mut numbers), Some(3));
        assert!(numbers.is_empty());
    }
}
