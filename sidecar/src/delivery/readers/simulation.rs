//! The readers and the queues in simulation: a database and receivers in memory, a clock that stands still between steps,
//! and histories that a seed makes: transactions that wait for each other's rows, receivers that hang and fail, endpoints
//! that are disabled and enabled, crashes of either side. What is checked at each step is what the engine promises.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use webhooks_core::done_set::DoneSet;

use super::super::event::{Body, Delivery, Event, HeldBytes, Source};
use super::super::queues::{EndpointLimits, Lane, Limits, Outcome, Queues};
use super::super::values::{Timestamp, Xid};
use super::{CursorRow, News, Query, ReadChunk, ReadSizes, Readers, Row};

const SIZES: ReadSizes = ReadSizes { chunk: 4, held: 6 };
const ENDPOINTS: i32 = 4;

/// What is broken, to see that the checks find it.
#[derive(Clone, Copy, PartialEq)]
enum Broken {
    Nothing,
    /// Events are read in the order of their transactions' ids.
    Order,
    /// What is logged already is read again after a take-over.
    Filter,
    /// An endpoint's row is stored after the shard's that leaves it behind.
    LateRows,
    /// A chunk that does not fit is taken in part.
    Parts,
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % limit as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone, Copy, Debug)]
struct Logged {
    xid: u64,
    seq: i32,
    key: i64,
    horizon: u64,
    ended: u64,
}

type Id = (u64, i32);

struct Transaction {
    xid: u64,
    keys: Vec<i64>,
    events: Vec<Logged>,
    locks: Vec<i64>,
    aborts: bool,
}

/// A row of `webhooks.cursor`.
#[derive(Clone)]
struct Stored {
    moved: u64,
    done: Option<DoneSet>,
    is_told: bool,
}

/// What is committed, and what a crash takes back.
#[derive(Clone, Default)]
struct Tables {
    events: BTreeMap<u64, Vec<Logged>>,
    /// By endpoint; 0 is the shard.
    cursor: BTreeMap<i32, Vec<Stored>>,
    inactive: BTreeSet<i32>,
    attempts: HashSet<(i32, Id)>,
    reports: HashSet<u64>,
    recover_before: u64,
    /// The highest transaction that has ended.
    latest: u64,
}

struct Database {
    tables: Tables,
    /// The tables after each commit that a crash may take back, oldest first.
    unflushed: Vec<Tables>,
    running: Vec<Transaction>,
    locks: HashMap<i64, u64>,
    next_xid: u64,
    ended: u64,
    lease: u64,
    /// By row: the events in the order in which their transactions held its lock.
    history: HashMap<i64, Vec<Id>>,
}

impl Tables {
    fn newest(&self, endpoint: i32) -> Option<&Stored> {
        self.cursor.get(&endpoint).and_then(|rows| rows.last())
    }

    fn own(&self, endpoint: i32) -> Option<(u64, &DoneSet)> {
        self.newest(endpoint).and_then(|row| Some((row.moved, row.done.as_ref()?)))
    }

    fn stored(&self, endpoint: i32) -> &DoneSet {
        let shard = || self.newest(0).and_then(|row| row.done.as_ref()).expect("the shard has a row");
        self.own(endpoint).map_or_else(shard, |(_, done)| done)
    }
}

impl Database {
    fn new() -> Self {
        let mut tables = Tables { latest: 2, ..Tables::default() };
        tables.cursor.insert(0, vec![Stored { moved: 2, done: Some(done_set("3:3:")), is_told: true }]);
        Self {
            tables,
            unflushed: Vec::new(),
            running: Vec::new(),
            locks: HashMap::new(),
            next_xid: 3,
            ended: 1,
            lease: 0,
            history: HashMap::new(),
        }
    }

    fn take_xid(&mut self) -> u64 {
        self.next_xid += 1;
        self.next_xid - 1
    }

    fn end(&mut self, xid: u64) {
        self.tables.latest = self.tables.latest.max(xid);
        self.ended += 1;
    }

