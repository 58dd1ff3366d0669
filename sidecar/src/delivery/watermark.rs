//! How far the log has been delivered. Events are entered in the order in which they were fetched and settle in any
//! order; the watermark is the last position before which nothing is open. Pure bookkeeping of positions.
//!
//! An event settles when the result of its last delivery goes into a report, and the watermark goes into the same
//! report: the database never sees a cursor ahead of the results.

use std::collections::VecDeque;
use std::sync::Arc;

use super::values::Xid;

/// A place in the event log, as `webhooks.fetch` takes it and `webhooks.cursor` keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// A snapshot; all that it sees lies before the position.
    pub window_from: Arc<str>,
    /// The place in the window that is being read; without one, the next window is yet to be opened.
    pub window: Option<WindowPosition>,
}

/// A place inside a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowPosition {
    pub window_to: Arc<str>,
    pub xid: Xid,
    pub seq: i32,
}

/// The events that are being delivered.
#[derive(Debug)]
pub struct Watermark {
    entries: VecDeque<Entry>,
    /// The number of the first entry.
    first: u64,
    /// The position reached, until it is taken.
    reached: Option<Position>,
}

#[derive(Debug)]
struct Entry {
    position: Position,
    open: u32,
}

impl Watermark {
    /// Begins with no event.
    pub fn new() -> Self {
        Self { entries: VecDeque::new(), first: 0, reached: None }
    }

    /// Enters the event at `position`, to which deliveries are then [added](Self::add).
    pub fn enter(&mut self, position: Position) -> u64 {
        self.entries.push_back(Entry { position, open: 0 });
        self.first + self.entries.len() as u64 - 1
    }

    /// Adds a delivery that `entry` waits for.
    pub fn add(&mut self, entry: u64) {
        self.entry(entry).open += 1;
    }

    /// The log has been read up to `position`, with nothing to deliver since the last event entered.
    pub fn pass(&mut self, position: Position) {
        match self.entries.back_mut() {
            None => self.reached = Some(position),
            // Nobody refers to a settled entry: polling an idle log must not grow the queue.
            Some(last) if last.open == 0 => last.position = position,
            Some(_) => self.entries.push_back(Entry { position, open: 0 }),
        }
    }

    /// Settles one delivery of `entry`.
    pub fn settle(&mut self, entry: u64) {
        self.entry(entry).open -= 1;
    }

    /// Takes the position reached, if it has moved since the last call.
    pub fn advance(&mut self) -> Option<Position> {
        while self.entries.front().is_some_and(|entry| entry.open == 0) {
            self.first += 1;
            self.reached = self.entries.pop_front().map(|entry| entry.position);
        }
        self.reached.take()
    }

    fn entry(&mut self, number: u64) -> &mut Entry {
        let index = usize::try_from(number - self.first).expect("entries fit in memory");
        &mut self.entries[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seq: i32) -> Position {
        Position {
            window_from: "1:1:".into(),
            window: Some(WindowPosition { window_to: "9:9:".into(), xid: Xid(5), seq }),
        }
    }

    fn end_of_window() -> Position {
        Position { window_from: "9:9:".into(), window: None }
    }

    /// Enters events 0.. with the given numbers of deliveries.
    fn with(deliveries: &[u32]) -> (Watermark, Vec<u64>) {
        let mut watermark = Watermark::new();
        let mut entries = Vec::new();
        for (seq, &count) in (0..).zip(deliveries) {
            let entry = watermark.enter(at(seq));
            (0..count).for_each(|_| watermark.add(entry));
            entries.push(entry);
        }
        (watermark, entries)
    }

    #[test]
    fn the_position_waits_for_the_oldest_open_event() {
        let (mut watermark, entries) = with(&[1, 1, 1]);
        watermark.settle(entries[1]);
        watermark.settle(entries[2]);
        assert_eq!(watermark.advance(), None);
        watermark.settle(entries[0]);
        assert_eq!(watermark.advance(), Some(at(2)));
    }

    #[test]
    fn an_event_waits_for_all_its_deliveries() {
        let (mut watermark, entries) = with(&[2, 1]);
        watermark.settle(entries[0]);
        watermark.settle(entries[1]);
        assert_eq!(watermark.advance(), None);
        watermark.settle(entries[0]);
        assert_eq!(watermark.advance(), Some(at(1)));
    }

    #[test]
    fn a_position_is_told_once() {
        let (mut watermark, entries) = with(&[1]);
        watermark.settle(entries[0]);
        assert_eq!(watermark.advance(), Some(at(0)));
        assert_eq!(watermark.advance(), None);
    }

    #[test]
    fn the_end_of_a_window_is_reached_only_behind_its_events() {
        let (mut watermark, entries) = with(&[1]);
        watermark.pass(end_of_window());
        assert_eq!(watermark.advance(), None);
        watermark.settle(entries[0]);
        assert_eq!(watermark.advance(), Some(end_of_window()));
    }

    #[test]
    fn polling_an_idle_log_takes_no_memory() {
        let (mut watermark, entries) = with(&[1]);
        (0..1000).for_each(|_| watermark.pass(end_of_window()));
        assert_eq!(watermark.entries.len(), 2);
        watermark.settle(entries[0]);
        watermark.advance();
        (0..1000).for_each(|_| watermark.pass(end_of_window()));
        assert_eq!(watermark.entries.len(), 0);
        assert_eq!(watermark.advance(), Some(end_of_window()));
    }

    #[test]
    fn numbers_stay_valid_while_the_front_moves_on() {
        let (mut watermark, entries) = with(&[1, 1]);
        watermark.settle(entries[0]);
        watermark.advance();
        let third = watermark.enter(at(2));
        watermark.add(third);
        watermark.settle(third);
        assert_eq!(watermark.advance(), None);
        watermark.settle(entries[1]);
        assert_eq!(watermark.advance(), Some(at(2)));
    }
}
