//! A done-set: which transactions of the log are done, as a snapshot of Postgres, and how far those are that are done in
//! part. Of two done-sets neither need include the other, since a chunk of the log ends where it fits. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// A set of events of the log, told by their transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DoneSet {
    /// The first transaction of which, as of all behind it, nothing is done.
    xmax: u64,
    /// Those before `xmax` that are not wholly done.
    open: BTreeSet<u64>,
    /// Of transactions that are not wholly done, the last event up to which all is.
    parts: BTreeMap<u64, i32>,
}

/// A text that is no snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSnapshot(String);

impl fmt::Display for InvalidSnapshot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} is no snapshot of Postgres", self.0)
    }
}

impl std::error::Error for InvalidSnapshot {}

impl FromStr for DoneSet {
    type Err = InvalidSnapshot;

    /// Reads a snapshot in Postgres' text form, `xmin:xmax:running,…`.
    fn from_str(text: &str) -> Result<Self, InvalidSnapshot> {
        let invalid = || InvalidSnapshot(text.to_owned());
        let number = |text: &str| text.parse::<u64>().map_err(|_| invalid());
        let mut parts = text.splitn(3, ':');
        let (Some(xmin), Some(xmax), Some(open)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(invalid());
        };
        number(xmin)?;
        let open = open.split(',').filter(|xid| !xid.is_empty()).map(number).collect::<Result<_, _>>()?;
        Ok(Self { xmax: number(xmax)?, open, parts: BTreeMap::new() })
    }
}

impl DoneSet {
    /// The same, in which of these transactions all is done up to an event.
    pub fn with_parts(mut self, parts: impl IntoIterator<Item = (u64, i32)>) -> Self {
        for (xid, seq) in parts {
            if !self.is_whole(xid) {
                self.parts.insert(xid, seq);
            }
        }
        self
    }

    /// The snapshot, in Postgres' text form.
    pub fn snapshot(&self) -> String {
        let open: Vec<String> = self.open.iter().map(u64::to_string).collect();
        format!("{}:{}:{}", self.xmin(), self.xmax, open.join(","))
    }

    /// The transactions that are done in part, each with the last event up to which it is.
    pub fn parts(&self) -> impl Iterator<Item = (u64, i32)> {
        self.parts.iter().map(|(&xid, &seq)| (xid, seq))
    }

    /// The lowest of them, which is all that a row of `webhooks.cursor` has room for.
    pub fn first_part(&self) -> Option<(u64, i32)> {
        self.parts().next()
    }

    /// Whether all of a transaction is done.
    pub fn is_whole(&self, xid: u64) -> bool {
        xid < self.xmax && !self.open.contains(&xid)
    }

    /// Whether an event is done.
    pub fn has(&self, xid: u64, seq: i32) -> bool {
        self.is_whole(xid) || self.parts.get(&xid).is_some_and(|&done| seq <= done)
    }