    fn snapshot(&self) -> DoneSet {
        let xmax = self.tables.latest + 1;
        let running: BTreeSet<u64> = self.running.iter().map(|running| running.xid).filter(|&xid| xid < xmax).collect();
        let list: Vec<String> = running.iter().map(u64::to_string).collect();
        done_set(&format!("{}:{xmax}:{}", running.first().unwrap_or(&xmax), list.join(",")))
    }

    /// A short transaction, between which nothing else happens.
    fn commit(&mut self, change: impl FnOnce(&mut Tables, u64)) -> u64 {
        let xid = self.take_xid();
        self.unflushed.push(self.tables.clone());
        change(&mut self.tables, xid);
        self.end(xid);
        xid
    }

    fn write(&mut self, random: &mut Random) {
        if self.running.len() < 4 && random.chance(50) {
            let keys = (0..[1, 1, 2, 3, 7][random.below(5)]).map(|_| random.below(3) as i64).collect();
            // The id comes before the wait for a row.
            let xid = self.take_xid();
            self.running.push(Transaction { xid, keys, events: vec![], locks: vec![], aborts: random.chance(10) });
        } else if !self.running.is_empty() {
            let at = random.below(self.running.len());
            self.step(at);
        }
    }

    fn step(&mut self, at: usize) -> bool {
        let (horizon, ended) = (self.tables.latest + 1, self.ended);
        let running = &mut self.running[at];
        if let Some(&key) = running.keys.last() {
            if *self.locks.entry(key).or_insert(running.xid) != running.xid {
                return false;
            }
            if !running.locks.contains(&key) {
                running.locks.push(key);
                return true;
            }
            running.keys.pop();
            running.events.push(Logged { xid: running.xid, seq: running.events.len() as i32, key, horizon, ended });
            return true;
        }
        let ended = self.running.remove(at);
        self.unflushed.push(self.tables.clone());
        if !ended.aborts {
            for event in &ended.events {
                self.history.entry(event.key).or_default().push((event.xid, event.seq));
            }
            self.tables.events.insert(ended.xid, ended.events);
        }
        self.locks.retain(|_, holder| *holder != ended.xid);
        self.end(ended.xid);
        true
    }

    /// Loses what was not flushed, and all that runs; gives out again the ids of what is lost.
    fn crash(&mut self, random: &mut Random) {
        let at = random.below(self.unflushed.len() + 1);
        if at < self.unflushed.len() {
            self.tables = self.unflushed[at].clone();
        }
        self.unflushed.clear();
        (self.running, self.locks, self.lease) = (Vec::new(), HashMap::new(), 0);
        (self.next_xid, self.ended) = (self.tables.latest + 1, 1);
        let events = &self.tables.events;
        self.history.values_mut().for_each(|ids| ids.retain(|(xid, _)| events.contains_key(xid)));
    }

    fn acquire(&mut self, random: &mut Random) -> u64 {
        let before = self.snapshot().xmax();
        self.commit(|tables, _| tables.recover_before = before);
        self.lease = 1 + random.below(1 << 40) as u64;
        self.lease
    }

