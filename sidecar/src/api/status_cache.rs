//! The status of the last second, for callers without a token: however many they are, the database is asked at most
//! once a second.

use std::time::{Duration, Instant};
use tokio::sync::Mutex;

use super::error::ApiError;
use super::sessions::SessionPool;
use crate::store::Status;

const STATUS_TTL: Duration = Duration::from_secs(1);

/// The last answer of the database, and when it came.
#[derive(Default)]
pub struct StatusCache {
    last: Mutex<Option<(Instant, Result<Status, ApiError>)>>,
}

impl StatusCache {
    /// Returns the status, or why there is none. Concurrent callers share one query.
    pub async fn get(&self, sessions: &SessionPool) -> Result<Status, ApiError> {
        let mut last = self.last.lock().await;
        match &*last {
            Some((at, told)) if at.elapsed() < STATUS_TTL => told.clone(),
            _ => {
                let told = ask(sessions).await;
                *last = Some((Instant::now(), told.clone()));
                told
            }
        }
    }
}

async fn ask(sessions: &SessionPool) -> Result<Status, ApiError> {
    Ok(sessions.store().await?.status().await?)
}