    /// The first transaction that is not wholly done.
    pub fn xmin(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.xmax)
    }

    /// The first transaction of which, as of all behind it, nothing is done.
    pub fn xmax(&self) -> u64 {
        self.xmax
    }

    /// Whether all that is done here is done in `other`, too.
    pub fn is_within(&self, other: &Self) -> bool {
        other.open.range(..self.xmax).all(|xid| self.open.contains(xid))
            && (other.xmax..self.xmax).all(|xid| self.open.contains(&xid))
            && self.parts.iter().all(|(&xid, &seq)| other.has(xid, seq))
    }

    /// What is done in both.
    pub fn intersection(&self, other: &Self) -> Self {
        let xmax = self.xmax.min(other.xmax);
        let open = self.open.union(&other.open).copied().filter(|&xid| xid < xmax).collect();
        let common = |xid| Some(self.done_of(xid)?.min(other.done_of(xid)?));
        let parts = self.parts.keys().chain(other.parts.keys()).filter_map(|&xid| Some((xid, common(xid)?))).collect();
        Self { xmax, open, parts }
    }

    /// What is done in one or the other.
    pub fn union(&self, other: &Self) -> Self {
        let (low, high) = if self.xmax <= other.xmax { (self, other) } else { (other, self) };
        let open = high.open.iter().copied().filter(|&xid| !low.is_whole(xid)).collect();
        let mut both = Self { xmax: high.xmax, open, parts: BTreeMap::new() };
        for (xid, seq) in self.parts().chain(other.parts()) {
            if !both.is_whole(xid) {
                let done = both.parts.entry(xid).or_insert(seq);
                *done = seq.max(*done);
            }
        }
        both
    }

    /// The last event of a transaction up to which all is done; none where nothing is.
    fn done_of(&self, xid: u64) -> Option<i32> {
        if self.is_whole(xid) { Some(i32::MAX) } else { self.parts.get(&xid).copied() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(snapshot: &str, parts: &[(u64, i32)]) -> DoneSet {
        snapshot.parse::<DoneSet>().expect("a snapshot").with_parts(parts.iter().copied())
    }

    #[test]
    fn a_snapshot_comes_back_as_it_was_read() {
        for text in ["731:731:", "731:740:731,733", "4294967296:4294967297:4294967296"] {
            assert_eq!(set(text, &[]).snapshot(), text);
        }
        for text in ["", "1:2", "a:b:", "1:2:x"] {
            assert!(text.parse::<DoneSet>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_transaction_is_done_where_the_snapshot_sees_it_and_an_event_up_to_its_part() {
        let done = set("5:9:5,7", &[(5, 2)]);
        assert!(done.is_whole(4) && done.is_whole(6) && done.is_whole(8));
        assert!(!done.is_whole(5) && !done.is_whole(7) && !done.is_whole(9));
        assert!(done.has(5, 2) && !done.has(5, 3) && !done.has(7, 0));
        assert_eq!((done.xmin(), done.xmax()), (5, 9));
    }

    /// Small sets, over which what the operations say can be counted.
    fn small_sets() -> Vec<DoneSet> {
        let mut sets = Vec::new();
        for xmax in 1..5 {
            for bits in 0..1u64 << xmax {
                let open: Vec<String> =
                    (0..xmax).filter(|xid| bits >> xid & 1 == 1).map(|xid| xid.to_string()).collect();
                let snapshot = format!("0:{xmax}:{}", open.join(","));
                sets.push(set(&snapshot, &[]));
                sets.push(set(&snapshot, &[(1, 1)]));
                sets.push(set(&snapshot, &[(2, 0), (4, 1)]));
            }
        }
        sets
    }

    #[test]
    fn the_operations_are_those_of_sets() {
        let events: Vec<(u64, i32)> = (0..6).flat_map(|xid| (0..3).map(move |seq| (xid, seq))).collect();
        let sets = small_sets();
        for one in &sets {
            for other in &sets {
                let (both, either) = (one.intersection(other), one.union(other));
                for &(xid, seq) in &events {
                    let (here, there) = (one.has(xid, seq), other.has(xid, seq));
                    assert_eq!(both.has(xid, seq), here && there, "{one:?} {other:?} {xid} {seq}");
                    assert_eq!(either.has(xid, seq), here || there, "{one:?} {other:?} {xid} {seq}");
                }
                let is_within = events.iter().all(|&(xid, seq)| !one.has(xid, seq) || other.has(xid, seq));
                // A part may be all that there is of a transaction: here it is the last of three events, there all.
                if one.parts.is_empty() && other.parts.is_empty() {
                    assert_eq!(one.is_within(other), is_within, "{one:?} {other:?}");
                } else {
                    assert!(is_within || !one.is_within(other), "{one:?} {other:?}");
                }
                assert!(both.is_within(one) && one.is_within(&either), "{one:?} {other:?}");
            }
        }
    }
}
