//! One connection to Postgres, with helpers that make a test read like the SQL it runs. Unexpected errors panic with
//! everything the server said.

use std::fmt;
use std::sync::{Arc, Mutex};

use futures_util::stream::{StreamExt, poll_fn};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_postgres::types::{FromSqlOwned, ToSql};
use tokio_postgres::{AsyncMessage, Client, Error, NoTls, Row};

/// An open session.
pub struct Session {
    client: Client,
    heard: Arc<Mutex<Heard>>,
    driver: JoinHandle<()>,
}

#[derive(Default)]
struct Heard {
    notices: Vec<Notice>,
    notifications: usize,
}

/// A NOTICE or WARNING the server sent.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Its first line.
    pub message: String,
    /// Its hint, or "".
    pub hint: String,
}

/// An error the server sent.
#[derive(Debug)]
pub struct SqlError {
    /// Its SQLSTATE.
    pub code: String,
    /// Its first line.
    pub message: String,
    /// Its hint, or "".
    pub hint: String,
    /// Its detail and its context.
    pub more: String,
}

impl Session {
    /// Connects; panics when it cannot.
    pub async fn open(url: &str) -> Session {
        Session::try_open(url).await.unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    /// Connects, or says why not.
    pub async fn try_open(url: &str) -> Result<Session, Error> {
        let (client, mut connection) = tokio_postgres::connect(url, NoTls).await?;
        let heard = Arc::new(Mutex::new(Heard::default()));
        let listener = heard.clone();
        let driver = tokio::spawn(async move {
            let mut messages = poll_fn(|context| connection.poll_message(context));
            while let Some(Ok(message)) = messages.next().await {
                let mut heard = listener.lock().expect("nobody panics under it");
                match message {
                    AsyncMessage::Notice(notice) => heard.notices.push(Notice {
                        message: notice.message().into(),
                        hint: notice.hint().unwrap_or_default().into(),
                    }),
                    AsyncMessage::Notification(_) => heard.notifications += 1,
                    _ => {}
                }
            }
        });
        Ok(Session { client, heard, driver })
    }

    /// Closes the connection and waits until the server has been told.
    pub async fn close(self) {
        drop(self.client);
        let _ = self.driver.await;
    }

    /// Runs one or more statements.
    pub async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{}\n{sql}", Told(&error)));
    }

    /// Runs one or more statements, or says why not.
    pub async fn try_run(&self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await
    }

    /// Runs one statement with parameters.
    pub async fn run_with(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> u64 {
        let done = self.client.execute(sql, parameters).await;
        done.unwrap_or_else(|error| panic!("{}\n{sql}", Told(&error)))
    }

    /// The one value of the one row.
    pub async fn one<T: FromSqlOwned>(&self, sql: &str) -> T {
        self.row(sql).await.get(0)
    }

    /// The first column of every row.
    pub async fn all<T: FromSqlOwned>(&self, sql: &str) -> Vec<T> {
        self.rows(sql).await.iter().map(|row| row.get(0)).collect()
    }

    /// The first column of every row, or why there is none.
    pub async fn try_all<T: FromSqlOwned>(&self, sql: &str) -> Result<Vec<T>, Error> {
        self.client.query(sql, &[]).await?.iter().map(|row| row.try_get(0)).collect()
    }

    /// The one row.
    pub async fn row(&self, sql: &str) -> Row {
        let mut rows = self.rows(sql).await;
        assert_eq!(rows.len(), 1, "rows of {sql}");
        rows.remove(0)
    }

    /// Every row.
    pub async fn rows(&self, sql: &str) -> Vec<Row> {
        let rows = self.client.query(sql, &[]).await;
        rows.unwrap_or_else(|error| panic!("{}\n{sql}", Told(&error)))
    }

    /// The rows of a query as JSON, one object each, keys in the query's order.
    pub async fn json(&self, sql: &str) -> Vec<Value> {
        let rows = self.all::<String>(&format!("SELECT row_to_json(r)::text FROM ({sql}) r")).await;
        rows.iter().map(|row| serde_json::from_str(row).expect("Postgres writes JSON")).collect()
    }

    /// The error of statements that must fail.
    pub async fn fail(&self, sql: &str) -> SqlError {
        let error = match self.client.batch_execute(sql).await {
            Ok(()) => panic!("no error from {sql}"),
            Err(error) => error,
        };
        let Some(told) = error.as_db_error() else { panic!("{error}\n{sql}") };
        SqlError {
            code: told.code().code().into(),
            message: told.message().into(),
            hint: told.hint().unwrap_or_default().into(),
            more: [told.detail(), told.where_()].map(Option::unwrap_or_default).join("\n"),
        }
    }

    /// The notices since the last call.
    pub fn notices(&self) -> Vec<Notice> {
        std::mem::take(&mut self.heard.lock().expect("nobody panics under it").notices)
    }

    /// How many notifications have come in so far.
    pub fn notifications(&self) -> usize {
        self.heard.lock().expect("nobody panics under it").notifications
    }
}

/// An error with what the server said about it.
struct Told<'a>(&'a Error);

impl fmt::Display for Told<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_db_error() {
            Some(told) => write!(
                out,
                "{}: {} (hint: {:?}, detail: {:?}, where: {:?})",
                told.code().code(),
                told.message(),
                told.hint(),
                told.detail(),
                told.where_()
            ),
            None => write!(out, "{}", self.0),
        }
    }
}
