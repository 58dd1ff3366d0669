//! `make microbench`: the micro-benchmarks of `pg_webhooks/src/capture/microbench.rs`, run inside a private Postgres.
//!
//! Takes a library that was built with them, and a directory for the figures of the last run, beside which each figure
//! stands. The private Postgres finds that library before the installed one, so nothing
//! of a benchmark is ever installed. Names after the paths choose the benchmarks whose names contain them. No figure is
//! judged, but a benchmark that fails is an error.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;
use tests::Cluster;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, last, chosen @ ..] = &arguments[..] else {
        eprintln!("usage: microbench LIBRARY LAST [NAME]…");
        return ExitCode::from(64);
    };
    let benchmarks: Vec<String> = names(&fs::read(library).unwrap_or_else(|error| panic!("{library}: {error}")))
        .into_iter()
        .filter(|name| chosen.is_empty() || chosen.iter().any(|part| name.contains(part)))
        .collect();
    assert!(!benchmarks.is_empty(), "no such benchmark in {library}");

    // Where the user that Postgres runs as can read it.
    let libraries = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(libraries.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    fs::copy(library, libraries.path().join("pg_webhooks.so")).unwrap_or_else(|error| panic!("{library}: {error}"));
    let settings = format!("dynamic_library_path = '{}:$libdir'\n", libraries.path().display());
    let cluster = Cluster::own_with(&settings).await;

    fs::create_dir_all(last).unwrap_or_else(|error| panic!("{last}: {error}"));
    let mut failed = 0;
    for name in &benchmarks {
        let last = Path::new(last).join(name).with_extension("json");
        let result = run(&cluster, name, &last).await;
        if result["status"] == "ok" {
            println!("{name:<28} {}", told(&result));
            fs::write(&last, result["artifacts"].to_string()).expect("the directory is ours");
        } else {
            println!("{name:<28} failed: {}", result["error_text"].as_str().unwrap_or_default());
            failed += 1;
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

const WRAPPER: &str = "__pgrx_bench_run_";

/// The benchmarks' names: pgrx exports a function for each from the library.
fn names(library: &[u8]) -> BTreeSet<String> {
    let symbols = library.split(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'));
    symbols
        .filter_map(|symbol| std::str::from_utf8(symbol).ok()?.strip_prefix(WRAPPER)?.strip_suffix("_wrapper"))
        .map(str::to_owned)
        .collect()
}

/// Runs one in a database of its own; what it changes is rolled back.
async fn run(cluster: &Cluster, name: &str, last: &Path) -> Value {
    let db = cluster.database().await;
    db.run(&format!(
        "CREATE FUNCTION benchmark(last jsonb) RETURNS jsonb LANGUAGE c AS 'pg_webhooks', '{WRAPPER}{name}_wrapper'"
    ))
    .await;
    let last = fs::read_to_string(last).map_or("NULL".to_owned(), |last| format!("'{}'", last.replace('\'', "''")));
    db.run("BEGIN").await;
    db.run("SET client_min_messages = warning").await;
    db.notices();
    let mut result: Value = db.one(&format!("SELECT benchmark({last})")).await;
    db.run("ROLLBACK").await;
    // Capture makes a warning of its faults and goes on.
    if let Some(warning) = db.notices().first() {
        result["status"] = "failed".into();
        result["error_text"] = warning.message.as_str().into();
    }
    db.discard().await;
    result
}

/// The median with its 95 % interval, and what has changed since the last run.
fn told(result: &Value) -> String {
    let estimates = result["estimates"].as_array().map_or(&[][..], Vec::as_slice);
    let median =
        estimates.iter().find(|estimate| estimate["estimate_kind"] == "median").expect("criterion tells a median");
    let ns = |key: &str| median[key].as_f64().unwrap_or(f64::NAN);
    let change = match result["comparison"]["median"]["point_estimate"].as_f64() {
        Some(change) => {
            format!("{:+6.1} %  {}", change * 100.0, result["comparison"]["summary"].as_str().unwrap_or_default())
        }
        None => String::new(),
    };
    let interval = format!("{:.1} … {:.1}", ns("ci_lower_bound_ns"), ns("ci_upper_bound_ns"));
    format!("{:>9.1} ns  {interval:<20}  {change}", ns("point_estimate_ns")).trim_end().to_owned()
}
