//! The two sessions with Postgres and the calls of `sql/leases.sql`, `sql/sidecar.sql` and `sql/report.sql`. The `ReadSession` reads and
//! holds the sleeper's lock, and while it lasts the shard is its owner's. The `WriteSession` reports, so that no commit
//! holds reading up. Each call is one statement and one transaction: none is open during an HTTP request.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_postgres::Row;

pub use super::contract::SessionError;
use super::contract::{Answer, Call, Session};
use super::event::{Body, Delivery, Event, PendingKey, Source};
use super::results::Report;
use super::values::{RawText, Timestamp, Xid};
use super::wakeup::WaitLimits;
use super::watermark::{Position, WindowPosition};
use crate::database::Database;

/// The right to deliver a shard's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub shard: i32,
    /// A random number: another one of the same shard is another lease.
    pub id: i64,
}

/// What `acquire` returns.
pub struct AcquiredLease {
    pub lease: Lease,
    /// How often the shard has been taken.
    pub epoch: i64,
    /// Where to begin.
    pub position: Position,
    /// How many shards there are.
    pub shards: usize,
}

/// What `renew` returns: what the database wants of the owner.
#[derive(Clone, Copy, Debug)]
pub struct RenewedLease {
    pub request_timeout: Duration,
    /// How many shards this process may hold.
    pub share: usize,
    /// Whether this shard is beyond the share.
    pub give_back: bool,
}

/// The two sessions of a shard's owner.
pub struct Sessions {
    pub read: Arc<ReadSession>,
    pub write: Arc<WriteSession>,
    /// Tells of notifications, one or several at once; closes when the reading session is lost.
    pub notifications: mpsc::Receiver<()>,
}

impl Sessions {
    /// Opens both, listens and prepares.
    pub async fn open(database: &Database, sidecar: &str, lease: Duration) -> Result<Self, SessionError> {
        let (tell, notifications) = mpsc::channel(1);
        let (read, write) = tokio::try_join!(
            Session::open(database, Some(tell), sidecar, lease),
            Session::open(database, None, sidecar, lease)
        )?;
        let (read, write) = tokio::try_join!(ReadSession::prepare(read), WriteSession::prepare(write))?;
        Ok(Self { read: Arc::new(read), write: Arc::new(write), notifications })
    }

    /// Leaves the shards to the others, as they are released.
    pub async fn leave(read: &ReadSession, write: &WriteSession, sidecar: &str) -> Result<(), SessionError> {
        let parameters: Parameters = &[&sidecar];
        tokio::try_join!(read.session.call(&read.leave, parameters), write.session.call(&write.leave, parameters))?;
        Ok(())
    }
}

/// What one `fetch_due` may return.
const MAX_DUE_BYTES: i64 = 4 << 20;

