//! The open files of the process: each connection is one. The limit is raised to what the system permits, and receivers
//! get as many connections as leave enough for all else.

/// With fewer the sidecar is slow where it need not be.
const MIN_OPEN_FILES: u64 = 4096;
/// Those that are not for receivers: sessions with Postgres, clients of the API, questions to name servers.
const MAX_RESERVED: u64 = 1024;

/// Allows as many open files as the system permits: many systems start a process with 1,024.
pub fn raise_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < MIN_OPEN_FILES => {
            tracing::warn!(limit, "few files may be open at once, and each connection is one; raise ulimit -Hn");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!("cannot raise the limit of open files: {error}"),
    }
}

/// How many connections to receivers may be open at once.
pub fn max_connections() -> usize {
    let limit = rlimit::Resource::NOFILE.get_soft().unwrap_or(1024);
    connections_within(limit)
}

/// Half of a low limit, for the other half has to do for all else.
fn connections_within(limit: u64) -> usize {
    usize::try_from(limit - MAX_RESERVED.min(limit / 2)).unwrap_or(usize::MAX).max(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_get_what_all_else_leaves_and_half_of_a_low_limit() {
        assert_eq!([64, 1024, 65_536, 0, 1].map(connections_within), [32, 512, 64_512, 2, 2]);
    }
}
