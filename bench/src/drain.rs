//! How fast a backlog goes out, beside plain posts of the same bodies to the same receivers.

use std::time::Duration;

use tests::{Cluster, Database, Sidecar};

use crate::post;
use crate::products::{UPDATE, database_with_products};
use crate::sink::{Sink, rate};
use crate::size::Size;
use crate::table::{Finding, Table, Target};

/// How long a drain may take.
pub const DEADLINE: Duration = Duration::from_secs(300);
/// The sidecar's default for one endpoint.
const CONCURRENCY: usize = 32;
const MANY: usize = 50;
/// Plain posts at once to all fifty: more make them no faster.
const CONCURRENCY_TO_MANY: usize = 256;
const HOW: &str = "The backlog is committed, then the sidecar starts; the rate is taken from the first request's arrival to the last's. To fifty: \
    each event has fifty subscribers, so there are a fiftieth as many events, and each delivery is signed on its own. (e) is plain reqwest \
    posts of similar bodies from a process of their own, before and after, the mean of both: 32 at once to the one receiver (as many as the \
    sidecar sends to one endpoint), 256 at once to fifty.";

/// Measures the drain to one endpoint and to fifty.
pub async fn measure(cluster: &Cluster, size: Size, table: &mut Table) {
    table.begin(5, "Drain of a backlog", HOW);
    for (endpoints, concurrency) in [(1, CONCURRENCY), (MANY, CONCURRENCY_TO_MANY)] {
        let events = size.backlog as usize / endpoints;
        let db = database_with_products(cluster, events as u32).await;
        let bodies: Vec<String> = db.all(SAMPLE).await;
        let bodies = bodies.iter().cycle().take(events * endpoints).cloned().collect::<Vec<_>>();
        let before = post::measure(&bodies, &Sink::start_many(endpoints).await, concurrency).await;
        let ours = drain(&db, events, endpoints).await;
        let after = post::measure(&bodies, &Sink::start_many(endpoints).await, concurrency).await;
        let plain = f64::midpoint(before, after);
        db.discard().await;
        table.add(Finding {
            what: format!("deliveries a second, {} to {endpoints} endpoint(s)", bodies.len()),
            ours: format!("{ours:.0}/s"),
            beside: "ulak 1,500/s, pg_net 200/s (theirs)".to_owned(),
            limit: format!("(e) plain posts {plain:.0}/s"),
            target: Target::at_least(ours / plain, 0.35, "≥ 0.35 of (e)"),
        });
    }
}

/// Makes that many events, a multiple of the products, and drains them; deliveries a second.
pub async fn drain(db: &Database<'_>, events: usize, endpoints: usize) -> f64 {
    db.run("DELETE FROM webhooks.endpoint").await;
    let sinks = Sink::start_many(endpoints).await;
    for sink in &sinks {
        db.register(&sink.url, "product.updated", "secret").await;
    }
    let products: i64 = db.one("SELECT count(*) FROM products").await;
    for _ in 0..events / products as usize {
        db.run(UPDATE).await;
    }
    // Or the checkpoint that this UPDATE makes due comes in the middle.
    db.run("CHECKPOINT").await;
    let sidecar = Sidecar::start(db);
    let rate = rate(&sinks, events * endpoints, DEADLINE).await;
    assert!(sidecar.terminate().await.success(), "the sidecar stops");
    rate
}

const SAMPLE: &str = r#"SELECT '{"event":"product.updated","timestamp":"2026-01-01T00:00:00Z","webhook_id":"wh_00000000000000000000000000","data":{"product_id":'
    || id || ',"sku":"' || sku || '","changes":{"price":{"old":49.99,"new":50.99}},"updated_by":"postgres"}}' FROM products"#;
