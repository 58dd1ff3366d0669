//! One endpoint: where it stands, how far it has read, and what it holds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::{DoneSet, ReadSizes, Row};

/// An endpoint as a reader of the log.
#[derive(Debug)]
pub struct Reader {
    pub stand: Stand,
    /// How far it has read. At the front it is the front's, and this besides where it is `ahead`.
    pub position: Arc<DoneSet>,
    pub row: Option<Row>,
    pub row_at: Option<Instant>,
    pub chunks: VecDeque<Chunk>,
    /// Deliveries that were taken, and whose report is not acknowledged.
    pub held: usize,
    /// The number of the first query that knows the position.
    pub known_since: u64,
}

/// Where an endpoint stands.
#[derive(Debug)]
pub enum Stand {
    Front,
    /// A sweep has read to its end for it: the front's next look begins early enough to take it along.
    Near,
    Behind,
    /// Nothing is read for it until all that it holds is reported; then it begins anew there. None: it is disabled.
    Held(Option<Resume>),
}

/// Where an endpoint begins anew.
#[derive(Debug)]
pub struct Resume {
    pub done: Arc<DoneSet>,
    pub row: Option<Row>,
    pub retaken_before: u64,
}

/// What an endpoint has taken of one chunk.
#[derive(Debug)]
pub struct Chunk {
    pub number: u64,
    pub before: Arc<DoneSet>,
    pub taken_at: Instant,
    /// Deliveries whose result is in no report.
    pub open: usize,
}

impl Reader {
    /// Begins at a position, holding nothing.
    pub fn new(stand: Stand, position: Arc<DoneSet>, known_since: u64) -> Self {
        Self { stand, position, row: None, row_at: None, chunks: VecDeque::new(), held: 0, known_since }
    }

    /// Whether the database has a row of its own.
    pub fn has_row(&self) -> bool {
        self.row.is_some() || matches!(self.stand, Stand::Held(Some(Resume { row: Some(_), .. })))
    }

    /// Whether it can take so many deliveries.
    pub fn has_room(&self, deliveries: usize, sizes: ReadSizes) -> bool {
        self.held == 0 || self.held + deliveries <= sizes.held
    }
}
