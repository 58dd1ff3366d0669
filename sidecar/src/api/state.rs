//! The state that all requests share.

use ipnet::IpNet;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::activity::Activity;
use super::error::ApiError;
use super::last_answer::LastAnswer;
use super::limits::RateLimits;
use super::metrics::Metrics;
use super::sessions::{PooledClient, SessionPool};
use super::tokens::Tokens;
use crate::database::Database;
use crate::store::{Status, Store};

/// The state as handlers hold it; cheap to clone.
pub type Api = Arc<Shared>;

/// What an [`Api`] refers to.
pub struct Shared {
    pub sessions: SessionPool,
    pub tokens: Tokens,
    pub limits: RateLimits,
    pub status: LastAnswer<Status>,
    pub version: LastAnswer<String>,
    pub activity: Activity,
    pub metrics: Metrics,
    /// Whose X-Forwarded-For counts.
    pub trusted_proxies: Vec<IpNet>,
}

impl Shared {
    /// Opens no session, and installs the recorder of the metrics.
    pub fn new(
        database: Database,
        requests_per_second: NonZeroU32,
        trusted_proxies: Vec<IpNet>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            sessions: SessionPool::new(database)?,
            tokens: Tokens::default(),
            limits: RateLimits::new(requests_per_second),
            status: LastAnswer::default(),
            version: LastAnswer::default(),
            activity: Activity::default(),
            metrics: Metrics::install()?,
            trusted_proxies,
        })
    }

    /// Returns the functions of the database, for one request. Handlers ask for it after they have read the body, so
    /// that a slow caller holds no session.
    pub async fn store(&self) -> Result<Store<PooledClient>, ApiError> {
        self.sessions.store().await
    }
}
