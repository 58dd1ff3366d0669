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
const HOW: &str = "A new sidecar drains the backlog to one endpoint for 12 s or to its end; the most that it had resident (VmHWM). \
    \"No growth\" is taken as ≤ 1.10 ×.";

/// Measures with a backlog of 10,000 and with a deep one.
pub async fn measure(cluster: &Cluster, size: Size, table: &mut Table) {
    table.begin(10, "Resident memory of the sidecar", HOW);
    let small = peak(cluster, SMALL_BACKLOG).await;
    let deep = peak(cluster, size.deep_backlog).await;
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
        beside: format!("{} × the backlog", size.deep_backlog / SMALL_BACKLOG),
        limit: String::new(),
        target: Target::at_most(deep / small, 1.1, "none: ≤ 1.10 ×"),
    });
}

async fn peak(cluster: &Cluster, backlog: u32) -> f64 {
    let db = database_with_products(cluster, SMALL_BACKLOG).await;
    let sink = Sink::start().await;
    db.register(&sink.url, "product.updated", "secret").await;
    for _ in 0..backlog / SMALL_BACKLOG {
        db.run(UPDATE).await;
    }
    let sidecar = Sidecar::start(&db);
    let began = Instant::now();
    while sink.count() < backlog as usize && began.elapsed() < WATCHED {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(sink.count() >= SMALL_BACKLOG as usize, "it drains");
    let peak = peak_resident_mb(sidecar.pid());
    drop(sidecar);
    db.discard().await;
    peak
}
