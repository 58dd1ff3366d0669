//! `pg-webhooks` as people and scripts call it: arguments in, exit status and both outputs out; on a terminal, too.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use nix::pty::{Winsize, openpty};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::database::Database;
use crate::sidecar::binary;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls of one role on one database.
pub struct CommandLine {
    url: String,
}

/// What a call came to.
#[derive(Debug)]
pub struct Told {
    /// The exit status.
    pub status: i32,
    /// What was asked for; on a terminal, all that it showed.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

impl Told {
    /// Its standard output as one JSON document; panics when it is none or the status is not 0.
    pub fn json(&self) -> Value {
        assert_eq!(self.status, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Its standard output's one line; panics when there are more or the status is not 0.
    pub fn line(&self) -> &str {
        assert_eq!((self.status, self.stdout.lines().count()), (0, 1), "{self:?}");
        self.stdout.trim_end()
    }

    /// Both outputs.
    pub fn all(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }
}

impl CommandLine {
    /// As someone who manages webhooks.
    pub fn new(database: &Database<'_>) -> CommandLine {
        CommandLine::of(database, "manager")
    }

    /// As another role.
    pub fn of(database: &Database<'_>, role: &str) -> CommandLine {
        CommandLine::at(&database.url(role))
    }

    /// With this connection string.
    pub fn at(url: &str) -> CommandLine {
        CommandLine { url: url.into() }
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Told {
        self.run_with("", arguments).await
    }

    /// The same with something on its standard input.
    pub async fn run_with(&self, stdin: &str, arguments: &[&str]) -> Told {
        let mut process = self.spawn(arguments);
        let mut input = process.stdin.take().expect("it is piped");
        // A command that asks for nothing may have ended by now.
        let _ = input.write_all(stdin.as_bytes()).await;
        drop(input);
        let done = timeout(PATIENCE, process.wait_with_output()).await;
        let done = done.unwrap_or_else(|_| panic!("{arguments:?} does not end")).expect("it is our child");
        let text = |bytes| String::from_utf8(bytes).expect("it prints UTF-8");
        Told { status: done.status.code().unwrap_or(-1), stdout: text(done.stdout), stderr: text(done.stderr) }
    }

    /// Starts a command that goes on; killed when dropped.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut process = self.spawn(arguments);
        let lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        Running { lines, _process: process }
    }

    /// Runs a command on a terminal of so many columns, at which somebody types.
    pub async fn on_terminal(&self, columns: u16, typed: &str, arguments: &[&str]) -> Told {
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let terminal = openpty(&size, None).expect("a pseudo-terminal");
        let end = || Stdio::from(terminal.slave.try_clone().expect("a descriptor"));
        let mut command = self.command(arguments);
        let mut process = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("the binary starts");
        // The processes alone hold it open now, so the last to end closes it.
        drop((command, terminal.slave));
        let typed = typed.to_owned();
        let screen = tokio::task::spawn_blocking(move || converse(terminal.master, &typed));
        let done = timeout(PATIENCE, process.wait()).await;
        let done = done.unwrap_or_else(|_| panic!("{arguments:?} does not end")).expect("it is our child");
        let stdout = screen.await.expect("nobody panics there").replace("\r\n", "\n");
        Told { status: done.code().unwrap_or(-1), stdout, stderr: String::new() }
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap_or_else(|error| panic!("{}: {error}", binary().display()))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).env("DATABASE_URL", &self.url).env("PG_WEBHOOKS_ALLOW_NETS", "127.0.0.0/8");
        // The terminal of whoever runs the tests must not matter.
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env_remove("COLUMNS");
        command.kill_on_drop(true);
        command
    }
}

/// Types, and reads what the terminal shows until nobody holds it any more.
fn converse(master: OwnedFd, typed: &str) -> String {
    let mut terminal = File::from(master);
    terminal.write_all(typed.as_bytes()).expect("the terminal takes it");
    let mut shown = Vec::new();
    // Linux says EIO where other systems say end of file.
    let _ = terminal.read_to_end(&mut shown);
    String::from_utf8_lossy(&shown).into_owned()
}

/// A command that goes on; killed when dropped.
pub struct Running {
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Running {
    /// The next line of its standard output.
    pub async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.lines.next_line()).await.expect("a line comes");
        line.expect("it prints UTF-8").expect("it runs")
    }
}
