//! The command line: flags, environment and commands. All of it is read and checked before anything starts; a bad value
//! ends the process with status 64 and a message that names it. A password in `DATABASE_URL` is never printed.
//!
//! The commands for people are calls of the store, each with a way to show what it answered; no rule is decided here.
//! The answer goes to stdout, everything else to stderr, and a secret is shown once, where it is made.

mod error;
mod time;
mod output;
mod connection;

mod prompt;
mod secret;
mod limits;
mod tail;
mod wait;

mod webhooks;
mod logs;
mod events;
mod send;
mod replay;
mod tokens;
mod status;
mod doctor;
mod verify;
mod shell;
mod listen;

use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, error::ErrorKind};
use std::env;
use std::process::ExitCode;
use tokio::sync::watch;

use crate::settings::Settings;
use connection::Connection;
use error::{CliError, CommandResult};
pub use listen::Listen;

/// Delivers and manages the webhooks of the pg_webhooks Postgres extension.
#[derive(Parser, Debug)]
#[command(name = "pg-webhooks", version, after_help = EXIT_STATUS)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Format of log lines
    #[arg(long, global = true, env = "PG_WEBHOOKS_LOG_FORMAT", value_enum, default_value = "human")]
    pub log_format: LogFormat,
    /// Database with the extension; most commands need a member of webhooks_admin
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
}

const EXIT_STATUS: &str = "\
EXIT STATUS
   0  Success; for doctor, no problem was found; for verify, the signature is valid.
   1  It failed, or a problem was found, or the signature is invalid.
  64  The call was wrong.
 130  A signal ended it.";

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Deliver events until told to stop
    Serve(Box<Settings>),
    /// Receive webhooks on this machine and show them
    Listen(Listen),
    #[command(flatten)]
    OneShot(OneShot),
}

/// The commands that do one thing and end.
#[derive(Subcommand, Debug)]
pub enum OneShot {
    /// Manage webhooks: list, add, change, test
    #[command(subcommand)]
    Webhooks(webhooks::Webhooks),
    /// Show the delivery log: every attempt and its outcome
    Logs(logs::Logs),
    /// List messages and the state of their deliveries
    Events(events::Events),
    /// Show one message: its body, its deliveries, every attempt
    Event(events::Event),
    /// Send a message again
    Redeliver(send::Redeliver),
    /// Send a webhook now what waits for a retry
    Retry(send::Retry),
    /// Send a webhook the messages of a period again
    Replay(replay::Replay),
    /// Send a webhook a realistic sample of an event
    Trigger(send::Trigger),
    /// Manage tokens of the REST API
    #[command(subcommand)]
    Tokens(tokens::Tokens),
    /// Show the state of delivery: sidecars, backlog, webhooks in trouble
    Status(status::Status),
    /// Look for problems and say how to fix them
    Doctor(doctor::Doctor),
    /// Check a signature and say what is wrong with it
    Verify(verify::Verify),
    /// Print completions for a shell
    Completions(shell::Completions),
    /// Write the manual pages, one a command
    Man(shell::Man),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    Human,
    Json,
}

impl Cli {
    /// Reads what the process was called with, or says why it may not start.
    pub fn read() -> Result<Self, Refusal> {
        let command = without_empty_variables(Self::command());
        let cli = command.try_get_matches().and_then(|given| Self::from_arg_matches(&given)).map_err(Refusal)?;
        if let Command::Serve(serve) = &cli.command {
            let refuse =
                |error: anyhow::Error| Refusal(clap::Error::raw(ErrorKind::ValueValidation, format!("{error:#}\n")));
            serve.database().map_err(|error| refuse(error.into()))?;
            serve.outbound.tls().map_err(refuse)?;
            serve.outbound.proxy().map_err(refuse)?;
        }
        Ok(cli)
    }
}

/// Ignores environment variables that are empty, as env files often leave them.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|flag| {
        let is_empty = flag.get_env().and_then(env::var_os).is_some_and(|value| value.is_empty());
        if is_empty { flag.env(Resettable::Reset) } else { flag }
    });
    command.mut_subcommands(without_empty_variables)
}

/// Why the process does not start.
pub struct Refusal(clap::Error);

impl Refusal {
    /// Prints the reason, and returns the exit status: 64, or 0 if help or the version was asked for.
    pub fn print(&self) -> ExitCode {
        let _ = self.0.print();
        ExitCode::from(if self.0.use_stderr() { 64 } else { 0 })
    }
}

/// Runs a command and prints why it failed. A signal ends it with status 130.
pub async fn run(command: OneShot, database_url: Option<&str>, mut stop: watch::Receiver<bool>) -> ExitCode {
    tokio::select! {
        outcome = execute(command, database_url) => outcome.unwrap_or_else(CliError::report),
        _ = stop.wait_for(|stop| *stop) => ExitCode::from(130),
    }
}

