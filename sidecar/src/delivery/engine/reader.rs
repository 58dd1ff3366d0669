//! The reader: looks for events, asks for pending deliveries, sleeps and wakes, one call of the database at a time.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use super::Engine;
use crate::delivery::event::Delivery;
use crate::delivery::session::{Chunk, Lease};
use crate::delivery::wakeup::Action;
use crate::delivery::watermark::Position;

/// With less room than this a look waits for more, for a while.
const ENOUGH_ROOM: usize = 128;
const MAX_WAIT_FOR_ROOM: Duration = Duration::from_millis(5);

/// What a call of the reader returned.
pub enum ReaderAnswer {
    Looked(Chunk),
    Due(Vec<Delivery>, Option<Duration>),
    Slept(bool),
    Woke(Option<Chunk>),
}

impl Engine<'_> {
    /// Wakes, asks for what is due, looks for events or falls asleep.
    pub fn advance_reader(&mut self, now: Instant) -> Instant {
        let never = now + self.shared.settings.backstop;
        self.wakeup.share_with(self.shared.held_shards());
        let (action, mut at) = self.wakeup.next(now);
        if action == Action::StopSleeping {
            self.stop_sleeping();
            return never;
        }
        // Without room there is nothing to ask for; the next report makes some.
        let Some(read_limits) = self.state.read_limits() else { return never };
        let due_at =
            if self.wakeup.is_asleep() { self.retry_timer.next_asleep() } else { self.retry_timer.next_awake() };
        if due_at <= now {
            self.fetch_due(now);
            return never;
        }
        let is_look = matches!(action, Action::Look | Action::WaitAndLook(_));
        if is_look && self.state.room() < ENOUGH_ROOM.min(self.state.prefetch() / 4) {
            at = at.max(self.looked_at + MAX_WAIT_FOR_ROOM);
        }
        if at > now {
            return at.min(due_at);
        }
        let session = self.sessions.read.clone();
        if !is_look {
            self.reading = Some(Box::pin(async move { session.try_sleep().await.map(ReaderAnswer::Slept) }));
            return never;
        }
        self.looked_at = now;
        let (lease, position, held_bytes) = self.reading_from();
        self.reading = Some(Box::pin(async move {
            let chunk = match action {
                Action::WaitAndLook(limits) => {
                    let limits = limits.at_most(due_at - now);
                    session.wait_and_fetch(lease, position, read_limits, held_bytes, limits).await?
                }
                _ => session.fetch(lease, position, read_limits, held_bytes).await?,
            };
            Ok(ReaderAnswer::Looked(chunk))
        }));
        never
    }

    fn reading_from(&self) -> (Lease, Position, Arc<AtomicUsize>) {
        (self.state.lease, self.state.reader.position(), self.state.reader.held_bytes())
    }

    /// Stops sleeping and, in the same round trip, looks for the first time.
    fn stop_sleeping(&mut self) {
        let session = self.sessions.read.clone();
        let (lease, position, held_bytes) = self.reading_from();
        self.reading = Some(match self.state.read_limits() {
            None => Box::pin(async move { session.stop_sleeping().await.map(|()| ReaderAnswer::Woke(None)) }),
            Some(limits) => Box::pin(async move {
                let fetch = session.fetch(lease, position, limits, held_bytes);
                let ((), chunk) = tokio::try_join!(session.stop_sleeping(), fetch)?;
                Ok(ReaderAnswer::Woke(Some(chunk)))
            }),
        });
    }

    fn fetch_due(&mut self, now: Instant) {
        self.retry_timer.asked(now);
        let session = self.sessions.read.clone();
        let (query, (lease, _, held_bytes)) = (self.state.due_query(), self.reading_from());
        self.reading = Some(Box::pin(async move {
            let (deliveries, wait) = session.fetch_due(lease, query, held_bytes).await?;
            Ok(ReaderAnswer::Due(deliveries, wait))
        }));
    }

    pub fn read(&mut self, answer: ReaderAnswer, now: Instant) {
        // What is read after the stop is not taken: the cursor stays before it.
        if !self.is_running() {
            return;
        }
        match answer {
            ReaderAnswer::Looked(chunk) => self.looked(chunk, now),
            ReaderAnswer::Due(deliveries, wait) => {
                self.retry_timer.answered(wait, now);
                self.state.accept_due(deliveries);
            }
            ReaderAnswer::Slept(true) => {
                self.wakeup.slept(now);
                self.retry_timer.request();
            }
            ReaderAnswer::Slept(false) => self.wakeup.refused(now),
            ReaderAnswer::Woke(chunk) => {
                self.wakeup.woke(now);
                if let Some(chunk) = chunk {
                    self.looked(chunk, now);
                }
            }
        }
    }

    fn looked(&mut self, chunk: Chunk, now: Instant) {
        let found = self.state.accept(chunk, now);
        self.wakeup.looked(found, now);
    }
}
