//! The SQL functions for people, as the REST API and the command line call them: each method is one statement, and no
//! rule is decided here. Rows come as JSON, so that a column has one name from the table to the answer.

mod error;
mod records;

pub use error::{StoreError, StoreErrorKind};
pub use records::{
    ActivityPoint, AttemptLine, DeliveryLine, EndpointRecord, EventLine, EventType, Health, LeaseRecord, Message,
    Signatures, Status, TokenRecord, TokenState,
};

use serde::de::DeserializeOwned;
use serde_json::Value;
use std::borrow::Borrow;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error};

/// A point in time, in UTC.
pub type Time = chrono::DateTime<chrono::Utc>;

type Result<T> = std::result::Result<T, StoreError>;
type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A session to call functions with.
pub trait Session: Borrow<Client> {
    /// A call was given up before its answer came, which may never come: nobody should wait behind it.
    fn call_was_cut_off(&self) {}
}

impl Session for &Client {}

/// Tells the session if it is dropped while a call is under way.
struct Call<'a, C: Session>(Option<&'a C>);

impl<C: Session> Drop for Call<'_, C> {
    fn drop(&mut self) {
        if let Some(session) = self.0 {
            session.call_was_cut_off();
        }
    }
}

/// The functions of the extension, called with one session.
pub struct Store<C> {
    client: C,
}

/// The fields of a registration.
#[derive(Debug, Default)]
pub struct Registration<'a> {
    pub url: Option<&'a str>,
    pub events: Option<&'a [String]>,
    pub secret: Option<&'a str>,
    pub active: Option<bool>,
    pub description: Option<&'a str>,
    /// A JSON Merge Patch: an object in which null removes.
    pub options: Option<Value>,
}

/// The attempts to return; a `None` is no condition.
#[derive(Clone, Copy, Debug, Default)]
pub struct AttemptFilter<'a> {
    pub endpoint_id: Option<&'a str>,
    pub webhook_id: Option<&'a str>,
    pub event: Option<&'a str>,
    pub outcome: Option<&'a str>,
    pub search: Option<&'a str>,
    pub since: Option<Time>,
    pub until: Option<Time>,
    /// The `position` of the last line of the page before.
    pub before: Option<&'a str>,
}

/// The messages to return; a `None` is no condition.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventFilter<'a> {
    pub event: Option<&'a str>,
    pub endpoint_id: Option<&'a str>,
    pub state: Option<&'a str>,
    pub since: Option<Time>,
    pub until: Option<Time>,
    /// The `webhook_id` of the last line of the page before.
    pub before: Option<&'a str>,
}

/// The messages to replay.
#[derive(Debug)]
pub struct Replay {
    pub since: Time,
    pub until: Option<Time>,
    pub only_failed: bool,
    pub dry_run: bool,
}

impl<C: Session> Store<C> {
    pub fn new(client: C) -> Self {
        Self { client }
    }

    // Endpoints.

    pub async fn list(&self) -> Result<Vec<EndpointRecord>> {
        self.rows("SELECT to_jsonb(r) - 'options' || r.options FROM webhooks.list() r", &[]).await
    }

    pub async fn get(&self, endpoint_id: &str) -> Result<EndpointRecord> {
        self.row("SELECT to_jsonb(r) - 'options' || r.options FROM webhooks.get($1) r", &[&endpoint_id]).await
    }

    /// Returns the new `ep_…`.
    pub async fn register(&self, new: &Registration<'_>) -> Result<String> {
        let sql = "SELECT webhooks.register($1, $2, $3, $4, $5, $6)";
        self.value(sql, &[&new.url, &new.events, &new.secret, &new.active, &new.description, &new.options]).await
    }

    /// Changes the fields that are given; an empty secret removes it.
    pub async fn update(&self, endpoint_id: &str, change: &Registration<'_>) -> Result<()> {
        let sql = "SELECT webhooks.update($1, $2, $3, $4, $5, $6, $7)";
        let Registration { url, events, secret, active, description, options } = change;
        self.call(sql, &[&endpoint_id, url, events, secret, active, description, options]).await
    }

