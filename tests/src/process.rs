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
