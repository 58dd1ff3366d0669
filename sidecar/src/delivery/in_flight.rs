//! Requests in flight: each is a task of its own, whose attempt comes back through a channel, however the task ends.

use slab::Slab;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use super::attempt::Attempt;
use super::blame::Fault;
use super::event::Delivery;
use super::failure::Failure;
use super::sender::Sender;

/// The requests in flight of one shard.
pub struct InFlightRequests {
    sender: Sender,
    slots: Slab<InFlight>,
    completed: UnboundedSender<Completion>,
    completions: UnboundedReceiver<Completion>,
}

/// A request in flight; dropping it aborts its task.
struct InFlight {
    delivery: Arc<Delivery>,
    task: AbortHandle,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A request that is over.
pub struct Completion {
    slot: usize,
    pub attempt: Attempt,
}

impl InFlightRequests {
    /// Begins with none; they are sent by `sender`.
    pub fn new(sender: Sender) -> Self {
        let (completed, completions) = unbounded_channel();
        Self { sender, slots: Slab::new(), completed, completions }
    }

    /// Starts a request, which is over within `deadline`.
    pub fn start(&mut self, delivery: Arc<Delivery>, deadline: Duration) {
        let slot = self.slots.vacant_entry();
        let guard = CompletionGuard { slot: slot.key(), completed: self.completed.clone(), attempt: None };
        let (sender, sent) = (self.sender.clone(), Arc::clone(&delivery));
        let task = tokio::spawn(async move {
            // The task takes the guard as a whole, not a field of it.
            let mut guard = guard;
            guard.attempt = Some(sender.send(&sent, deadline).await);
        });
        slot.insert(InFlight { delivery, task: task.abort_handle() });
    }

    /// Waits for requests that are over, and moves at most `limit` of them to `completions`.
    pub async fn completed(&mut self, completions: &mut Vec<Completion>, limit: usize) {
        self.completions.recv_many(completions, limit).await;
    }

    /// Frees the slot of a request that is over; returns its delivery, unless it was aborted before.
    pub fn take(&mut self, completion: &Completion) -> Option<Arc<Delivery>> {
        self.slots.try_remove(completion.slot).map(|request| Arc::clone(&request.delivery))
    }

    /// Aborts all; returns their deliveries.
    pub fn abort(&mut self) -> Vec<Arc<Delivery>> {
        self.slots.drain().map(|request| Arc::clone(&request.delivery)).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }
}

/// Reports the completion when the request's task ends, by a panic, too: no delivery is lost.
struct CompletionGuard {
    slot: usize,
    completed: UnboundedSender<Completion>,
    attempt: Option<Attempt>,
}

impl Drop for CompletionGuard {
    fn drop(&mut self) {
        let panicked =
            || Attempt { started: Instant::now(), took_ms: 0, outcome: Err(Failure::Internal), fault: Fault::Ours };
        let attempt = self.attempt.take().unwrap_or_else(panicked);
        // Nobody listens when the lease is over.
        let _ = self.completed.send(Completion { slot: self.slot, attempt });
    }
}
