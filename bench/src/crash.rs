//! `kill -9` under load: how long until deliveries go on, and whether anything is lost.

use std::time::{Duration, Instant};

use tests::{Cluster, Session, Sidecar, eventually};

use crate::load::{Commits, Pace, commit_each};
use crate::products::{database_with_products, update_one};
use crate::quantiles::worst;
use crate::sink::Sink;
use crate::size::Size;
use crate::table::{Finding, Table, Target};

const PACE: Pace = Pace { per_second: 200, sessions: 2 };
/// Seconds of load around each kill.
const AROUND: u32 = 3;
/// The default.
const LEASE_S: f64 = 10.0;
const SHORT_LEASE: (&str, &str) = ("PG_WEBHOOKS_LEASE", "2s");
const SHORT_LEASE_S: f64 = 2.0;
const PATIENCE: Duration = Duration::from_secs(60);
const HOW: &str = "200 transactions a second; the slowest of the kills counts. Sidecar: after `kill -9` a new one is started; the time runs from its \
    start to the first arrival. Postgres: after `kill -9` of all its processes it is started while the sidecar runs on; the time runs from the \
    start of the postmaster to the first arrival of an event committed after it, so recovery is included. Standby: a second sidecar waits; \
    the time runs to the first arrival, from the `kill -9` of the owner (lease 10 s) and from SIGSTOP of the owner, whose session stays \
    (lease 2 s). Lost: committed in any of these, and never arrived.";

/// What came of the kills.
#[derive(Default)]
struct Toll {
    seconds: Vec<f64>,
    committed: usize,
    lost: usize,
    repeated: usize,
}

/// Kills each process in turn.
pub async fn measure(cluster: &Cluster, size: Size, table: &mut Table) {
    table.begin(9, "kill -9 under load", HOW);
    let sidecar = sidecar_restarts(cluster, size.kills).await;
    let standby = standby_takes_over(cluster, size.kills, Sidecar::kill9, &[]).await;
    let stuck = standby_takes_over(cluster, 1, Freeze::freeze, &[SHORT_LEASE]).await;
    let mut postgres = Toll::default();
    let mut accepted = Vec::new();
    for _ in 0..size.kills {
        postgres_restarts(&mut postgres, &mut accepted).await;
    }

    let mut add = |what: &str, toll: &Toll, beside: String, limit_s: f64| {
        let took = worst(&toll.seconds);
        table.add(Finding {
            what: what.to_owned(),
            ours: format!("{took:.2} s"),
            beside,
            limit: String::new(),
            target: Target::at_most(took, limit_s, &format!("≤ {limit_s:.0} s")),
        });
    };
    let repeated = |toll: &Toll| format!("{} of {} sent twice", toll.repeated, toll.committed);
    add("sidecar killed: start to next delivery", &sidecar, repeated(&sidecar), 1.0);
    let beside = format!("it took connections after {:.2} s", worst(&accepted));
    add("Postgres killed: start to next delivery", &postgres, beside, 1.0);
    add("owner killed: standby delivers, lease 10 s", &standby, repeated(&standby), LEASE_S + 1.0);
    add("owner stopped: standby delivers, lease 2 s", &stuck, repeated(&stuck), SHORT_LEASE_S + 1.0);
    let tolls = [&sidecar, &standby, &stuck, &postgres];
    let sum = |of: fn(&Toll) -> usize| tolls.into_iter().map(of).sum::<usize>();
    let (lost, committed, repeated) = (sum(|toll| toll.lost), sum(|toll| toll.committed), sum(|toll| toll.repeated));
    table.add(Finding {
        what: "lost in all of these".to_owned(),
        ours: lost.to_string(),
        beside: format!("{repeated} sent twice"),
        limit: format!("{committed} committed"),
        target: Target::none(lost),
    });
}

async fn sidecar_restarts(cluster: &Cluster, kills: usize) -> Toll {
    let mut toll = Toll::default();
    let keys = 1..1 + PACE.per_second * AROUND * kills as u32;
    let db = database_with_products(cluster, keys.end).await;
    let sink = Sink::start().await;
    db.register(&sink.url, "product.updated", "secret").await;
    let kill = async {
        let mut sidecar = Sidecar::start(&db);
        sink.wait_for(1, PATIENCE).await;
        for _ in 0..kills {
            tokio::time::sleep(Duration::from_secs(1)).await;
            sidecar.kill9();
            // What it sent last is with the receiver by then.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let started = Instant::now();
            sidecar = Sidecar::start(&db);
            toll.seconds.push(next_arrival(&sink, started).await);
        }
        sidecar
    };
    let (commits, sidecar) = tokio::join!(commit_each(&db, keys, PACE, update_one), kill);
    toll.settle(&sink, &commits).await;
    drop(sidecar);
    db.discard().await;
    toll
}

