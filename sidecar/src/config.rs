//! Flags and environment. All of it is read and checked before anything starts; a bad value ends the process with
//! status 64 and a message that names it. A password in `DATABASE_URL` is never printed.

use clap::builder::Resettable;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, error::ErrorKind};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::{env, io::IsTerminal, num::NonZeroU32, process::ExitCode, time::Duration};

use crate::cli;
use crate::database::{Database, DatabaseError};

/// Delivers and manages the webhooks of the pg_webhooks Postgres extension.
#[derive(Parser, Debug)]
#[command(name = "pg-webhooks", version)]
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

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Deliver events until told to stop
    Serve(Box<Serve>),
    /// Receive webhooks on this machine and show them
    Listen(Listen),
    #[command(flatten)]
    People(cli::Command),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    Human,
    Json,
}

#[derive(Args, Clone, Debug)]
pub struct Serve {
    /// Database with the extension; the role must be a member of webhooks_sidecar
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
    /// Private networks that deliveries may go to, comma-separated
    #[arg(long, env = "PG_WEBHOOKS_ALLOW_NETS", value_name = "CIDR", value_delimiter = ',', value_parser = net)]
    pub allow_nets: Vec<IpNet>,
    /// Most deliveries held in memory: fetched but not yet reported
    #[arg(long, env = "PG_WEBHOOKS_MAX_IN_FLIGHT", default_value = "1024", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub max_in_flight: u32,
    /// Most requests at once to one endpoint
    #[arg(long, env = "PG_WEBHOOKS_ENDPOINT_IN_FLIGHT", default_value = "32", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub endpoint_in_flight: u32,
    /// How long a sidecar that has fallen silent keeps its shards
    #[arg(long, env = "PG_WEBHOOKS_LEASE", default_value = "10s", value_parser = lease)]
    pub lease: Duration,
    /// How long requests under way may take to finish when stopping
    #[arg(long, env = "PG_WEBHOOKS_GRACE", default_value = "10s", value_parser = humantime::parse_duration)]
    pub grace: Duration,
    /// Serve the REST API and the page on this address, port 0 for a free one; the role must be in webhooks_api, too
    #[arg(long, env = "PG_WEBHOOKS_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Requests a second that the API accepts with one token; a burst may have twice as many
    #[arg(long, env = "PG_WEBHOOKS_API_RATE", default_value = "50")]
    pub api_rate: NonZeroU32,
    /// How often to look for work while asleep, even if nobody notifies
    #[arg(long, env = "PG_WEBHOOKS_BACKSTOP", default_value = "2s", value_parser = backstop)]
    pub backstop: Duration,
}

#[derive(Args, Clone, Debug)]
pub struct Listen {
    /// Port to listen on; 0 picks a free one
    #[arg(long, default_value = "9000")]
    pub port: u16,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// Secret the webhook was registered with; without it, signatures are not checked
    #[arg(long, env = "PG_WEBHOOKS_SECRET", hide_env_values = true)]
    pub secret: Option<String>,
    /// Status to answer with, 200 unless given; with --fail-first the status to fail with, 500 unless given
    #[arg(long, value_parser = clap::value_parser!(u16).range(200..=599))]
    pub status: Option<u16>,
    /// How long to wait before answering
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    pub delay: Duration,
    /// Fail the first K requests for each webhook_id
    #[arg(long, value_name = "K")]
    pub fail_first: Option<u32>,
    /// Print one JSON object per line
    #[arg(long)]
    pub json: bool,
}

impl Cli {
    /// What the process was called with, or the reason why it may not start.
    pub fn read() -> Result<Self, Refusal> {
        let command = without_empty_variables(Self::command());
        let cli = command.try_get_matches().and_then(|given| Self::from_arg_matches(&given)).map_err(Refusal)?;
        if let Command::Serve(serve) = &cli.command {
            serve
                .database()
                .map_err(|error| Refusal(clap::Error::raw(ErrorKind::ValueValidation, format!("{error}\n"))))?;
        }
        Ok(cli)
    }
}

impl Serve {
    /// Where the database is.
    pub fn database(&self) -> Result<Database, DatabaseError> {
        self.database_url.parse()
    }
}

/// A variable that is set to nothing, as files of them have it, is as one that is not set.
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
    /// Says so, and gives the exit status: 64, or 0 where help or the version was asked for.
    pub fn print(&self) -> ExitCode {
        let _ = self.0.print();
        ExitCode::from(if self.0.use_stderr() { 64 } else { 0 })
    }
}

/// Sends the log to stderr; `RUST_LOG` filters it.
pub fn start_log(format: LogFormat) {
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

/// A network, or an address as the network of it alone.
pub fn net(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "not a network such as 10.0.0.0/8".to_owned())
}

fn lease(text: &str) -> Result<Duration, String> {
    at_least(Duration::from_secs(1), text)
}

fn backstop(text: &str) -> Result<Duration, String> {
    at_least(Duration::from_millis(100), text)
}

fn at_least(least: Duration, text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (least..=Duration::from_secs(3600)).contains(&duration) {
        Ok(duration)
    } else {
        Err(format!("must be between {} and 1h", humantime::format_duration(least)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(arguments: &[&str]) -> Result<Cli, clap::Error> {
        let start = ["pg-webhooks", "serve", "--database-url", "postgres://app:hunter2@db/shop"];
        // The environment of whoever runs the tests must not matter.
        let without_environment = |serve: clap::Command| serve.mut_args(|flag| flag.env(Resettable::Reset));
        let command = Cli::command().mut_subcommand("serve", without_environment);
        Cli::from_arg_matches(&command.try_get_matches_from(start.iter().chain(arguments))?)
    }

    fn settings(cli: Cli) -> Serve {
        let Command::Serve(serve) = cli.command else { panic!("serve was asked for") };
        *serve
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let serve = settings(serve(&[]).unwrap());
        assert_eq!((serve.max_in_flight, serve.endpoint_in_flight), (1024, 32));
        assert_eq!((serve.lease, serve.backstop), (Duration::from_secs(10), Duration::from_secs(2)));
        assert!(serve.allow_nets.is_empty());
    }

    #[test]
    fn networks_are_given_with_commas_and_a_bare_address_is_a_network() {
        let serve = settings(serve(&["--allow-nets", "127.0.0.0/8, ::1,10.1.2.3"]).unwrap());
        assert_eq!(serve.allow_nets.len(), 3);
        assert_eq!(serve.allow_nets[2].to_string(), "10.1.2.3/32");
    }

    #[test]
    fn a_bad_value_is_named() {
        for (flag, value) in [
            ("--allow-nets", "10.0.0.0/33"),
            ("--lease", "soon"),
            ("--lease", "5ms"),
            ("--max-in-flight", "0"),
            ("--grace", "-1s"),
        ] {
            let message = serve(&[&format!("{flag}={value}")]).unwrap_err().to_string();
            assert!(message.contains(value) && message.contains(flag), "{message}");
        }
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
