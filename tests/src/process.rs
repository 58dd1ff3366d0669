//! Children that never outlive the thread that started them, whatever becomes of the test process.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
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

/// Lets the process of `command` open `soft` files at first, as many systems do, and `hard` files if it asks.
pub fn limit_open_files(command: &mut Command, soft: u64, hard: Option<u64>) {
    let limited = move || {
        let (_, permitted) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let hard = hard.map_or(permitted, |hard| hard.min(permitted));
        setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard).map_err(io::Error::from)
    };
    // SAFETY: the closure runs between fork and exec and makes two system calls, which are async-signal-safe.
    unsafe {
        command.pre_exec(limited);
    }
}

/// The soft and the hard limit of the files that a process may have open.
pub fn open_files_limits(pid: u32) -> (u64, u64) {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("the process runs");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("the kernel lists it");
    let mut numbers = line.split_whitespace().map_while(|number| number.parse().ok());
    numbers.next().zip(numbers.next()).expect("both are finite")
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