async fn standby_takes_over(
    cluster: &Cluster,
    kills: usize,
    end: impl Fn(Sidecar),
    environment: &[(&str, &str)],
) -> Toll {
    let mut toll = Toll::default();
    let keys = 1..1 + PACE.per_second * 2 * AROUND * kills as u32;
    let db = database_with_products(cluster, keys.end).await;
    let sink = Sink::start().await;
    db.register(&sink.url, "product.updated", "secret").await;
    let kill = async {
        let mut owner = Sidecar::start_with(&db, environment);
        sink.wait_for(1, PATIENCE).await;
        for _ in 0..kills {
            let before = db.sessions_of("sidecar").await;
            let standby = Sidecar::start_with(&db, environment);
            eventually(PATIENCE, "the standby is there", async || {
                (db.sessions_of("sidecar").await > before).then_some(())
            })
            .await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let ended = Instant::now();
            end(owner);
            // What the owner sent last is with the receiver by then.
            let quiet = Instant::now() + Duration::from_millis(20);
            toll.seconds.push(next_arrival(&sink, quiet).await + (quiet - ended).as_secs_f64());
            owner = standby;
        }
        owner
    };
    let (commits, owner) = tokio::join!(commit_each(&db, keys, PACE, update_one), kill);
    toll.settle(&sink, &commits).await;
    drop(owner);
    db.discard().await;
    toll
}

/// Ends a sidecar without ending it.
trait Freeze {
    fn freeze(self);
}

impl Freeze for Sidecar {
    /// Stops it, and keeps it stopped: it is killed once the standby has had its time.
    fn freeze(self) {
        Sidecar::freeze(&self);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(4 * SHORT_LEASE_S as u64)).await;
            drop(self);
        });
    }
}

async fn postgres_restarts(toll: &mut Toll, accepted: &mut Vec<f64>) {
    let cluster = Cluster::own_with("fsync = on\n").await;
    let keys = PACE.per_second * AROUND;
    let mut db = database_with_products(&cluster, 2 * keys).await;
    let sink = Sink::start().await;
    db.register(&sink.url, "product.updated", "secret").await;
    // What the set-up wrote is none of what recovery has to do.
    db.run("CHECKPOINT").await;
    let sidecar = Sidecar::start(&db);
    let kill = async {
        sink.wait_for(PACE.per_second as usize, PATIENCE).await;
        cluster.kill9();
    };
    let (mut commits, ()) = tokio::join!(commit_each(&db, 1..keys, PACE, update_one), kill);

    let started = Instant::now();
    let url = db.url("postgres");
    let connect = async {
        let session = eventually(PATIENCE, "Postgres is back", async || Session::try_open(&url).await.ok()).await;
        accepted.push(started.elapsed().as_secs_f64());
        session.close().await;
    };
    tokio::join!(cluster.start(), connect);
    let later = commit_each(&db, keys..2 * keys, PACE, update_one).await;
    commits.extend(&later);
    db.reopen().await;
    toll.settle(&sink, &commits).await;
    let arrivals = sink.arrivals();
    let first = arrivals.iter().filter(|(key, _)| later.contains_key(key)).map(|(_, at)| *at).min();
    toll.seconds.push((first.expect("they arrived") - started).as_secs_f64());
    drop(sidecar);
}

/// Seconds from a moment to the first arrival after it.
async fn next_arrival(sink: &Sink, since: Instant) -> f64 {
    let first = async || sink.arrivals().into_iter().map(|(_, at)| at).find(|at| *at > since);
    (eventually(PATIENCE, "deliveries go on", first).await - since).as_secs_f64()
}

impl Toll {
    /// Waits until all that was committed has arrived, or did not for as long as a retry takes.
    async fn settle(&mut self, sink: &Sink, commits: &Commits) {
        let missing = || {
            let arrived: std::collections::HashSet<u32> = sink.arrivals().into_iter().map(|(key, _)| key).collect();
            commits.keys().filter(|key| !arrived.contains(key)).count()
        };
        // A delivery that was under way when a connection broke is tried again after a minute.
        let began = Instant::now();
        while missing() > 0 && began.elapsed() < Duration::from_secs(90) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let distinct: std::collections::HashSet<u32> = sink.arrivals().into_iter().map(|(key, _)| key).collect();
        self.committed += commits.len();
        self.lost += missing();
        self.repeated += sink.arrivals().len() - distinct.len();
    }
}
