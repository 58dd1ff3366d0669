//! A database of its own for one test. Dereferences to a superuser's session in it.

use std::ops::Deref;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::cluster::Cluster;
use crate::deadline::eventually;
use crate::programs::postgres_program;
use crate::session::Session;

/// A database and a superuser's session in it.
pub struct Database<'a> {
    cluster: &'a Cluster,
    name: String,
    session: Session,
}

impl Cluster {
    /// A new database with the sample tables and the extension attached to them.
    pub async fn database(&self) -> Database<'_> {
        Database::open(self, "prepared").await
    }

    /// A new database with nothing in it.
    pub async fn empty_database(&self) -> Database<'_> {
        Database::open(self, "template0").await
    }
}

impl<'a> Database<'a> {
    async fn open(cluster: &'a Cluster, template: &str) -> Database<'a> {
        let name = cluster.copy_of(template).await;
        // What `make test-hard` wants of the writers' sessions; with the template's, or the sidecar's, it would take hours.
        if let Ok(setting) = std::env::var("PG_WEBHOOKS_TEST_SETTING") {
            let session = Session::open(&cluster.url("postgres", "postgres")).await;
            session.run(&format!("ALTER ROLE postgres IN DATABASE {name} SET {setting}")).await;
        }
        let session = Session::open(&cluster.url("postgres", &name)).await;
        Database { cluster, name, session }
    }

    /// A connection string for `role`.
    pub fn url(&self, role: &str) -> String {
        self.cluster.url(role, &self.name)
    }

    /// Another superuser's session.
    pub async fn session(&self) -> Session {
        self.session_as("postgres").await
    }

    /// A session of `role`: `app`, `manager` or `postgres`.
    pub async fn session_as(&self, role: &str) -> Session {
        Session::open(&self.url(role)).await
    }

    /// Connects again, after the server was restarted.
    pub async fn reopen(&mut self) {
        self.session = self.session().await;
    }

    /// Waits until the sidecar has read the whole log and reported it.
    pub async fn until_all_is_read(&self) {
        let unread = "SELECT unread FROM webhooks.status()";
        eventually(Duration::from_secs(20), "the cursor is past all of it", async || {
            (self.one::<i32>(unread).await == 0).then_some(())
        })
        .await;
    }

    /// Drops it, whoever is still connected, so that autovacuum has nothing to do in it.
    pub async fn discard(self) {
        let Database { cluster, name, session } = self;
        session.close().await;
        let postgres = Session::open(&cluster.url("postgres", "postgres")).await;
        postgres.run(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many sessions a role has in it.
    pub async fn sessions_of(&self, role: &str) -> i64 {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename =";
        self.one(&format!("{count} '{role}'")).await
    }

    /// Sets `pg_webhooks.<setting>` for the sessions that begin from now on.
    pub async fn set(&self, setting: &str, value: &str) {
        self.run(&format!("ALTER DATABASE {} SET pg_webhooks.{setting} = '{value}'", self.name)).await;
    }

    /// Sets the waits between the attempts, such as `20ms, 20ms, 20ms, 20ms, 20ms`.
    pub async fn retry_schedule(&self, schedule: &str) {
        self.set("retry_schedule", schedule).await;
    }

    /// Registers an endpoint with a secret and returns its id.
    pub async fn register(&self, url: &str, events: &str, secret: &str) -> String {
        let secret = secret.replace('\'', "''");
        self.one(&format!("SELECT webhooks.register('{url}', '{{{events}}}', '{secret}')")).await
    }

    /// Makes a token for the REST API.
    pub async fn token(&self, name: &str, role: &str) -> String {
        self.one(&format!("SELECT webhooks.create_token('{name}', '{role}')")).await
    }

    /// The names of the events in the log, in its order.
    pub async fn events(&self) -> Vec<String> {
        self.all("SELECT name FROM webhooks.event ORDER BY xid, seq").await
    }

    /// What `pg_dump` writes of it.
    pub async fn dump(&self) -> String {
        let dump = Command::new(postgres_program("pg_dump")).arg(self.url("postgres")).output().await;
        let dump = dump.expect("pg_dump starts");
        assert!(dump.status.success(), "pg_dump: {}", String::from_utf8_lossy(&dump.stderr));
        String::from_utf8(dump.stdout).expect("a dump in UTF-8")
    }

    /// Feeds a dump to `psql`, which stops at the first error.
    pub async fn restore(&self, dump: &str) {
        let mut psql = Command::new(postgres_program("psql"));
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"]);
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), dump).expect("it is ours");
        let done = psql.arg(file.path()).arg(self.url("postgres")).stdin(Stdio::null()).output().await;
        let done = done.expect("psql starts");
        assert!(done.status.success(), "psql: {}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Deref for Database<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}
