//! Which connections are open, and which of them closes when there are too many: of the address that has most idle ones,
//! the one that has been idle longest. A connection is idle while no request of it is being served, so whoever opens many
//! and says nothing, or trickles what he says, closes his own and keeps nobody else out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;
use tokio::task::AbortHandle;

/// The open connections, by number.
#[derive(Default)]
pub struct Connections {
    open: Mutex<HashMap<u64, Open>>,
}

struct Open {
    peer: IpAddr,
    /// Since when it has been idle; `None` while a request is being served.
    idle_since: Option<Instant>,
    task: Option<AbortHandle>,
}

/// A connection until it is closed; requests carry it as an extension.
#[derive(Clone)]
pub struct Connection(Arc<Entry>);

struct Entry {
    number: u64,
    connections: Arc<Connections>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.connections.open().remove(&self.number);
    }
}

impl Connections {
    /// Adds a connection, idle.
    pub fn add(self: &Arc<Self>, number: u64, peer: IpAddr) -> Connection {
        let open = Open { peer: peer.to_canonical(), idle_since: Some(Instant::now()), task: None };
        self.open().insert(number, open);
        Connection(Arc::new(Entry { number, connections: Arc::clone(self) }))
    }

    /// Closes an idle connection, if there is one.
    pub fn evict(&self) {
        let mut open = self.open();
        let victim = victim(open.iter().filter_map(|(number, one)| Some((*number, one.peer, one.idle_since?))));
        if let Some(task) = victim.and_then(|number| open.remove(&number)).and_then(|one| one.task) {
            task.abort();
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.open.lock().expect("nobody panics under it")
    }
}

impl Connection {
    /// Names the task that serves it.
    pub fn served_by(&self, task: AbortHandle) {
        self.change(|open| open.task = Some(task));
    }

    /// A request is being served from now on; or, with `false`, its sender is waited for.
    pub fn set_busy(&self, is_busy: bool) {
        self.change(|open| open.idle_since = (!is_busy).then(Instant::now));
    }

    fn change(&self, change: impl FnOnce(&mut Open)) {
        self.0.connections.open().get_mut(&self.0.number).map(change);
    }
}

/// Returns which of the idle connections is to close.
fn victim(idle: impl Iterator<Item = (u64, IpAddr, Instant)>) -> Option<u64> {
    let mut by_peer: HashMap<IpAddr, (usize, Instant, u64)> = HashMap::new();
    for (number, peer, since) in idle {
        let (count, oldest, oldest_number) = by_peer.entry(peer).or_insert((0, since, number));
        *count += 1;
        if since < *oldest {
            (*oldest, *oldest_number) = (since, number);
        }
    }
    let crowd = by_peer.into_values().max_by(|(a, a_since, _), (b, b_since, _)| a.cmp(b).then(b_since.cmp(a_since)));
    crowd.map(|(_, _, number)| number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_oldest_idle_one_of_the_address_with_most_closes() {
        let start = Instant::now();
        let idle = |number: u64, peer: u8, second: u64| {
            (number, IpAddr::from([10, 0, 0, peer]), start + Duration::from_secs(second))
        };
        assert_eq!(victim([].into_iter()), None);
        assert_eq!(victim([idle(1, 1, 0), idle(2, 2, 5), idle(3, 2, 3)].into_iter()), Some(3));
        assert_eq!(victim([idle(1, 1, 1), idle(2, 2, 0)].into_iter()), Some(2));
    }
}
