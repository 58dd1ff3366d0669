//! Questions to a person at a terminal; a script is never asked.

use std::io::{self, BufRead, IsTerminal, Write};

use super::error::CliError;
use super::output;

/// Whether there is somebody to ask.
pub fn is_possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a question; Enter alone means no.
pub async fn confirm(question: &str) -> Result<bool, CliError> {
    let prompt = format!("{} [y/N] ", output::paint(output::Tone::Strong, question));
    let _ = write!(anstream::stderr().lock(), "{prompt}");
    let answer = line_of_stdin().await?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Reads a line of stdin, without its line break. That may take forever, so it runs on a thread of its own.
pub async fn line_of_stdin() -> Result<String, CliError> {
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let line = read.await.map_err(io::Error::other)??;
    Ok(without_line_break(&line).to_owned())
}

/// Removes the line break at the end of a text.
pub fn without_line_break(text: &str) -> &str {
    text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line))
}
