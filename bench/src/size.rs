//! How much of everything: the full form, and the quick one.

/// How much of everything.
#[derive(Clone, Copy)]
pub struct Size {
    /// What this form is called.
    pub name: &'static str,
    /// Rows of `products`, all changed by one UPDATE.
    pub rows: u32,
    /// Times that each statement is measured, in turn with the others.
    pub rounds: usize,
    /// Seconds that each run of pgbench takes.
    pub commit_seconds: u32,
    /// Runs of pgbench for each figure.
    pub commit_rounds: usize,
    /// Seconds of events at a steady rate.
    pub latency_seconds: u32,
    /// Deliveries to drain.
    pub backlog: u32,
    /// Seconds that a transaction pins xmin.
    pub pinned_seconds: u32,
    /// The same for the SKIP LOCKED queue beside it.
    pub pinned_queue_seconds: u32,
    /// Seconds with half of the endpoints hanging, and seconds without.
    pub hanging_seconds: u32,
    /// Times that each process is killed.
    pub kills: usize,
    /// Deliveries for many sidecars to drain.
    pub sharded_backlog: u32,
    /// The backlog that the sidecar's memory should not grow with.
    pub deep_backlog: u32,
    /// Events in a log that has grown.
    pub grown_log: u32,
    /// Seconds of watching an idle sidecar.
    pub idle_seconds: u32,
}

/// Under 20 minutes.
pub const FULL: Size = Size {
    name: "full",
    rows: 50_000,
    rounds: 5,
    commit_seconds: 4,
    commit_rounds: 3,
    latency_seconds: 10,
    backlog: 200_000,
    pinned_seconds: 300,
    pinned_queue_seconds: 120,
    hanging_seconds: 25,
    kills: 3,
    sharded_backlog: 128_000,
    deep_backlog: 1_000_000,
    grown_log: 10_000_000,
    idle_seconds: 20,
};

/// Under 4 minutes.
pub const QUICK: Size = Size {
    name: "quick",
    rows: 10_000,
    rounds: 3,
    commit_seconds: 2,
    commit_rounds: 1,
    latency_seconds: 4,
    backlog: 20_000,
    pinned_seconds: 20,
    pinned_queue_seconds: 20,
    hanging_seconds: 10,
    kills: 1,
    sharded_backlog: 32_000,
    deep_backlog: 100_000,
    grown_log: 300_000,
    idle_seconds: 10,
};
