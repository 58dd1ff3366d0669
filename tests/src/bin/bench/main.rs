//! `make bench`: what pg_webhooks costs and how fast it is, each figure beside its alternative, taken in one run.
//!
//! Prints one table and writes it to `docs/benchmarks.md` with how each figure was taken. `--quick` is a short form,
//! whose figures are rough. `post` is the alternative to the sidecar: plain requests from a process of their own.

mod capture;
mod drain;
mod latency;
mod post;
mod sink;
mod table;

use tests::Cluster;

use crate::table::Table;

/// How much of everything.
#[derive(Clone, Copy)]
pub struct Size {
    /// Rows of `products`, all changed by one UPDATE.
    pub rows: i32,
    /// Times that each statement is measured, in turn with the others.
    pub rounds: usize,
    /// Events at a steady rate.
    pub paced: usize,
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let size = match arguments[..] {
        ["post", url, concurrency] => return post::run(url, concurrency.parse().expect("a number of requests")).await,
        ["--quick"] => Size { rows: 10_000, rounds: 3, paced: 500 },
        [] => Size { rows: 50_000, rounds: 7, paced: 3_000 },
        _ => {
            eprintln!("usage: bench [--quick]");
            std::process::exit(64);
        }
    };

    let cluster = Cluster::own().await;
    let mut table = Table::default();
    capture::measure(&cluster, size, &mut table).await;
    drain::measure(&cluster, size, &mut table).await;
    latency::measure(&cluster, size, &mut table).await;
    table.print();
    if let Err(error) = table.write() {
        eprintln!("docs/benchmarks.md: {error}");
        std::process::exit(1);
    }
    println!("{} of {} targets met", table.met(), table.targets());
}

/// A database with that many products and commits that reach the disk, as they do in production.
pub async fn database_with_products(cluster: &Cluster, rows: i32) -> tests::Database<'_> {
    let db = cluster.database().await;
    db.run("ALTER SYSTEM SET fsync = on").await;
    db.run("SELECT pg_reload_conf()").await;
    db.run("INSERT INTO suppliers (name) VALUES ('Fournisseur XYZ')").await;
    db.run(&format!(
        "INSERT INTO products (sku, name, price, stock, min_stock, supplier_id)
         SELECT 'SKU-' || n, 'Product number ' || n, 49.99, 100, 10, 1 FROM generate_series(1, {rows}) n"
    ))
    .await;
    db.run("ALTER TABLE products SET (autovacuum_enabled = off)").await;
    db.run("VACUUM ANALYZE products").await;
    db
}

/// The value in the middle.
pub fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

/// The smallest value that this share of them does not exceed.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len() as f64 * share).ceil() as usize;
    values[place.clamp(1, values.len()) - 1]
}
