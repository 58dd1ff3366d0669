//! `pg-webhooks`: the process beside Postgres. `serve` delivers what the pg_webhooks extension has logged; `listen`
//! is a receiver to develop against; the other commands are for people who look after webhooks. This file is the table
//! of contents and the list of what happens at the start.

// serve: from the database to the receivers and back.
mod serve;
mod settings;
mod open_files;
mod database;
mod metadata_addresses;
mod outbound_tls;
mod delivery;

// What people ask of the extension, for the REST API and the command line.
mod store;

// serve --listen: the REST API, and the page that stands on it.
mod api;
mod web;

// The commands for people, and what a receiver does.
mod cli;
mod verify;

use std::io::IsTerminal;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use cli::{Command, LogFormat};

fn main() -> ExitCode {
    let cli = match cli::Cli::read() {
        Ok(cli) => cli,
        Err(refusal) => return refusal.print(),
    };
    start_log(cli.log_format);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let outcome = runtime.block_on(async {
        let stop = stop_on_signal()?;
        match cli.command {
            Command::Serve(settings) => serve::run(*settings, stop).await.map(|()| ExitCode::SUCCESS),
            Command::Listen(listen) => listen.run(stop).await.map(|()| ExitCode::SUCCESS),
            Command::OneShot(command) => Ok(cli::run(command, cli.database_url.as_deref(), stop).await),
        }
    });
    // A DNS lookup that hangs sits on a thread of its own: nobody waits for it.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|error| fail(&error))
}

/// Sends the log to stderr; `RUST_LOG` filters it.
fn start_log(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Human => log.with_target(false).init(),
        LogFormat::Json => log.json().init(),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    tracing::error!("{error:#}");
    ExitCode::FAILURE
}

/// Becomes true at the first SIGTERM or SIGINT.
fn stop_on_signal() -> anyhow::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (tell, stop) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = tell.send(true);
    });
    Ok(stop)
}
