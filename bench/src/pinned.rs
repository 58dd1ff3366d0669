//! A transaction that stays open pins xmin: nothing dead can be vacuumed. Queues that update and delete slow down; an
//! append-only log should not notice.

use std::time::{Duration, Instant};

use tests::{Cluster, Database, Sidecar};

use crate::chart::{Axis, Chart, Scale, Series, stack};
use crate::load::{Arrival, Pace, arrivals_of, commit_each};
use crate::outboxes::REMOVE_OURS;
use crate::products::{database_with_products, update_one};
use crate::quantiles::quantile;
use crate::queue::Queue;
use crate::sink::Sink;
use crate::size::Size;
use crate::table::{Finding, Table, Target};

const PACE: Pace = Pace { per_second: 800, sessions: 8 };
const HOW: &str = "800 single-row transactions a second, each of another product, while another transaction, which has written, holds its snapshot \
    from before the first to after the last. Deliveries a second, and the p99 from COMMIT to first byte, are those of the last fifth of the \
    time against the first fifth. \"Flat\" means ≤ 1.25 ×. COMMIT itself is the time until it is answered, its flush included: what both \
    curves have in common is the flush's. (d) runs afterwards, for a shorter time, under the same load: a worker that claims 100 rows with \
    FOR UPDATE SKIP LOCKED through a partial index, marks them, and deletes them; it sends nothing, and its latency ends at the claim.";
/// Makes the transaction a writer: the worse case, its number stays the oldest that runs, too.
const PIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ; UPDATE suppliers SET updated_at = now()";

/// What came in while xmin was pinned.
struct Run {
    start: Instant,
    seconds: u32,
    arrivals: Vec<Arrival>,
}

/// Measures ours, then (d).
pub async fn measure(cluster: &Cluster, size: Size, table: &mut Table) {
    table.begin(7, "Throughput and latency while a transaction pins xmin", HOW);
    let ours = ours(cluster, size.pinned_seconds).await;
    let queue = queue(cluster, size.pinned_queue_seconds).await;
    let [(ours_first, ours_last), (queue_first, queue_last)] =
        [ours.deliveries_a_second(), queue.deliveries_a_second()];
    table.add(Finding {
        what: format!("deliveries a second at 800/s, xmin pinned for {} s", ours.seconds),
        ours: format!("{ours_first:.0} → {ours_last:.0}/s"),
        beside: format!("(d) {queue_first:.0} → {queue_last:.0}/s in {} s", queue.seconds),
        limit: "800/s".to_owned(),
        target: Target::at_least(ours_last / ours_first, 0.98, "≥ 0.98"),
    });
    let [(ours_first, ours_last), (queue_first, queue_last)] = [&ours, &queue].map(|run| run.p99(|one| one.after_ms));
    let (commit_first, commit_last) = ours.p99(|one| one.commit_ms);
    table.add(Finding {
        what: "COMMIT to first byte meanwhile, p99".to_owned(),
        ours: format!("{ours_first:.1} → {ours_last:.1} ms"),
        beside: format!("(d) {queue_first:.1} → {queue_last:.1} ms"),
        limit: format!("COMMIT itself {commit_first:.1} → {commit_last:.1} ms"),
        target: Target::at_most(ours_last / ours_first, 1.25, "flat: ≤ 1.25 ×"),
    });
    table.picture("pinned.svg", "Deliveries a second and p99 over time under a pinned xmin", draw(&ours, &queue));
}

async fn ours(cluster: &Cluster, seconds: u32) -> Run {
    let keys = 2..2 + seconds * PACE.per_second;
    let db = database_with_products(cluster, keys.end).await;
    let sink = Sink::start().await;
    db.register(&sink.url, "product.updated", "secret").await;
    let sidecar = Sidecar::start(&db);
    db.run(&update_one(1)).await;
    sink.wait_for(1, Duration::from_secs(30)).await;
    let pin = pin(&db).await;
    let start = Instant::now();
    let commits = commit_each(&db, keys.clone(), PACE, update_one).await;
    sink.wait_for(keys.len() + 1, Duration::from_secs(60)).await;
    pin.close().await;
    drop(sidecar);
    db.discard().await;
    Run { start, seconds, arrivals: arrivals_of(&commits, &sink.arrivals()) }
}

