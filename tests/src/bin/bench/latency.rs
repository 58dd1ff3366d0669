//! From a commit to the receiver, at a steady rate of small transactions.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tests::{Cluster, Sidecar};

use crate::sink::Sink;
use crate::table::{Finding, Table, Target};
use crate::{Size, database_with_products, quantile};

/// Events a second.
const RATE: u32 = 100;

/// Measures the time from sending COMMIT to the first byte at the receiver.
pub async fn measure(cluster: &Cluster, size: Size, table: &mut Table) {
    let db = database_with_products(cluster, size.paced as i32).await;
    let sink = Sink::start().await;
    db.register(&sink.url, "product.updated", "secret").await;
    let _sidecar = Sidecar::start(&db);
    // The first delivery opens connections and fills caches on both sides.
    db.run("UPDATE products SET price = price + 1 WHERE id = 1").await;
    sink.wait_for(1, Duration::from_secs(30)).await;

    let mut committed = HashMap::new();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / RATE);
    for id in 2..=size.paced {
        pace.tick().await;
        db.run(&format!("BEGIN; UPDATE products SET price = price + 1 WHERE id = {id}")).await;
        committed.insert(format!("SKU-{id}"), Instant::now());
        db.run("COMMIT").await;
    }
    sink.wait_for(size.paced, Duration::from_secs(30)).await;
    let mut milliseconds: Vec<f64> = sink
        .arrivals()
        .iter()
        .filter_map(|(sku, at)| Some(at.duration_since(*committed.get(sku)?).as_secs_f64() * 1e3))
        .collect();
    assert_eq!(milliseconds.len(), size.paced - 1, "each arrives once");
    let (p50, p99) = (quantile(&mut milliseconds, 0.5), quantile(&mut milliseconds, 0.99));
    let how = "single-row transactions at a steady rate; from sending COMMIT, its flush included, to the first byte";
    for (what, figure, target) in [
        ("COMMIT to first byte at 100 events a second, median", p50, Target::at_most(p50, 2.0, "≤ 2 ms")),
        ("COMMIT to first byte at 100 events a second, p99", p99, Target::at_most(p99, 15.0, "≤ 15 ms")),
    ] {
        table.add(Finding {
            what,
            ours: format!("{figure:.2} ms"),
            beside: "a poller: its interval".to_owned(),
            target,
            how,
        });
    }
}
