//! Small transactions at a steady rate, from several sessions, and how long each took to arrive.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tests::Database;
use tokio::time::sleep_until;

/// The COMMIT of each key. Only those that succeeded.
pub type Commits = HashMap<u32, Commit>;

/// When a COMMIT was sent, and when the server had answered it.
#[derive(Clone, Copy)]
pub struct Commit {
    sent_at: Instant,
    answered_at: Instant,
}

/// How fast.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Transactions a second, of all sessions together.
    pub per_second: u32,
    /// Sessions that take turns, so that one that waits for its flush holds up nobody.
    pub sessions: u32,
}

/// Commits `statement(key)` for each key, each at its time; one that is late makes up for it. A session that loses its
/// server stops.
pub async fn commit_each(
    db: &Database<'_>,
    keys: Range<u32>,
    pace: Pace,
    statement: impl Fn(u32) -> String + Send + Sync + 'static,
) -> Commits {
    let statement = Arc::new(statement);
    let mut sessions = Vec::new();
    for _ in 0..pace.sessions {
        sessions.push(db.session().await);
    }
    let start = Instant::now();
    let writers = sessions.into_iter().zip(0..).map(|(session, turn)| {
        let (statement, first) = (statement.clone(), keys.start);
        let mine = keys.clone().skip(turn as usize).step_by(pace.sessions as usize);
        tokio::spawn(async move {
            let mut commits = Commits::new();
            for key in mine {
                let due = Duration::from_secs_f64(f64::from(key - first) / f64::from(pace.per_second));
                sleep_until((start + due).into()).await;
                if session.try_run(&format!("BEGIN; {}", statement(key))).await.is_err() {
                    break;
                }
                let sent_at = Instant::now();
                if session.try_run("COMMIT").await.is_err() {
                    break;
                }
                commits.insert(key, Commit { sent_at, answered_at: Instant::now() });
            }
            commits
        })
    });
    let mut commits = Commits::new();
    for writer in writers.collect::<Vec<_>>() {
        commits.extend(writer.await.expect("no writer panics"));
    }
    commits
}

/// When something arrived that was committed, and how many milliseconds that took.
#[derive(Clone, Copy)]
pub struct Arrival {
    /// When it arrived.
    pub at: Instant,
    /// From sending COMMIT, in milliseconds.
    pub after_ms: f64,
    /// Until the COMMIT was answered, its flush included.
    pub commit_ms: f64,
}

/// The first arrival of each committed key.
pub fn arrivals_of(commits: &Commits, arrived: &[(u32, Instant)]) -> Vec<Arrival> {
    let mut first: HashMap<u32, Instant> = HashMap::new();
    for (key, at) in arrived {
        let earliest = first.entry(*key).or_insert(*at);
        *earliest = (*earliest).min(*at);
    }
    let arrival = |(key, at): (u32, Instant)| {
        let Commit { sent_at, answered_at } = *commits.get(&key)?;
        let ms_until = |at: Instant| at.saturating_duration_since(sent_at).as_secs_f64() * 1e3;
        Some(Arrival { at, after_ms: ms_until(at), commit_ms: ms_until(answered_at) })
    };
    first.into_iter().filter_map(arrival).collect()
}

/// Only how long they took, in milliseconds.
pub fn milliseconds(arrivals: &[Arrival]) -> Vec<f64> {
    arrivals.iter().map(|arrival| arrival.after_ms).collect()
}
