//! Many sidecars that share many shards: how fast they drain a backlog together, and what happens when one is killed.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tests::{Cluster, Database, Sidecar, eventually};

use crate::drain::DEADLINE;
use crate::load::{Commits, Pace, commit_each};
use crate::processes::{cpu_seconds, cpu_seconds_with_children};
use crate::products::{UPDATE, database_with_products, update_one};
use crate::quantiles::worst;
use crate::sink::{Sink, rate, wait_for};
use crate::size::Size;
use crate::table::{Finding, Table, Target};

const SHARDS: usize = 8;
const ENDPOINTS: usize = 64;
const PACE: Pace = Pace { per_second: 50, sessions: 2 };
/// Seconds of load around each kill.
const AROUND: u32 = 4;
/// Half of it is the longest that a new sidecar waits for its share.
const LEASE: (&str, &str) = ("PG_WEBHOOKS_LEASE", "1s");
const PATIENCE: Duration = Duration::from_secs(30);
const HOW: &str = "64 endpoints, each of which gets each event. Drain: the sidecars run and each has its share of the shards; then one UPDATE commits \
    the whole backlog, and the rate is taken from the first request's arrival to the last's. Sidecars, Postgres, receivers and the benchmark \
    share the cores of this one machine, so the rate cannot grow with the sidecars here; what sharing costs is in the processor time that \
    1,000 deliveries take, of all sidecars and of Postgres. Killed: 50 transactions a second, four sidecars with two shards each, `kill -9` \
    of one. The time runs until each of its shards has delivered again: the slower one, and the slowest of the kills, counts; then a new \
    sidecar is started and gets its share. Lost: a delivery of a committed event that never arrived.";

/// Measures drains by one, two and four sidecars, then the kills.
pub async fn measure(cluster: &Cluster, size: Size, table: &mut Table) {
    table.begin(13, "Many sidecars", HOW);
    let events = size.sharded_backlog as usize / ENDPOINTS;
    for (sidecars, shards) in [(1, 1), (1, SHARDS), (2, SHARDS), (4, SHARDS)] {
        let Drain { per_second, sidecars_ms, postgres_ms } = drain(cluster, events, shards, sidecars).await;
        table.add(Finding {
            what: format!("deliveries a second, {} by {sidecars} sidecar(s), {shards} shard(s)", events * ENDPOINTS),
            ours: format!("{per_second:.0}/s"),
            beside: format!("CPU of 1,000: sidecars {sidecars_ms:.0}, Postgres {postgres_ms:.0} ms"),
            limit: String::new(),
            target: None,
        });
    }
    kill(cluster, size.kills, table).await;
}

/// What came of a drain.
struct Drain {
    per_second: f64,
    /// Of all sidecars, for a thousand deliveries.
    sidecars_ms: f64,
    /// The same of Postgres, with the capture of the events.
    postgres_ms: f64,
}

async fn drain(cluster: &Cluster, events: usize, shards: usize, sidecars: usize) -> Drain {
    let db = database_with_products(cluster, events as u32).await;
    let sinks = subscribe_many(&db, shards).await;
    let running: Vec<Sidecar> = (0..sidecars).map(|_| Sidecar::start_with(&db, &[LEASE])).collect();
    until_shared(&db, shards, sidecars).await;
    db.run("CHECKPOINT").await;
    let used = || {
        let sidecars: f64 = running.iter().map(|sidecar| cpu_seconds(sidecar.pid())).sum();
        [sidecars, cpu_seconds_with_children(cluster.pid())]
    };
    let before = used();
    db.run(UPDATE).await;
    let per_second = rate(&sinks, events * ENDPOINTS, DEADLINE).await;
    let after = used();
    drop(running);
    db.discard().await;
    let [sidecars_ms, postgres_ms] = [0, 1].map(|of| (after[of] - before[of]) * 1e6 / (events * ENDPOINTS) as f64);
    Drain { per_second, sidecars_ms, postgres_ms }
}

