//! The two sessions with Postgres and the calls of `sql/leases.sql` and `sql/sidecar.sql`. `Main` holds the sleeper's lock
//! and reads, and while it lasts the shard is its owner's; `Reports` writes, so that a commit never holds reading up.
//! Each call is one statement and one transaction: none is open during an HTTP request.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row, Statement};

use super::event::{Body, Delivery, Event, PendingKey, RawText, Source, Timestamp};
use super::results::Report;
use super::wakeup::WaitLimits;
use super::watermark::{Inside, Position};
use crate::database::Database;

/// Why a call failed.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The lease is over: another sidecar has the shard, or the server has recovered from a crash.
    #[error("{0}")]
    Stale(String),
    /// Somebody has to do something about the database.
    #[error("{0}; is the extension pg_webhooks installed, and the role a member of webhooks_sidecar?")]
    Unusable(String),
    /// Anything else: try again.
    #[error("{0}")]
    Failed(String),
}

impl From<tokio_postgres::Error> for SessionError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(told) = error.as_db_error() else {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            let message = error.to_string();
            return Self::Failed(if message.contains(&cause) { message } else { message + &cause });
        };
        let message = told.message().to_owned();
        match told.code() {
            &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => Self::Stale(message),
            &SqlState::UNDEFINED_FUNCTION
            | &SqlState::INVALID_SCHEMA_NAME
            | &SqlState::UNDEFINED_TABLE
            | &SqlState::UNDEFINED_OBJECT
            | &SqlState::INSUFFICIENT_PRIVILEGE => Self::Unusable(message),
            code => Self::Failed(format!("{message} (SQLSTATE {})", code.code())),
        }
    }
}

/// The right to deliver a shard's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub shard: i32,
    /// A random number: another one of the same shard is another lease.
    pub id: i64,
}

/// What `acquire` grants.
pub struct Grant {
    pub lease: Lease,
    /// How often the shard has been taken.
    pub epoch: i64,
    /// Where to begin.
    pub position: Position,
    /// How many shards there are.
    pub shards: usize,
}

/// What the database wants of an owner, told at each renewal.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub request_timeout: Duration,
    /// How many shards this process may hold.
    pub share: usize,
    /// Whether this one is beyond it.
    pub give_back: bool,
}

/// Both sessions.
pub struct Sessions {
    pub main: Arc<Main>,
    pub reports: Arc<Reports>,
    /// One for each notification or several; closed when the main session is lost.
    pub notifications: mpsc::Receiver<()>,
}

impl Sessions {
    /// Opens both, listens, prepares, and joins as sessions of `sidecar`.
    pub async fn open(database: &Database, sidecar: &str) -> Result<Self, SessionError> {
        let (tell, notifications) = mpsc::channel(1);
        let (main, reports) = tokio::try_join!(database.connect(Some(tell)), database.connect(None))?;
        tokio::try_join!(join(&main, sidecar), join(&reports, sidecar))?;
        let (main, reports) = tokio::try_join!(Main::prepare(main), Reports::prepare(reports))?;
        Ok(Self { main: Arc::new(main), reports: Arc::new(reports), notifications })
    }

    /// Leaves the shards to the others, as they are released.
    pub async fn leave(main: &Main, reports: &Reports, sidecar: &str) -> Result<(), SessionError> {
        let leave = async |client: &Client| client.query_one("SELECT webhooks.leave($1)", &[&sidecar]).await;
        tokio::try_join!(leave(&main.client), leave(&reports.client))?;
        Ok(())
    }
}

async fn join(client: &Client, sidecar: &str) -> Result<(), SessionError> {
    // Where the database's default is another: serializable looks at the log would have writers' transactions fail.
    client.batch_execute("SET default_transaction_isolation = 'read committed'").await?;
    client.query_one("SELECT webhooks.join($1)", &[&sidecar]).await?;
    Ok(())
}

