//! The table of results: printed, and written to `docs/benchmarks.md`.

use std::fs;
use std::path::Path;

/// What was measured.
pub struct Finding {
    /// What, in a few words.
    pub what: &'static str,
    /// Ours.
    pub ours: String,
    /// What stands beside it: its name and its figure.
    pub beside: String,
    /// The ratio, and whether the target is met; `None` for what has no target.
    pub target: Option<Target>,
    /// How it was taken.
    pub how: &'static str,
}

/// What a figure should be.
pub struct Target {
    /// The figure that is held against it.
    pub figure: f64,
    /// In words.
    pub aim: &'static str,
    /// Whether it is.
    pub met: bool,
}

impl Target {
    /// A figure that should be no more than this.
    pub fn at_most(figure: f64, limit: f64, aim: &'static str) -> Option<Target> {
        Some(Target { figure, aim, met: figure <= limit })
    }

    /// A figure that should be no less than this.
    pub fn at_least(figure: f64, limit: f64, aim: &'static str) -> Option<Target> {
        Some(Target { figure, aim, met: figure >= limit })
    }
}

/// All results of a run.
#[derive(Default)]
pub struct Table(Vec<Finding>);

impl Table {
    /// Adds a result.
    pub fn add(&mut self, finding: Finding) {
        eprintln!("  {}: {} ({})", finding.what, finding.ours, finding.beside);
        self.0.push(finding);
    }

    /// How many results have a target.
    pub fn targets(&self) -> usize {
        self.0.iter().filter(|finding| finding.target.is_some()).count()
    }

    /// How many targets are met.
    pub fn met(&self) -> usize {
        self.0.iter().filter(|finding| finding.target.as_ref().is_some_and(|target| target.met)).count()
    }

    /// Prints the table.
    pub fn print(&self) {
        println!("{:<58} {:<22} {:<44} {:<8} {:<12} met", "what", "ours", "beside", "figure", "target");
        for finding in &self.0 {
            let [figure, aim, met] = finding.judged();
            println!("{:<58} {:<22} {:<44} {figure:<8} {aim:<12} {met}", finding.what, finding.ours, finding.beside);
        }
    }

    /// Writes the table and how each figure was taken.
    pub fn write(&self) -> std::io::Result<()> {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        fs::create_dir_all(&docs)?;
        let mut page = String::from(
            "# Benchmarks\n\nWritten by `make bench`: one run on one machine, which Postgres, sidecar, receiver and load share.\n\
             Read ratios; absolute figures are those of the machine.\n\n\
             | what | ours | beside it | figure | target | met |\n|---|---|---|---|---|---|\n",
        );
        for finding in &self.0 {
            let [figure, aim, met] = finding.judged();
            page +=
                &format!("| {} | {} | {} | {figure} | {aim} | {met} |\n", finding.what, finding.ours, finding.beside);
        }
        page += "\n## How each was taken\n\n";
        for finding in &self.0 {
            page += &format!("- **{}**: {}\n", finding.what, finding.how);
        }
        fs::write(docs.join("benchmarks.md"), page)
    }
}

impl Finding {
    fn judged(&self) -> [String; 3] {
        match &self.target {
            Some(target) => [
                format!("{:.2}", target.figure),
                target.aim.to_owned(),
                if target.met { "yes" } else { "no" }.to_owned(),
            ],
            None => [const { String::new() }; 3],
        }
    }
}
