//! How far the log has been delivered. Events are entered in the order in which they were fetched and settle in any
//! order; the position reached is the last one before which nothing is open. Pure bookkeeping of positions.
//!
//! An event settles when the result of its last delivery goes into a report, and the position reached goes into the
//! same report: the database never sees a cursor ahead of the results.

use std::collections::VecDeque;
use std::sync::Arc;

use super::event::Xid;

/// A place in the event log, as `webhooks.fetch` takes it and `webhooks.cursor` keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// All that this snapshot sees lies behind.
    pub window_from: Arc<str>,
    /// The window being read; without one, all of it is read and the next window is yet to be opened.
    pub inside: Option<Inside>,
}

/// A place inside a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inside {
    pub window_to: Arc<str>,
    pub xid: Xid,
    pub seq: i32,
}

/// The events under way.
#[derive(Debug)]
pub struct Progress {
    entries: VecDeque<Entry>,
    /// The number of the first of `entries`.
    first: u64,
    /// Reached and not yet told.
    reached: Option<Position>,
}

#[derive(Debug)]
struct Entry {
    position: Position,
    open: u32,
}

impl Progress {
    /// Nothing under way.
    pub fn new() -> Self {
        Self { entries: VecDeque::new(), first: 0, reached: None }
    }

    /// Enters the event at `position`, to which deliveries are then [added](Self::add).
    pub fn enter(&mut self, position: Position) -> u64 {
        self.entries.push_back(Entry { position, open: 0 });
        self.first + self.entries.len() as u64 - 1
    }

    /// One more delivery that `entry` waits for.
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

    /// One delivery of `entry` is done with.
    pub fn settle(&mut self, entry: u64) {
        self.entry(entry).open -= 1;
    }

    /// The position reached, if it moved since the last call.
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
        Position { window_from: "1:1:".into(), inside: Some(Inside { window_to: "9:9:".into(), xid: Xid(5), seq }) }
    }

    fn end_of_window() -> Position {
        Position { window_from: "9:9:".into(), inside: None }
    }

    /// Enters events 0.. with the given numbers of deliveries.
    fn with(deliveries: &[u32]) -> (Progress, Vec<u64>) {
        let mut progress = Progress::new();
        let mut entries = Vec::new();
        for (seq, &count) in (0..).zip(deliveries) {
            let entry = progress.enter(at(seq));
            (0..count).for_each(|_| progress.add(entry));
            entries.push(entry);
        }
        (progress, entries)
    }

    #[test]
    fn the_position_waits_for_the_oldest_open_event() {
        let (mut progress, entries) = with(&[1, 1, 1]);
        progress.settle(entries[1]);
        progress.settle(entries[2]);
        assert_eq!(progress.advance(), None);
        progress.settle(entries[0]);
        assert_eq!(progress.advance(), Some(at(2)));
    }

    #[test]
    fn an_event_waits_for_all_its_deliveries() {
        let (mut progress, entries) = with(&[2, 1]);
        progress.settle(entries[0]);
        progress.settle(entries[1]);
        assert_eq!(progress.advance(), None);
        progress.settle(entries[0]);
        assert_eq!(progress.advance(), Some(at(1)));
    }

    #[test]
    fn a_position_is_told_once() {
        let (mut progress, entries) = with(&[1]);
        progress.settle(entries[0]);
        assert_eq!(progress.advance(), Some(at(0)));
        assert_eq!(progress.advance(), None);
    }

    #[test]
    fn the_end_of_a_window_is_reached_only_behind_its_events() {
        let (mut progress, entries) = with(&[1]);
        progress.pass(end_of_window());
        assert_eq!(progress.advance(), None);
        progress.settle(entries[0]);
        assert_eq!(progress.advance(), Some(end_of_window()));
    }

    #[test]
    fn polling_an_idle_log_takes_no_memory() {
        let (mut progress, entries) = with(&[1]);
        (0..1000).for_each(|_| progress.pass(end_of_window()));
        assert_eq!(progress.entries.len(), 2);
        progress.settle(entries[0]);
        progress.advance();
        (0..1000).for_each(|_| progress.pass(end_of_window()));
        assert_eq!(progress.entries.len(), 0);
        assert_eq!(progress.advance(), Some(end_of_window()));
    }

    #[test]
    fn numbers_stay_valid_while_the_front_moves_on() {
        let (mut progress, entries) = with(&[1, 1]);
        progress.settle(entries[0]);
        progress.advance();
        let third = progress.enter(at(2));
        progress.add(third);
        progress.settle(third);
        assert_eq!(progress.advance(), None);
        progress.settle(entries[1]);
        assert_eq!(progress.advance(), Some(at(2)));
    }
}
