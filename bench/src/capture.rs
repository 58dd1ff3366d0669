//! What the trigger costs a row: one UPDATE of all products, with and without it, in turns.

use std::time::Instant;

use tests::{Cluster, Database};

use crate::outboxes::*;
use crate::products::{UPDATE, database_with_products, subscribe};
use crate::quantiles::median;
use crate::size::Size;
use crate::table::{Finding, Table, Target};

const HOW: &str = "One UPDATE of all rows of `products`, in turn with no trigger; with ours and no, one and five subscribers; with (b) and (c); \
    and `INSERT … SELECT` of the event rows that ours made into a copy of the log with its index. A vacuum of `products` and a checkpoint \
    come before each; the figure is the median of the rounds. (b) is a row-level PL/pgSQL trigger that builds jsonb, signs with pgcrypto and \
    notifies; (c) is one in the manner of Hasura: uuid key, `row_to_json` of the old and the new row, three indexes, no signature.";

/// Seconds of each statement, a value for each round.
#[derive(Default)]
struct Seconds {
    bare: Vec<f64>,
    silent: Vec<f64>,
    one: Vec<f64>,
    five: Vec<f64>,
    copied: Vec<f64>,
    outbox: Vec<f64>,
    event_log: Vec<f64>,
}

/// Measures capture with no, one and five subscribers beside its alternatives.
pub async fn measure(cluster: &Cluster, size: Size, table: &mut Table) {
    let db = database_with_products(cluster, size.rows).await;
    db.run(OUTBOX).await;
    db.run(EVENT_LOG).await;
    db.run("CREATE TABLE copy (LIKE webhooks.event); CREATE INDEX ON copy (xid, seq)").await;
    let mut seconds = Seconds::default();
    for _ in 0..size.rounds {
        round(&db, &mut seconds).await;
    }
    db.discard().await;

    let microseconds = |seconds: &[f64]| median(seconds) * 1e6 / f64::from(size.rows);
    let bare = microseconds(&seconds.bare);
    let above_bare = |seconds: &[f64]| microseconds(seconds) - bare;
    let (silent, one, five) = (above_bare(&seconds.silent), above_bare(&seconds.one), above_bare(&seconds.five));
    let (outbox, event_log) = (above_bare(&seconds.outbox), above_bare(&seconds.event_log));
    let copied = microseconds(&seconds.copied);
    let finding = |what: &str, ours: f64, beside: String, target| Finding {
        what: what.to_owned(),
        ours: format!("{ours:.2} µs"),
        beside,
        limit: format!("INSERT … SELECT {copied:.2} µs"),
        target,
    };
    table.begin(1, "Capture cost a row, one subscriber, above the bare UPDATE", HOW);
    let beside = format!("bare UPDATE {bare:.2} µs");
    table.add(finding(
        "capture a row, against INSERT … SELECT",
        one,
        beside,
        Target::at_most(one / copied, 2.0, "≤ 2.0 ×"),
    ));
    let beside = format!("(c) Hasura's way {event_log:.2} µs");
    table.add(finding("capture a row, against (c)", one, beside, Target::at_most(one / event_log, 1.0 / 6.0, "≤ 1/6")));
    let beside = format!("(b) PL/pgSQL outbox {outbox:.2} µs");
    table.add(finding("capture a row, against (b)", one, beside, Target::at_most(one / outbox, 1.0 / 3.0, "≤ 1/3")));

    table.begin(2, "The same with no subscriber, and with five", "In the same rounds as 1.");
    let beside = format!("bare UPDATE {bare:.2} µs");
    table.add(finding("nobody subscribes", silent, beside, Target::at_most(silent / bare, 0.03, "≤ 0.03 of bare")));
    let beside = format!("one subscriber {one:.2} µs");
    table.add(finding("five subscribers", five, beside, Target::at_most(five / one, 1.5, "≤ 1.5 ×")));
}

async fn round(db: &Database<'_>, seconds: &mut Seconds) {
    db.run(REMOVE_OURS).await;
    seconds.bare.push(time(db, UPDATE).await);
    db.run(ADD_OUTBOX).await;
    seconds.outbox.push(time(db, UPDATE).await);
    db.run(REMOVE_OUTBOX).await;
    db.run(ADD_EVENT_LOG).await;
    seconds.event_log.push(time(db, UPDATE).await);
    db.run(REMOVE_EVENT_LOG).await;
    db.run(ADD_OURS).await;
    subscribe(db, 0).await;
    seconds.silent.push(time(db, UPDATE).await);
    subscribe(db, 5).await;
    seconds.five.push(time(db, UPDATE).await);
    db.run("TRUNCATE webhooks.event").await;
    subscribe(db, 1).await;
    seconds.one.push(time(db, UPDATE).await);
    seconds.copied.push(time(db, "INSERT INTO copy SELECT * FROM webhooks.event").await);
    db.run("TRUNCATE webhooks.event, copy").await;
}

/// Seconds that a statement takes, after a vacuum and a checkpoint.
pub async fn time(db: &Database<'_>, statement: &str) -> f64 {
    db.run("VACUUM products").await;
    db.run("CHECKPOINT").await;
    let began = Instant::now();
    db.run(statement).await;
    began.elapsed().as_secs_f64()
}
