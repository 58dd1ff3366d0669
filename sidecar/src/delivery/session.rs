//! The sessions with Postgres and the calls of `leases.sql`, `sidecar.sql` and `report.sql`. The `ReadSession` reads along
//! the front of the log and holds the sleeper's lock, and while it lasts the shard is its owner's. The `CatchUpSession`
//! reads what lies behind, so that no laggard holds the front up: for the sweep, and what is pending. The `WriteSession`
//! reports. Each call is one statement and one transaction: none is open during an HTTP request.

mod catch_up;
mod reading;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use postgres_types::ToSql;
use tokio::sync::mpsc;

pub use self::catch_up::CatchUpSession;
pub use self::reading::{DueQuery, Fetched, Look, ReadLimits};
use self::reading::{FETCH, done_set, fetch, own_row};
use super::announcements::{Announcement, Change};
pub use super::contract::SessionError;
use super::contract::{Call, Session};
use super::readers::{CursorRow, News, Row as OwnRow};
use super::results::Report;
use super::values::{RawText, Xid};
use super::wakeup::WaitLimits;
use crate::database::Database;
use webhooks_core::done_set::DoneSet;

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
    /// Where to begin: the row of the shard, and of endpoints that have one of their own.
    pub done: DoneSet,
    pub rows: Vec<(i32, OwnRow)>,
    /// What the call saw.
    pub seen: Arc<str>,
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

/// The sessions of a shard's owner.
pub struct Sessions {
    pub read: Arc<ReadSession>,
    pub catch_up: Arc<CatchUpSession>,
    pub write: Arc<WriteSession>,
    /// Tells of notifications, one or several at once; closes when the reading session is lost.
    pub notifications: mpsc::Receiver<()>,
}

impl Sessions {
    /// Opens them, listens and prepares.
    pub async fn open(database: &Database, sidecar: &str, lease: Duration) -> Result<Self, SessionError> {
        let (tell, notifications) = mpsc::channel(1);
        let (read, catch_up, write) = tokio::try_join!(
            Session::open(database, Some(tell), sidecar, lease),
            Session::open(database, None, sidecar, lease),
            Session::open(database, None, sidecar, lease),
        )?;
        let (read, catch_up, write) = tokio::try_join!(
            ReadSession::prepare(read),
            CatchUpSession::prepare(catch_up),
            WriteSession::prepare(write)
        )?;
        Ok(Self { read: Arc::new(read), catch_up: Arc::new(catch_up), write: Arc::new(write), notifications })
    }

    /// Leaves the shards to the others, as they are released.
    pub async fn leave(
        read: &ReadSession,
        catch_up: &CatchUpSession,
        write: &WriteSession,
        sidecar: &str,
    ) -> Result<(), SessionError> {
        let parameters: Parameters = &[&sidecar];
        tokio::try_join!(
            read.session.call(&read.leave, parameters),
            catch_up.session.call(&catch_up.leave, parameters),
            write.session.call(&write.leave, parameters),
        )?;
        Ok(())
    }
}

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
    news: Call,
    cursors: Call,
}

/// What `report` returned.
#[derive(Debug)]
pub struct Reported {
    /// The endpoints that it disabled.
    pub disabled: Vec<i32>,
    /// The rows that it wrote, by endpoint (0: the shard's), and their `moved`.
    pub written: HashMap<i32, Xid>,
}