    /// Changes fields in the name of an actor whom the database does not know.
    pub async fn update_as(&self, actor: &str, endpoint_id: &str, change: &Registration<'_>) -> Result<()> {
        let sql = "SELECT webhooks.update($1, $2, $3, $4, $5, $6, $7)
                     FROM (SELECT set_config('pg_webhooks.actor', $8, true) OFFSET 0) AS acting (actor) WHERE actor IS NOT NULL";
        let Registration { url, events, secret, active, description, options } = change;
        self.call(sql, &[&endpoint_id, url, events, secret, active, description, options, &actor]).await
    }

    pub async fn delete(&self, endpoint_id: &str) -> Result<()> {
        self.call("SELECT webhooks.delete($1)", &[&endpoint_id]).await
    }

    pub async fn generate_secret(&self) -> Result<String> {
        self.value("SELECT webhooks.generate_secret()", &[]).await
    }

    /// Returns the secret that was generated, if none was given.
    pub async fn rotate_secret(
        &self,
        endpoint_id: &str,
        new_secret: Option<&str>,
        overlap_s: i64,
    ) -> Result<Option<String>> {
        let sql = "SELECT webhooks.rotate_secret($1, $2, $3::bigint * interval '1 s')";
        self.value(sql, &[&endpoint_id, &new_secret, &overlap_s]).await
    }

    // Sending.

    /// Returns the `wh_…`, as does the next.
    pub async fn test(&self, endpoint_id: &str) -> Result<String> {
        self.value("SELECT webhooks.test($1)", &[&endpoint_id]).await
    }

    pub async fn trigger(&self, endpoint_id: &str, event: &str) -> Result<String> {
        self.value("SELECT webhooks.trigger($1, $2)", &[&endpoint_id, &event]).await
    }

    /// Returns how many deliveries were queued.
    pub async fn redeliver(&self, webhook_id: &str, endpoint_id: Option<&str>) -> Result<i32> {
        self.value("SELECT webhooks.redeliver($1, $2)", &[&webhook_id, &endpoint_id]).await
    }

    /// Has what waits sent now, all of it or one message; returns how many deliveries that is.
    pub async fn retry(&self, endpoint_id: &str, webhook_id: Option<&str>) -> Result<i64> {
        self.value("SELECT webhooks.retry($1, $2)", &[&endpoint_id, &webhook_id]).await
    }

    /// Returns how many deliveries were queued, or would be.
    pub async fn replay(&self, endpoint_id: &str, replay: &Replay) -> Result<i64> {
        let Replay { since, until, only_failed, dry_run } = replay;
        let sql = "SELECT webhooks.replay($1, $2, $3, $4, $5)";
        self.value(sql, &[&endpoint_id, since, until, only_failed, dry_run]).await
    }

    // History.

    pub async fn attempts(&self, filter: &AttemptFilter<'_>, most: i32) -> Result<Vec<AttemptLine>> {
        let AttemptFilter { endpoint_id, webhook_id, event, outcome, search, since, until, before } = filter;
        let sql = "SELECT row_to_json(r) FROM webhooks.attempts($1, $2, $3, $4, $5, $6, $7, $8, $9) r";
        self.rows(sql, &[endpoint_id, webhook_id, event, outcome, search, since, until, before, &most]).await
    }

    pub async fn events(&self, filter: &EventFilter<'_>, most: i32) -> Result<Vec<EventLine>> {
        let EventFilter { event, endpoint_id, state, since, until, before } = filter;
        let sql = "SELECT row_to_json(r) FROM webhooks.events($1, $2, $3, $4, $5, $6, $7) r";
        self.rows(sql, &[event, endpoint_id, state, since, until, before, &most]).await
    }

    pub async fn message(&self, webhook_id: &str) -> Result<Message> {
        self.row("SELECT row_to_json(r) FROM webhooks.message($1) r", &[&webhook_id]).await
    }

    pub async fn deliveries(&self, webhook_id: &str) -> Result<Vec<DeliveryLine>> {
        self.rows("SELECT row_to_json(r) FROM webhooks.deliveries($1) r", &[&webhook_id]).await
    }

