//! The lease keeper: renews the lease, and leaves before a stop, one call of the database at a time.

use std::time::Instant;

use super::Engine;
use crate::delivery::session::{RenewedLease, Sessions};

/// What a call of the lease keeper returned.
pub enum KeeperAnswer {
    Renewed(RenewedLease),
    Left,
}

impl Engine<'_> {
    /// Leaves or renews the lease, whichever is due.
    pub fn advance_keeper(&mut self, now: Instant) -> Instant {
        let session = self.sessions.write.clone();
        if self.must_leave {
            self.must_leave = false;
            let (read, catch_up) = (self.sessions.read.clone(), self.sessions.catch_up.clone());
            let sidecar = self.shared.name.clone();
            let leave =
                async move { Sessions::leave(&read, &catch_up, &session, &sidecar).await.map(|()| KeeperAnswer::Left) };
            self.keeping = Some(Box::pin(leave));
        } else if self.renew_at <= now {
            self.renew_at = now + self.shared.settings.lease / 2;
            let (lease, duration) = (self.state.lease, self.shared.settings.lease);
            let renew = async move { session.renew(lease, duration).await.map(KeeperAnswer::Renewed) };
            self.keeping = Some(Box::pin(renew));
        }
        self.renew_at
    }

    pub fn kept(&mut self, answer: KeeperAnswer, now: Instant) {
        let KeeperAnswer::Renewed(renewed) = answer else { return };
        self.state.renewed(renewed, self.shared.settings.prefetch as usize);
        if renewed.give_back && self.is_running() {
            self.give_back(now);
        }
    }
}
