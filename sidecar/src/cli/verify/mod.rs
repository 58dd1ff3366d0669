//! `pg-webhooks verify`: whether a signature is right, and if not, which mistake the receiver made. It needs no
//! database, and never prints the secret.

mod judge;
mod variants;

use clap::Args;
use serde_json::json;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::error::{CliError, CommandResult};
use super::output::{self, Format, Tone, paint};
use super::{prompt, time};
use judge::{Claim, Judgement};

#[derive(Args, Debug)]
pub struct Verify {
    /// File with the body as received; - for stdin
    #[arg(long, value_name = "FILE")]
    body: PathBuf,
    /// Header X-Webhook-Signature or webhook-signature, with or without its name
    #[arg(long, value_name = "HEADER", required_unless_present = "signature_file")]
    signature: Option<String>,
    /// The same, from a file; - for stdin
    #[arg(long, value_name = "FILE", conflicts_with = "signature")]
    signature_file: Option<PathBuf>,
    /// Header webhook-id; the body's webhook_id unless given
    #[arg(long)]
    id: Option<String>,
    /// Header webhook-timestamp
    #[arg(long)]
    timestamp: Option<String>,
    /// File with the secret; a line break at its end is ignored; - for stdin
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    /// How far webhook-timestamp may be from now
    #[arg(long, value_name = "DURATION", default_value = "5min", value_parser = time::duration)]
    tolerance: Duration,
    #[command(flatten)]
    format: Format,
}

impl Verify {
    pub async fn run(self) -> CommandResult {
        let files = [Some(&self.body), self.signature_file.as_ref(), Some(&self.secret_file)];
        if files.iter().flatten().filter(|file| is_stdin(file)).count() > 1 {
            return Err(CliError::usage("only one of the files can be stdin", "Give the others as files."));
        }
        let body = read(&self.body)?;
        let signature = match (self.signature, &self.signature_file) {
            (Some(signature), _) => signature,
            (None, Some(file)) => text(read(file)?, "signature")?,
            (None, None) => unreachable!("clap asks for one of them"),
        };
        let secret = text(read(&self.secret_file)?, "secret")?;
        let secret = prompt::without_line_break(&secret);
        if secret.is_empty() {
            return Err(CliError::usage("the secret is empty", "The file must hold the secret and nothing else."));
        }
        let claim = Claim {
            body: &body,
            signature: &signature,
            secret,
            id: self.id.as_deref(),
            timestamp: self.timestamp.as_deref(),
            now: now(),
            tolerance_s: i64::try_from(self.tolerance.as_secs()).unwrap_or(i64::MAX),
        };
        let judgement = claim.judge().map_err(|lack| CliError::usage(lack.what, lack.fix))?;
        show(&judgement, self.format)?;
        Ok(if judgement.is_valid() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn show(judgement: &Judgement, format: Format) -> std::io::Result<()> {
    let name = judgement.scheme.header();
    if format.json {
        return output::json(
            &json!({ "valid": judgement.is_valid(), "signature": name, "mistakes": judgement.mistakes }),
        );
    }
    if judgement.is_valid() {
        return output::line(&format!("{}: {name} matches this body", paint(Tone::Good, "valid")));
    }
    output::line(&format!("{}: {name}", paint(Tone::Bad, "invalid")))?;
    for mistake in &judgement.mistakes {
        output::line(&format!("  {}", output::tame(&mistake.what)))?;
        output::line(&format!("    {} {}", paint(Tone::Dim, "fix:"), output::tame(&mistake.fix)))?;
    }
    Ok(())
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn read(file: &Path) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let done = if is_stdin(file) {
        std::io::stdin().lock().read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    done.map_err(|error| CliError::usage(format!("cannot read {}: {error}", file.display()), "Use - for stdin."))?;
    Ok(bytes)
}

fn text(bytes: Vec<u8>, what: &str) -> Result<String, CliError> {
    String::from_utf8(bytes).map_err(|_| {
        CliError::usage(format!("the {what} is not UTF-8"), "The file must hold it as plain text and nothing else.")
    })
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
