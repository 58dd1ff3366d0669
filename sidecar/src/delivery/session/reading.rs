//! What the extension returns of the log: the events of a chunk and of what is due, with their deliveries.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio_postgres::Row;

use super::{Lease, Parameters, count};
use crate::delivery::contract::{Answer, Call, Session, SessionError};
use crate::delivery::event::{Body, DELIVERY_BYTES, Delivery, Event, HeldBytes, PendingKey, Source};
use crate::delivery::queues::EndpointLimits;
use crate::delivery::readers::{Query, Row as OwnRow};
use crate::delivery::values::{RawText, Xid};
use webhooks_core::done_set::DoneSet;

/// A call of `webhooks.fetch`.
pub const FETCH: &str = "SELECT * FROM webhooks.fetch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";

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

/// How much one `fetch` may read.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    pub events: i32,
    pub bytes: i64,
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

/// Reads what a look is for; says whether something has been told of endpoints, too.
pub async fn fetch(
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

/// The row of `webhooks.cursor` that is an endpoint's own.
pub fn own_row(answer: &Answer<'_>, row: &Row) -> Result<OwnRow, SessionError> {
    Ok(OwnRow { moved: answer.get(row, "moved")?, done: Arc::new(done_set(answer, row)?) })
}

/// The done-set in the columns of a row of `webhooks.cursor`.
pub fn done_set(answer: &Answer<'_>, row: &Row) -> Result<DoneSet, SessionError> {
    let part = answer.get::<Option<Xid>>(row, "xid")?.zip(answer.get::<Option<i32>>(row, "seq")?);
    Ok(snapshot(answer, row)?.with_parts(part.map(|(xid, seq)| (xid.unsigned(), seq))))
}

fn snapshot(answer: &Answer<'_>, row: &Row) -> Result<DoneSet, SessionError> {
    let text: &str = answer.get(row, "done")?;
    text.parse().map_err(|invalid| answer.mismatch("done", invalid))
}

/// The rows as deliveries, those of an event side by side. A row without an event says only what the call has to say.
pub fn deliveries(
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
