//! What endpoints that hang do to those that answer.

use std::time::Duration;

use tests::{Cluster, Database, Sidecar};

use crate::chart::{Axis, Chart, Scale, Series};
use crate::load::{Pace, arrivals_of, commit_each, milliseconds};
use crate::quantiles::quantile;
use crate::sink::{Sink, wait_for};
use crate::size::Size;
use crate::table::{Finding, Table, Target};

const HEALTHY: u32 = 50;
const PACE: Pace = Pace { per_second: 500, sessions: 8 };
const HOW: &str = "500 transactions a second, each with one `webhooks.emit` of one of a hundred names in turn. Fifty names have an endpoint that \
    answers; the other fifty have one that takes requests and never answers, so that each times out after 5 s. The time runs from COMMIT to \
    the first byte at the endpoints that answer. Without: the fifty that hang are not registered, and all else is the same (so half of the \
    events have no subscriber). Each runs on a new database, the one without first.";

/// Measures without endpoints that hang, then with them.
pub async fn measure(cluster: &Cluster, size: Size, table: &mut Table) {
    table.begin(8, "50 healthy endpoints while 50 others hang", HOW);
    let without = run(cluster, size.hanging_seconds, 0).await;
    let with = run(cluster, size.hanging_seconds, HEALTHY).await;
    let (without_p99, with_p99) = (quantile(&without, 0.99), quantile(&with, 0.99));
    table.add(Finding {
        what: "p99 of 50 healthy endpoints, 50 others hanging".to_owned(),
        ours: format!("{with_p99:.1} ms"),
        beside: format!("without them {without_p99:.1} ms"),
        limit: format!("medians {:.1}, {:.1} ms", quantile(&with, 0.5), quantile(&without, 0.5)),
        target: Target::at_most(with_p99 / without_p99, 1.5, "≤ 1.5 ×"),
    });
    table.picture(
        "bulkheads.svg",
        "Share of deliveries to healthy endpoints that have arrived, by time",
        draw(&with, &without),
    );
}

/// Milliseconds of each delivery to a healthy endpoint.
async fn run(cluster: &Cluster, seconds: u32, hanging: u32) -> Vec<f64> {
    let db = cluster.database().await;
    db.set("request_timeout", "5s").await;
    let healthy_sinks = Sink::start_many(HEALTHY as usize).await;
    for (number, sink) in healthy_sinks.iter().enumerate() {
        db.register(&sink.url, &format!("bench.e{}", 2 * number), "secret").await;
    }
    let mut hanging_sinks = Vec::new();
    for number in 0..hanging {
        let sink = Sink::start_hanging().await;
        db.register(&sink.url, &format!("bench.e{}", 2 * number + 1), "secret").await;
        hanging_sinks.push(sink);
    }
    let sidecar = Sidecar::start(&db);
    warm_up(&db, &healthy_sinks).await;

    let keys = 1..1 + seconds * PACE.per_second;
    let answered = keys.clone().filter(|key| key % 2 == 0).count();
    let commits = commit_each(&db, keys, PACE, |key| emit(key, key)).await;
    wait_for(&healthy_sinks, HEALTHY as usize + answered, Duration::from_secs(60)).await;
    let arrived: Vec<_> = healthy_sinks.iter().flat_map(Sink::arrivals).collect();
    drop(sidecar);
    db.discard().await;
    milliseconds(&arrivals_of(&commits, &arrived))
}

/// An event for each healthy endpoint opens its connection.
async fn warm_up(db: &Database<'_>, healthy: &[Sink]) {
    for number in 0..HEALTHY {
        db.run(&emit(2 * number, 0)).await;
    }
    wait_for(healthy, HEALTHY as usize, Duration::from_secs(30)).await;
}

fn emit(name: u32, key: u32) -> String {
    format!(r#"SELECT webhooks.emit('bench.e{}', '{{"sku":"SKU-{key}"}}')"#, name % (2 * HEALTHY))
}

fn draw(with: &[f64], without: &[f64]) -> String {
    let line = |name, ms: &[f64]| Series {
        name,
        points: (0..=1_000).map(|part| f64::from(part) / 1_000.0).map(|share| (quantile(ms, share), share)).collect(),
    };
    let chart = Chart {
        title: "Share of deliveries to healthy endpoints that have arrived",
        across: Axis { label: "milliseconds from COMMIT to first byte", scale: Scale::Logarithmic },
        up: Axis { label: "share", scale: Scale::Linear },
        series: vec![line("50 others hang", with), line("without them", without)],
    };
    chart.to_svg()
}