    /// What `webhooks.fetch` does, and `webhooks.news`.
    fn fetch(
        &mut self,
        query: &Query,
        seen: &DoneSet,
        broken: Broken,
        random: &mut Random,
    ) -> (Vec<News>, ReadChunk, DoneSet) {
        // It flushes what it returns.
        self.unflushed.clear();
        let now = self.snapshot();
        let position = |events: &[Logged]| {
            let last = events.last().expect("a transaction has events");
            let order = (last.horizon.max(last.xid + 1), last.ended, last.xid);
            if broken == Broken::Order { (last.xid, 0, last.xid) } else { order }
        };
        let is_unread = |event: &&Logged| !query.from.has(event.xid, event.seq);
        let visible = self.tables.events.iter().filter(|(xid, events)| now.is_whole(**xid) && !events.is_empty());
        let mut unread: Vec<(_, Vec<Logged>)> = visible
            .map(|(_, events)| (position(events), events.iter().filter(is_unread).copied().collect()))
            .filter(|(_, events): &(_, Vec<Logged>)| !events.is_empty())
            .collect();
        unread.sort_by_key(|(position, _)| *position);
        let (mut taken, mut whole, mut part): (Vec<Logged>, BTreeSet<u64>, _) = (vec![], BTreeSet::new(), None);
        for (_, events) in &unread {
            if taken.len() + events.len() <= SIZES.chunk {
                taken.extend(events);
                whole.insert(events[0].xid);
            } else {
                if taken.is_empty() {
                    taken.extend(&events[..SIZES.chunk]);
                    part = taken.last().map(|last| (last.xid, last.seq));
                }
                break;
            }
        }
        let is_complete = whole.len() == unread.len();
        let done = if is_complete {
            query.from.union(&now)
        } else {
            let xmax = whole.iter().chain(part.as_ref().map(|(xid, _)| xid)).max().map_or(0, |xid| xid + 1);
            let xmax = query.from.xmax().max(xmax);
            let open = unread.iter().map(|(_, events)| events[0].xid).filter(|xid| !whole.contains(xid));
            let open = open.chain((3..xmax).filter(|&xid| !now.is_whole(xid))).filter(|&xid| xid < xmax);
            let open: BTreeSet<String> = open.map(|xid| xid.to_string()).collect();
            let list: Vec<String> = open.into_iter().collect();
            done_set(&format!("0:{xmax}:{}", list.join(","))).with_parts(query.from.parts()).with_parts(part)
        };
        let mut deliveries: Vec<Delivery> =
            taken.iter().flat_map(|event| self.recipients(event, query, broken)).collect();
        // Now and then one is left out.
        let left_out: Vec<i32> =
            deliveries.iter().map(|one| one.endpoint).filter(|_| random.chance(3)).take(1).collect();
        deliveries.retain(|one| !left_out.contains(&one.endpoint));
        let chunk = ReadChunk { deliveries, done, is_complete, events: taken.len(), left_out };
        (self.news(seen), chunk, now)
    }

    fn recipients(&self, event: &Logged, query: &Query, broken: Broken) -> Vec<Delivery> {
        let is_logged = |endpoint: &i32| {
            let retaken =
                query.retaken.iter().find(|(retaken, _)| retaken == endpoint).map_or(0, |(_, before)| *before);
            event.xid < self.tables.recover_before.max(retaken)
                && broken != Broken::Filter
                && self.tables.attempts.contains(&(*endpoint, (event.xid, event.seq)))
        };
        (1..=ENDPOINTS)
            .filter(|endpoint| query.only.as_ref().is_none_or(|only| only.contains(endpoint)))
            .filter(|endpoint| !query.except.contains(endpoint) && !self.tables.inactive.contains(endpoint))
            .filter(|endpoint| !is_logged(endpoint))
            .map(|endpoint| delivery(endpoint, event))
            .collect()
    }

    fn news(&self, seen: &DoneSet) -> Vec<News> {
        let told = |rows: &Vec<Stored>| rows.iter().any(|row| row.is_told && !seen.is_whole(row.moved));
        let news = self.tables.cursor.iter().filter(|(endpoint, rows)| **endpoint != 0 && told(rows));
        news.map(|(&endpoint, rows)| News {
            endpoint,
            is_active: !self.tables.inactive.contains(&endpoint),
            moved: Xid::from(rows.last().expect("it has rows").moved),
            done: rows.last().and_then(|row| row.done.clone()),
        })
        .collect()
    }

