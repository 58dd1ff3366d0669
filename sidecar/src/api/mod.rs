//! The REST API, served beside the deliveries by the same process. It decides nothing: each operation is a call of the
//! extension's SQL functions through [`Store`](crate::store::Store); here are only HTTP, tokens and limits.

// Every request.
mod server;
mod guard;
mod sessions;
mod auth;
mod tokens;
mod limits;
mod metrics;
mod request;
mod response;
mod error;
mod pagination;
mod responses;

// The operations, by noun.
mod routes;

use anyhow::Context;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::settings::Settings;

/// What all requests share; cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

/// See [`Api`].
pub struct Shared {
    sessions: sessions::Sessions,
    tokens: tokens::Tokens,
    limits: limits::Limits,
    pulse: routes::status::Pulse,
    history: routes::history::History,
    metrics: metrics::Metrics,
}

impl Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// Binds `address` and serves until told to stop. The task ends when the last request has its answer.
pub async fn start(
    address: SocketAddr,
    settings: &Settings,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<JoinHandle<()>> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr()?;
    let api = Api(Arc::new(Shared {
        sessions: sessions::Sessions::new(settings.database()?)?,
        tokens: tokens::Tokens::default(),
        limits: limits::Limits::new(settings.api_rate),
        pulse: routes::status::Pulse::default(),
        history: routes::history::History::new(),
        metrics: metrics::Metrics::install()?,
    }));
    tracing::info!("the API listens on http://{address}");
    let housekeeping = tokio::spawn(server::keep_house(api.clone()));
    Ok(tokio::spawn(async move {
        server::run(listener, routes::openapi::router(api), stop).await;
        housekeeping.abort();
    }))
}
