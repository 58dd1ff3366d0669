//! The API's own few sessions with Postgres, apart from those that deliver. They are opened on request and closed when
//! they are idle: an API that nobody calls has no session and makes no statement. A wait for one is short and ends in a
//! 503.

use deadpool_postgres::{Connect, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts};
use std::borrow::Borrow;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Error};

use super::error::ApiError;
use crate::database::Database;
use crate::store::{Session, Store};

const MAX_SESSIONS: usize = 4;
const CHECKOUT_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a session may be idle before it is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The pool; cheap to clone.
#[derive(Clone)]
pub struct SessionPool {
    pool: Pool,
}

/// A session for as long as one request needs it. It goes back to the pool, unless a call was cut off: a connection that
/// lives and is silent would cost the next request its time, too.
pub struct PooledClient {
    /// `None` only while it is dropped.
    session: Option<Object>,
    was_cut_off: AtomicBool,
}

impl Borrow<Client> for PooledClient {
    fn borrow(&self) -> &Client {
        self.session.as_ref().expect("it is there until it is dropped")
    }
}

impl Session for PooledClient {
    fn call_was_cut_off(&self) {
        self.was_cut_off.store(true, Ordering::Relaxed);
    }
}

impl Drop for PooledClient {
    fn drop(&mut self) {
        if let Some(session) = self.session.take()
            && self.was_cut_off.load(Ordering::Relaxed)
        {
            drop(Object::take(session));
        }
    }
}

impl SessionPool {
    /// An empty pool.
    pub fn new(database: Database) -> anyhow::Result<Self> {
        let database = database.named("pg-webhooks-api");
        let config = database.config().clone();
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let pool = Pool::builder(Manager::from_connect(config, Opener(database), recycling))
            .max_size(MAX_SESSIONS)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(CHECKOUT_TIMEOUT),
                create: Some(CONNECT_TIMEOUT),
                recycle: Some(CHECKOUT_TIMEOUT),
            })
            .build()?;
        Ok(Self { pool })
    }

    /// Returns the functions of the database, called with a session of the pool; or a 503 that says why there is none.
    pub async fn store(&self) -> Result<Store<PooledClient>, ApiError> {
        match self.pool.get().await {
            Ok(session) => Ok(Store::new(PooledClient { session: Some(session), was_cut_off: AtomicBool::new(false) })),
            Err(PoolError::Backend(error)) => {
                // Its `Display` leaves out the cause.
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                tracing::debug!("the API has no session: {error}{cause}");
                Err(ApiError::unavailable("the database cannot be reached just now"))
            }
            Err(PoolError::Timeout(_)) => Err(ApiError::unavailable("the database is too busy just now")),
            Err(error) => Err(ApiError::fault(&error)),
        }
    }

    /// Closes idle sessions.
    pub fn evict_idle(&self) {
        self.pool.retain(|_, session| session.last_used() < IDLE_TIMEOUT);
    }
}

/// Opens sessions as the rest of the process does, with a limit on each statement.
struct Opener(Database);

type Opening<'a> = Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + 'a>>;

impl Connect for Opener {
    fn connect(&self, _: &Config) -> Opening<'_> {
        Box::pin(self.0.open_unattended(None, "5s"))
    }
}
