//! What the dial of a request has met, as the resolver and the connector note it for the task that sends the request. A
//! dial that lost to an idle connection goes on in another task, and notes nothing.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

tokio::task_local! {
    static DIAL: Dial;
}

/// The notes on one request's dial; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Dial(Arc<Mutex<Notes>>);

#[derive(Debug, Default)]
struct Notes {
    address: Option<IpAddr>,
    addresses: Vec<IpAddr>,
    done_at: Option<Instant>,
}

impl Dial {
    /// Runs `request`, and notes what its dial meets.
    pub async fn watch<T>(&self, request: impl Future<Output = T>) -> T {
        DIAL.scope(self.clone(), request).await
    }

    /// Notes the address that a connection has.
    pub fn note_address(&self, address: Option<IpAddr>) {
        self.notes().address = address;
    }

    /// Where the receiver is, or may be.
    pub fn address(&self) -> Option<IpAddr> {
        self.notes().address
    }

    /// The addresses that were found for the name, in the order in which they are dialled; none where nothing was dialled.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.notes().addresses.clone()
    }

    /// When a connection was opened, or failed.
    pub fn done_at(&self) -> Option<Instant> {
        self.notes().done_at
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes the addresses that a name leads to.
pub fn note_addresses(addresses: &[IpAddr]) {
    let _ = DIAL.try_with(|dial| {
        let mut notes = dial.notes();
        notes.address = addresses.first().copied();
        notes.addresses = addresses.to_vec();
    });
}

/// Notes that a dial is done.
pub fn note_done() {
    let _ = DIAL.try_with(|dial| dial.notes().done_at = Some(Instant::now()));
}
