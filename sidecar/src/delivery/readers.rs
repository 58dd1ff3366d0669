//! How far the log is read, for each endpoint. Two readers go along the log: the *front* for all endpoints that keep up,
//! and one *sweep* after the other for all laggards together. An endpoint takes the events of a chunk whole or not at
//! all. One without room for them stays where it is, and the front goes on without it; the sweep brings it back.
//!
//! What the database stores are floors: a row of the shard, for all endpoints that have none of their own, and rows of
//! those that are far behind it. All that an endpoint's row (or the shard's) says is done is reported or pending.
//!
//! Pure: it is told what was read and what was reported, and says what to read and what to store.

mod held;
mod reader;
mod rows;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use webhooks_core::done_set::DoneSet;

use self::reader::{Chunk, Reader, Resume, Stand};
use super::event::{Delivery, Source};
use super::values::Xid;

/// How much is read.
#[derive(Clone, Copy, Debug)]
pub struct ReadSizes {
    /// The most events of a chunk.
    pub chunk: usize,
    /// The most deliveries that one endpoint holds: taken from the log, and not yet reported.
    pub held: usize,
}

/// How far each endpoint of a shard has read.
#[derive(Debug)]
pub struct Readers {
    sizes: ReadSizes,
    front: Arc<DoneSet>,
    /// Where the sweep goes on; none where the next one is yet to begin.
    sweep: Option<Arc<DoneSet>>,
    /// Those that hold something, have a row of their own, or do not stand at the front.
    endpoints: HashMap<i32, Reader>,
    /// Those of them that are `Near`, those that do not follow the front, and those at the front that have read beyond it.
    near: HashSet<i32>,
    apart: HashSet<i32>,
    ahead: HashSet<i32>,
    /// Of these endpoints, something may be logged or pending of the transactions below one.
    retaken: HashMap<i32, u64>,
    /// The shard's row in the database, and when the one after it was last worked out.
    stored: Arc<DoneSet>,
    rows_at: Option<Instant>,
    /// Since when there is something that the rows do not say.
    changed_at: Option<Instant>,
    next_number: u64,
}

/// A row of `webhooks.cursor` that is an endpoint's own.
#[derive(Clone, Debug)]
pub struct Row {
    pub moved: Xid,
    pub done: Arc<DoneSet>,
}

/// What to read next.
#[derive(Clone, Debug)]
pub struct Query {
    number: u64,
    pub from: Arc<DoneSet>,
    /// For these endpoints alone; none: for all but `except`.
    pub only: Option<Vec<i32>>,
    pub except: Vec<i32>,
    /// Endpoints of which something may be logged or pending below a transaction.
    pub retaken: Vec<(i32, u64)>,
}

/// What was read.
#[derive(Debug)]
pub struct ReadChunk {
    /// In the order of the log.
    pub deliveries: Vec<Delivery>,
    /// The done-set with all that was read.
    pub done: DoneSet,
    /// Whether that is all that there was.
    pub is_complete: bool,
    /// How many events were read, those included that nobody wants.
    pub events: usize,
    /// Endpoints for which nothing of it was read.
    pub left_out: Vec<i32>,
}

/// What a person, or a report that disabled it, has told of an endpoint.
#[derive(Debug)]
pub struct News {
    pub endpoint: i32,
    pub is_active: bool,
    pub moved: Xid,
    /// Where it goes on; none where it is deleted.
    pub done: Option<DoneSet>,
}

/// A row for `webhooks.cursor`.
#[derive(Clone, Debug)]
pub struct CursorRow {
    /// 0: the shard's.
    pub endpoint: i32,
    /// None: from now on the shard's row counts for the endpoint.
    pub done: Option<Arc<DoneSet>>,
    /// `moved` of the row that the endpoint has.
    pub known: Option<Xid>,
}

impl Readers {
    /// Begins where the shard's row is, and with the endpoints that have rows of their own.
    pub fn new(sizes: ReadSizes, shard: DoneSet, rows: impl IntoIterator<Item = (i32, Row)>) -> Self {
        let shard = Arc::new(shard);
        let behind = |(endpoint, row): (i32, Row)| {
            let reader = Reader::new(Stand::Behind, Arc::clone(&row.done), 0);
            (endpoint, Reader { row: Some(row), ..reader })
        };
        let endpoints: HashMap<i32, Reader> = rows.into_iter().map(behind).collect();
        Self {
            sizes,
            front: Arc::clone(&shard),
            sweep: None,
            near: HashSet::new(),
            apart: endpoints.keys().copied().collect(),
            ahead: HashSet::new(),
            retaken: HashMap::new(),
            endpoints,
            stored: shard,
            rows_at: None,
            changed_at: None,
            next_number: 1,
        }
    }

    /// The most events of a chunk.
    pub fn chunk_size(&self) -> usize {
        self.sizes.chunk
    }

