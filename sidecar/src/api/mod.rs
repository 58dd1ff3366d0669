//! The REST API, served beside the deliveries by the same process. It decides nothing: each operation is a call of the
//! extension's SQL functions through [`Store`](crate::store::Store); here are only HTTP, tokens and limits.

// What all requests share.
mod state;
mod sessions;
mod tokens;
mod limits;
mod last_answer;
mod activity;
mod metrics;

// Every request.
mod server;
mod connections;
mod router;
mod guard;
mod auth;
mod request;
mod response;
mod error;
mod pagination;
mod responses;

// The operations, by noun.
mod routes;

use anyhow::Context;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use state::Shared;

/// Binds `address` and serves until told to stop. The task ends when the last request has its answer.
pub async fn start(address: SocketAddr, state: Shared, stop: watch::Receiver<bool>) -> anyhow::Result<JoinHandle<()>> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr()?;
    let api = Arc::new(state);
    tracing::info!("the API listens on http://{address}");
    let upkeep = tokio::spawn(server::run_upkeep(Arc::clone(&api)));
    Ok(tokio::spawn(async move {
        server::run(listener, router::router(api), stop).await;
        upkeep.abort();
    }))
}
