//! What the reader of the log knows under one lease: where to read on, how much may be read next, and how far
//! everything that was read is settled. Pure.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::event::{Delivery, Source};
use super::history;
use super::session::{Chunk, ReadLimits};
use super::values::Xid;
use super::wakeup::Found;
use super::watermark::{Position, Watermark, WindowPosition};

/// How long the cursor of events that nobody active wants may wait for a result to travel with.
const MAX_CURSOR_DELAY: Duration = Duration::from_secs(1);
const MAX_CHUNK_EVENTS: usize = 500;
const MAX_CHUNK_BYTES: usize = 8 << 20;
/// The deliveries per event that are expected at first: a chunk of five hundred events could be of any size.
const INITIAL_FAN_OUT: usize = 64;
/// How much of bodies the process holds at most; a chunk may go beyond it by its size.
const MAX_HELD_BYTES: usize = 16 << 20;

/// The reader's state.
pub struct ReaderState {
    position: Position,
    pub watermark: Watermark,
    /// Since when events without deliveries have been passed that no report has told of.
    passed_since: Option<Instant>,
    /// Deliveries per event, as of late.
    fan_out: usize,
    max_held_bytes: usize,
    held_bytes: Arc<AtomicUsize>,
}

impl ReaderState {
    /// Begins at a position.
    pub fn new(position: Position) -> Self {
        Self {
            position,
            watermark: Watermark::new(),
            passed_since: None,
            fan_out: INITIAL_FAN_OUT,
            max_held_bytes: MAX_HELD_BYTES,
            held_bytes: Arc::default(),
        }
    }

    /// Of what the process may hold, each of its `shards` gets a part.
    pub fn share_with(&mut self, shards: usize) {
        self.max_held_bytes = MAX_HELD_BYTES / shards;
    }

    /// Where to read on.
    pub fn position(&self) -> Position {
        self.position.clone()
    }

    /// The counter of the bytes of bodies that are held.
    pub fn held_bytes(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.held_bytes)
    }

    /// How much to read next, with room for so many more deliveries of `prefetch`; none while there is not enough room.
    pub fn limits(&self, room: usize, prefetch: usize) -> Option<ReadLimits> {
        let bytes = self.max_held_bytes.saturating_sub(self.held_bytes.load(Ordering::Relaxed)).min(MAX_CHUNK_BYTES);
        let events = (room / self.fan_out).clamp(1, MAX_CHUNK_EVENTS);
        // Room for a whole event; a quarter of all is enough, which endpoints that hang cannot hold.
        let enough = self.fan_out.min(prefetch / 4).max(1);
        (room >= enough && bytes > 0).then_some(ReadLimits { events: events as i32, bytes: bytes as i64 })
    }

    /// Takes what `fetch` returned; says what it found, and returns the deliveries, entered in the watermark.
    pub fn accept(&mut self, chunk: Chunk, now: Instant) -> (Found, Vec<Delivery>) {
        let found = self.found(&chunk);
        let Chunk { mut deliveries, window_to, events, stopped_at } = chunk;
        if events > 0 && deliveries.is_empty() {
            self.passed_since.get_or_insert(now);
        }
        // Events without a delivery count: what a paused endpoint misses would be read a few events at a time, forever.
        if events > 0 {
            self.fan_out = deliveries.len().div_ceil(events).max(self.fan_out / 2).max(1);
        }
        let window_from = Arc::clone(&self.position.window_from);
        let position_at = |xid, seq| Position {
            window_from: Arc::clone(&window_from),
            window: Some(WindowPosition { window_to: Arc::clone(&window_to), xid, seq }),
        };
        // The watermark goes along the log; what is sent, by when it happened.
        deliveries.sort_by_key(|delivery| delivery.event.position());
        let mut last: Option<((Xid, i32), u64)> = None;
        for delivery in &mut deliveries {
            let at = delivery.event.position();
            let entry = match last {
                Some((event, entry)) if event == at => entry,
                _ => self.watermark.enter(position_at(at.0, at.1)),
            };
            last = Some((at, entry));
            self.watermark.add(entry);
            delivery.source = Source::Log(entry);
        }
        history::sort(&mut deliveries);
        self.position = match stopped_at {
            Some((xid, seq)) => position_at(xid, seq),
            None => Position { window_from: window_to, window: None },
        };
        self.watermark.pass(self.position.clone());
        (found, deliveries)
    }

    fn found(&self, chunk: &Chunk) -> Found {
        match (chunk.stopped_at, chunk.events) {
            (Some(_), _) => Found::More,
            (None, 0) if chunk.window_to == self.position.window_from => Found::Nothing,
            (None, 0) => Found::Others,
            (None, count) => Found::Events(u32::try_from(count).unwrap_or(u32::MAX)),
        }
    }

    /// When the cursor must be reported, if no result takes it along before.
    pub fn cursor_due_at(&self) -> Option<Instant> {
        self.passed_since.map(|since| since + MAX_CURSOR_DELAY)
    }

    /// The cursor goes into a report.
    pub fn cursor_packed(&mut self) {
        self.passed_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_nobody_active_wants_are_soon_read_many_at_a_time() {
        let now = Instant::now();
        let mut reader = ReaderState::new(Position { window_from: "1:1:".into(), window: None });
        let events = |reader: &ReaderState| reader.limits(1024, 1024).map(|limits| limits.events);
        assert_eq!(events(&reader), Some(16), "cautious, while nothing is known");
        for _ in 0..6 {
            let events = events(&reader).map_or(0, |events| events as usize);
            let stopped_at = Some((Xid(1), 1));
            reader.accept(Chunk { deliveries: vec![], window_to: "1:9:".into(), events, stopped_at }, now);
        }
        assert_eq!(events(&reader), Some(500));
    }
}
