//! Where the programs of the Postgres under test lie.

use std::path::PathBuf;
use std::process::Command;

/// The path of a program in the `bindir` of the Postgres that `PG_CONFIG` names.
pub fn postgres_program(program: &str) -> PathBuf {
    let pg_config = std::env::var_os("PG_CONFIG").unwrap_or_else(|| "pg_config".into());
    let output = Command::new(&pg_config).arg("--bindir").output();
    let output = output.unwrap_or_else(|error| panic!("{pg_config:?} --bindir: {error}"));
    let directory = String::from_utf8(output.stdout).expect("a path in UTF-8");
    PathBuf::from(directory.trim()).join(program)
}