    /// What `webhooks.report` does; none where the lease is over.
    fn report(&mut self, lease: u64, report: &Report) -> Option<HashMap<i32, Xid>> {
        if lease != self.lease {
            return None;
        }
        if !self.tables.reports.contains(&report.number) {
            self.commit(|tables, moved| {
                tables.reports.insert(report.number);
                tables.attempts.extend(&report.results);
                for row in &report.rows {
                    let own = tables.own(row.endpoint).map(|(moved, _)| Xid::from(moved));
                    let is_right = row.endpoint == 0 || own == row.known && !tables.inactive.contains(&row.endpoint);
                    if is_right {
                        // A row holds one part: the others are read again.
                        let done =
                            row.done.as_ref().map(|done| done_set(&done.snapshot()).with_parts(done.first_part()));
                        tables.cursor.entry(row.endpoint).or_default().push(Stored { moved, done, is_told: false });
                    }
                }
            });
        }
        let newest = |row: &CursorRow| Some((row.endpoint, Xid::from(self.tables.newest(row.endpoint)?.moved)));
        let is_own = |row: &&CursorRow| self.tables.newest(row.endpoint).is_some_and(|newest| !newest.is_told);
        Some(report.rows.iter().filter(is_own).filter_map(newest).collect())
    }

    /// Disables an endpoint, as a report would, or enables it.
    fn toggle(&mut self, endpoint: i32) {
        let done = self.tables.stored(endpoint).clone();
        self.commit(|tables, moved| {
            if !tables.inactive.remove(&endpoint) {
                tables.inactive.insert(endpoint);
            }
            tables.cursor.entry(endpoint).or_default().push(Stored { moved, done: Some(done), is_told: true });
        });
    }
}

struct Report {
    number: u64,
    rows: Vec<CursorRow>,
    results: Vec<(i32, Id)>,
    of_log: HashMap<i32, usize>,
}

struct Sidecar {
    lease: u64,
    readers: Readers,
    queues: Queues<Delivery>,
    seen: DoneSet,
    front: Option<(Query, Vec<News>, ReadChunk, DoneSet)>,
    sweep: Option<(Query, ReadChunk)>,
    flying: Vec<(Lane, Delivery, Instant)>,
    results: Vec<(Delivery, bool)>,
    sending: Option<Report>,
    late_rows: Vec<CursorRow>,
}

struct World {
    random: Random,
    broken: Broken,
    now: Instant,
    database: Database,
    sidecar: Option<Sidecar>,
    stuck: HashSet<i32>,
    sent: HashMap<(i32, Id), usize>,
    allowed: HashMap<(i32, Id), usize>,
    /// By endpoint and row: the first requests of each event.
    order: HashMap<(i32, i64), Vec<Id>>,
    reports: u64,
}

impl World {
    fn new(seed: u64, broken: Broken, now: Instant) -> Self {
        Self {
            random: Random(seed),
            broken,
            now,
            database: Database::new(),
            sidecar: None,
            stuck: HashSet::new(),
            sent: HashMap::new(),
            allowed: HashMap::new(),
            order: HashMap::new(),
            reports: 0,
        }
    }

    fn run(&mut self) -> Result<(), String> {
        for step in 0..[150, 300, 600][self.random.below(3)] {
            self.now += Duration::from_millis(1);
            if step % 50 == 0 {
                self.stuck = (1..=ENDPOINTS).filter(|_| self.random.chance(40)).collect();
            }
            match self.random.below(100) {
                0..35 => self.database.write(&mut self.random),
                35 => self.crash_sidecar(),
                36 if self.random.chance(50) => self.crash_database(),
                37 if self.random.chance(50) => {
                    let endpoint = 1 + self.random.below(ENDPOINTS as usize) as i32;
                    self.database.toggle(endpoint);
                }
                38 => {
                    if let Some(sidecar) = &mut self.sidecar
                        && let Some(endpoint) = sidecar.queues.longest()
                    {
                        sidecar.readers.give_back(endpoint);
                        sidecar.drop_queue(endpoint);
                    }
                }
                what => self.act(what)?,
            }
        }
        self.settle()
    }