/// The reading session.
pub struct Main {
    client: Client,
    acquire: Statement,
    release: Statement,
    try_sleep: Statement,
    awake: Statement,
    wait_for_commit: Statement,
    fetch: Statement,
    fetch_due: Statement,
    /// The server's clock minus this machine's, in microseconds.
    clock_ahead: i64,
}

/// What `fetch` returned.
#[derive(Debug)]
pub struct Chunk {
    pub deliveries: Vec<Delivery>,
    pub window_to: Arc<str>,
    /// Events read, those included that no active endpoint wants.
    pub events: usize,
    /// The last event read, where the window holds more.
    pub stopped_at: Option<(i64, i32)>,
}

/// What `fetch_due` is asked.
#[derive(Debug)]
pub struct DueQuery {
    pub rooms: Vec<(i32, i32)>,
    pub room_elsewhere: i32,
    pub flying: Vec<PendingKey>,
}

impl Main {
    async fn prepare(client: Client) -> Result<Self, SessionError> {
        client.batch_execute("LISTEN pg_webhooks").await?;
        let server: Timestamp = client.query_one("SELECT clock_timestamp()", &[]).await?.get(0);
        let (acquire, release, try_sleep, awake, wait_for_commit, fetch, fetch_due) = tokio::try_join!(
            client.prepare("SELECT * FROM webhooks.acquire($1, $2, $3)"),
            client.prepare("SELECT webhooks.release($1, $2)"),
            client.prepare("SELECT webhooks.try_sleep()"),
            client.prepare("SELECT webhooks.stop_sleeping()"),
            client.prepare("SELECT webhooks.wait_for_commit($1, $2, $3)"),
            client.prepare("SELECT * FROM webhooks.fetch($1, $2, $3, $4, $5, $6, $7, $8)"),
            client.prepare("SELECT * FROM webhooks.fetch_due($1, $2, $3, $4, $5, $6, $7, $8)"),
        )?;
        let clock_ahead = server.0 - local_now();
        Ok(Self { client, acquire, release, try_sleep, awake, wait_for_commit, fetch, fetch_due, clock_ahead })
    }

    /// The shard that `owner` has already, or one whose owner is gone; none while there is none for this process. Of a
    /// `known` lease the owner still holds all that it read; it goes on under it unless the server has crashed.
    pub async fn acquire(
        &self,
        owner: &str,
        duration: Duration,
        known: Option<Lease>,
    ) -> Result<Option<Grant>, SessionError> {
        let known = known.map(|lease| lease.id);
        let row = self.client.query_opt(&self.acquire, &[&owner, &milliseconds(duration), &known]).await?;
        Ok(row.map(|row| {
            let window_to: Option<String> = row.get("window_to");
            let inside = window_to.map(|window_to| Inside {
                window_to: window_to.into(),
                xid: row.get::<_, Option<i64>>("xid").unwrap_or(0),
                seq: row.get::<_, Option<i32>>("seq").unwrap_or(-1),
            });
            Grant {
                lease: Lease { shard: row.get("shard"), id: row.get("lease_id") },
                epoch: row.get("epoch"),
                position: Position { window_from: row.get::<_, String>("window_from").into(), inside },
                shards: count(row.get("shards")),
            }
        }))
    }

    /// Gives the shard back.
    pub async fn release(&self, lease: Lease) -> Result<(), SessionError> {
        self.client.execute(&self.release, &[&lease.shard, &lease.id]).await?;
        Ok(())
    }

    /// Whether writers notify from now on.
    pub async fn try_sleep(&self) -> Result<bool, SessionError> {
        Ok(self.client.query_one(&self.try_sleep, &[]).await?.get(0))
    }

    /// Writers need not notify any more.
    pub async fn awake(&self) -> Result<(), SessionError> {
        self.client.execute(&self.awake, &[]).await?;
        Ok(())
    }

