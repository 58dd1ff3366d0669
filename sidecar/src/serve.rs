//! `pg-webhooks serve`: the delivery, and beside it the REST API where an address for it is given.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::api;
use crate::delivery::supervisor;
use crate::open_files;
use crate::settings::Settings;

/// Delivers until told to stop.
pub async fn run(settings: Settings, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    survive_hangups()?;
    open_files::raise_limit();
    // The API comes first: it installs the recorder in which the delivery looks its metrics up.
    let api = match settings.listen {
        Some(address) => {
            let state = api::Shared::new(settings.database()?, settings.api_rate, settings.trusted_proxies.clone())?;
            Some(api::start(address, state, stop.clone()).await?)
        }
        None => None,
    };
    let unreported = supervisor::run(settings, stop).await?;
    if let Some(api) = api {
        api.await?;
    }
    tracing::info!(unreported, "stopped");
    Ok(())
}

/// Has SIGHUP, with which one asks many services to read their settings again, end nothing.
fn survive_hangups() -> anyhow::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            tracing::info!("SIGHUP changes nothing: a sidecar reads its settings when it starts");
        }
    });
    Ok(())
}