    /// Where the front stands.
    pub fn front(&self) -> &DoneSet {
        &self.front
    }

    /// What the front reads next: early enough to take those along that a sweep has brought near.
    pub fn front_query(&mut self) -> Query {
        let near = self.near.iter().map(|endpoint| &self.endpoints[endpoint].position);
        let from = near.fold(Arc::clone(&self.front), intersection);
        let except: Vec<i32> = self.apart.iter().copied().collect();
        let retaken = self.retaken.iter().filter(|(endpoint, _)| !self.apart.contains(endpoint));
        let retaken = retaken.map(|(&endpoint, &before)| (endpoint, before)).collect();
        Query { number: self.number(), from, only: None, except, retaken }
    }

    /// What the sweep reads next, for the laggards that have room for a chunk; none where no laggard has.
    pub fn sweep_query(&mut self, may_read: impl Fn(i32) -> bool) -> Option<Query> {
        let is_ready = |endpoint: &i32| {
            let reader = &self.endpoints[endpoint];
            matches!(reader.stand, Stand::Behind)
                && reader.has_room(self.sizes.chunk, self.sizes)
                && may_read(*endpoint)
        };
        let ready: Vec<i32> = self.apart.iter().copied().filter(is_ready).collect();
        let positions = || ready.iter().map(|endpoint| &self.endpoints[endpoint].position);
        let first = Arc::clone(positions().next()?);
        // A sweep that nobody with room follows is over: the others are further behind.
        let follows_sweep = |from: &Arc<DoneSet>| positions().any(|position| within(from, position));
        let going_on = self.sweep.take().filter(follows_sweep);
        let from = going_on.unwrap_or_else(|| positions().fold(first, intersection));
        let retaken = ready.iter().filter_map(|&endpoint| Some((endpoint, *self.retaken.get(&endpoint)?))).collect();
        Some(Query { number: self.number(), from, only: Some(ready), except: Vec::new(), retaken })
    }

    /// Takes what was read by a query; returns what is to be delivered.
    pub fn accept(&mut self, query: &Query, chunk: ReadChunk, now: Instant) -> Vec<Delivery> {
        let ReadChunk { deliveries, done, is_complete, events, left_out } = chunk;
        if events > 0 {
            self.changed_at.get_or_insert(now);
        }
        let mut for_endpoints: HashMap<i32, Vec<Delivery>> = HashMap::new();
        for delivery in deliveries {
            for_endpoints.entry(delivery.endpoint).or_default().push(delivery);
        }
        if let Some(only) = &query.only {
            let read: Vec<i32> = only.iter().copied().filter(|endpoint| !left_out.contains(endpoint)).collect();
            self.accept_swept(query, &read, for_endpoints, Arc::new(done), is_complete, now)
        } else {
            for endpoint in left_out {
                self.leave_behind(endpoint, query.number);
            }
            self.accept_at_front(query, for_endpoints, &done, now)
        }
    }

    fn accept_at_front(
        &mut self,
        query: &Query,
        for_endpoints: HashMap<i32, Vec<Delivery>>,
        done: &DoneSet,
        now: Instant,
    ) -> Vec<Delivery> {
        let mut taken = Vec::new();
        let except: HashSet<i32> = query.except.iter().copied().collect();
        for (endpoint, deliveries) in for_endpoints {
            let (front, number) = (Arc::clone(&self.front), self.next_number);
            self.endpoints
                .entry(endpoint)
                .or_insert_with(|| Reader::new(Stand::Front, front, number.min(query.number)));
            let position = self.position(endpoint);
            let fits = !except.contains(&endpoint) && within(&query.from, &position);
            let reader = &self.endpoints[&endpoint];
            let follows = matches!(reader.stand, Stand::Front | Stand::Near) && reader.known_since <= query.number;
            if follows && fits && !self.take(endpoint, position, deliveries, &mut taken, now) {
                self.fall_behind(endpoint);
            }
            self.forget_if_plain(endpoint);
        }
        let was_read =
            |endpoint: &i32| !except.contains(endpoint) && self.endpoints[endpoint].known_since <= query.number;
        let near: Vec<i32> = self.near.iter().copied().filter(was_read).collect();
        let front = Arc::new(self.front.union(done));
        for endpoint in near {
            let reader = self.endpoints.get_mut(&endpoint).expect("what is near has a state");
            if within(&query.from, &reader.position) {
                reader.position = Arc::new(reader.position.union(done));
            }
            self.near.remove(&endpoint);
            self.changed_at.get_or_insert(now);
            let meets = within(&front, &reader.position);
            reader.stand = if meets { Stand::Front } else { Stand::Behind };
            if meets {
                self.ahead.insert(endpoint);
            } else {
                self.apart.insert(endpoint);
            }
        }
        self.front = front;
        self.ahead.retain(|endpoint| {
            let position = self.endpoints.get(endpoint).map(|reader| &reader.position);
            position.is_some_and(|position| !within(position, &self.front))
        });
        taken
    }

