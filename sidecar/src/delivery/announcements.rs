//! What the process's log says of endpoints: when one begins to fail and when it recovers, never a line for an attempt.
//! Pure.

use std::collections::HashMap;
use std::mem::take;
use std::time::{Duration, Instant};

/// An endpoint that fails now and then is not announced again within this time.
const MIN_INTERVAL: Duration = Duration::from_secs(60);

/// What is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    pub endpoint: i32,
    pub change: Change,
}

/// What became of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its attempts fail, the first of them with this error.
    BeganToFail(String),
    /// An attempt succeeded, so long after the first that failed.
    Recovered(Duration),
}

/// Which endpoints have been announced as failing, and what is still to be said.
#[derive(Debug, Default)]
pub struct Announcements {
    announced: HashMap<i32, Announced>,
    unsaid: Vec<Announcement>,
}

#[derive(Clone, Copy, Debug)]
struct Announced {
    at: Instant,
    is_failing: bool,
}

impl Announcements {
    /// An attempt failed, through no fault of ours.
    pub fn failed(&mut self, endpoint: i32, error: impl FnOnce() -> String, now: Instant) {
        if let Some(before) = self.announced.get(&endpoint)
            && (before.is_failing || now < before.at + MIN_INTERVAL)
        {
            return;
        }
        self.announced.insert(endpoint, Announced { at: now, is_failing: true });
        self.unsaid.push(Announcement { endpoint, change: Change::BeganToFail(error()) });
    }

    /// An attempt succeeded.
    pub fn succeeded(&mut self, endpoint: i32, now: Instant) {
        let Some(before) = self.announced.get_mut(&endpoint) else { return };
        if before.is_failing {
            before.is_failing = false;
            self.unsaid.push(Announcement { endpoint, change: Change::Recovered(now - before.at) });
        } else if now >= before.at + MIN_INTERVAL {
            self.announced.remove(&endpoint);
        }
    }

    /// What is to be said now.
    pub fn take(&mut self) -> Vec<Announcement> {
        take(&mut self.unsaid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn began(endpoint: i32, error: &str) -> Announcement {
        Announcement { endpoint, change: Change::BeganToFail(error.to_owned()) }
    }

    #[test]
    fn the_first_failure_is_said_and_the_first_success_after_it() {
        let (mut announcements, now) = (Announcements::default(), Instant::now());
        announcements.succeeded(7, now);
        for error in ["HTTP 503", "Request timeout"] {
            announcements.failed(7, || error.to_owned(), now);
        }
        announcements.failed(8, || "HTTP 404".to_owned(), now);
        assert_eq!(announcements.take(), [began(7, "HTTP 503"), began(8, "HTTP 404")]);
        let after = Duration::from_secs(90);
        for _ in 0..2 {
            announcements.succeeded(7, now + after);
        }
        assert_eq!(announcements.take(), [Announcement { endpoint: 7, change: Change::Recovered(after) }]);
    }

    #[test]
    fn an_endpoint_that_fails_now_and_then_is_said_once_a_minute() {
        let (mut announcements, start) = (Announcements::default(), Instant::now());
        let mut lines = 0;
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            announcements.failed(7, || "HTTP 500".to_owned(), now);
            announcements.succeeded(7, now);
            lines += announcements.take().len();
        }
        assert_eq!(lines, 20, "ten times that it began to fail, and that it recovered");
    }
}
