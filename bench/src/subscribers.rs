//! What a writer pays for subscribers.

use tests::{Cluster, Database};

use crate::capture::time;
use crate::outboxes::{ADD_OURS, REMOVE_OURS};
use crate::products::{UPDATE, database_with_products, subscribe};
use crate::quantiles::median;
use crate::size::Size;
use crate::table::{Finding, Table, Target};

const SUBSCRIBERS: [u32; 4] = [1, 100, 1_000, 10_000];
const HOW: &str = "As in 1, with that many endpoints that subscribe to the event. The log's bytes are those of its table and index over the rows.";

/// What one number of subscribers costs.
#[derive(Default)]
struct Costs {
    seconds: Vec<f64>,
    log_bytes: i64,
}

/// Measures capture and the log with one to ten thousand subscribers.
pub async fn measure(cluster: &Cluster, size: Size, table: &mut Table) {
    table.begin(14, "Capture cost and bytes of log a row against the number of subscribers", HOW);
    let db = database_with_products(cluster, size.rows).await;
    let mut bare = Vec::new();
    let mut costs = <[Costs; SUBSCRIBERS.len()]>::default();
    for _ in 0..size.rounds {
        db.run(REMOVE_OURS).await;
        bare.push(time(&db, UPDATE).await);
        db.run(ADD_OURS).await;
        for (count, costs) in SUBSCRIBERS.into_iter().zip(&mut costs) {
            round(&db, count, costs).await;
        }
    }
    db.discard().await;

    let row = |seconds: f64| seconds * 1e6 / f64::from(size.rows);
    let bare = median(&bare);
    let cost = |costs: &Costs| row(median(&costs.seconds) - bare);
    let bytes = |costs: &Costs| costs.log_bytes as f64 / f64::from(size.rows);
    for (count, of) in SUBSCRIBERS.into_iter().zip(&costs).skip(1) {
        let target = |figure: f64| if count == 10_000 { Target::at_most(figure, 1.1, "≤ 1.10 ×") } else { None };
        table.add(Finding {
            what: format!("capture a row, {count} subscribers"),
            ours: format!("{:.2} µs", cost(of)),
            beside: format!("one {:.2} µs", cost(&costs[0])),
            limit: format!("bare UPDATE {:.2} µs", row(bare)),
            target: target(cost(of) / cost(&costs[0])),
        });
        table.add(Finding {
            what: format!("bytes of log a row, {count} subscribers"),
            ours: format!("{:.0}", bytes(of)),
            beside: format!("one {:.0}", bytes(&costs[0])),
            limit: String::new(),
            target: target(bytes(of) / bytes(&costs[0])),
        });
    }
}

async fn round(db: &Database<'_>, subscribers: u32, costs: &mut Costs) {
    subscribe(db, subscribers).await;
    costs.seconds.push(time(db, UPDATE).await);
    let size = "SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits WHERE inhparent = 'webhooks.event'::regclass";
    costs.log_bytes = db.one(size).await;
    db.run("TRUNCATE webhooks.event").await;
}