    fn act(&mut self, what: usize) -> Result<(), String> {
        if self.sidecar.is_none() {
            let lease = self.database.acquire(&mut self.random);
            let own = |endpoint: i32| {
                let (moved, done) = self.database.tables.own(endpoint)?;
                let row = Row { moved: Xid::from(moved), done: Arc::new(done.clone()) };
                (!self.database.tables.inactive.contains(&endpoint)).then_some((endpoint, row))
            };
            let shard = self.database.tables.stored(0).clone();
            self.sidecar = Some(Sidecar {
                lease,
                readers: Readers::new(SIZES, shard, (1..=ENDPOINTS).filter_map(own)),
                queues: Queues::new(Limits { per_endpoint: 4, global: 64 }, self.now),
                seen: self.database.snapshot(),
                front: None,
                sweep: None,
                flying: Vec::new(),
                results: Vec::new(),
                sending: None,
                late_rows: Vec::new(),
            });
        }
        match what % 6 {
            0 => self.look(),
            1 => self.take_look(),
            2 => self.sweep(),
            3 => self.answer(),
            4 => self.report()?,
            _ => self.send()?,
        }
        Ok(())
    }

    fn look(&mut self) {
        let (Some(sidecar), lease) = (&mut self.sidecar, self.database.lease) else { return };
        if lease != sidecar.lease {
            return self.crash_sidecar();
        }
        if sidecar.front.is_none() {
            let query = sidecar.readers.front_query();
            let (news, chunk, seen) = self.database.fetch(&query, &sidecar.seen, self.broken, &mut self.random);
            sidecar.front = Some((query, news, chunk, seen));
        }
    }

    fn take_look(&mut self) {
        let Some(sidecar) = &mut self.sidecar else { return };
        let taken = match (sidecar.front.take(), sidecar.sweep.take()) {
            (Some((query, news, chunk, seen)), sweep) => {
                sidecar.sweep = sweep;
                let before = sidecar.readers.front().xmax();
                for told in news {
                    let endpoint = told.endpoint;
                    if sidecar.readers.take_news(told, before) {
                        sidecar.drop_queue(endpoint);
                    }
                }
                sidecar.seen = seen;
                sidecar.readers.accept(&query, chunk, self.now)
            }
            (None, Some((query, chunk))) => sidecar.readers.accept(&query, chunk, self.now),
            (None, None) => return,
        };
        for (at, delivery) in taken.into_iter().enumerate() {
            if self.broken == Broken::Parts && at > 1 {
                continue;
            }
            let lane = Lane::First(delivery.event.key);
            sidecar.queues.push(delivery.endpoint, "http://receiver", delivery.limits, lane, delivery, self.now);
        }
    }

    fn sweep(&mut self) {
        let (Some(sidecar), lease) = (&mut self.sidecar, self.database.lease) else { return };
        if lease != sidecar.lease {
            return self.crash_sidecar();
        }
        if sidecar.sweep.is_none()
            && let Some(query) = sidecar.readers.sweep_query(|_| true)
        {
            let (_, chunk, _) = self.database.fetch(&query, &sidecar.seen, self.broken, &mut self.random);
            sidecar.sweep = Some((query, chunk));
        }
    }

    fn send(&mut self) -> Result<(), String> {
        let Some(sidecar) = &mut self.sidecar else { return Ok(()) };
        sidecar.queues.advance(self.now);
        while let Some((endpoint, lane, delivery)) = sidecar.queues.next(self.now) {
            let id = (delivery.event.xid.unsigned(), delivery.event.seq);
            let times = self.sent.entry((endpoint, id)).or_default();
            *times += 1;
            if *times == 1 {
                let key = delivery.event.key.expect("all are about rows");
                self.order.entry((endpoint, key)).or_default().push(id);
            } else if *times > 1 + self.allowed.get(&(endpoint, id)).copied().unwrap_or(0) {
                return Err(format!("{id:?} was sent to {endpoint} again without a crash"));
            }
            sidecar.flying.push((lane, delivery, self.now));
        }
        Ok(())
    }

