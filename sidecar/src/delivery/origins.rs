//! The connections to each origin, counted by its requests: an origin has as many as it ever had requests under way at
//! once, until they have been idle for too long. Pure: the caller says what time it is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use url::Origin;

/// How long an idle connection is kept: less than the five seconds after which Node, and others like it, close one.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How long after an answer its connection may still be on its way back to the idle ones.
const RETURN_TIME: Duration = Duration::from_millis(5);

/// What is known of each origin with connections.
pub struct Origins {
    of: HashMap<Origin, Known>,
    /// How many connections may be kept alive in all.
    limit: usize,
    /// How many there may be now: the sum over the origins.
    connections: usize,
    counted_at: Instant,
}

#[derive(Default)]
struct Known {
    under_way: usize,
    /// The most requests under way at once, in this period and in this one and the one before.
    most_now: usize,
    connections: usize,
    answered_at: Option<Instant>,
    /// Where the latest answer came from.
    address: Option<IpAddr>,
}

impl Origins {
    /// Knows none. At most `limit` connections are to be kept alive.
    pub fn new(limit: usize, now: Instant) -> Self {
        Self { of: HashMap::new(), limit, connections: 0, counted_at: now }
    }

    /// Notes that a request begins; returns whether its connection may be kept alive afterwards.
    pub fn begin(&mut self, origin: &Origin, now: Instant) -> bool {
        if now >= self.counted_at + 2 * IDLE_TIMEOUT {
            self.count(now);
        }
        let free = self.limit.saturating_sub(self.connections);
        let known = self.of.get(origin).map_or((0, 0), |known| (known.under_way, known.connections));
        if known.0 == known.1 && free == 0 {
            return false;
        }
        let known = self.of.entry(origin.clone()).or_default();
        known.under_way += 1;
        known.most_now = known.most_now.max(known.under_way);
        if known.under_way > known.connections {
            known.connections += 1;
            self.connections += 1;
        }
        true
    }

    /// Notes that a request is over whose connection may be kept alive.
    pub fn end(&mut self, origin: &Origin) {
        if let Some(known) = self.of.get_mut(origin) {
            known.under_way = known.under_way.saturating_sub(1);
        }
    }

    /// Notes an answer from `address`.
    pub fn answered(&mut self, origin: &Origin, address: Option<IpAddr>, now: Instant) {
        if let Some(known) = self.of.get_mut(origin) {
            known.answered_at = Some(now);
            known.address = address;
        }
    }

    /// Where an origin with connections answered last.
    pub fn address(&self, origin: &Origin) -> Option<IpAddr> {
        self.of.get(origin)?.address
    }

    /// Whether a connection to the origin that an earlier request left open may have become idle after `dialled_at`.
    pub fn may_have_left_one(&self, origin: &Origin, dialled_at: Instant) -> bool {
        let answered_at = self.of.get(origin).and_then(|known| known.answered_at);
        answered_at.is_some_and(|answered_at| answered_at + RETURN_TIME > dialled_at)
    }

    /// Begins a period, and forgets connections that no request has needed since the beginning of the one before: they
    /// have been idle for too long.
    fn count(&mut self, now: Instant) {
        for known in self.of.values_mut() {
            known.connections = known.most_now;
            known.most_now = known.under_way;
        }
        self.of.retain(|_, known| known.connections > 0);
        self.connections = self.of.values().map(|known| known.connections).sum();
        self.counted_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::Url;

    fn origin(port: u16) -> Origin {
        Url::parse(&format!("http://127.0.0.1:{port}/")).expect("a URL").origin()
    }

    #[test]
    fn an_origin_keeps_as_many_connections_as_it_had_requests_under_way() {
        let now = Instant::now();
        let mut origins = Origins::new(100, now);
        assert!((0..50).all(|_| origins.begin(&origin(1), now)));
        (0..50).for_each(|_| origins.end(&origin(1)));
        assert!((0..50).all(|_| origins.begin(&origin(1), now)), "they use the same connections");
        assert_eq!(origins.connections, 50);
    }

    #[test]
    fn beyond_the_limit_no_connection_is_kept_and_idle_ones_are_used() {
        let now = Instant::now();
        let mut origins = Origins::new(2, now);
        assert!(origins.begin(&origin(1), now) && origins.begin(&origin(2), now));
        assert!(!origins.begin(&origin(1), now) && !origins.begin(&origin(3), now));
        origins.end(&origin(1));
        assert!(origins.begin(&origin(1), now), "its own connection is idle");
        assert!(!origins.begin(&origin(3), now), "an idle one of another origin still counts");
    }

    #[test]
    fn connections_that_were_idle_for_long_make_room_and_their_origins_are_forgotten() {
        let mut now = Instant::now();
        let mut origins = Origins::new(2, now);
        assert!(origins.begin(&origin(1), now) && origins.begin(&origin(2), now));
        origins.end(&origin(1));
        for _ in 0..2 {
            now += 2 * IDLE_TIMEOUT;
            origins.count(now);
        }
        assert_eq!((origins.of.len(), origins.connections), (1, 1), "one request is under way still");
        assert!(origins.begin(&origin(3), now));
    }

    #[test]
    fn an_answer_may_leave_a_connection_to_its_own_origin() {
        let now = Instant::now();
        let mut origins = Origins::new(2, now);
        origins.begin(&origin(1), now);
        assert!(!origins.may_have_left_one(&origin(1), now), "nothing was answered");
        origins.answered(&origin(1), None, now);
        assert!(origins.may_have_left_one(&origin(1), now) && !origins.may_have_left_one(&origin(2), now));
        assert!(!origins.may_have_left_one(&origin(1), now + RETURN_TIME));
    }
}
