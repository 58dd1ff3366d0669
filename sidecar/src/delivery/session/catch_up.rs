//! The session for what lies behind the front: the sweep, and what is pending.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::reading::{DueQuery, FETCH, Fetched, Look, deliveries, fetch};
use super::{LEAVE, Lease, Parameters};
use crate::delivery::contract::{Call, Session, SessionError};
use crate::delivery::event::{Delivery, Source};
use crate::delivery::values::{Timestamp, Xid};

/// The session for what lies behind the front.
pub struct CatchUpSession {
    pub(super) session: Session,
    pub(super) leave: Call,
    fetch: Call,
    fetch_due: Call,
    /// The server's clock minus this machine's, in microseconds.
    clock_ahead: i64,
}

impl CatchUpSession {
    pub(super) async fn prepare(session: Session) -> Result<Self, SessionError> {
        let clock = session.prepare("clock_timestamp", "SELECT pg_catalog.clock_timestamp() AS now").await?;
        let answer = session.call(&clock, &[]).await?;
        let server: Timestamp = answer.get(answer.first()?, "now")?;
        let clock_ahead = server.0 - Timestamp::local_now().0;
        let (leave, fetch, fetch_due) = tokio::try_join!(
            session.prepare("webhooks.leave", LEAVE),
            session.prepare("webhooks.fetch", FETCH),
            session
                .prepare("webhooks.fetch_due", "SELECT * FROM webhooks.fetch_due($1, $2, $3, $4, $5, $6, $7, $8, $9)"),
        )?;
        Ok(Self { session, leave, fetch, fetch_due, clock_ahead })
    }

    /// Reads what a look is for.
    pub async fn look(&self, look: Look, held_bytes: Arc<AtomicUsize>) -> Result<Fetched, SessionError> {
        Ok(fetch(&self.session, &self.fetch, &look, &held_bytes).await?.0)
    }

    /// Reads pending deliveries that are due; says in how long the next one is.
    pub async fn fetch_due(
        &self,
        lease: Lease,
        query: DueQuery,
        held_bytes: Arc<AtomicUsize>,
    ) -> Result<(Vec<Delivery>, Option<Duration>), SessionError> {
        let (endpoints, rooms): (Vec<i32>, Vec<i32>) = query.rooms.into_iter().unzip();
        let in_flight_endpoints: Vec<i32> = query.in_flight.iter().map(|key| key.0).collect();
        let in_flight_xids: Vec<Xid> = query.in_flight.iter().map(|key| key.1).collect();
        let in_flight_seqs: Vec<i32> = query.in_flight.iter().map(|key| key.2).collect();
        let parameters: Parameters = &[
            &lease.shard,
            &lease.id,
            &endpoints,
            &rooms,
            &query.room_for_others,
            &in_flight_endpoints,
            &in_flight_xids,
            &in_flight_seqs,
            &query.bytes,
        ];
        let answer = self.session.call(&self.fetch_due, parameters).await?;
        let next: Option<Timestamp> = answer.get(answer.first()?, "next_due_at")?;
        let wait = next
            // A delivery that somebody has put off for ever is due at infinity, the highest of all numbers.
            .map(|at| at.0.saturating_sub(self.clock_ahead).saturating_sub(Timestamp::local_now().0))
            .map(|micros| Duration::from_micros(micros.max(0).unsigned_abs()));
        Ok((deliveries(&answer, Source::Pending, &held_bytes)?, wait))
    }
}
