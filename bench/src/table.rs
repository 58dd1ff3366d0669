//! The results: what was measured, beside what, against which target, and how it was taken.

use std::fmt::Write;

/// One figure.
pub struct Finding {
    /// What, in a few words.
    pub what: String,
    /// Ours.
    pub ours: String,
    /// The alternative beside it: its name and its figure.
    pub beside: String,
    /// What bounds it on this machine, or "".
    pub limit: String,
    /// The figure held against a target; `None` for what has no target.
    pub target: Option<Target>,
}

/// What a figure should be.
pub struct Target {
    /// The figure that is held against it.
    pub figure: f64,
    /// In words.
    pub aim: String,
    /// Whether it is.
    pub met: bool,
    /// Whether it is owed on any machine: the run has failed where it is not met.
    pub owed: bool,
}

impl Target {
    /// A figure that should be no more than this.
    pub fn at_most(figure: f64, limit: f64, aim: &str) -> Option<Target> {
        Some(Target { figure, aim: aim.to_owned(), met: figure <= limit, owed: false })
    }

    /// A figure that should be no less than this.
    pub fn at_least(figure: f64, limit: f64, aim: &str) -> Option<Target> {
        Some(Target { figure, aim: aim.to_owned(), met: figure >= limit, owed: false })
    }

    /// A count of what must not be, however slow the machine.
    pub fn none(count: usize) -> Option<Target> {
        Some(Target { figure: count as f64, aim: "0".to_owned(), met: count == 0, owed: true })
    }
}

/// A row of the list of targets: its findings, how they were taken, and pictures.
pub struct Section {
    /// Its number.
    pub number: u8,
    /// Its title.
    pub title: &'static str,
    /// How it was taken.
    pub how: &'static str,
    /// What came out.
    pub findings: Vec<Finding>,
    /// Pictures: file name, what it shows, SVG.
    pub pictures: Vec<(&'static str, &'static str, String)>,
}

/// All results of a run.
#[derive(Default)]
pub struct Table {
    /// In their order once the table is finished.
    pub sections: Vec<Section>,
}

impl Table {
    /// Begins a section; what is added belongs to it.
    pub fn begin(&mut self, number: u8, title: &'static str, how: &'static str) {
        eprintln!("{number}. {title}");
        self.sections.push(Section { number, title, how, findings: Vec::new(), pictures: Vec::new() });
    }

    /// Adds a finding.
    pub fn add(&mut self, finding: Finding) {
        let [figure, aim, met] = finding.judged();
        eprintln!(
            "   {}: {} | {} | {} | {figure} {aim} {met}",
            finding.what, finding.ours, finding.beside, finding.limit
        );
        self.current().findings.push(finding);
    }

    /// Adds a picture.
    pub fn picture(&mut self, file: &'static str, shows: &'static str, svg: String) {
        self.current().pictures.push((file, shows, svg));
    }

    /// The measurement of a subject panicked, so the run has failed.
    pub fn broke_off(&mut self, subject: &str) {
        if self.sections.is_empty() {
            self.begin(0, "Broken off", "");
        }
        self.add(Finding {
            what: format!("{subject}: broke off"),
            ours: "its error is above".to_owned(),
            beside: String::new(),
            limit: String::new(),
            target: Some(Target { figure: f64::NAN, aim: "a figure".to_owned(), met: false, owed: true }),
        });
    }

    /// Puts the sections in their order.
    pub fn finish(&mut self) {
        self.sections.sort_by_key(|section| section.number);
    }

    /// How many findings have a target.
    pub fn targets(&self) -> usize {
        self.findings().filter(|finding| finding.target.is_some()).count()
    }

    /// How many targets are met.
    pub fn met(&self) -> usize {
        self.findings().filter(|finding| finding.target.as_ref().is_some_and(|target| target.met)).count()
    }

    /// Whether a subject broke off, or something is not as it must be on any machine.
    pub fn has_failed(&self) -> bool {
        self.findings().any(|finding| finding.target.as_ref().is_some_and(|target| target.owed && !target.met))
    }

    /// The table in columns.
    pub fn as_text(&self) -> String {
        let rows = self.rows();
        let widths: Vec<usize> = (0..COLUMNS.len())
            .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        rows.iter().fold(String::new(), |mut text, row| {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            let _ = writeln!(text, "{}", cells.join("  ").trim_end());
            text
        })
    }

    /// The same as Markdown.
    pub fn as_markdown(&self) -> String {
        let mut lines = self.rows().into_iter().map(|row| format!("| {} |\n", row.join(" | ")));
        let head = lines.next().unwrap_or_default();
        head + &"|---".repeat(COLUMNS.len()) + "|\n" + &lines.collect::<String>()
    }

    fn rows(&self) -> Vec<[String; COLUMNS.len()]> {
        let head = COLUMNS.map(str::to_owned);
        let rows = self.sections.iter().flat_map(|section| {
            section.findings.iter().map(|finding| {
                let [figure, aim, met] = finding.judged();
                let Finding { what, ours, beside, limit, .. } = finding;
                let number = section.number.to_string();
                [number, what.clone(), ours.clone(), beside.clone(), limit.clone(), figure, aim, met]
            })
        });
        std::iter::once(head).chain(rows).collect()
    }

    fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.sections.iter().flat_map(|section| &section.findings)
    }

    fn current(&mut self) -> &mut Section {
        self.sections.last_mut().expect("a section was begun")
    }
}

const COLUMNS: [&str; 8] = ["#", "what", "ours", "beside it", "limit", "figure", "target", "met"];

impl Finding {
    fn judged(&self) -> [String; 3] {
        match &self.target {
            Some(target) => {
                [format!("{:.2}", target.figure), target.aim.clone(), if target.met { "yes" } else { "no" }.to_owned()]
            }
            None => [const { String::new() }; 3],
        }
    }
}
