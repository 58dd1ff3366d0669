//! Whether anything costs more when the log is long.

use tests::{Cluster, Database};

use crate::capture::time;
use crate::drain::drain;
use crate::outboxes::{ADD_OURS, REMOVE_OURS};
use crate::products::{UPDATE, database_with_products, subscribe};
use crate::quantiles::median;
use crate::size::Size;
use crate::table::{Finding, Table, Target};

/// Times that each backlog is drained.
const DRAINS: usize = 2;
/// As many rounds as elsewhere, so many times over: each cost is the difference of two medians.
const MORE_ROUNDS: usize = 2;
const HOW: &str = "Three databases, two with an empty log, one with that many events of the day before. 1 and 2 run in each in turn, the drain of half \
    the backlog of 5 to one endpoint in the first and the last. The figures are medians of twice as many rounds as in 1 (drains: the faster of \
    two). Costs are above the bare UPDATE of the same database; with nobody subscribed it is the whole UPDATE. Nothing but chance \
    distinguishes the second empty log (\"another\") from the first.";

/// Seconds of each UPDATE in one of the databases, a value for each round.
#[derive(Default)]
struct Seconds {
    bare: Vec<f64>,
    silent: Vec<f64>,
    one: Vec<f64>,
    five: Vec<f64>,
}

/// Measures with an empty log, with another one, and with a long one.
pub async fn measure(cluster: &Cluster, size: Size, table: &mut Table) {
    table.begin(11, "Cost against the size of the log", HOW);
    let empty_db = async || database_with_products(cluster, size.rows).await;
    let dbs = [empty_db().await, empty_db().await, empty_db().await];
    fill(&dbs[2], size.grown_log).await;
    let mut seconds = <[Seconds; 3]>::default();
    for _ in 0..MORE_ROUNDS * size.rounds {
        for (db, seconds) in dbs.iter().zip(&mut seconds) {
            round(db, seconds).await;
        }
    }
    let of = |values: fn(&Seconds) -> &Vec<f64>| [0, 1, 2].map(|which| median(values(&seconds[which])));
    let (bare, silent, one, five) = (of(|s| &s.bare), of(|s| &s.silent), of(|s| &s.one), of(|s| &s.five));
    let row = 1e6 / f64::from(size.rows);
    let above_bare = |medians: [f64; 3]| [0, 1, 2].map(|which| medians[which] - bare[which]);
    for (what, [empty, another, full]) in [
        ("capture, one subscriber", above_bare(one)),
        ("an UPDATE, nobody subscribes", silent),
        ("capture, five subscribers", above_bare(five)),
    ] {
        table.add(Finding {
            what: format!("{what}, {} events in the log", size.grown_log),
            ours: format!("{:.2} µs a row", full * row),
            beside: format!("empty log {:.2} µs, another {:.2} µs", empty * row, another * row),
            limit: String::new(),
            target: Target::at_most(full / empty, 1.1, "≤ 1.10 ×"),
        });
    }

    let mut rates = [0.0_f64; 2];
    for _ in 0..DRAINS {
        for (db, rate) in [&dbs[0], &dbs[2]].into_iter().zip(&mut rates) {
            db.run("VACUUM products").await;
            *rate = rate.max(drain(db, size.backlog as usize / 2, 1).await);
        }
    }
    table.add(Finding {
        what: format!("drain, {} events in the log", size.grown_log),
        ours: format!("{:.0}/s", rates[1]),
        beside: format!("empty log {:.0}/s", rates[0]),
        limit: String::new(),
        target: Target::at_least(rates[1] / rates[0], 0.9, "≥ 0.90 ×"),
    });
    for db in dbs {
        db.discard().await;
    }
}

/// Puts events of the day before into the log, all of them before the cursor.
async fn fill(db: &Database<'_>, events: u32) {
    let partition: String = db
        .one("SELECT webhooks.create_partition('webhooks.event', (clock_timestamp() AT TIME ZONE 'UTC')::date - 1)::text")
        .await;
    db.run(&format!("ALTER TABLE {partition} SET (autovacuum_enabled = off)")).await;
    db.run(&format!(
        r#"INSERT INTO {partition} (occurred_at, xid, seq, ended, horizon, key, webhook_id, name, body, signature)
           SELECT (date_trunc('day', clock_timestamp() AT TIME ZONE 'UTC') - interval '12 h') AT TIME ZONE 'UTC', '3', n, 0, '3', n,
                  'wh_' || lpad(n::text, 26, '0'), 'product.updated',
                  '{{"event":"product.updated","timestamp":"2026-01-01T00:00:00Z","webhook_id":"wh_' || lpad(n::text, 26, '0')
                  || '","data":{{"product_id":' || n || ',"sku":"SKU-' || n
                  || '","changes":{{"price":{{"old":49.99,"new":50.99}}}},"updated_by":"postgres"}}}}',
                  sha256(n::text::bytea)
             FROM generate_series(1, {events}) n"#
    ))
    .await;
    db.run(&format!("ANALYZE {partition}")).await;
    let logged: i64 = db.one("SELECT count(*) FROM webhooks.event").await;
    assert_eq!(logged, i64::from(events));
}

async fn round(db: &Database<'_>, seconds: &mut Seconds) {
    subscribe(db, 0).await;
    db.run(REMOVE_OURS).await;
    seconds.bare.push(time(db, UPDATE).await);
    db.run(ADD_OURS).await;
    seconds.silent.push(time(db, UPDATE).await);
    subscribe(db, 1).await;
    seconds.one.push(time(db, UPDATE).await);
    subscribe(db, 5).await;
    seconds.five.push(time(db, UPDATE).await);
}
