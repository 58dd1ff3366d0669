//! Whether the tables and indexes that a cluster's tests leave behind are whole, as `pg_amcheck` of the server sees it.

use std::process::Command;

use crate::programs::postgres_program;

/// What is wrong with the tables, or the indexes, of schema `webhooks` in any database that the user of `url` reaches:
/// rows that cannot be, rows that an index lacks. `None` where all is well.
///
/// Databases that lack the extension `amcheck` get it.
pub fn damage(url: &str) -> Option<String> {
    let mut check = Command::new(postgres_program("pg_amcheck"));
    check.args([
        "--all",
        "--schema=webhooks",
        "--heapallindexed",
        "--install-missing",
        "--no-strict-names",
        "--jobs=2",
    ]);
    check.arg(format!("--maintenance-db={url}"));
    let done = check.output().expect("pg_amcheck comes with the server");
    let told = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    // Where no database has the extension any more, there is nothing to look at.
    let is_sound = done.status.success() || told.contains("no relations to check");
    (!is_sound).then(|| format!("pg_amcheck: {}\n{told}", done.status))
}
