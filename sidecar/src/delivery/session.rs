//! The sessions with Postgres and the calls of `leases.sql`, `sidecar.sql` and `report.sql`. The `ReadSession` reads along
//! the front of the log and holds the sleeper's lock, and while it lasts the shard is its owner's. The `CatchUpSession`
//! reads what lies behind, so that no laggard holds the front up: for the sweep, and what is pending. The `WriteSession`
//! reports. Each call is one statement and one transaction: none is open during an HTTP request.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use postgres_types::ToSql;
use tokio::sync::mpsc;
use tokio_postgres::Row;

use super::announcements::{Announcement, Change};
pub use super::contract::SessionError;
use super::contract::{Answer, Call, Session};
use super::event::{Body, DELIVERY_BYTES, Delivery, Event, HeldBytes, PendingKey, Source};
use super::queues::EndpointLimits;
use super::readers::{CursorRow, News, Query, Row as OwnRow};
use super::results::Report;
use super::values::{RawText, Timestamp, Xid};
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
const FETCH: &str = "SELECT * FROM webhooks.fetch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";

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

/// What `fetch` returned.
#[derive(Debug)]
pub struct Fetched {
    pub deliveries: Vec<Delivery>,
    /// The done-set with what was read.
    pub done: DoneSet,
    /// Whether that is all that there was.
    pub is_complete: bool,
    /// How many events were read, those included that no active endpoint wants.
    pub events: usize,
    /// Endpoints for which nothing of it was read.
    pub left_out: Vec<i32>,
    /// What the call saw.
    pub seen: Arc<str>,
}

/// What `fetch_due` is asked.
#[derive(Debug)]
pub struct DueQuery {
    /// Endpoints, and how many more requests each may get.
    pub rooms: Vec<(i32, i32)>,
    pub room_for_others: i32,
    pub in_flight: Vec<PendingKey>,
    pub bytes: i64,
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

/// What `fetch` is asked.
#[derive(Debug)]
pub struct Look {
    pub lease: Lease,
    pub query: Query,
    /// What the front's last look saw.
    pub seen: Arc<str>,
    pub limits: ReadLimits,
}

async fn fetch(
    session: &Session,
    call: &Call,
    look: &Look,
    held_bytes: &Arc<AtomicUsize>,
) -> Result<(Fetched, bool), SessionError> {
    let Look { lease, query, seen, limits } = look;
    let (part_xids, part_seqs): (Vec<Xid>, Vec<i32>) =
        query.from.parts().map(|(xid, seq)| (Xid::from(xid), seq)).unzip();
    let (retaken, before): (Vec<i32>, Vec<Xid>) =
        query.retaken.iter().map(|&(endpoint, xid)| (endpoint, Xid::from(xid))).unzip();
    let done = query.from.snapshot();
    let parameters: Parameters = &[
        &lease.shard,
        &lease.id,
        &done,
        &part_xids,
        &part_seqs,
        &query.only,
        &query.except,
        &retaken,
        &before,
        &&**seen,
        &limits.events,
        &limits.bytes,
    ];
    let answer = session.call(call, parameters).await?;
    let row = answer.first()?;
    let part_xids: Vec<Xid> = answer.get(row, "part_xids")?;
    let part_seqs: Vec<i32> = answer.get(row, "part_seqs")?;
    let done = snapshot(&answer, row)?.with_parts(part_xids.into_iter().map(Xid::unsigned).zip(part_seqs));
    let fetched = Fetched {
        deliveries: deliveries(&answer, Source::Log(0), held_bytes)?,
        done,
        is_complete: answer.get(row, "is_complete")?,
        events: count(answer.get(row, "events_read")?),
        left_out: answer.get(row, "left_out")?,
        seen: answer.get::<&str>(row, "seen")?.into(),
    };
    Ok((fetched, answer.get(row, "has_news")?))
}

/// The session for what lies behind the front.
pub struct CatchUpSession {
    session: Session,
    leave: Call,
    fetch: Call,
    fetch_due: Call,
    /// The server's clock minus this machine's, in microseconds.
    clock_ahead: i64,
}

impl CatchUpSession {
    async fn prepare(session: Session) -> Result<Self, SessionError> {
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

/// How much one `fetch` may read.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    pub events: i32,
    pub bytes: i64,
}

fn own_row(answer: &Answer<'_>, row: &Row) -> Result<OwnRow, SessionError> {
    Ok(OwnRow { moved: answer.get(row, "moved")?, done: Arc::new(done_set(answer, row)?) })
}

/// The done-set in the columns of a row of `webhooks.cursor`.
fn done_set(answer: &Answer<'_>, row: &Row) -> Result<DoneSet, SessionError> {
    let part = answer.get::<Option<Xid>>(row, "xid")?.zip(answer.get::<Option<i32>>(row, "seq")?);
    Ok(snapshot(answer, row)?.with_parts(part.map(|(xid, seq)| (xid.unsigned(), seq))))
}

fn snapshot(answer: &Answer<'_>, row: &Row) -> Result<DoneSet, SessionError> {
    let text: &str = answer.get(row, "done")?;
    text.parse().map_err(|invalid| answer.mismatch("done", invalid))
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
        let max_in_flight: Vec<Option<i32>> = answer.get(row, "max_in_flight")?;
        let max_per_second: Vec<Option<f64>> = answer.get(row, "max_per_second")?;
        let timeouts_ms: Vec<Option<i32>> = answer.get(row, "timeout_ms")?;
        let options = max_in_flight.into_iter().zip(max_per_second).zip(timeouts_ms);
        let signatures = signatures.into_iter().zip(signatures_v1);
        let recipients = endpoints.into_iter().zip(urls).zip(retry_counts).zip(signatures).zip(options);
        for ((((endpoint, url), retry_count), (signature, signature_v1)), options) in recipients {
            let ((max_in_flight, max_per_second), timeout_ms) = options;
            deliveries.push(Delivery {
                event: Arc::clone(&event),
                endpoint,
                // A URL that is no text is none, and its attempts fail as another such do.
                url: str::from_utf8(url.0).unwrap_or_default().to_owned(),
                retry_count,
                signed_at,
                signature: signature.map(str::to_owned),
                signature_v1: signature_v1.map(str::to_owned),
                limits: EndpointLimits { in_flight: max_in_flight.map(count), per_second: max_per_second },
                timeout: timeout_ms.map(|ms| Duration::from_millis(ms.max(1).unsigned_abs().into())),
                source,
                _held: HeldBytes::new(DELIVERY_BYTES, held_bytes),
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
        key: answer.get(row, "key")?,
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
