//! Where the programs of the Postgres under test lie.

use std::path::PathBuf;
use std::process::Command;

/// The path of a program in the `bindir` of the Postgres that `PG_CONFIG` names.
pub fn postgres_program(program: &str) -> PathBuf {
    pg_config("--bindir").join(program)
}

/// Where the libraries of that Postgres lie: one of another version may be installed besides.
pub fn postgres_libraries() -> PathBuf {
    pg_config("--libdir")
}

fn pg_config(what: &str) -> PathBuf {
    let pg_config = std::env::var_os("PG_CONFIG").unwrap_or_else(|| "pg_config".into());
    let output = Command::new(&pg_config).arg(what).output();
    let output = output.unwrap_or_else(|error| panic!("{pg_config:?} {what}: {error}"));
    PathBuf::from(String::from_utf8(output.stdout).expect("a path in UTF-8").trim())
}