    /// Waits, at the server, until a transaction has ended that `from` does not know; then [fetches](Self::fetch).
    pub async fn watch(
        &self,
        lease: Lease,
        from: Position,
        most: Most,
        gauge: Arc<AtomicUsize>,
        limits: WaitLimits,
    ) -> Result<Chunk, SessionError> {
        let us = |duration: Duration| i32::try_from(duration.as_micros()).unwrap_or(i32::MAX);
        let seen = Arc::clone(&from.window_from);
        let wait = async {
            self.client.execute(&self.wait_for_commit, &[&&*seen, &us(limits.least), &us(limits.most)]).await?;
            Ok(())
        };
        // Sent together: the server goes from the one to the other without a round trip.
        let ((), chunk) = tokio::try_join!(wait, self.fetch(lease, from, most, gauge))?;
        Ok(chunk)
    }

    /// The events behind `from`.
    pub async fn fetch(
        &self,
        lease: Lease,
        from: Position,
        most: Most,
        gauge: Arc<AtomicUsize>,
    ) -> Result<Chunk, SessionError> {
        let Position { window_from, inside } = from;
        let window_to = inside.as_ref().map(|inside| &*inside.window_to);
        let xid = inside.as_ref().map(|inside| inside.xid);
        let seq = inside.as_ref().map(|inside| inside.seq);
        let rows = self
            .client
            .query(
                &self.fetch,
                &[&lease.shard, &lease.id, &&*window_from, &window_to, &xid, &seq, &most.events, &most.bytes],
            )
            .await?;
        let end = rows.last().filter(|row| row.get::<_, Option<&str>>(12).is_some());
        let end = end.ok_or_else(|| SessionError::Failed("webhooks.fetch did not say where it stopped".to_owned()))?;
        let stopped_at = end.get::<_, Option<i64>>(0).zip(end.get::<_, Option<i32>>(1));
        let window_to = end.get::<_, &str>(12).into();
        let events = end.get::<_, i32>(13).unsigned_abs() as usize;
        Ok(Chunk { deliveries: read(&rows, Source::Log(0), &gauge), window_to, events, stopped_at })
    }

    /// Pending deliveries that are due, and in how long the next one is.
    pub async fn fetch_due(
        &self,
        lease: Lease,
        query: DueQuery,
        gauge: Arc<AtomicUsize>,
    ) -> Result<(Vec<Delivery>, Option<Duration>), SessionError> {
        let (busy, room): (Vec<i32>, Vec<i32>) = query.rooms.into_iter().unzip();
        let endpoints: Vec<i32> = query.flying.iter().map(|key| key.0).collect();
        let xids: Vec<i64> = query.flying.iter().map(|key| key.1).collect();
        let seqs: Vec<i32> = query.flying.iter().map(|key| key.2).collect();
        let rows = self
            .client
            .query(
                &self.fetch_due,
                &[&lease.shard, &lease.id, &busy, &room, &query.room_elsewhere, &endpoints, &xids, &seqs],
            )
            .await?;
        let next: Option<Timestamp> = rows.last().and_then(|row| row.get(2));
        let wait = next
            .map(|at| at.0 - self.clock_ahead - local_now())
            .map(|micros| Duration::from_micros(micros.max(0).unsigned_abs()));
        Ok((read(&rows, Source::Pending, &gauge), wait))
    }
}

/// How much to read at once.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    pub events: i32,
    pub bytes: i64,
}

/// The rows as deliveries, without the last one, which is none. Neighbours of the same event share it.
fn read(rows: &[Row], source: Source, gauge: &Arc<AtomicUsize>) -> Vec<Delivery> {
    let mut deliveries: Vec<Delivery> = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(webhook_id) = row.get::<_, Option<RawText>>(3) else { continue };
        let (xid, seq) = (row.get(0), row.get(1));
        let event = match deliveries.last() {
            Some(last) if (last.event.xid, last.event.seq) == (xid, seq) => Arc::clone(&last.event),
            _ => Arc::new(event(row, webhook_id, gauge)),
        };
        deliveries.push(Delivery {
            event,
            endpoint: row.get(6),
            // A URL that is no text is none, and its attempts fail as another such do.
            url: str::from_utf8(row.get::<_, RawText>(7).0).unwrap_or_default().to_owned(),
            retry_count: row.get(8),
            signed_at: row.get(9),
            signature: row.get(10),
            signature_v1: row.get(11),
            source,
        });
    }
    deliveries
}

