//! The real sidecar, `pg-webhooks serve`, as a process of its own. Its log is shown when the test fails.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::NamedTempFile;

use crate::database::Database;
use crate::deadline::eventually;
use crate::process::{limit_open_files, signal, spawn_bound};

/// A running sidecar; killed when dropped.
pub struct Sidecar {
    process: Child,
    log: NamedTempFile,
}

impl Sidecar {
    /// Starts one on `database`, as a role that has `webhooks_sidecar` and nothing else.
    pub fn start(database: &Database<'_>) -> Sidecar {
        Sidecar::start_with(database, &[])
    }

    /// Starts one with more environment variables.
    pub fn start_with(database: &Database<'_>, environment: &[(&str, &str)]) -> Sidecar {
        Sidecar::launch(database, |command| _ = command.envs(environment.iter().copied()))
    }

    /// Starts one that may open `files` files at first, and more if it asks.
    pub fn start_with_open_files(database: &Database<'_>, files: u64) -> Sidecar {
        Sidecar::launch(database, |command| limit_open_files(command, files, None))
    }

    /// Starts one that may open at most `files` files.
    pub fn start_with_at_most_open_files(database: &Database<'_>, files: u64) -> Sidecar {
        Sidecar::launch(database, |command| limit_open_files(command, files, Some(files)))
    }

    fn launch(database: &Database<'_>, prepare: impl FnOnce(&mut Command)) -> Sidecar {
        let log = NamedTempFile::with_prefix("pg-webhooks-log-").expect("a temporary file");
        let mut command = Command::new(binary());
        command.arg("serve");
        command.env("DATABASE_URL", database.url("sidecar"));
        command.env("PG_WEBHOOKS_ALLOW_NETS", "127.0.0.0/8");
        prepare(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(log.reopen().expect("the log is ours"));
        let process = spawn_bound(&mut command, Signal::SIGKILL);
        let process = process.unwrap_or_else(|error| panic!("{}: {error}", binary().display()));
        Sidecar { process, log }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    /// Waits until its log has a text.
    pub async fn wait_for_log(&self, text: &str) {
        eventually(Duration::from_secs(20), &format!("the log says {text:?}"), async || {
            self.log().contains(text).then_some(())
        })
        .await;
    }

    /// Where it serves the API, once it says so.
    pub fn listens_on(&self) -> Option<SocketAddr> {
        let log = self.log();
        let (_, address) = log.split_once("listens on http://")?;
        address.split_once('\n')?.0.parse().ok()
    }

    /// `SIGHUP`, as a terminal that closes sends it, or one who wants settings read again.
    pub fn hang_up(&self) {
        signal(self.process.id(), Signal::SIGHUP);
    }

    /// `SIGSTOP`: the process stays and does nothing more.
    pub fn freeze(&self) {
        signal(self.process.id(), Signal::SIGSTOP);
    }

    /// `SIGCONT`: the process goes on.
    pub fn thaw(&self) {
        signal(self.process.id(), Signal::SIGCONT);
    }

    /// `kill -9`: the process gets no chance to finish anything.
    pub fn kill9(mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it is our child");
    }

    /// `SIGTERM`, and waits for the end.
    pub async fn terminate(mut self) -> ExitStatus {
        signal(self.process.id(), Signal::SIGTERM);
        let began = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("it is our child") {
                return status;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "the sidecar ignores SIGTERM");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(8_000);
            let from = (from..=log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(0);
            eprintln!("the end of the sidecar's log:\n{}", &log[from..]);
        }
    }
}

/// The binary under test: `PG_WEBHOOKS_BIN`, else the release build.
pub(crate) fn binary() -> PathBuf {
    match std::env::var_os("PG_WEBHOOKS_BIN") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/pg-webhooks"),
    }
}