async fn queue(cluster: &Cluster, seconds: u32) -> Run {
    let keys = 1..1 + seconds * PACE.per_second;
    let db = database_with_products(cluster, keys.end).await;
    db.run(REMOVE_OURS).await;
    let queue = Queue::start(&db).await;
    let pin = pin(&db).await;
    let start = Instant::now();
    let commits = commit_each(&db, keys, PACE, Queue::write).await;
    pin.close().await;
    let arrivals = arrivals_of(&commits, &queue.claimed());
    drop(queue);
    db.discard().await;
    Run { start, seconds, arrivals }
}

async fn pin(db: &Database<'_>) -> tests::Session {
    let session = db.session().await;
    session.run(PIN).await;
    session
}

impl Run {
    /// What arrived in the stretch from one share of the time to another.
    fn between(&self, from: f64, to: f64) -> Vec<Arrival> {
        let seconds = f64::from(self.seconds);
        let within = |at: Instant| {
            let at = at.saturating_duration_since(self.start).as_secs_f64();
            from * seconds <= at && at < to * seconds
        };
        self.arrivals.iter().filter(|arrival| within(arrival.at)).copied().collect()
    }

    /// In the first fifth, and in the last.
    fn deliveries_a_second(&self) -> (f64, f64) {
        let fifth = f64::from(self.seconds) / 5.0;
        let rate = |from, to| self.between(from, to).len() as f64 / fifth;
        (rate(0.0, 0.2), rate(0.8, 1.0))
    }

    /// In the first fifth, and in the last.
    fn p99(&self, ms: fn(&Arrival) -> f64) -> (f64, f64) {
        let p99 = |from, to| p99_of(&self.between(from, to), ms);
        (p99(0.0, 0.2), p99(0.8, 1.0))
    }

    /// A point for each of 60 stretches.
    fn line(&self, name: &'static str, value: impl Fn(&[Arrival], f64) -> f64) -> Series {
        let stretch = f64::from(self.seconds) / 60.0;
        let point = |place: i32| {
            let (from, to) = (f64::from(place) / 60.0, f64::from(place + 1) / 60.0);
            (f64::from(place) * stretch, value(&self.between(from, to), stretch))
        };
        Series { name, points: (0..60).map(point).collect() }
    }
}

fn p99_of(arrivals: &[Arrival], ms: fn(&Arrival) -> f64) -> f64 {
    quantile(&arrivals.iter().map(ms).collect::<Vec<_>>(), 0.99)
}

fn draw(ours: &Run, queue: &Run) -> String {
    let lines =
        |value: fn(&[Arrival], f64) -> f64| vec![ours.line("ours", value), queue.line("(d) SKIP LOCKED", value)];
    let mut p99_lines = lines(|arrivals, _| p99_of(arrivals, |one| one.after_ms));
    p99_lines.push(ours.line("ours: COMMIT itself", |arrivals, _| p99_of(arrivals, |one| one.commit_ms)));
    let throughput = Chart {
        title: "Deliveries a second at 800 events a second, xmin pinned",
        across: Axis { label: "seconds since xmin was pinned", scale: Scale::Linear },
        up: Axis { label: "deliveries a second", scale: Scale::Linear },
        series: lines(|arrivals, seconds| arrivals.len() as f64 / seconds),
    };
    let latency = Chart {
        title: "COMMIT to first byte, p99",
        across: Axis { label: "seconds since xmin was pinned", scale: Scale::Linear },
        up: Axis { label: "milliseconds", scale: Scale::Logarithmic },
        series: p99_lines,
    };
    stack(&[throughput, latency])
}
