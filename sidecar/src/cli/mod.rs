//! The commands for people: webhooks, the delivery log, tokens, a doctor. Each is a call of the store and a way to show
//! what it answered; no rule is decided here. What was asked for goes to stdout, everything else to stderr, and a
//! secret is shown once, where it is made.

mod error;
mod time;
mod output;
mod connection;

mod prompt;
mod secret;
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
pub mod listen;

use clap::{Args, Subcommand};
use std::process::ExitCode;
use tokio::sync::watch;

use connection::Session;
use error::Failure;

/// What a command leads to.
type Outcome = Result<ExitCode, Failure>;

#[derive(Subcommand, Debug)]
pub enum Command {
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
    /// Print the manual page
    Man,
}

/// How an answer looks.
#[derive(Args, Clone, Copy, Debug)]
pub struct Format {
    /// Print JSON, with the column names of the SQL functions
    #[arg(long)]
    json: bool,
}

/// Does what was asked and says what failed. A signal ends it with status 130.
pub async fn run(command: Command, database_url: Option<&str>, mut stop: watch::Receiver<bool>) -> ExitCode {
    tokio::select! {
        outcome = obey(command, database_url) => outcome.unwrap_or_else(Failure::report),
        _ = stop.wait_for(|stop| *stop) => ExitCode::from(130),
    }
}

async fn obey(command: Command, database_url: Option<&str>) -> Outcome {
    let session = match command {
        Command::Verify(verify) => return verify.run().await,
        Command::Completions(completions) => return completions.run(),
        Command::Man => return shell::man(),
        Command::Doctor(doctor) => return doctor.run(&connection::database(database_url)?).await,
        _ => Session::open(&connection::database(database_url)?).await?,
    };
    match command {
        Command::Webhooks(webhooks) => webhooks.run(&session).await,
        Command::Logs(logs) => logs.run(&session).await,
        Command::Events(events) => events.run(&session).await,
        Command::Event(event) => event.run(&session).await,
        Command::Redeliver(redeliver) => redeliver.run(&session).await,
        Command::Replay(replay) => replay.run(&session).await,
        Command::Trigger(trigger) => trigger.run(&session).await,
        Command::Tokens(tokens) => tokens.run(&session).await,
        Command::Status(status) => status.run(&session).await,
        Command::Doctor(_) | Command::Verify(_) | Command::Completions(_) | Command::Man => {
            unreachable!("they need no session, and have returned")
        }
    }
}
