//! `docs/benchmarks.md` and the pictures beside it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::size::Size;
use crate::table::Table;

/// Writes the page and its pictures.
pub fn write(table: &Table, size: Size, took: Duration) -> std::io::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    fs::create_dir_all(docs.join("benchmarks"))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut page = format!(
        "# Benchmarks\n\n\
         Written by `make bench` ({} form, {:.0} minutes): one run on one machine with {cores} cores, which Postgres, sidecar, \
         receivers and load share. Read ratios and counts; times are those of the machine.\n\n\
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
            fs::write(docs.join("benchmarks").join(file), svg)?;
        }
    }
    fs::write(docs.join("benchmarks.md"), page)
}
