//! `pg-webhooks serve`: the delivery, and beside it the REST API where an address for it is given.

use tokio::sync::watch;

use crate::api;
use crate::delivery::supervisor;
use crate::settings::Settings;

/// What a sidecar should be able to open: a connection for each delivery held, idle ones besides, the API's.
const MIN_OPEN_FILES: u64 = 4096;

/// Delivers until told to stop.
pub async fn run(settings: Settings, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    raise_open_files_limit();
    // The API comes first: it installs the recorder in which the delivery looks its metrics up.
    let api = match settings.listen {
        Some(address) => Some(api::start(address, settings.database()?, settings.api_rate, stop.clone()).await?),
        None => None,
    };
    let unreported = supervisor::run(settings, stop).await?;
    if let Some(api) = api {
        api.await?;
    }
    tracing::info!(unreported, "stopped");
    Ok(())
}

/// Allows as many open files as the system permits: each connection to a receiver is one, and many systems start a
/// process with 1,024.
fn raise_open_files_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < MIN_OPEN_FILES => {
            tracing::warn!(limit, "few files may be open at once, and each connection is one; raise ulimit -Hn");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!("cannot raise the limit of open files: {error}"),
    }
}
