//! How far the log is read, for each endpoint. Two readers go along the log: the *front* for all endpoints that keep up,
//! and one *sweep* after the other for all laggards together. An endpoint takes the events of a chunk whole or not at
//! all. One without room for them stays where it is, and the front goes on without it; the sweep brings it back.
//!
//! What the database stores are floors: a row of the shard, for all endpoints that have none of their own, and rows of
//! those that are far behind it. All that an endpoint's row (or the shard's) says is done is reported or pending.
//!
//! Pure: it is told what was read and what was reported, and says what to read and what to store.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use webhooks_core::done_set::DoneSet;

use super::event::{Delivery, Source};
use super::values::Xid;

/// The most endpoints that get a row of their own in one report.
const MAX_NEW_ROWS: usize = 64;
/// An endpoint that has had something open for so long gets a row of its own: the shard's is not to wait for it.
const MAX_SHARD_LAG: Duration = Duration::from_secs(1);
/// So few endpoints' rows are worked out for each report.
const FEW_ENDPOINTS: usize = 64;
/// How often the rows of more are worked out, and how often an endpoint's is written.
const ROWS_INTERVAL: Duration = Duration::from_millis(100);
const ENDPOINT_ROW_INTERVAL: Duration = Duration::from_secs(1);

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
    /// Those of them that are `Near`, and those at the front that have read beyond it.
    near: HashSet<i32>,
    ahead: HashSet<i32>,
    /// The shard's row in the database, and when the one after it was last worked out.
    stored: Arc<DoneSet>,
    rows_at: Option<Instant>,
    /// Whether there is something that the rows do not say.
    is_changed: bool,
    next_number: u64,
}

#[derive(Debug)]
struct Reader {
    stand: Stand,
    /// How far it has read. At the front it is the front's, and this besides where it is `ahead`.
    position: Arc<DoneSet>,
    row: Option<Row>,
    row_at: Option<Instant>,
    chunks: VecDeque<Chunk>,
    /// Deliveries that were taken, and whose report is not acknowledged.
    held: usize,
    /// Of the transactions below it, something may be logged or pending.
    retaken_before: Option<u64>,
    /// The number of the first query that knows the position.
    known_since: u64,
}

/// Where an endpoint stands.
#[derive(Debug)]
enum Stand {
    Front,
    /// A sweep has read to its end for it: the front's next look begins early enough to take it along.
    Near,
    Behind,
    /// Nothing is read for it until all that it holds is reported; then it begins anew there. None: it is disabled.
    Held(Option<Resume>),
}

#[derive(Debug)]
struct Resume {
    done: Arc<DoneSet>,
    row: Option<Row>,
    retaken_before: u64,
}

/// A row of `webhooks.cursor` that is an endpoint's own.
#[derive(Clone, Debug)]
pub struct Row {
    pub moved: Xid,
    pub done: Arc<DoneSet>,
}

/// What an endpoint has taken of one chunk.
#[derive(Debug)]
struct Chunk {
    number: u64,
    before: Arc<DoneSet>,
    taken_at: Instant,
    /// Deliveries whose result is in no report.
    open: usize,
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

impl Reader {
    fn new(stand: Stand, position: Arc<DoneSet>, known_since: u64) -> Self {
        Self {
            stand,
            position,
            row: None,
            row_at: None,
            chunks: VecDeque::new(),
            held: 0,
            retaken_before: None,
            known_since,
        }
    }

    /// Whether the database has a row of its own.
    fn has_row(&self) -> bool {
        self.row.is_some() || matches!(self.stand, Stand::Held(Some(Resume { row: Some(_), .. })))
    }

