//! `benchmarks.md` and the pictures beside it: in `docs/` from the full form, whose figures are published, and in
//! `target/bench/` from the quick one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::size::{FULL, Size};
use crate::table::Table;

/// Writes the page and its pictures; returns the page's path.
pub fn write(table: &Table, size: Size, took: Duration) -> std::io::Result<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let directory = repository.join(if size.name == FULL.name { "docs" } else { "target/bench" });
    fs::create_dir_all(directory.join("benchmarks"))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut page = format!(
        "# Benchmarks\n\n\
         Written by `make bench` ({} form, {:.0} minutes): one run on one machine with {cores} cores, which Postgres, \
         sidecar, receivers and load share. Compare ratios and counts; absolute times are the machine's.\n\n\
         {}\n{} of {} targets met\n\n## How each was taken\n",
        size.name,
        took.as_secs_f64() / 60.0,
        table.as_markdown(),
        table.met(),
        table.targets()
    );
    for section in &table.sections {
        page += &format!("\n### {}. {}\n\n{}\n", section.number, section.title, section.how);
        for (file, shows, svg) in &section.pictures {
            page += &format!("\n![{shows}](benchmarks/{file})\n");
            fs::write(directory.join("benchmarks").join(file), svg)?;
        }
    }
    let path = directory.join("benchmarks.md");
    fs::write(&path, page)?;
    Ok(path)
}
