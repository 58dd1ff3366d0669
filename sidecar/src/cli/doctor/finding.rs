//! A finding of the doctor: what it found, how bad that is, and the fix, a line to copy.

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    Warning,
    Problem,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub level: Level,
    pub message: String,
    pub fix: Option<String>,
}

/// The findings, in the order of the checks until they are sorted.
#[derive(Debug, Default)]
pub struct Findings {
    all: Vec<Finding>,
}

impl Findings {
    pub fn ok(&mut self, check: &'static str, message: impl Into<String>) {
        self.all.push(Finding { check, level: Level::Ok, message: message.into(), fix: None });
    }

    pub fn warning(&mut self, check: &'static str, message: impl Into<String>, fix: impl Into<String>) {
        self.add(check, Level::Warning, message, fix);
    }

    pub fn problem(&mut self, check: &'static str, message: impl Into<String>, fix: impl Into<String>) {
        self.add(check, Level::Problem, message, fix);
    }

    pub fn add(&mut self, check: &'static str, level: Level, message: impl Into<String>, fix: impl Into<String>) {
        self.all.push(Finding { check, level, message: message.into(), fix: Some(fix.into()) });
    }

    pub fn all(&self) -> &[Finding] {
        &self.all
    }

    pub fn count(&self, level: Level) -> usize {
        self.all.iter().filter(|finding| finding.level == level).count()
    }

    /// Sorts the worst to the end, next to the prompt.
    pub fn sort(&mut self) {
        self.all.sort_by_key(|finding| finding.level);
    }
}