impl ReadSession {
    async fn prepare(session: Session) -> Result<Self, SessionError> {
        session.run("LISTEN pg_webhooks").await?;
        let (leave, acquire, release, try_sleep, stop_sleeping, wait_for_commit, fetch, news, cursors) = tokio::try_join!(
            session.prepare("webhooks.leave", LEAVE),
            session.prepare("webhooks.acquire", "SELECT * FROM webhooks.acquire($1, $2, $3)"),
            session.prepare("webhooks.release", "SELECT webhooks.release($1, $2)"),
            session.prepare("webhooks.try_sleep", "SELECT webhooks.try_sleep() AS sleeps"),
            session.prepare("webhooks.stop_sleeping", "SELECT webhooks.stop_sleeping()"),
            session.prepare("webhooks.wait_for_commit", "SELECT webhooks.wait_for_commit($1, $2, $3)"),
            session.prepare("webhooks.fetch", FETCH),
            session.prepare("webhooks.news", "SELECT * FROM webhooks.news($1, $2, $3)"),
            session.prepare("webhooks.cursors", "SELECT * FROM webhooks.cursors($1)"),
        )?;
        Ok(Self { session, leave, acquire, release, try_sleep, stop_sleeping, wait_for_commit, fetch, news, cursors })
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
        let Some(row) = answer.rows.first() else { return Ok(None) };
        let shard: i32 = answer.get(row, "shard")?;
        let own = self.session.call(&self.cursors, &[&shard]).await?;
        let rows = own.rows.iter().map(|row| Ok((own.get(row, "endpoint")?, own_row(&own, row)?)));
        Ok(Some(AcquiredLease {
            lease: Lease { shard, id: answer.get(row, "lease_id")? },
            epoch: answer.get(row, "epoch")?,
            done: done_set(&answer, row)?,
            rows: rows.collect::<Result<_, SessionError>>()?,
            seen: answer.get::<&str>(row, "seen")?.into(),
            shards: count(answer.get(row, "shards")?),
        }))
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

    /// Waits, at the server, until a transaction has ended that `look` has not seen; then [looks](Self::look).
    pub async fn wait_and_look(
        &self,
        look: Look,
        held_bytes: Arc<AtomicUsize>,
        wait_limits: WaitLimits,
    ) -> Result<(Vec<News>, Fetched), SessionError> {
        let us = |duration: Duration| i32::try_from(duration.as_micros()).unwrap_or(i32::MAX);
        let seen = Arc::clone(&look.seen);
        let (least, most_us) = (us(wait_limits.least), us(wait_limits.most));
        let parameters: Parameters = &[&&*seen, &least, &most_us];
        let wait = self.session.call(&self.wait_for_commit, parameters);
        // Sent together: the server goes from the one to the other without a round trip.
        let (_, looked) = tokio::try_join!(wait, self.look(look, held_bytes))?;
        Ok(looked)
    }

    /// Reads what a look is for, and what has been told of endpoints since the one before.
    pub async fn look(&self, look: Look, held_bytes: Arc<AtomicUsize>) -> Result<(Vec<News>, Fetched), SessionError> {
        let (fetched, has_news) = fetch(&self.session, &self.fetch, &look, &held_bytes).await?;
        let news = if has_news { self.news(&look).await? } else { Vec::new() };
        Ok((news, fetched))
    }

    async fn news(&self, look: &Look) -> Result<Vec<News>, SessionError> {
        let parameters: Parameters = &[&look.lease.shard, &look.lease.id, &&*look.seen];
        let answer = self.session.call(&self.news, parameters).await?;
        let news = answer.rows.iter().map(|row| {
            Ok(News {
                endpoint: answer.get(row, "endpoint")?,
                is_active: answer.get(row, "active")?,
                moved: answer.get(row, "moved")?,
                done: match answer.get::<Option<&str>>(row, "done")? {
                    Some(_) => Some(done_set(&answer, row)?),
                    None => None,
                },
            })
        });
        news.collect()
    }
}

/// The writing session.
pub struct WriteSession {
    session: Session,
    leave: Call,
    report: Call,
    renew: Call,
    endpoint_labels: Call,
}

impl WriteSession {
    async fn prepare(session: Session) -> Result<Self, SessionError> {
        let (leave, report, renew, endpoint_labels) = tokio::try_join!(
            session.prepare("webhooks.leave", LEAVE),
            session.prepare("webhooks.report", "SELECT * FROM webhooks.report($1, $2, $3, $4, $5)"),
            session.prepare("webhooks.renew", "SELECT * FROM webhooks.renew($1, $2, $3)"),
            session.prepare("webhooks.endpoint_labels", "SELECT * FROM webhooks.endpoint_labels($1)"),
        )?;
        Ok(Self { session, leave, report, renew, endpoint_labels })
    }

    /// Commits results and the cursor.
    pub async fn report(&self, lease: Lease, report: &Report) -> Result<Reported, SessionError> {
        let rows: Vec<CursorRowValue> = report.rows.iter().map(CursorRowValue::from).collect();
        let parameters: Parameters = &[&lease.shard, &lease.id, &report.number, &rows, &report.results()];
        let answer = self.session.call(&self.report, parameters).await?;
        let row = answer.first()?;
        let (written, moved): (Vec<i32>, Vec<Xid>) = (answer.get(row, "written")?, answer.get(row, "moved")?);
        Ok(Reported { disabled: answer.get(row, "disabled")?, written: written.into_iter().zip(moved).collect() })
    }

    /// Says in the process's log what became of endpoints, by the names that people know.
    pub async fn announce(&self, said: &[Announcement], disabled: &[i32]) {
        let endpoints: Vec<i32> = said.iter().map(|said| said.endpoint).chain(disabled.iter().copied()).collect();
        if endpoints.is_empty() {
            return;
        }
        if let Err(error) = self.try_announce(&endpoints, said, disabled).await {
            tracing::warn!("what became of {} webhooks cannot be said: {error}", endpoints.len());
        }
    }

    async fn try_announce(&self, all: &[i32], said: &[Announcement], disabled: &[i32]) -> Result<(), SessionError> {
        let answer = self.session.call(&self.endpoint_labels, &[&all]).await?;
        for row in &answer.rows {
            let endpoint: i32 = answer.get(row, "endpoint")?;
            let (id, host): (&str, RawText) = (answer.get(row, "id")?, answer.get(row, "host")?);
            let label = format!("{id} ({})", host.legible());
            for said in said.iter().filter(|said| said.endpoint == endpoint) {
                match &said.change {
                    Change::BeganToFail(error) => tracing::warn!("{label} began to fail: {error}"),
                    Change::Recovered(after) => {
                        let after = humantime::format_duration(Duration::from_secs(after.as_secs()));
                        tracing::info!("{label} recovered after {after}");
                    }
                }
            }
            if disabled.contains(&endpoint) {
                let reason = answer.get::<Option<RawText>>(row, "disabled_reason")?.map(RawText::legible);
                let waiting: i64 = answer.get(row, "waiting")?;
                tracing::warn!("{label} was disabled: {}; {waiting} deliveries wait", reason.unwrap_or_default());
            }
        }
        Ok(())
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
}

/// The SQL type `webhooks.cursor_row`.
#[derive(Debug, ToSql)]
#[postgres(name = "cursor_row")]
struct CursorRowValue {
    endpoint: i32,
    done: Option<String>,
    xid: Option<Xid>,
    seq: Option<i32>,
    known: Option<Xid>,
}

impl From<&CursorRow> for CursorRowValue {
    fn from(row: &CursorRow) -> Self {
        let part = row.done.as_ref().and_then(|done| done.first_part());
        Self {
            endpoint: row.endpoint,
            done: row.done.as_ref().map(|done| done.snapshot()),
            xid: part.map(|(xid, _)| xid.into()),
            seq: part.map(|(_, seq)| seq),
            known: row.known,
        }
    }
}

fn count(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}

fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
