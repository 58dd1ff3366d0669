//! Waiting for a condition that nobody announces. Never waits for a time to pass.

use std::time::{Duration, Instant};

/// Polls `condition` until it gives a value; panics with `what` when the deadline passes first.
pub async fn eventually<T>(deadline: Duration, what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(began.elapsed() < deadline, "not within {deadline:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