    fn answer(&mut self) {
        let Some(sidecar) = &mut self.sidecar else { return };
        let stuck = &self.stuck;
        let answering: Vec<usize> =
            (0..sidecar.flying.len()).filter(|&at| !stuck.contains(&sidecar.flying[at].1.endpoint)).collect();
        if answering.is_empty() {
            return;
        }
        let (lane, delivery, started) = sidecar.flying.swap_remove(answering[self.random.below(answering.len())]);
        let outcome = if self.random.chance(80) { Outcome::Accepted } else { Outcome::Failed };
        sidecar.queues.complete(delivery.endpoint, lane, outcome, started, self.now);
        sidecar.results.push((delivery, outcome == Outcome::Accepted));
    }

    fn report(&mut self) -> Result<(), String> {
        let Some(sidecar) = &mut self.sidecar else { return Ok(()) };
        if sidecar.sending.is_none() {
            let count = self.random.below(sidecar.results.len() + 1);
            let mut report = Report { number: self.reports, rows: vec![], results: vec![], of_log: HashMap::new() };
            self.reports += 1;
            for (delivery, _) in sidecar.results.drain(..count) {
                if let Source::Log(chunk) = delivery.source {
                    sidecar.readers.settle(delivery.endpoint, chunk, self.now);
                    *report.of_log.entry(delivery.endpoint).or_default() += 1;
                }
                report.results.push((delivery.endpoint, (delivery.event.xid.unsigned(), delivery.event.seq)));
            }
            // Time passes for what is written now and then.
            self.now += Duration::from_millis(self.random.below(1500) as u64);
            report.rows = sidecar.readers.rows(self.now);
            if self.broken == Broken::LateRows {
                let (shard, own) = report.rows.into_iter().partition(|row| row.endpoint == 0);
                report.rows = shard;
                report.rows.append(&mut std::mem::replace(&mut sidecar.late_rows, own));
            }
            sidecar.sending = Some(report);
            if self.random.chance(40) {
                return Ok(());
            }
        }
        let report = sidecar.sending.take().expect("there is one");
        let Some(written) = self.database.report(sidecar.lease, &report) else {
            sidecar.sending = Some(report);
            self.crash_sidecar();
            return Ok(());
        };
        if self.random.chance(15) {
            // Its acknowledgement is lost: it is sent again.
            sidecar.sending = Some(report);
        } else {
            sidecar.readers.written(&report.rows, &written);
            for (endpoint, deliveries) in report.of_log {
                sidecar.readers.acknowledged(endpoint, deliveries);
            }
        }
        self.check_stored()
    }

    /// Of what an endpoint's row, or else the shard's, says is done, all is reported.
    fn check_stored(&self) -> Result<(), String> {
        let tables = &self.database.tables;
        for endpoint in 1..=ENDPOINTS {
            let done = tables.stored(endpoint);
            for event in tables.events.values().flatten() {
                let id = (event.xid, event.seq);
                if done.has(event.xid, event.seq) && !tables.attempts.contains(&(endpoint, id)) {
                    return Err(format!("{id:?} is done for {endpoint} by {done:?}, and was not reported"));
                }
            }
        }
        Ok(())
    }

    /// What the sidecar had sent and not reported may be sent again.
    fn crash_sidecar(&mut self) {
        let Some(sidecar) = self.sidecar.take() else { return };
        let flying = sidecar.flying.iter().map(|(_, delivery, _)| delivery);
        for delivery in flying.chain(sidecar.results.iter().map(|(delivery, _)| delivery)) {
            let id = (delivery.event.xid.unsigned(), delivery.event.seq);
            *self.allowed.entry((delivery.endpoint, id)).or_default() += 1;
        }
        for result in sidecar.sending.iter().flat_map(|report| &report.results) {
            *self.allowed.entry(*result).or_default() += 1;
        }
    }

    fn crash_database(&mut self) {
        let before = std::mem::take(&mut self.database.tables.attempts);
        self.database.tables.attempts.clone_from(&before);
        self.database.crash(&mut self.random);
        for lost in before.difference(&self.database.tables.attempts) {
            *self.allowed.entry(*lost).or_default() += 1;
        }
        // The ids of transactions that are lost are given out again.
        let events = &self.database.tables.events;
        self.sent.retain(|(_, (xid, _)), _| events.contains_key(xid));
        self.order.values_mut().for_each(|ids| ids.retain(|(xid, _)| events.contains_key(xid)));
    }

