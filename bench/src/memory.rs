//! The sidecar's memory does not grow with the backlog.

use std::time::{Duration, Instant};

use tests::{Cluster, Sidecar};

use crate::processes::peak_resident_mb;
use crate::products::{UPDATE, database_with_products};
use crate::sink::Sink;
use crate::size::Size;
use crate::table::{Finding, Table, Target};

const SMALL_BACKLOG: u32 = 10_000;
/// How long it drains.
const WATCHED: Duration = Duration::from_secs(12);
const HOW: &str = "A new sidecar drains the backlog to one endpoint for 12 s or to its end; the figure is the most that it had resident (VmHWM). \
    \"No growth\" means ≤ 1.10 ×. As a control, another one drains backlogs of 10,000, one after the other, until it has made as many \
    deliveries as the one with the deep backlog: what it has resident beyond the first of them comes with deliveries made, not with a backlog.";

/// What draining came to.
struct Drained {
    peak_mb: f64,
    deliveries: usize,
}

/// Measures with a backlog of 10,000, with a deep one, and with many of 10,000.
pub async fn measure(cluster: &Cluster, size: Size, table: &mut Table) {
    table.begin(10, "Resident memory of the sidecar", HOW);
    let small = drain(cluster, SMALL_BACKLOG, 1).await.peak_mb;
    let Drained { peak_mb: deep, deliveries } = drain(cluster, size.deep_backlog, 1).await;
    let repeated = drain(cluster, SMALL_BACKLOG, deliveries / SMALL_BACKLOG as usize).await;
    table.add(Finding {
        what: format!("resident memory, backlog {}", size.deep_backlog),
        ours: format!("{deep:.1} MB"),
        beside: format!("backlog {SMALL_BACKLOG}: {small:.1} MB"),
        limit: String::new(),
        target: Target::at_most(deep, 64.0, "≤ 64 MB"),
    });
    table.add(Finding {
        what: "its growth with the backlog".to_owned(),
        ours: format!("{:.2} ×", deep / small),
        beside: format!(
            "{} × the backlog; backlogs of {SMALL_BACKLOG}, {} deliveries: {:.2} ×",
            size.deep_backlog / SMALL_BACKLOG,
            repeated.deliveries,
            repeated.peak_mb / small
        ),
        limit: String::new(),
        target: Target::at_most(deep / small, 1.1, "none: ≤ 1.10 ×"),
    });
}

/// Drains as many backlogs, one after the other, by one sidecar.
async fn drain(cluster: &Cluster, backlog: u32, backlogs: usize) -> Drained {
    let db = database_with_products(cluster, SMALL_BACKLOG).await;
    let sink = Sink::start().await;
    db.register(&sink.url, "product.updated", "secret").await;
    let mut sidecar = None;
    for number in 1..=backlogs {
        for _ in 0..backlog / SMALL_BACKLOG {
            db.run(UPDATE).await;
        }
        sidecar.get_or_insert_with(|| Sidecar::start(&db));
        let began = Instant::now();
        while sink.count() < number * backlog as usize && began.elapsed() < WATCHED {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let deliveries = sink.count();
    assert!(deliveries >= SMALL_BACKLOG as usize, "it drains");
    let peak_mb = peak_resident_mb(sidecar.as_ref().expect("one backlog at least").pid());
    drop(sidecar);
    db.discard().await;
    Drained { peak_mb, deliveries }
}
