//! A private Postgres cluster in a temporary directory: initdb, trust authentication, a loopback port.
//!
//! One is shared by all tests of the process; a test that crashes Postgres makes its own. Postgres refuses to run
//! as root, so under root it runs as `postgres`, or else `nobody`. Nothing is left behind at the end, and what the tests
//! have done to the tables of pg_webhooks is checked before: where a row or an index entry is lost, they fail.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::amcheck;
use crate::process::{children, is_alive, signal, spawn_bound};
use crate::programs::{postgres_libraries, postgres_program};
use crate::session::Session;

const CONFIGURATION: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = '.'
max_connections = 200
max_prepared_transactions = 10
fsync = off
shared_buffers = 256MB
max_wal_size = 4GB
log_line_prefix = '%m %d '
lc_messages = 'C'
";

/// A running cluster with the template database that every test's database is copied from.
pub struct Cluster {
    directory: Mutex<Option<TempDir>>,
    data: PathBuf,
    port: u16,
    postmaster: AtomicU32,
    databases: AtomicU32,
}

static SHARED: OnceCell<Cluster> = OnceCell::const_new();

impl Cluster {
    /// The cluster that all tests share, started by the first that asks and stopped when the process exits.
    pub async fn shared() -> &'static Cluster {
        SHARED
            .get_or_init(|| async {
                // SAFETY: the handler is a plain function that may run at any time after this.
                unsafe { libc::atexit(stop_shared) };
                Cluster::own().await
            })
            .await
    }

    /// A cluster for one test alone, stopped when dropped.
    pub async fn own() -> Cluster {
        Cluster::own_with("").await
    }

    /// The same with more lines of `postgresql.conf`.
    pub async fn own_with(settings: &str) -> Cluster {
        let user = unprivileged_user();
        let directory = TempDir::with_prefix_in("postgres-", home_of_clusters(user.is_some()));
        let directory = directory.expect("a temporary directory");
        if let Some(user) = &user {
            chown(directory.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw())).expect("chown as root");
        }
        let data = directory.path().join("data");
        let mut initdb = postgres_command("initdb", directory.path().into());
        initdb.args(["--auth=trust", "--username=postgres", "--encoding=UTF8"]);
        initdb.args(["--locale=C.UTF-8", "--no-sync", "-D"]).arg(&data);
        let made = initdb.output().expect("initdb starts");
        assert!(made.status.success(), "initdb: {made:?}");
        let configuration = data.join("postgresql.conf");
        let defaults = fs::read_to_string(&configuration).expect("initdb wrote it");
        fs::write(&configuration, defaults + CONFIGURATION + settings).expect("the configuration is ours");

        let cluster = Cluster {
            directory: Mutex::new(Some(directory)),
            data,
            port: free_port(),
            postmaster: AtomicU32::new(0),
            databases: AtomicU32::new(0),
        };
        cluster.start().await;
        cluster.make_template().await;
        cluster
    }

    /// Starts Postgres and returns when it takes connections.
    pub async fn start(&self) {
        let mut command = postgres_command("postgres", self.data.clone());
        let log = File::options().create(true).append(true).open(self.data.join("server.log"));
        command.arg("-D").arg(&self.data).arg("-p").arg(self.port.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        // As the environment of some servers has it: it must not show in errors.
        command.env("RUST_BACKTRACE", "1");
        command.stderr(log.expect("the log is ours"));
        self.postmaster.store(keep(command), Ordering::SeqCst);

        let began = Instant::now();
        while let Err(error) = Session::try_open(&self.url("postgres", "postgres")).await {
            let log = fs::read_to_string(self.data.join("server.log")).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(30), "Postgres: {error}\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends Postgres at once, without a checkpoint: what is not in the write-ahead log is lost.
    pub fn crash(&self) {
        let pid = self.postmaster.swap(0, Ordering::SeqCst);
        if pid == 0 {
            return;
        }
        signal(pid, Signal::SIGQUIT);
        let began = Instant::now();
        while self.data.join("postmaster.pid").exists() && PathBuf::from(format!("/proc/{pid}")).exists() {
            if began.elapsed() > Duration::from_secs(10) {
                signal(pid, Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops Postgres as an administrator does: with a checkpoint, and nothing is lost.
    pub fn stop(&self) {
        let pid = self.postmaster.swap(0, Ordering::SeqCst);
        signal(pid, Signal::SIGINT);
        let began = Instant::now();
        while is_alive(pid) {
            assert!(began.elapsed() < Duration::from_secs(30), "Postgres does not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The next start is a standby's: Postgres replays what it has, takes questions, and waits to be promoted.
    pub fn make_standby(&self) {
        fs::write(self.data.join("standby.signal"), "").expect("the data directory is ours");
    }

    /// `SIGSTOP` of one of its processes.
    pub fn freeze_process(&self, pid: i32) {
        signal(pid.unsigned_abs(), Signal::SIGSTOP);
    }

    /// `SIGCONT` of one that was frozen.
    pub fn thaw_process(&self, pid: i32) {
        signal(pid.unsigned_abs(), Signal::SIGCONT);
    }

    /// `kill -9` of one session's process: Postgres ends all sessions and recovers, in the same postmaster.
    pub fn kill9_session(&self, backend: i32) {
        signal(backend.unsigned_abs(), Signal::SIGKILL);
    }

    /// `kill -9` of every process of Postgres.
    pub fn kill9(&self) {
        let postmaster = self.postmaster.swap(0, Ordering::SeqCst);
        let backends = children(postmaster);
        for pid in std::iter::once(postmaster).chain(backends.iter().copied()) {
            signal(pid, Signal::SIGKILL);
        }
        let began = Instant::now();
        while backends.iter().any(|pid| is_alive(*pid)) || is_alive(postmaster) {
            assert!(began.elapsed() < Duration::from_secs(10), "Postgres survives kill -9");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The postmaster's process id, 0 while it does not run.
    pub fn pid(&self) -> u32 {
        self.postmaster.load(Ordering::SeqCst)
    }

    /// A connection string for `role` in `database`.
    pub fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}", self.port)
    }

    /// Copies a database and returns the copy's name.
    pub(crate) async fn copy_of(&self, template: &str) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::SeqCst));
        let postgres = Session::open(&self.url("postgres", "postgres")).await;
        postgres.run(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        name
    }

    async fn make_template(&self) {
        let postgres = Session::open(&self.url("postgres", "postgres")).await;
        postgres.run("CREATE DATABASE prepared").await;
        let prepared = Session::open(&self.url("postgres", "prepared")).await;
        prepared.run(include_str!("../../sql/examples/products_manager.sql")).await;
        prepared.run("CREATE EXTENSION pg_webhooks").await;
        // The roles of a deployment: the sidecar's, without and with an API, an API that may deliver nothing, someone who
        // manages webhooks, an application that knows nothing of them.
        prepared
            .run(
                "CREATE ROLE sidecar LOGIN IN ROLE webhooks_sidecar;
                 CREATE ROLE server LOGIN IN ROLE webhooks_sidecar, webhooks_api;
                 CREATE ROLE api LOGIN IN ROLE webhooks_api;
                 CREATE ROLE manager LOGIN IN ROLE webhooks_admin;
                 CREATE ROLE app LOGIN;
                 GRANT SELECT, INSERT, UPDATE, DELETE ON products, suppliers, imports TO app",
            )
            .await;
        prepared.close().await;
        postgres.run("ALTER DATABASE prepared ALLOW_CONNECTIONS false").await;
    }

    /// What is wrong with the tables and indexes of pg_webhooks in any of its databases. Only a running primary tells.
    pub fn damage(&self) -> Option<String> {
        let tells = self.pid() != 0 && !self.data.join("standby.signal").exists();
        tells.then(|| amcheck::damage(&self.url("postgres", "postgres"))).flatten()
    }

    /// Leaves nothing behind. A cluster of many databases has some 300,000 files: nobody waits until they are gone.
    fn remove(&self) {
        self.crash();
        let Some(directory) = self.directory.lock().expect("nobody panics under it").take() else { return };
        let mut remove = Command::new("rm");
        remove.arg("-rf").arg(directory.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if remove.process_group(0).spawn().is_ok() {
            let _ = directory.keep();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let damage = if std::thread::panicking() { None } else { self.damage() };
        self.remove();
        assert_eq!(damage, None);
    }
}

extern "C" fn stop_shared() {
    let Some(cluster) = SHARED.get() else { return };
    let damage = cluster.damage();
    cluster.remove();
    if let Some(damage) = damage {
        eprintln!("the tests have passed or failed as above, but they leave damage behind\n{damage}");
        // SAFETY: ends the process, for nothing but this handler is left to run.
        unsafe { libc::_exit(101) };
    }
}

/// A program of the Postgres that `PG_CONFIG` names, to run in `directory` as a user that Postgres accepts.
fn postgres_command(program: &str, directory: PathBuf) -> Command {
    let mut command = Command::new(postgres_program(program));
    command.current_dir(directory).env("LD_LIBRARY_PATH", postgres_libraries());
    if let Some(user) = unprivileged_user() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}

fn unprivileged_user() -> Option<User> {
    let known = |name| User::from_name(name).ok().flatten();
    geteuid().is_root().then(|| known("postgres").or_else(|| known("nobody")).expect("a user for Postgres"))
}

/// `target/`, where what is built lies; the system's temporary directory where another user could not get there.
fn home_of_clusters(another_user: bool) -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").canonicalize();
    let reachable = |directory: &Path| {
        directory
            .ancestors()
            .all(|above| fs::metadata(above).is_ok_and(|entry| entry.permissions().mode() & 0o001 != 0))
    };
    target.ok().filter(|target| !another_user || reachable(target)).unwrap_or_else(std::env::temp_dir)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// Starts the postmaster from a thread that lives as long as the process and reaps it; returns its process id.
fn keep(mut command: Command) -> u32 {
    let (started, pid) = mpsc::channel();
    std::thread::spawn(move || {
        let mut postmaster = spawn_bound(&mut command, Signal::SIGQUIT).expect("postgres starts");
        started.send(postmaster.id()).expect("the starter waits");
        let _ = postmaster.wait();
    });
    pid.recv().expect("the keeper says so")
}