    /// Nothing is written and nobody hangs any longer: all must arrive, in the order of each row.
    fn settle(&mut self) -> Result<(), String> {
        while !self.database.running.is_empty() {
            let moved = (0..self.database.running.len()).rev().any(|at| self.database.step(at));
            if !moved {
                // A deadlock: one of them is rolled back.
                let mut victim = self.database.running.remove(0);
                victim.events.clear();
                self.database.locks.retain(|_, holder| *holder != victim.xid);
                self.database.end(victim.xid);
            }
        }
        for endpoint in self.database.tables.inactive.clone() {
            self.database.toggle(endpoint);
        }
        self.stuck.clear();
        for _ in 0..400 {
            for what in [0, 1, 2, 1, 5, 3, 3, 3, 3, 4] {
                self.now += Duration::from_millis(20);
                self.act(what)?;
            }
        }
        let tables = &self.database.tables;
        for event in tables.events.values().flatten() {
            for endpoint in 1..=ENDPOINTS {
                if !tables.attempts.contains(&(endpoint, (event.xid, event.seq))) {
                    return Err(format!(
                        "{event:?} never reached {endpoint}; {:?}",
                        self.sidecar.as_ref().map(|s| &s.readers)
                    ));
                }
            }
        }
        for ((endpoint, key), sent) in &self.order {
            let place: HashMap<Id, usize> =
                self.database.history.get(key).into_iter().flatten().copied().zip(0..).collect();
            let places: Vec<usize> = sent.iter().filter_map(|id| place.get(id)).copied().collect();
            if !places.is_sorted() {
                return Err(format!(
                    "row {key} reached {endpoint} as {sent:?}, not as {:?}",
                    self.database.history[key]
                ));
            }
        }
        let shard = tables.stored(0);
        match tables.events.keys().find(|xid| !shard.is_whole(**xid)) {
            Some(xid) => Err(format!("the shard's row {shard:?} stays before {xid}")),
            None => Ok(()),
        }
    }
}

impl Sidecar {
    fn drop_queue(&mut self, endpoint: i32) {
        let dropped = self.queues.clear(endpoint).len();
        self.readers.dropped(endpoint, dropped);
    }
}

fn done_set(snapshot: &str) -> DoneSet {
    snapshot.parse().expect("a snapshot")
}

fn delivery(endpoint: i32, event: &Logged) -> Delivery {
    let counter = Arc::default();
    Delivery {
        event: Arc::new(Event {
            xid: Xid::from(event.xid),
            seq: event.seq,
            occurred_at: Timestamp(0),
            key: Some(event.key),
            webhook_id: String::new(),
            name: String::new(),
            body: Body::new(b"", &counter),
            damage: None,
        }),
        endpoint,
        url: String::new(),
        retry_count: 0,
        signed_at: 0,
        signature: None,
        signature_v1: None,
        limits: EndpointLimits::default(),
        timeout: None,
        source: Source::Log(0),
        _held: HeldBytes::new(0, &counter),
    }
}

fn histories(broken: Broken, seeds: std::ops::Range<u64>) -> Result<(), String> {
    let now = Instant::now();
    for seed in seeds {
        World::new(seed, broken, now).run().map_err(|error| format!("seed {seed}: {error}"))?;
    }
    Ok(())
}

/// `SEEDS=100000` goes through more of them.
fn seeds() -> u64 {
    std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(400)
}

#[test]
fn all_arrives_in_order_and_once_but_for_crashes() {
    histories(Broken::Nothing, 0..seeds()).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn what_is_broken_is_found() {
    for (broken, what) in [
        (Broken::Order, "order"),
        (Broken::Filter, "filter"),
        (Broken::LateRows, "late rows"),
        (Broken::Parts, "parts"),
    ] {
        assert!(histories(broken, 0..2000).is_err(), "{what}");
    }
}