    fn has_room(&self, deliveries: usize, sizes: ReadSizes) -> bool {
        self.held == 0 || self.held + deliveries <= sizes.held
    }
}

impl Readers {
    /// Begins where the shard's row is, and with the endpoints that have rows of their own.
    pub fn new(sizes: ReadSizes, shard: DoneSet, rows: impl IntoIterator<Item = (i32, Row)>) -> Self {
        let shard = Arc::new(shard);
        let behind = |(endpoint, row): (i32, Row)| {
            let reader = Reader::new(Stand::Behind, Arc::clone(&row.done), 0);
            (endpoint, Reader { row: Some(row), ..reader })
        };
        Self {
            sizes,
            front: Arc::clone(&shard),
            sweep: None,
            endpoints: rows.into_iter().map(behind).collect(),
            near: HashSet::new(),
            ahead: HashSet::new(),
            stored: shard,
            rows_at: None,
            is_changed: false,
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
        let follows = |reader: &Reader| matches!(reader.stand, Stand::Front | Stand::Near);
        let except = self.endpoints.iter().filter(|(_, reader)| !follows(reader)).map(|(&endpoint, _)| endpoint);
        let except = except.collect();
        let retaken = self.retaken(follows);
        Query { number: self.number(), from, only: None, except, retaken }
    }

    /// What the sweep reads next, for the laggards that have room for a chunk; none where no laggard has.
    pub fn sweep_query(&mut self, may_read: impl Fn(i32) -> bool) -> Option<Query> {
        let is_ready = |(endpoint, reader): &(&i32, &Reader)| {
            matches!(reader.stand, Stand::Behind)
                && reader.has_room(self.sizes.chunk, self.sizes)
                && may_read(**endpoint)
        };
        let ready: Vec<i32> = self.endpoints.iter().filter(is_ready).map(|(&endpoint, _)| endpoint).collect();
        let positions = || ready.iter().map(|endpoint| &self.endpoints[endpoint].position);
        let first = Arc::clone(positions().next()?);
        // A sweep that nobody with room follows is over: the others are further behind.
        let follows_sweep = |from: &Arc<DoneSet>| positions().any(|position| within(from, position));
        let going_on = self.sweep.take().filter(follows_sweep);
        let from = going_on.unwrap_or_else(|| positions().fold(first, intersection));
        let retaken = self.retaken(|reader| matches!(reader.stand, Stand::Behind));
        Some(Query { number: self.number(), from, only: Some(ready), except: Vec::new(), retaken })
    }

    /// Takes what was read by a query; returns what is to be delivered.
    pub fn accept(&mut self, query: &Query, chunk: ReadChunk, now: Instant) -> Vec<Delivery> {
        let ReadChunk { deliveries, done, is_complete, events, left_out } = chunk;
        self.is_changed |= events > 0;
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
            self.is_changed = true;
            let meets = within(&front, &reader.position);
            reader.stand = if meets { Stand::Front } else { Stand::Behind };
            if meets {
                self.ahead.insert(endpoint);
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
    }

    /// Takes what is told of an endpoint; returns whether what is queued for it is to be dropped.
    pub fn take_news(&mut self, news: News, seen_before: u64) -> bool {
        let News { endpoint, is_active, moved, done } = news;
        let done = done.filter(|_| is_active).map(Arc::new);
        if !self.endpoints.contains_key(&endpoint) {
            let Some(done) = &done else { return false };
            self.endpoints.insert(endpoint, Reader::new(Stand::Behind, Arc::clone(done), self.next_number));
        }
        let reader = self.endpoints.get_mut(&endpoint).expect("it was entered before");
        let known = match &reader.stand {
            Stand::Held(Some(Resume { row: Some(row), .. })) => Some(row.moved),
            _ => reader.row.as_ref().map(|row| row.moved),
        };
        if known.is_some_and(|known| known >= moved) {
            return false;
        }
        let resume = done.map(|done| Resume {
            row: Some(Row { moved, done: Arc::clone(&done) }),
            done,
            retaken_before: seen_before,
        });
        self.hold(endpoint, resume);
        true
    }

    /// Gives back what an endpoint has not started: it is to be read for it again later. What is queued is to be dropped.
    pub fn give_back(&mut self, endpoint: i32) {
        if let Some(reader) = self.endpoints.get(&endpoint)
            && !matches!(reader.stand, Stand::Held(_))
        {
            let done = self.settled(endpoint);
            let retaken_before = self.front.xmax().max(self.position(endpoint).xmax());
            self.hold(endpoint, Some(Resume { done, row: None, retaken_before }));
        }
    }

    fn hold(&mut self, endpoint: i32, resume: Option<Resume>) {
        self.near.remove(&endpoint);
        self.ahead.remove(&endpoint);
        let reader = self.endpoints.get_mut(&endpoint).expect("it was entered before");
        reader.stand = Stand::Held(resume);
        self.go_on_if_idle(endpoint);
    }

    /// These deliveries were taken, and dropped from the queue before they were started.
    pub fn dropped(&mut self, endpoint: i32, deliveries: usize) {
        if let Some(reader) = self.endpoints.get_mut(&endpoint) {
            reader.held -= deliveries;
            self.go_on_if_idle(endpoint);
        }
    }

    /// A held endpoint whose results are all acknowledged begins anew.
    fn go_on_if_idle(&mut self, endpoint: i32) {
        let number = self.next_number;
        let Some(reader) = self.endpoints.get_mut(&endpoint).filter(|reader| reader.held == 0) else { return };
        let Stand::Held(resume) = &mut reader.stand else { return };
        match resume.take() {
            None => drop(self.endpoints.remove(&endpoint)),
            Some(Resume { done, row, retaken_before }) => {
                let row = row.or(reader.row.take());
                *reader =
                    Reader { row, retaken_before: Some(retaken_before), ..Reader::new(Stand::Behind, done, number) };
            }
        }
    }

    /// The result of a delivery goes into a report.
    pub fn settle(&mut self, endpoint: i32, chunk: u64) {
        let Some(reader) = self.endpoints.get_mut(&endpoint) else { return };
        self.is_changed = true;
        if let Ok(at) = reader.chunks.binary_search_by_key(&chunk, |chunk| chunk.number) {
            reader.chunks[at].open -= 1;
        }
        while reader.chunks.front().is_some_and(|chunk| chunk.open == 0) {
            reader.chunks.pop_front();
        }
    }

    /// The report with results of so many deliveries of the log is acknowledged.
    pub fn acknowledged(&mut self, endpoint: i32, deliveries: usize) {
        self.dropped(endpoint, deliveries);
        self.forget_if_plain(endpoint);
    }

    fn forget_if_plain(&mut self, endpoint: i32) {
        let is_ahead = self.ahead.contains(&endpoint);
        let is_plain = |reader: &Reader| {
            matches!(reader.stand, Stand::Front)
                && reader.held == 0
                && !reader.has_row()
                && reader.retaken_before.is_none()
        };
        if !is_ahead && self.endpoints.get(&endpoint).is_some_and(is_plain) {
            self.endpoints.remove(&endpoint);
        }
    }

    /// When the rows are to be stored, if no result takes them along before.
    pub fn rows_due_at(&self, now: Instant) -> Option<Instant> {
        self.is_changed.then(|| self.rows_at.map_or(now, |at| at + ROWS_INTERVAL))
    }

    /// The rows of the next report. The shard's is always there, since with it goes the report's number.
    pub fn rows(&mut self, now: Instant) -> Vec<CursorRow> {
        if self.endpoints.len() > FEW_ENDPOINTS && self.rows_at.is_some_and(|at| now < at + ROWS_INTERVAL) {
            return vec![CursorRow { endpoint: 0, done: Some(Arc::clone(&self.stored)), known: None }];
        }
        self.rows_at = Some(now);
        self.is_changed = false;
        self.forget_retaken();
        let detached = self.detached(now);
        let waits = |(endpoint, reader): &(&i32, &Reader)| {
            !reader.has_row() && !matches!(reader.stand, Stand::Held(None)) && !detached.contains(endpoint)
        };
        let waited_for = self.endpoints.iter().filter(waits).map(|(&endpoint, _)| self.settled(endpoint));
        let shard = waited_for.fold(Arc::clone(&self.front), |row, settled| intersection(row, &settled));
        let mut rows = self.endpoint_rows(&shard, &detached, now);
        rows.push(CursorRow { endpoint: 0, done: Some(shard), known: None });
        rows
    }

    /// Of an endpoint that has read all below the transaction, nothing more can have been retaken.
    fn forget_retaken(&mut self) {
        let retaken = self.endpoints.iter().filter_map(|(&endpoint, reader)| Some((endpoint, reader.retaken_before?)));
        for (endpoint, before) in retaken.collect::<Vec<_>>() {
            if self.position(endpoint).xmin() >= before {
                self.endpoints.get_mut(&endpoint).expect("it was just there").retaken_before = None;
                self.forget_if_plain(endpoint);
            }
        }
    }

    /// The endpoints that the shard's row does not wait for any longer: those furthest behind.
    fn detached(&self, now: Instant) -> HashSet<i32> {
        let lags = |reader: &Reader| match &reader.stand {
            Stand::Held(None) => false,
            Stand::Front => reader.chunks.front().is_some_and(|chunk| now >= chunk.taken_at + MAX_SHARD_LAG),
            _ => true,
        };
        let mut behind: Vec<(u64, i32)> = self
            .endpoints
            .iter()
            .filter(|(_, reader)| !reader.has_row() && lags(reader))
            .map(|(&endpoint, _)| (self.settled(endpoint).xmin(), endpoint))
            .collect();
        behind.sort_unstable();
        behind.into_iter().take(MAX_NEW_ROWS).map(|(_, endpoint)| endpoint).collect()
    }

    fn endpoint_rows(&mut self, shard: &Arc<DoneSet>, detached: &HashSet<i32>, now: Instant) -> Vec<CursorRow> {
        let mut rows = Vec::new();
        let endpoints: Vec<i32> = self.endpoints.keys().copied().collect();
        for endpoint in endpoints {
            let settled = self.settled(endpoint);
            let reader = self.endpoints.get_mut(&endpoint).expect("it was just there");
            let done = match &reader.row {
                None if detached.contains(&endpoint) => Some(settled),
                None => continue,
                Some(_) if matches!(reader.stand, Stand::Held(_)) => continue,
                // Nor does it go back: what it had skipped would come after all.
                Some(row)
                    if matches!(reader.stand, Stand::Front) && within(shard, &settled) && within(&row.done, shard) =>
                {
                    None
                }
                Some(row) if *row.done == *settled => continue,
                Some(_) if reader.row_at.is_some_and(|at| now < at + ENDPOINT_ROW_INTERVAL) => {
                    self.is_changed = true;
                    continue;
                }
                Some(_) => Some(settled),
            };
            reader.row_at = Some(now);
            rows.push(CursorRow { endpoint, done, known: reader.row.as_ref().map(|row| row.moved) });
        }
        rows
    }

    /// The database has written these of the rows.
    pub fn written(&mut self, rows: &[CursorRow], written: &HashMap<i32, Xid>) {
        for row in rows {
            let Some(&moved) = written.get(&row.endpoint) else { continue };
            match (&row.done, self.endpoints.get_mut(&row.endpoint)) {
                (Some(done), _) if row.endpoint == 0 => self.stored = Arc::clone(done),
                // What has been told of it meanwhile counts.
                (_, Some(Reader { stand: Stand::Held(None | Some(Resume { row: Some(_), .. })), .. })) | (_, None) => {}
                (done, Some(reader)) => reader.row = done.clone().map(|done| Row { moved, done }),
            }
        }
    }

    /// Whether there are laggards.
    pub fn has_laggards(&self) -> bool {
        self.endpoints.values().any(|reader| matches!(reader.stand, Stand::Behind))
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

    fn retaken(&self, is_read: impl Fn(&Reader) -> bool) -> Vec<(i32, u64)> {
        let retaken = |(&endpoint, reader): (&i32, &Reader)| Some((endpoint, reader.retaken_before?));
        self.endpoints.iter().filter(|(_, reader)| is_read(reader)).filter_map(retaken).collect()
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
