//! The lease keeper: renews the lease, leaves before a stop, and does the housekeeping, one call of the database at a
//! time.

use std::time::{Duration, Instant};

use super::Engine;
use crate::delivery::session::{RenewedLease, Sessions};

const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(300);

/// What a call of the lease keeper returned.
pub enum KeeperAnswer {
    Renewed(RenewedLease),
    Maintained,
    Left,
}

impl Engine<'_> {
    /// Leaves, renews the lease or does the housekeeping, whichever is due.
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
        } else if self.does_housekeeping() && self.maintain_at <= now && self.is_running() {
            self.maintain_at = now + MAINTENANCE_INTERVAL;
            self.keeping = Some(Box::pin(async move {
                session.maintain().await;
                Ok(KeeperAnswer::Maintained)
            }));
        }
        self.renew_at
    }

    /// One of all owners does the housekeeping: there always is a shard 0.
    fn does_housekeeping(&self) -> bool {
        self.state.lease.shard == 0
    }

    pub fn kept(&mut self, answer: KeeperAnswer, now: Instant) {
        let KeeperAnswer::Renewed(renewed) = answer else { return };
        self.state.renewed(renewed, self.shared.settings.prefetch as usize);
        if renewed.give_back && self.is_running() {
            self.give_back(now);
        }
    }
}