async fn execute(command: OneShot, database_url: Option<&str>) -> CommandResult {
    let connect = async || Connection::open(&connection::database(database_url)?).await;
    match command {
        OneShot::Webhooks(webhooks) => webhooks.run(&connect().await?).await,
        OneShot::Logs(logs) => logs.run(&connect().await?).await,
        OneShot::Events(events) => events.run(&connect().await?).await,
        OneShot::Event(event) => event.run(&connect().await?).await,
        OneShot::Redeliver(redeliver) => redeliver.run(&connect().await?).await,
        OneShot::Retry(retry) => retry.run(&connect().await?).await,
        OneShot::Replay(replay) => replay.run(&connect().await?).await,
        OneShot::Trigger(trigger) => trigger.run(&connect().await?).await,
        OneShot::Tokens(tokens) => tokens.run(&connect().await?).await,
        OneShot::Status(status) => status.run(&connect().await?).await,
        OneShot::Doctor(doctor) => doctor.run(&connection::database(database_url)?).await,
        OneShot::Verify(verify) => verify.run().await,
        OneShot::Completions(completions) => completions.run(Cli::command()),
        OneShot::Man(man) => man.run(Cli::command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn serve(arguments: &[&str]) -> Result<Cli, clap::Error> {
        let start = ["pg-webhooks", "serve", "--database-url", "postgres://app:hunter2@db/shop"];
        // The environment of whoever runs the tests must not matter.
        let without_environment = |serve: clap::Command| serve.mut_args(|flag| flag.env(Resettable::Reset));
        let command = Cli::command().mut_subcommand("serve", without_environment);
        Cli::from_arg_matches(&command.try_get_matches_from(start.iter().chain(arguments))?)
    }

    fn settings(cli: Cli) -> Settings {
        let Command::Serve(serve) = cli.command else { panic!("serve was asked for") };
        *serve
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let serve = settings(serve(&[]).unwrap());
        assert_eq!((serve.prefetch, serve.endpoint_in_flight), (1024, 32));
        assert_eq!((serve.lease, serve.backstop), (Duration::from_secs(10), Duration::from_secs(2)));
        assert!(serve.outbound.allow_nets.is_empty());
    }

    #[test]
    fn networks_are_given_with_commas_and_a_bare_address_is_a_network() {
        let serve = settings(serve(&["--allow-nets", "127.0.0.0/8, ::1,10.1.2.3"]).unwrap());
        assert_eq!(serve.outbound.allow_nets.len(), 3);
        assert_eq!(serve.outbound.allow_nets[2].to_string(), "10.1.2.3/32");
    }

    #[test]
    fn a_bad_value_is_named() {
        for (flag, value) in [
            ("--allow-nets", "10.0.0.0/33"),
            ("--allow-nets", "169.254.169.254"),
            ("--ca-file", "/nowhere/ca.pem"),
            ("--ca-file", "/dev/null"),
            ("--resolver", "dns.internal"),
            ("--lease", "soon"),
            ("--lease", "5ms"),
            ("--prefetch", "0"),
            ("--grace", "-1s"),
        ] {
            let message = serve(&[&format!("{flag}={value}")]).unwrap_err().to_string();
            assert!(message.contains(value) && message.contains(flag), "{message}");
        }
    }

    #[test]
    fn a_certificate_wants_its_key_and_the_password_of_a_proxy_is_not_shown() {
        assert!(serve(&["--client-cert", "/dev/null"]).is_err());
        for bad in ["socks5://app:hunter2@proxy:1080", "app:hunter2@proxy:3128", "http://app:hunter2@proxy:3128/path"] {
            let message = settings(serve(&["--proxy", bad]).unwrap()).outbound.proxy().unwrap_err().to_string();
            assert!(message.contains("PG_WEBHOOKS_PROXY") && !message.contains("hunter2"), "{message}");
        }
        assert!(settings(serve(&["--proxy", "http://app:hunter2@proxy:3128"]).unwrap()).outbound.proxy().is_ok());
    }

    #[test]
    fn a_database_url_without_a_host_is_refused() {
        let cli = Cli::try_parse_from(["pg-webhooks", "serve", "--database-url", ""]).unwrap();
        assert!(settings(cli).database().is_err());
    }

    #[test]
    fn a_bad_database_url_is_refused_without_showing_its_password() {
        let cli =
            Cli::try_parse_from(["pg-webhooks", "serve", "--database-url", "postgres://app:hunter2@db:port/shop"])
                .unwrap();
        let message = settings(cli).database().err().unwrap().to_string();
        assert!(message.contains("DATABASE_URL") && !message.contains("hunter2"), "{message}");
    }
}
