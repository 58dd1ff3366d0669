//! The set-up most tests begin with: a database, a receiver, one endpoint that wants every event, a running sidecar.

use std::collections::HashSet;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::database::Database;
use crate::deadline::eventually;
use crate::receiver::{Received, Receiver};
use crate::sidecar::Sidecar;

/// The secret of the stage's endpoint.
pub const SECRET: &str = "votre_secret_pour_signature";

/// A database whose events arrive at `receiver` under `/all`.
pub struct Stage {
    /// The test's database.
    pub db: Database<'static>,
    /// Where its events arrive.
    pub receiver: Receiver,
    /// The id of the endpoint `/all`.
    pub endpoint: String,
    /// What delivers them.
    pub sidecar: Sidecar,
}

impl Stage {
    /// Sets the stage.
    pub async fn start() -> Stage {
        Stage::start_with(&[]).await
    }

    /// Sets the stage with more environment variables for the sidecar.
    pub async fn start_with(environment: &[(&str, &str)]) -> Stage {
        let db = Cluster::shared().await.database().await;
        let receiver = Receiver::start().await;
        let endpoint = db.register(&receiver.url("/all"), "*", SECRET).await;
        let sidecar = Sidecar::start_with(&db, environment);
        Stage { db, receiver, endpoint, sidecar }
    }

    /// Everything that has arrived once an event made now has arrived, every event of the log has been tried, and the
    /// cursor is past them all: with several endpoints a first attempt at one says nothing of the others. That one left
    /// out. What was committed before and has not come by then would not have come at all.
    pub async fn arrived(&self) -> Vec<Received> {
        let marker: String = self.db.one("SELECT webhooks.emit('marker.made', '{}')").await;
        self.receiver.wait_for("the marker", |all| all.iter().any(|one| one.body.contains(&marker))).await;
        let untried = "SELECT (SELECT count(*) FROM webhooks.event WHERE webhook_id NOT IN (SELECT webhook_id FROM webhooks.attempt))
                            + (SELECT unread FROM webhooks.status())";
        eventually(Duration::from_secs(20), "every event has been tried", async || {
            (self.db.one::<i64>(untried).await == 0).then_some(())
        })
        .await;
        let arrived = self.receiver.requests().into_iter();
        arrived.filter(|one| one.event() != "marker.made").collect()
    }

    /// The names of the events that have arrived, each with every event before it.
    pub async fn arrived_events(&self) -> Vec<String> {
        self.arrived().await.iter().map(Received::event).collect()
    }

    /// Asserts that each event of the log has arrived exactly once.
    pub async fn assert_each_once(&self) {
        let arrived: Vec<String> = self.arrived().await.iter().map(Received::webhook_id).collect();
        let logged: Vec<String> =
            self.db.all("SELECT webhook_id FROM webhooks.event WHERE name <> 'marker.made'").await;
        let distinct: HashSet<_> = arrived.iter().collect();
        assert_eq!(distinct, logged.iter().collect(), "the events that arrived are those that were logged");
        assert_eq!(arrived.len(), logged.len(), "each arrives once");
    }
}
