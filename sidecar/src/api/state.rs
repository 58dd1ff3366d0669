//! The state that all requests share.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::activity::Activity;
use super::error::ApiError;
use super::limits::Limits;
use super::metrics::Metrics;
use super::sessions::{PooledClient, Sessions};
use super::status_cache::StatusCache;
use super::tokens::Tokens;
use crate::database::Database;
use crate::store::Store;

/// The state as handlers hold it; cheap to clone.
pub type Api = Arc<Shared>;

/// What an [`Api`] refers to.
pub struct Shared {
    pub sessions: Sessions,
    pub tokens: Tokens,
    pub limits: Limits,
    pub status: StatusCache,
    pub activity: Activity,
    pub metrics: Metrics,
}

impl Shared {
    /// Opens no session, and installs the recorder of the metrics.
    pub fn new(database: Database, requests_per_second: NonZeroU32) -> anyhow::Result<Self> {
        Ok(Self {
            sessions: Sessions::new(database)?,
            tokens: Tokens::default(),
            limits: Limits::new(requests_per_second),
            status: StatusCache::default(),
            activity: Activity::default(),
            metrics: Metrics::install()?,
        })
    }

    /// Returns the functions of the database, for one request. Handlers ask for it after they have read the body, so
    /// that a slow caller holds no session.
    pub async fn store(&self) -> Result<Store<PooledClient>, ApiError> {
        self.sessions.store().await
    }
}
