//! From a commit to the receiver, at steady rates of small transactions.

use std::ops::Range;
use std::time::Duration;

use tests::{Cluster, Database, Sidecar};

use crate::load::{Pace, arrivals_of, commit_each, milliseconds};
use crate::products::{database_with_products, update_one};
use crate::quantiles::quantile;
use crate::sink::Sink;
use crate::size::Size;
use crate::table::{Finding, Table, Target};

const HOW: &str = "Single-row transactions at a steady rate (at 1,000 a second from 16 sessions, else from one). The time runs from sending \
    COMMIT, its flush included, to the first byte at the receiver; one process sees both. At 1 a second the sidecar sleeps in between. \
    (Of a dozen events, the p99 is the slowest.)";
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures at 1, 100 and 1,000 events a second.
pub async fn measure(cluster: &Cluster, size: Size, table: &mut Table) {
    table.begin(4, "COMMIT to first byte at the receiver", HOW);
    let seconds = size.latency_seconds;
    let db = database_with_products(cluster, 2 + seconds * 1_101).await;
    let sink = Sink::start().await;
    db.register(&sink.url, "product.updated", "secret").await;
    let sidecar = Sidecar::start(&db);
    // The first delivery opens connections and fills caches on both sides.
    db.run(&update_one(1)).await;
    sink.wait_for(1, PATIENCE).await;

    let mut next = 2;
    for (per_second, sessions) in [(1, 1), (100, 1), (1_000, 16)] {
        let keys = next..next + per_second * seconds;
        next = keys.end;
        let ms = at_rate(&db, &sink, keys, Pace { per_second, sessions }).await;
        let (p50, p99) = (quantile(&ms, 0.5), quantile(&ms, 0.99));
        for (name, figure, target) in
            [("median", p50, Target::at_most(p50, 2.0, "≤ 2 ms")), ("p99", p99, Target::at_most(p99, 15.0, "≤ 15 ms"))]
        {
            table.add(Finding {
                what: format!("COMMIT to first byte at {per_second}/s, {name}"),
                ours: format!("{figure:.2} ms"),
                beside: "a poller: 50–500 ms".to_owned(),
                limit: format!("a flush {:.2} ms", flush_ms(&db).await),
                target,
            });
        }
    }
    drop(sidecar);
    db.discard().await;
}

async fn at_rate(db: &Database<'_>, sink: &Sink, keys: Range<u32>, pace: Pace) -> Vec<f64> {
    let expected = sink.count() + keys.len();
    let commits = commit_each(db, keys.clone(), pace, update_one).await;
    sink.wait_for(expected, PATIENCE).await;
    let ms = milliseconds(&arrivals_of(&commits, &sink.arrivals()));
    assert_eq!(ms.len(), keys.len(), "each arrives");
    ms
}

/// The median time of a commit that writes and does nothing else.
async fn flush_ms(db: &Database<'_>) -> f64 {
    db.run("CREATE TABLE IF NOT EXISTS flushed (n integer)").await;
    let mut ms = Vec::new();
    for _ in 0..20 {
        let began = std::time::Instant::now();
        db.run("INSERT INTO flushed VALUES (1)").await;
        ms.push(began.elapsed().as_secs_f64() * 1e3);
    }
    quantile(&ms, 0.5)
}
