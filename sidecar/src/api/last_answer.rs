//! What the database said within the last second, for callers without a token: however many they are, it is asked at
//! most once a second.

use std::time::{Duration, Instant};
use tokio::sync::Mutex;

use super::error::ApiError;
use super::sessions::{PooledClient, SessionPool};
use crate::store::{Store, StoreError};

const ANSWER_TTL: Duration = Duration::from_secs(1);

/// The last answer of the database, and when it came.
pub struct LastAnswer<T> {
    last: Mutex<Option<(Instant, Result<T, ApiError>)>>,
}

impl<T> Default for LastAnswer<T> {
    fn default() -> Self {
        Self { last: Mutex::default() }
    }
}

impl<T: Clone> LastAnswer<T> {
    /// Returns the answer, or why there is none. Concurrent callers share one query.
    pub async fn get(
        &self,
        sessions: &SessionPool,
        ask: impl AsyncFnOnce(&Store<PooledClient>) -> Result<T, StoreError>,
    ) -> Result<T, ApiError> {
        let mut last = self.last.lock().await;
        match &*last {
            Some((at, told)) if at.elapsed() < ANSWER_TTL => told.clone(),
            _ => {
                let told = match sessions.store().await {
                    Ok(store) => ask(&store).await.map_err(ApiError::from),
                    Err(error) => Err(error),
                };
                *last = Some((Instant::now(), told.clone()));
                told
            }
        }
    }
}