/// The event of a row. One that is no text in all its parts is still reported, and nothing of it is sent.
fn event(row: &Row, webhook_id: RawText, gauge: &Arc<AtomicUsize>) -> Event {
    let (name, body): (RawText, RawText) = (row.get(4), row.get(5));
    let parts = [("id", webhook_id), ("event's name", name), ("body", body)];
    let unreadable = parts.iter().find_map(|(part, text)| {
        let error = str::from_utf8(text.0).err()?;
        Some(format!("The message cannot be read: its {part} is not UTF-8 from byte {} on", error.valid_up_to()))
    });
    let event = Event {
        xid: row.get(0),
        seq: row.get(1),
        occurred_at: row.get(2),
        webhook_id: webhook_id.legible(),
        name: name.legible(),
        body: Body::new(if unreadable.is_none() { body.0 } else { b"" }, gauge),
        unreadable,
    };
    if let Some(why) = &event.unreadable {
        tracing::warn!(webhook_id = event.webhook_id, "a message is not sent: {why}");
    }
    event
}

/// The writing session.
pub struct Reports {
    client: Client,
    report: Statement,
    renew: Statement,
    maintain: Statement,
}

impl Reports {
    async fn prepare(client: Client) -> Result<Self, SessionError> {
        let (report, renew, maintain) = tokio::try_join!(
            client.prepare("SELECT webhooks.report($1, $2, $3, $4, $5, $6, $7)"),
            client.prepare("SELECT request_timeout_ms, share, give_back FROM webhooks.renew($1, $2, $3)"),
            client.prepare("SELECT webhooks.maintain()"),
        )?;
        Ok(Self { client, report, renew, maintain })
    }

    /// Commits results and the cursor; returns the endpoints that this disabled.
    pub async fn report(&self, lease: Lease, report: &Report) -> Result<Vec<i32>, SessionError> {
        let window_from = report.cursor.as_ref().map(|cursor| &*cursor.window_from);
        let inside = report.cursor.as_ref().and_then(|cursor| cursor.inside.as_ref());
        let window_to = inside.map(|inside| &*inside.window_to);
        let (xid, seq) = (inside.map(|inside| inside.xid), inside.map(|inside| inside.seq));
        let row = self
            .client
            .query_one(&self.report, &[&lease.shard, &lease.id, &window_from, &window_to, &xid, &seq, &report.rows()])
            .await?;
        Ok(row.get::<_, Option<Vec<i32>>>(0).unwrap_or_default())
    }

    /// Extends the lease.
    pub async fn renew(&self, lease: Lease, duration: Duration) -> Result<Terms, SessionError> {
        let row = self.client.query_one(&self.renew, &[&lease.shard, &lease.id, &milliseconds(duration)]).await?;
        let request_timeout = Duration::from_millis(row.get::<_, i64>(0).max(0).unsigned_abs());
        Ok(Terms { request_timeout, share: count(row.get(1)), give_back: row.get(2) })
    }

    /// Housekeeping. What goes wrong there is logged, and tried again the next time.
    pub async fn maintain(&self) {
        if let Err(error) = self.client.execute(&self.maintain, &[]).await.map_err(SessionError::from) {
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

/// This machine's clock as Postgres counts: microseconds since 2000.
fn local_now() -> i64 {
    const POSTGRES_EPOCH: Duration = Duration::from_secs(946_684_800);
    let since = SystemTime::now().duration_since(UNIX_EPOCH + POSTGRES_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
