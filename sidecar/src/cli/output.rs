//! The output of the commands: tables and colour on a terminal, plain text elsewhere, JSON for scripts. It heeds
//! NO_COLOR and the width of the terminal. Text that others wrote, such as a receiver's error, cannot steer the
//! terminal.

use anstyle::{AnsiColor, Style};
use clap::Args;
use comfy_table::{Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

use super::time;
use crate::store::Time;

/// How an answer looks.
#[derive(Args, Clone, Copy, Debug)]
pub struct Format {
    /// Print JSON, with the column names of the SQL functions
    #[arg(long)]
    pub json: bool,
}

impl Format {
    /// Prints the document, or the line that says the same to a person.
    pub fn answer(self, document: &impl Serialize, text: &str) -> io::Result<()> {
        if self.json { json(document) } else { line(text) }
    }
}

/// The meaning of a text, shown by its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Strong,
    Good,
    Warning,
    Bad,
    Dim,
}

impl Tone {
    /// Returns the tone of a webhook's, a token's or a delivery's state, or of an attempt's outcome.
    pub fn of(state: &str) -> Self {
        match state {
            "healthy" | "delivered" | "valid" => Self::Good,
            "waiting" | "retry" | "queued" | "skipped" => Self::Warning,
            "failing" | "failed" | "rejected" | "gone" | "exhausted" | "unreadable" => Self::Bad,
            "idle" | "disabled" | "revoked" | "expired" => Self::Dim,
            _ => Self::Plain,
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Strong => Style::new().bold(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Warning => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
            Self::Dim => Style::new().dimmed(),
        }
    }
}

/// Colours a text by its tone.
pub fn paint(tone: Tone, text: &str) -> String {
    let style = tone.style();
    format!("{style}{}{style:#}", tame(text))
}

/// Replaces control characters, which a terminal would obey.
pub fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Puts the text on one line, without control characters.
pub fn tame_line(text: &str) -> String {
    tame(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Whether stdout is a terminal.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Returns the width of the terminal; `None` if stdout is no terminal.
pub fn width() -> Option<usize> {
    comfy_table::Table::new().width().map(usize::from)
}

/// Formats a time: relative to now on a terminal, in full elsewhere.
pub fn when(time: Time, now: Time) -> String {
    if is_terminal() { time::relative(time, now) } else { time::exact(time) }
}

/// Formats a number that was counted up to a limit.
pub fn at_least(count: i64, limit: i64) -> String {
    if count < limit { count.to_string() } else { format!("{count}+") }
}

/// Returns the host of a URL: of what else is in it a log or a ticket need not know.
pub fn host(url: &str) -> String {
    url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| "?".to_owned())
}

/// Prints a line on stdout.
pub fn line(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Prints a line on stderr. A reader that has gone is no error.
pub fn note(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Prints a message and its hint on stderr.
pub fn tell(tone: Tone, label: &str, message: &str, hint: Option<&str>) {
    note(&format!("{}: {}", paint(tone, label), tame(message)));
    if let Some(hint) = hint {
        note(&format!("  {} {}", paint(Tone::Dim, "hint:"), tame(hint)));
    }
}

/// Wraps a text to the width of the terminal; all lines but the first are indented.
pub fn wrapped(text: &str, indent: usize) -> String {
    wrap(&tame_line(text), indent, width().unwrap_or(usize::MAX))
}

fn wrap(text: &str, indent: usize, width: usize) -> String {
    let (mut made, mut at) = (String::new(), indent);
    for word in text.split(' ') {
        let length = word.chars().count();
        if at > indent && at + 1 + length > width {
            made.push('\n');
            made.push_str(&" ".repeat(indent));
            at = indent;
        } else if at > indent {
            made.push(' ');
            at += 1;
        }
        made.push_str(word);
        at += length;
    }
    made
}

/// Quotes a word for a shell.
pub fn shell_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Prints a JSON document.
pub fn json(answer: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, answer)?;
    writeln!(out)?;
    out.flush()
}

/// Prints a line of JSON.
pub fn json_line(answer: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, answer)?;
    writeln!(out)?;
    out.flush()
}

/// Prints bytes as they are.
pub fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// A cell of a table.
pub struct Cell {
    text: String,
    tone: Tone,
}

/// Makes a cell of a text and its tone.
pub fn cell(tone: Tone, text: &str) -> Cell {
    Cell { text: tame_line(text), tone }
}

impl<T: ToString> From<T> for Cell {
    fn from(text: T) -> Self {
        cell(Tone::Plain, &text.to_string())
    }
}

/// The width below which nobody can read a wrapped column.
const MIN_COLUMN_WIDTH: usize = 16;

/// A table with a header. A terminal that is too narrow for its columns breaks the lines itself.
pub struct Table {
    table: comfy_table::Table,
    whole: Vec<usize>,
}

impl Table {
    /// An empty table with these titles.
    pub fn new(titles: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        let title = |title: &&str| comfy_table::Cell::new(title).add_attribute(Attribute::Bold);
        table.set_header(titles.iter().map(title).collect::<Vec<_>>());
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.set_content_arrangement(if is_terminal() {
            ContentArrangement::Dynamic
        } else {
            ContentArrangement::Disabled
        });
        table.style_text_only();
        if is_coloured() {
            table.enforce_styling();
        } else if !is_terminal() {
            table.force_no_tty();
        }
        Self { table, whole: Vec::new() }
    }

    /// Never wraps these columns: others give way to them.
    pub fn whole(mut self, columns: &[usize]) -> Self {
        self.whole = columns.to_vec();
        for column in columns {
            if let Some(column) = self.table.column_mut(*column) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        self
    }

    /// Aligns these columns as numbers.
    pub fn numbers(mut self, columns: &[usize]) -> Self {
        for column in columns {
            if let Some(column) = self.table.column_mut(*column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self
    }

    pub fn row(&mut self, cells: Vec<Cell>) {
        let coloured = is_coloured();
        self.table.add_row(cells.into_iter().map(|Cell { text, tone }| {
            let cell = comfy_table::Cell::new(text);
            match tone {
                _ if !coloured => cell,
                Tone::Plain => cell,
                Tone::Strong => cell.add_attribute(Attribute::Bold),
                Tone::Good => cell.fg(Color::DarkGreen),
                Tone::Warning => cell.fg(Color::DarkYellow),
                Tone::Bad => cell.fg(Color::DarkRed),
                Tone::Dim => cell.add_attribute(Attribute::Dim),
            }
        }));
    }

    /// Prints the table on stdout.
    pub fn print(mut self) -> io::Result<()> {
        if width().is_some_and(|width| width < least_width(&self.table.column_max_content_widths(), &self.whole)) {
            self.table.set_content_arrangement(ContentArrangement::Disabled);
        }
        let mut out = anstream::stdout().lock();
        for line in self.table.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        out.flush()
    }
}

/// Returns the least width of the columns, with two blanks between them.
fn least_width(contents: &[u16], whole: &[usize]) -> usize {
    let least = |(at, &content): (usize, &u16)| {
        let content = usize::from(content);
        2 + if whole.contains(&at) { content } else { content.min(MIN_COLUMN_WIDTH) }
    };
    contents.iter().enumerate().map(least).sum::<usize>().saturating_sub(2)
}

/// Whether stdout shows colour: it is a terminal, and neither NO_COLOR nor TERM=dumb is set.
fn is_coloured() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_goes_on_below_its_beginning() {
        assert_eq!(wrap("one two three", 4, 12), "one two\n    three");
        assert_eq!(wrap("one two three", 4, usize::MAX), "one two three");
        assert_eq!(wrap("incomprehensible", 4, 10), "incomprehensible");
    }

    #[test]
    fn a_column_that_wraps_stays_legible() {
        assert_eq!(least_width(&[29, 8, 60], &[0, 1]), 29 + 2 + 8 + 2 + MIN_COLUMN_WIDTH);
        assert_eq!(least_width(&[29, 5], &[0]), 29 + 2 + 5);
        assert_eq!(least_width(&[], &[]), 0);
    }

    #[test]
    fn a_quotation_mark_does_not_end_a_word_of_the_shell() {
        assert_eq!(shell_quoted("a'b"), r"'a'\''b'");
    }

    #[test]
    fn a_text_can_not_steer_the_terminal() {
        assert_eq!(tame("a\x1b[31mb\u{9b}c\n"), "a\u{fffd}[31mb\u{fffd}c\n");
        assert_eq!(tame_line("one\r\n  two\tthree"), "one two three");
    }
}
