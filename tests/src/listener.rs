//! The developer's receiver, `pg-webhooks listen`, as a process of its own.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::time::timeout;

use crate::sidecar::binary;

/// A running listener; killed when dropped.
pub struct Listener {
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub url: String,
    lines: Lines<BufReader<ChildStdout>>,
    /// Kept open: it may have more to say.
    _notes: Lines<BufReader<ChildStderr>>,
    _process: Child,
}

impl Listener {
    /// Starts one on a free port, with more arguments such as `--fail-first 1`.
    pub async fn start(secret: &str, arguments: &[&str]) -> Listener {
        let mut command = Command::new(binary());
        command.args(["listen", "--port", "0", "--json", "--secret", secret]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", binary().display()));
        let lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let mut notes = BufReader::new(process.stderr.take().expect("it is piped")).lines();
        let first = notes.next_line().await.expect("it prints UTF-8").expect("it says where it listens");
        let url = first.strip_prefix("listening on ").expect("its first line").to_owned();
        Listener { url, lines, _notes: notes, _process: process }
    }

    /// The next requests, as it prints them: an object each.
    pub async fn take(&mut self, count: usize, deadline: Duration) -> Vec<Value> {
        let mut requests = Vec::with_capacity(count);
        let read = timeout(deadline, async {
            while requests.len() < count {
                let line = self.lines.next_line().await.expect("it prints UTF-8").expect("it runs");
                requests.push(serde_json::from_str(&line).expect("an object a line"));
            }
        });
        let complete = read.await.is_ok();
        assert!(complete, "{} of {count} requests came within {deadline:?}: {requests:#?}", requests.len());
        requests
    }
}