    fn accept_swept(
        &mut self,
        query: &Query,
        read: &[i32],
        mut for_endpoints: HashMap<i32, Vec<Delivery>>,
        done: Arc<DoneSet>,
        is_complete: bool,
        now: Instant,
    ) -> Vec<Delivery> {
        let mut taken = Vec::new();
        // Many stand at the same place.
        let mut last: Option<(Arc<DoneSet>, Arc<DoneSet>)> = None;
        for &endpoint in read {
            let deliveries = for_endpoints.remove(&endpoint).unwrap_or_default();
            let Some(reader) = self.endpoints.get(&endpoint) else { continue };
            let position = Arc::clone(&reader.position);
            let follows = matches!(reader.stand, Stand::Behind) && reader.known_since <= query.number;
            if !follows
                || !within(&query.from, &position)
                || !self.take(endpoint, Arc::clone(&position), deliveries, &mut taken, now)
            {
                continue;
            }
            let reached = match &last {
                Some((from, to)) if Arc::ptr_eq(from, &position) => Arc::clone(to),
                _ => Arc::new(position.union(&done)),
            };
            last = Some((position, Arc::clone(&reached)));
            let reader = self.endpoints.get_mut(&endpoint).expect("it was just there");
            reader.position = reached;
            if is_complete {
                reader.stand = Stand::Near;
                self.near.insert(endpoint);
                self.apart.remove(&endpoint);
            }
        }
        self.sweep = (!is_complete).then_some(done);
        taken
    }

    /// Gives an endpoint its deliveries of a chunk, but those that it has read; returns whether it had room.
    fn take(
        &mut self,
        endpoint: i32,
        position: Arc<DoneSet>,
        mut deliveries: Vec<Delivery>,
        taken: &mut Vec<Delivery>,
        now: Instant,
    ) -> bool {
        deliveries.retain(|delivery| !position.has(delivery.event.xid.unsigned(), delivery.event.seq));
        let (number, sizes) = (self.number(), self.sizes);
        let reader = self.endpoints.get_mut(&endpoint).expect("it was entered before");
        if deliveries.is_empty() {
            return true;
        } else if !reader.has_room(deliveries.len(), sizes) {
            return false;
        }
        for delivery in &mut deliveries {
            delivery.source = Source::Log(number);
        }
        reader.held += deliveries.len();
        reader.chunks.push_back(Chunk { number, before: position, taken_at: now, open: deliveries.len() });
        taken.append(&mut deliveries);
        true
    }

    /// An endpoint that follows the front is not read for now: it stays where it is.
    fn leave_behind(&mut self, endpoint: i32, number: u64) {
        let front = Arc::clone(&self.front);
        let reader = self.endpoints.entry(endpoint).or_insert_with(|| Reader::new(Stand::Front, front, number));
        if matches!(reader.stand, Stand::Front | Stand::Near) {
            self.fall_behind(endpoint);
        }
    }

    /// An endpoint that follows the front has no room: it stays where it is.
    fn fall_behind(&mut self, endpoint: i32) {
        let position = self.position(endpoint);
        let reader = self.endpoints.get_mut(&endpoint).expect("it follows the front");
        reader.position = position;
        reader.stand = Stand::Behind;
        self.near.remove(&endpoint);
        self.ahead.remove(&endpoint);
        self.apart.insert(endpoint);
    }

    /// Whether there are endpoints that do not follow the front.
    pub fn has_laggards(&self) -> bool {
        !self.apart.is_empty()
    }

    /// All up to there is reported or pending, as far as this process knows.
    fn settled(&self, endpoint: i32) -> Arc<DoneSet> {
        let reader = &self.endpoints[&endpoint];
        match (&reader.stand, reader.chunks.front()) {
            (Stand::Held(Some(resume)), _) => Arc::clone(&resume.done),
            (_, Some(chunk)) => Arc::clone(&chunk.before),
            _ => self.position(endpoint),
        }
    }

    fn position(&self, endpoint: i32) -> Arc<DoneSet> {
        let reader = &self.endpoints[&endpoint];
        match reader.stand {
            Stand::Front if self.ahead.contains(&endpoint) => Arc::new(self.front.union(&reader.position)),
            Stand::Front => Arc::clone(&self.front),
            _ => Arc::clone(&reader.position),
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}

fn within(one: &Arc<DoneSet>, other: &Arc<DoneSet>) -> bool {
    Arc::ptr_eq(one, other) || one.is_within(other)
}

fn intersection(one: Arc<DoneSet>, other: &Arc<DoneSet>) -> Arc<DoneSet> {
    if within(&one, other) { one } else { Arc::new(one.intersection(other)) }
}

#[cfg(test)]
mod simulation;
