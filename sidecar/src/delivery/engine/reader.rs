//! The reader: goes along the front of the log, sleeps and wakes, one call of the database at a time.

use std::time::{Duration, Instant};

use super::Engine;
use crate::delivery::readers::{News, Query};
use crate::delivery::session::{Fetched, Look};
use crate::delivery::wakeup::Action;

/// While too much is held the reader waits; the next report makes room, or an endpoint gives back what it has queued.
const ROOM_INTERVAL: Duration = Duration::from_millis(10);

/// What a call of the reader returned.
pub enum ReaderAnswer {
    Looked(Query, Vec<News>, Fetched),
    Slept(bool),
    Woke(Option<(Query, Vec<News>, Fetched)>),
}

impl Engine<'_> {
    /// Wakes, looks for events or falls asleep.
    pub fn advance_reader(&mut self, now: Instant) -> Instant {
        let never = now + self.shared.settings.backstop;
        self.wakeup.share_with(self.shared.held_shards());
        let (action, at) = self.wakeup.next(now);
        if action == Action::StopSleeping {
            self.stop_sleeping();
            return never;
        }
        if at > now {
            return at;
        }
        let session = self.sessions.read.clone();
        if action == Action::TrySleep {
            self.reading = Some(Box::pin(async move { session.try_sleep().await.map(ReaderAnswer::Slept) }));
            return never;
        }
        let Some(look) = self.next_look() else {
            self.state.relieve();
            return now + ROOM_INTERVAL;
        };
        let held_bytes = self.state.held_bytes();
        self.reading = Some(Box::pin(async move {
            let query = look.query.clone();
            let (news, fetched) = match action {
                Action::WaitAndLook(limits) => session.wait_and_look(look, held_bytes, limits).await?,
                _ => session.look(look, held_bytes).await?,
            };
            Ok(ReaderAnswer::Looked(query, news, fetched))
        }));
        never
    }

    fn next_look(&mut self) -> Option<Look> {
        let (query, limits) = self.state.front_query()?;
        Some(Look { lease: self.state.lease, query, seen: self.state.seen(), limits })
    }

    /// Stops sleeping and, in the same round trip, looks for the first time.
    fn stop_sleeping(&mut self) {
        let session = self.sessions.read.clone();
        let held_bytes = self.state.held_bytes();
        self.reading = Some(match self.next_look() {
            None => Box::pin(async move { session.stop_sleeping().await.map(|()| ReaderAnswer::Woke(None)) }),
            Some(look) => Box::pin(async move {
                let query = look.query.clone();
                let looking = session.look(look, held_bytes);
                let ((), (news, fetched)) = tokio::try_join!(session.stop_sleeping(), looking)?;
                Ok(ReaderAnswer::Woke(Some((query, news, fetched))))
            }),
        });
    }

    pub fn read(&mut self, answer: ReaderAnswer, now: Instant) {
        // What is read after the stop is not taken: the cursor stays before it.
        if !self.is_running() {
            return;
        }
        match answer {
            ReaderAnswer::Looked(query, news, fetched) => self.looked(&query, news, fetched, now),
            ReaderAnswer::Slept(true) => {
                self.wakeup.slept(now);
                self.retry_timer.request();
            }
            ReaderAnswer::Slept(false) => self.wakeup.refused(now),
            ReaderAnswer::Woke(looked) => {
                self.wakeup.woke(now);
                self.retry_timer.request();
                if let Some((query, news, fetched)) = looked {
                    self.looked(&query, news, fetched, now);
                }
            }
        }
    }

    fn looked(&mut self, query: &Query, news: Vec<News>, fetched: Fetched, now: Instant) {
        if !news.is_empty() {
            self.retry_timer.request();
        }
        self.state.accept_news(news);
        let found = self.state.accept(query, fetched, now);
        self.wakeup.looked(found, now);
    }
}
