//! Housekeeping, called now and then in a session of its own, so that nothing else waits for it. Each step is a
//! transaction; one that somebody's lock keeps from its work is tried again later, and holds up no other step.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

use super::contract::{Session, SessionError};
use super::shared::Shared;
use crate::database::Database;

const INTERVAL: Duration = Duration::from_secs(300);
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// How long the server lets a step take.
const STEP_TIMEOUT: Duration = Duration::from_secs(300);
/// The steps of `webhooks.maintain`.
const STEPS: [&str; 3] = ["rows", "event", "attempt"];

/// Does the housekeeping until it is dropped. It begins when the shard has been held for as long as a lease lasts: who
/// has just taken over has other things to do.
pub async fn run(shared: Arc<Shared>) {
    let mut troubles = Troubles::default();
    let mut wait = shared.settings.lease;
    loop {
        sleep(wait).await;
        wait = if maintain(&shared.database, &mut troubles).await { INTERVAL } else { RETRY_INTERVAL };
    }
}

/// Returns whether all was done.
async fn maintain(database: &Database, troubles: &mut Troubles) -> bool {
    let mut is_done = true;
    let session = Session::open_outside(database, None, STEP_TIMEOUT).await;
    for step in STEPS {
        let outcome = match &session {
            Ok(session) => take(session, step).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        is_done &= outcome.is_ok();
        if let Some(news) = troubles.note(step, outcome.err()) {
            tracing::warn!(step, "housekeeping {news}");
        }
    }
    is_done
}

async fn take(session: &Session, step: &str) -> Result<(), SessionError> {
    let maintain = session.prepare("webhooks.maintain", "SELECT webhooks.maintain($1)").await?;
    session.call(&maintain, &[&step]).await?;
    Ok(())
}

/// What each step could not do the last time.
#[derive(Default)]
struct Troubles(HashMap<&'static str, String>);

impl Troubles {
    /// Notes the outcome of a step; returns what is to be said of it, where that is news.
    fn note(&mut self, step: &'static str, trouble: Option<String>) -> Option<String> {
        let known = self.0.remove(step);
        let Some(trouble) = trouble else { return known.map(|_| "goes on".to_owned()) };
        let is_news = known.as_ref() != Some(&trouble);
        self.0.insert(step, trouble.clone());
        is_news.then(|| format!("is left for later: {trouble}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_said_once_and_its_end_too() {
        let mut troubles = Troubles::default();
        let held = || Some("somebody holds it".to_owned());
        assert_eq!(troubles.note("event", None), None);
        assert!(troubles.note("event", held()).is_some_and(|news| news.contains("somebody holds it")));
        assert_eq!(troubles.note("event", held()), None);
        assert!(troubles.note("attempt", held()).is_some(), "each step has its own");
        assert!(troubles.note("event", Some("another".to_owned())).is_some());
        assert_eq!(troubles.note("event", None).as_deref(), Some("goes on"));
        assert_eq!(troubles.note("event", None), None);
    }
}
