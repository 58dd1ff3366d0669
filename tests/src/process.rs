//! Children that never outlive the thread that started them, whatever becomes of the test process.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Starts `command`; the kernel sends it `last_word` when the calling thread ends.
pub fn spawn_bound(command: &mut Command, last_word: Signal) -> io::Result<Child> {
    // SAFETY: the closure runs between fork and exec and makes one system call, which is async-signal-safe.
    unsafe {
        command.pre_exec(move || prctl::set_pdeathsig(last_word).map_err(io::Error::from));
    }
    command.spawn()
}

/// Sends a signal to a child; one that has ended already is no error.
pub fn signal(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid as i32), signal);
}

/// The processes that a process has started and that still run.
pub fn children(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Whether a process exists and is more than an entry that waits to be reaped.
pub fn is_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
