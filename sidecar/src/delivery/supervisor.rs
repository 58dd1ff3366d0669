//! Starts the workers of a process: one for each shard that it holds, and at most one candidate that looks for another.
//! A process that holds all shards has no candidate. One that holds none is a standby, whose only worker is a
//! candidate.
//!
//! How many shards a process may hold is the database's business (`webhooks.fair_share`). A worker learns it when it
//! looks for a shard, and when it renews its lease; the supervisor only sees to it that somebody looks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};

use super::shared::Shared;
use super::worker::{Ended, Worker};
use crate::settings::Settings;

/// The delay before another worker takes the place of one that panicked: it may panic as soon.
const PANIC_DELAY: Duration = Duration::from_secs(1);

/// Delivers until told to stop. Returns how many deliveries have a result that the database does not know.
pub async fn run(settings: Settings, stop: watch::Receiver<bool>) -> anyhow::Result<usize> {
    let shared = Arc::new(Shared::new(settings)?);
    let mut roles = shared.subscribe_to_roles();
    let mut workers = JoinSet::new();
    let mut numbers: HashMap<Id, u32> = HashMap::new();
    let mut unreported = 0;
    loop {
        if !*stop.borrow()
            && let Some(role) = shared.become_candidate()
        {
            let is_taken = |number: &u32| numbers.values().any(|taken| taken == number);
            let number = (1..).find(|number| !is_taken(number)).expect("numbers do not run out");
            // A task of the runtime: what the thread of `block_on` spawns takes a detour.
            let task = workers.spawn(Worker::new(&shared, number, role, stop.clone()).run());
            numbers.insert(task.id(), number);
        }
        tokio::select! {
            ended = workers.join_next_with_id() => {
                let Some(ended) = ended else { return Ok(unreported) };
                match settle(ended, &mut numbers) {
                    Some(left) => unreported += left,
                    None => tokio::time::sleep(PANIC_DELAY).await,
                }
            }
            Ok(()) = roles.changed() => {}
        }
    }
}

/// Frees the number of a worker that has ended, and returns how much it left unreported; none if it panicked. Then its
/// sessions are gone, and another worker can have its shard at once.
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