type Parameters<'a> = &'a [&'a (dyn postgres_types::ToSql + Sync)];

const LEAVE: &str = "SELECT webhooks.leave($1)";

/// The reading session.
pub struct ReadSession {
    session: Session,
    leave: Call,
    acquire: Call,
    release: Call,
    try_sleep: Call,
    stop_sleeping: Call,
    wait_for_commit: Call,
    fetch: Call,
    fetch_due: Call,
    /// The server's clock minus this machine's, in microseconds.
    clock_ahead: i64,
}

/// What `fetch` returned.
#[derive(Debug)]
pub struct Chunk {
    pub deliveries: Vec<Delivery>,
    pub window_to: Arc<str>,
    /// How many events were read, those included that no active endpoint wants.
    pub events: usize,
    /// The last event read, where the window holds more.
    pub stopped_at: Option<(Xid, i32)>,
}

/// What `fetch_due` is asked.
#[derive(Debug)]
pub struct DueQuery {
    /// Endpoints, and how many more requests each may get.
    pub rooms: Vec<(i32, i32)>,
    pub room_for_others: i32,
    pub in_flight: Vec<PendingKey>,
}

impl ReadSession {
    async fn prepare(session: Session) -> Result<Self, SessionError> {
        session.run("LISTEN pg_webhooks").await?;
        let clock = session.prepare("clock_timestamp", "SELECT pg_catalog.clock_timestamp() AS now").await?;
        let answer = session.call(&clock, &[]).await?;
        let server: Timestamp = answer.get(answer.first()?, "now")?;
        let clock_ahead = server.0 - Timestamp::local_now().0;
        let (leave, acquire, release, try_sleep, stop_sleeping, wait_for_commit, fetch, fetch_due) = tokio::try_join!(
            session.prepare("webhooks.leave", LEAVE),
            session.prepare("webhooks.acquire", "SELECT * FROM webhooks.acquire($1, $2, $3)"),
            session.prepare("webhooks.release", "SELECT webhooks.release($1, $2)"),
            session.prepare("webhooks.try_sleep", "SELECT webhooks.try_sleep() AS sleeps"),
            session.prepare("webhooks.stop_sleeping", "SELECT webhooks.stop_sleeping()"),
            session.prepare("webhooks.wait_for_commit", "SELECT webhooks.wait_for_commit($1, $2, $3)"),
            session.prepare("webhooks.fetch", "SELECT * FROM webhooks.fetch($1, $2, $3, $4, $5, $6, $7, $8)"),
            session
                .prepare("webhooks.fetch_due", "SELECT * FROM webhooks.fetch_due($1, $2, $3, $4, $5, $6, $7, $8, $9)"),
        )?;
        Ok(Self {
            session,
            leave,
            acquire,
            release,
            try_sleep,
            stop_sleeping,
            wait_for_commit,
            fetch,
            fetch_due,
            clock_ahead,
        })
    }

    /// The shard that `owner` has already, or one whose owner is gone; none while there is none for this process. Of a
    /// `known` lease the owner still holds all that it read; it goes on under it unless the server has crashed.
    pub async fn acquire(
        &self,
        owner: &str,
        duration: Duration,
        known: Option<Lease>,
    ) -> Result<Option<AcquiredLease>, SessionError> {
        let known = known.map(|lease| lease.id);
        let answer = self.session.call(&self.acquire, &[&owner, &milliseconds(duration), &known]).await?;
        answer.rows.first().map(|row| acquired_lease(&answer, row)).transpose()
    }

    /// Gives the shard back.
    pub async fn release(&self, lease: Lease) -> Result<(), SessionError> {
        self.session.call(&self.release, &[&lease.shard, &lease.id]).await?;
        Ok(())
    }

    /// Whether writers notify from now on.
    pub async fn try_sleep(&self) -> Result<bool, SessionError> {
        let answer = self.session.call(&self.try_sleep, &[]).await?;
        answer.get(answer.first()?, "sleeps")
    }

    /// Writers need not notify from now on.
    pub async fn stop_sleeping(&self) -> Result<(), SessionError> {
        self.session.call(&self.stop_sleeping, &[]).await?;
        Ok(())
    }

    /// Waits, at the server, until a transaction has ended that `from` does not know; then [fetches](Self::fetch).
    pub async fn wait_and_fetch(
        &self,
        lease: Lease,
        from: Position,
        read_limits: ReadLimits,
        held_bytes: Arc<AtomicUsize>,
        wait_limits: WaitLimits,
    ) -> Result<Chunk, SessionError> {
        let us = |duration: Duration| i32::try_from(duration.as_micros()).unwrap_or(i32::MAX);
        let seen = Arc::clone(&from.window_from);
        let (least, most_us) = (us(wait_limits.least), us(wait_limits.most));
        let parameters: Parameters = &[&&*seen, &least, &most_us];
        let wait = self.session.call(&self.wait_for_commit, parameters);
        // Sent together: the server goes from the one to the other without a round trip.
        let (_, chunk) = tokio::try_join!(wait, self.fetch(lease, from, read_limits, held_bytes))?;
        Ok(chunk)
    }

    /// Reads the events behind `from`.
    pub async fn fetch(
        &self,
        lease: Lease,
        from: Position,
        limits: ReadLimits,
        held_bytes: Arc<AtomicUsize>,
    ) -> Result<Chunk, SessionError> {
        let Position { window_from, window } = from;
        let window_to = window.as_ref().map(|window| &*window.window_to);
        let xid = window.as_ref().map(|window| window.xid);
        let seq = window.as_ref().map(|window| window.seq);
        let answer = self
            .session
            .call(
                &self.fetch,
                &[&lease.shard, &lease.id, &&*window_from, &window_to, &xid, &seq, &limits.events, &limits.bytes],
            )
            .await?;
        let row = answer.first()?;
        let stopped_xid: Option<Xid> = answer.get(row, "stopped_xid")?;
        Ok(Chunk {
            deliveries: deliveries(&answer, Source::Log(0), &held_bytes)?,
            window_to: answer.get::<&str>(row, "window_to")?.into(),
            events: count(answer.get(row, "events_read")?),
            stopped_at: stopped_xid.zip(answer.get(row, "stopped_seq")?),
        })
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
            &MAX_DUE_BYTES,
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

/// How much one `fetch` may read.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    pub events: i32,
    pub bytes: i64,
}

fn acquired_lease(answer: &Answer<'_>, row: &Row) -> Result<AcquiredLease, SessionError> {
    let window = match answer.get::<Option<&str>>(row, "window_to")? {
        None => None,
        Some(window_to) => Some(WindowPosition {
            window_to: window_to.into(),
            xid: answer.get::<Option<Xid>>(row, "xid")?.unwrap_or(Xid(0)),
            seq: answer.get::<Option<i32>>(row, "seq")?.unwrap_or(-1),
        }),
    };
    Ok(AcquiredLease {
        lease: Lease { shard: answer.get(row, "shard")?, id: answer.get(row, "lease_id")? },
        epoch: answer.get(row, "epoch")?,
        position: Position { window_from: answer.get::<&str>(row, "window_from")?.into(), window },
        shards: count(answer.get(row, "shards")?),
    })
}

/// The rows as deliveries, those of an event side by side. A row without an event says only what the call has to say.
fn deliveries(
    answer: &Answer<'_>,
    source: Source,
    held_bytes: &Arc<AtomicUsize>,
) -> Result<Vec<Delivery>, SessionError> {
    let mut deliveries = Vec::with_capacity(answer.rows.len());
    for row in &answer.rows {
        let Some(webhook_id) = answer.get::<Option<RawText>>(row, "webhook_id")? else { continue };
        let event = Arc::new(event(answer, row, webhook_id, held_bytes)?);
        let signed_at = answer.get(row, "signed_at")?;
        let endpoints: Vec<i32> = answer.get(row, "endpoints")?;
        let urls: Vec<RawText> = answer.get(row, "urls")?;
        let retry_counts: Vec<i32> = answer.get(row, "retry_counts")?;
        let signatures: Vec<Option<&str>> = answer.get(row, "signatures")?;
        let signatures_v1: Vec<Option<&str>> = answer.get(row, "signatures_v1")?;
        let recipients = endpoints.into_iter().zip(urls).zip(retry_counts).zip(signatures).zip(signatures_v1);
        for ((((endpoint, url), retry_count), signature), signature_v1) in recipients {
            deliveries.push(Delivery {
                event: Arc::clone(&event),
                endpoint,
                // A URL that is no text is none, and its attempts fail as another such do.
                url: str::from_utf8(url.0).unwrap_or_default().to_owned(),
                retry_count,
                signed_at,
                signature: signature.map(str::to_owned),
                signature_v1: signature_v1.map(str::to_owned),
                source,
            });
        }
    }
    Ok(deliveries)
}

/// The event of a row. One that is damaged is still reported, and nothing of it is sent.
fn event(
    answer: &Answer<'_>,
    row: &Row,
    webhook_id: RawText<'_>,
    held_bytes: &Arc<AtomicUsize>,
) -> Result<Event, SessionError> {
    let (name, body): (RawText, RawText) = (answer.get(row, "event")?, answer.get(row, "body")?);
    let parts = [("id", webhook_id), ("event's name", name), ("body", body)];
    let unreadable = parts.iter().find_map(|(part, text)| {
        let error = str::from_utf8(text.0).err()?;
        Some(format!("The message cannot be read: its {part} is not UTF-8 from byte {} on", error.valid_up_to()))
    });
    let damage = unreadable.map_or_else(|| answer.get(row, "damage"), |why| Ok(Some(why)))?;
    let webhook_id = webhook_id.legible();
    if let Some(why) = &damage {
        tracing::warn!(webhook_id, "a message is not sent: {why}");
    }
    Ok(Event {
        xid: answer.get(row, "xid")?,
        seq: answer.get(row, "seq")?,
        occurred_at: answer.get(row, "occurred_at")?,
        horizon: answer.get(row, "horizon")?,
        ended: answer.get(row, "ended")?,
        webhook_id,
        name: name.legible(),
        body: Body::new(if damage.is_none() { body.0 } else { b"" }, held_bytes),
        damage,
    })
}

/// The writing session.
pub struct WriteSession {
    session: Session,
    leave: Call,
    report: Call,
    renew: Call,
    maintain: Call,
}

impl WriteSession {
    async fn prepare(session: Session) -> Result<Self, SessionError> {
        let (leave, report, renew, maintain) = tokio::try_join!(
            session.prepare("webhooks.leave", LEAVE),
            session.prepare("webhooks.report", "SELECT webhooks.report($1, $2, $3, $4, $5, $6, $7) AS disabled"),
            session.prepare("webhooks.renew", "SELECT * FROM webhooks.renew($1, $2, $3)"),
            session.prepare("webhooks.maintain", "SELECT webhooks.maintain()"),
        )?;
        Ok(Self { session, leave, report, renew, maintain })
    }

    /// Commits results and the cursor; returns the endpoints that this disabled.
    pub async fn report(&self, lease: Lease, report: &Report) -> Result<Vec<i32>, SessionError> {
        let window_from = report.cursor.as_ref().map(|cursor| &*cursor.window_from);
        let window = report.cursor.as_ref().and_then(|cursor| cursor.window.as_ref());
        let window_to = window.map(|window| &*window.window_to);
        let (xid, seq) = (window.map(|window| window.xid), window.map(|window| window.seq));
        let parameters: Parameters = &[&lease.shard, &lease.id, &window_from, &window_to, &xid, &seq, &report.rows()];
        let answer = self.session.call(&self.report, parameters).await?;
        answer.get(answer.first()?, "disabled")
    }

    /// Extends the lease.
    pub async fn renew(&self, lease: Lease, duration: Duration) -> Result<RenewedLease, SessionError> {
        let answer = self.session.call(&self.renew, &[&lease.shard, &lease.id, &milliseconds(duration)]).await?;
        let row = answer.first()?;
        let request_timeout_ms: i64 = answer.get(row, "request_timeout_ms")?;
        Ok(RenewedLease {
            request_timeout: Duration::from_millis(request_timeout_ms.max(0).unsigned_abs()),
            share: count(answer.get(row, "share")?),
            give_back: answer.get(row, "give_back")?,
        })
    }

    /// Does the housekeeping. What goes wrong there is logged, and tried again the next time.
    pub async fn maintain(&self) {
        if let Err(error) = self.session.call(&self.maintain, &[]).await {
            tracing::warn!("housekeeping failed: {error}");
        }
    }
}

fn count(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}

fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
