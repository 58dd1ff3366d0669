//! The connections of the API: accepted up to a number, beyond which an idle one closes; closed if a request's head takes
//! long, and allowed to finish at a stop. Also the upkeep between requests.

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tower::Layer;

use super::connections::Connections;
use super::guard::REQUEST_TIMEOUT;
use super::state::Api;

const MAX_CONNECTIONS: usize = 512;
/// How long a request's head may take, and the next one on an idle connection.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How long requests under way may take to finish at a stop.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Serves until told to stop.
pub async fn run(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let shutdown = GracefulShutdown::new();
    let connections = Arc::new(Connections::default());
    for number in 0.. {
        let accepted = async {
            let accepted = listener.accept().await;
            if slots.available_permits() == 0 {
                connections.evict();
            }
            (Arc::clone(&slots).acquire_owned().await.expect("nobody closes it"), accepted)
        };
        let (slot, accepted) = tokio::select! {
            accepted = accepted => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Ok((stream, peer)) = accepted else {
            // No file descriptor is left, or the peer has gone already.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let connection = connections.add(number, peer.ip());
        let told = (Extension(ConnectInfo(peer)), Extension(connection.clone()));
        // Around the router: a layer of its own would wrap each route anew.
        let service = TowerToHyperService::new(told.layer(router.clone()));
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_READ_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let serving = shutdown.watch(serving);
        let task = tokio::spawn(async move {
            // A connection that breaks, or carries no HTTP, concerns nobody else.
            let _ = serving.await;
            drop(slot);
        });
        connection.served_by(task.abort_handle());
    }
    drop(listener);
    let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, shutdown.shutdown()).await;
}

/// Closes idle sessions, forgets idle callers, and refreshes the last hour while somebody views it.
pub async fn run_upkeep(api: Api) {
    let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                api.sessions.evict_idle();
                api.limits.evict_idle();
                api.metrics.run_upkeep();
            }
            () = api.activity.next_refresh() => {
                // The next refresh reads what this one could not.
                match tokio::time::timeout(REQUEST_TIMEOUT, api.activity.refresh(&api.sessions)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!("no history for now: {}", error.message()),
                    Err(_) => tracing::debug!("no history for now: the database does not answer"),
                }
            }
        }
    }
}