async fn kill(cluster: &Cluster, kills: usize, table: &mut Table) {
    const SIDECARS: usize = 4;
    let keys = 1..1 + PACE.per_second * AROUND * kills as u32;
    let db = database_with_products(cluster, keys.end).await;
    let sinks = subscribe_many(&db, SHARDS).await;
    let mut running: Vec<Sidecar> = (0..SIDECARS).map(|_| Sidecar::start_with(&db, &[LEASE])).collect();
    until_shared(&db, SHARDS, SIDECARS).await;
    let mut seconds = Vec::new();
    let one_after_another = async {
        wait_for(&sinks, ENDPOINTS, PATIENCE).await;
        for _ in 0..kills {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let killed = running.remove(0);
            let orphans = shards_of(&db, &killed).await;
            let at = Instant::now();
            killed.kill9();
            // What it sent last is with the receivers by then.
            let quiet = Instant::now() + Duration::from_millis(20);
            for shard in orphans {
                let delivered = async || {
                    let of_shard = sinks.iter().skip(shard).step_by(SHARDS);
                    of_shard.flat_map(Sink::arrivals).map(|(_, at)| at).filter(|at| *at > quiet).min()
                };
                let delivered = eventually(PATIENCE, "a shard of the killed one delivers again", delivered).await;
                seconds.push((delivered - at).as_secs_f64());
            }
            running.push(Sidecar::start_with(&db, &[LEASE]));
            until_shared(&db, SHARDS, SIDECARS).await;
        }
    };
    let (commits, ()) = tokio::join!(commit_each(&db, keys, PACE, update_one), one_after_another);
    let (lost, repeated) = settle(&sinks, &commits).await;
    drop(running);
    db.discard().await;

    table.add(Finding {
        what: "one of four killed: its shards deliver again".to_owned(),
        ours: format!("{:.2} s", worst(&seconds)),
        beside: format!("{repeated} sent twice"),
        limit: String::new(),
        target: None,
    });
    table.add(Finding {
        what: "lost".to_owned(),
        ours: lost.to_string(),
        beside: format!("{kills} killed"),
        limit: format!("{} deliveries", commits.len() * ENDPOINTS),
        target: Target::none(lost),
    });
}

/// Sets the shards and registers the endpoints: the one at place `n` is delivered by shard `n % SHARDS`.
async fn subscribe_many(db: &Database<'_>, shards: usize) -> Vec<Sink> {
    db.run(&format!("SELECT webhooks.set_shards({shards})")).await;
    // The first key is 1.
    let mut sinks = Sink::start_many(ENDPOINTS).await;
    for sink in &sinks {
        db.register(&sink.url, "product.updated", "secret").await;
    }
    sinks.rotate_right(1);
    sinks
}

/// Waits until each sidecar has its share.
async fn until_shared(db: &Database<'_>, shards: usize, sidecars: usize) {
    let share = (shards / sidecars) as i64;
    let shares =
        "SELECT count(*) FROM webhooks.lease WHERE owner IS NOT NULL GROUP BY regexp_replace(owner, '/.*', '')";
    eventually(PATIENCE, "each sidecar has its share", async || {
        (db.all::<i64>(shares).await == vec![share; sidecars]).then_some(())
    })
    .await;
}

/// The shards of a sidecar, whose process id is part of its name.
async fn shards_of(db: &Database<'_>, sidecar: &Sidecar) -> Vec<usize> {
    let shards = format!("SELECT shard FROM webhooks.lease WHERE owner LIKE '%-{}-%/%'", sidecar.pid());
    db.all::<i32>(&shards).await.into_iter().map(|shard| shard as usize).collect()
}

/// Waits until all has arrived everywhere, or did not for as long as a retry takes; how many are lost, how many came again.
async fn settle(sinks: &[Sink], commits: &Commits) -> (usize, usize) {
    let arrived = |sink: &Sink| sink.arrivals().into_iter().map(|(key, _)| key).collect::<HashSet<u32>>();
    let missing = || {
        let missing = |sink| commits.len() - arrived(sink).iter().filter(|key| commits.contains_key(key)).count();
        sinks.iter().map(missing).sum::<usize>()
    };
    let began = Instant::now();
    while missing() > 0 && began.elapsed() < Duration::from_secs(90) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let repeated = sinks.iter().map(|sink| sink.count() - arrived(sink).len()).sum();
    (missing(), repeated)
}