    /// Returns what an attempt was signed with; `None` if the secret has changed since.
    pub async fn signatures(&self, webhook_id: &str, endpoint_id: &str, signed_at: i64) -> Result<Option<Signatures>> {
        let sql = "SELECT row_to_json(r) FROM webhooks.signatures($1, $2, $3) r";
        Ok(self.rows(sql, &[&webhook_id, &endpoint_id, &signed_at]).await?.pop())
    }

    pub async fn event_types(&self) -> Result<Vec<EventType>> {
        self.rows("SELECT row_to_json(r) FROM webhooks.event_types() r", &[]).await
    }

    // The state of delivery.

    /// Returns the extension's version; it reads nothing that grows.
    pub async fn version(&self) -> Result<String> {
        self.value("SELECT webhooks.version()", &[]).await
    }

    pub async fn status(&self) -> Result<Status> {
        let sql = "SELECT row_to_json(r) FROM (SELECT *, extract(epoch FROM behind)::float8 AS behind_seconds FROM webhooks.status()) r";
        self.row(sql, &[]).await
    }

    pub async fn leases(&self) -> Result<Vec<LeaseRecord>> {
        self.rows("SELECT row_to_json(r) FROM webhooks.leases() r", &[]).await
    }

    /// Returns the health of one endpoint or of all, by their latest `recent` attempts.
    pub async fn health(&self, endpoint_id: Option<&str>, recent: i32) -> Result<Vec<Health>> {
        self.rows("SELECT row_to_json(r) FROM webhooks.health($1, $2) r", &[&endpoint_id, &recent]).await
    }

    /// Counts the attempts from `since` on, in buckets of so many seconds; empty buckets are left out.
    pub async fn activity(&self, since: Time, until: Time, bucket_s: i32) -> Result<Vec<ActivityPoint>> {
        let sql = "SELECT row_to_json(r) FROM webhooks.activity($1, $2, $3::integer * interval '1 s') r";
        self.rows(sql, &[&since, &until, &bucket_s]).await
    }

    /// Returns whose token it is, and whether it is valid.
    pub async fn authenticate(&self, token: &str) -> Result<TokenState> {
        self.row("SELECT row_to_json(r) FROM webhooks.authenticate($1) r", &[&token]).await
    }

    // Tokens.

    pub async fn tokens(&self) -> Result<Vec<TokenRecord>> {
        self.rows("SELECT row_to_json(r) FROM webhooks.tokens() r", &[]).await
    }

    /// Returns the token, this once.
    pub async fn create_token(&self, name: &str, role: &str, expires: Option<Time>) -> Result<String> {
        self.value("SELECT webhooks.create_token($1, $2, $3)", &[&name, &role, &expires]).await
    }

    /// Takes the `tk_…` or the token itself.
    pub async fn revoke_token(&self, token_id: &str) -> Result<()> {
        self.call("SELECT webhooks.revoke_token($1)", &[&token_id]).await
    }

    async fn rows<T: DeserializeOwned>(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<T>> {
        let rows = self.answer(self.client.borrow().query(sql, parameters)).await?;
        rows.iter().map(|row| Ok(serde_json::from_value(row.try_get::<_, Value>(0)?)?)).collect()
    }

    async fn row<T: DeserializeOwned>(&self, sql: &str, parameters: Parameters<'_>) -> Result<T> {
        let row = self.answer(self.client.borrow().query_one(sql, parameters)).await?;
        Ok(serde_json::from_value(row.try_get::<_, Value>(0)?)?)
    }

    async fn value<T>(&self, sql: &str, parameters: Parameters<'_>) -> Result<T>
    where
        T: for<'r> tokio_postgres::types::FromSql<'r>,
    {
        Ok(self.answer(self.client.borrow().query_one(sql, parameters)).await?.try_get(0)?)
    }

    async fn call(&self, sql: &str, parameters: Parameters<'_>) -> Result<()> {
        self.answer(self.client.borrow().query_one(sql, parameters)).await?;
        Ok(())
    }

    async fn answer<T>(&self, answer: impl Future<Output = std::result::Result<T, Error>>) -> Result<T> {
        let mut call = Call(Some(&self.client));
        let answer = answer.await;
        call.0 = None;
        Ok(answer?)
    }
}
