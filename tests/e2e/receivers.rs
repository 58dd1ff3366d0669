//! The receivers of `docs/receivers`, in Node, Python and Rust, as a reader of the README starts them: they take what the
//! sidecar sends, once, and refuse what a stranger sends.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tests::{Cluster, Database, SECRET, Sidecar, eventually};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const DEADLINE: Duration = Duration::from_secs(20);

struct Example {
    url: String,
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Example {
    async fn start(language: &str, secret: &str) -> Example {
        let source = |name: &str| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/receivers").join(name);
        let mut command = match language {
            "node" => Command::new("node"),
            "python" => Command::new("python3"),
            _ => Command::new(env!("CARGO_BIN_EXE_receiver")),
        };
        match language {
            "node" => command.arg(source("receiver.mjs")),
            "python" => command.arg(source("receiver.py")),
            _ => &mut command,
        };
        command.env("WEBHOOK_SECRET", secret).env("PORT", "0").stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{language}: {error}"));
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let first = lines.next_line().await.expect("it prints UTF-8").expect("it says where it listens");
        let url = first.strip_prefix("listening on ").expect("its first line").to_owned();
        Example { url, lines, _process: process }
    }

    async fn line(&mut self) -> String {
        let line = timeout(DEADLINE, self.lines.next_line()).await.expect("a line comes");
        line.expect("it prints UTF-8").expect("it runs")
    }

    /// A request whose sender goes in the middle of its body.
    async fn hang_up(&self) {
        let address = self.url.trim_start_matches("http://").split('/').next().expect("a host and port");
        let mut connection = TcpStream::connect(address).await.expect("it listens");
        let half = b"POST / HTTP/1.1\r\nhost: x\r\nwebhook-timestamp: 0\r\ncontent-length: 100\r\n\r\nhalf";
        connection.write_all(half).await.expect("it reads");
    }

    async fn answer(&self, headers: &[(&str, &str)], body: &str) -> u16 {
        let request = reqwest::Client::new().post(&self.url).body(body.to_owned());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.expect("it answers").status().as_u16()
    }
}

async fn until_answered(db: &Database<'_>, endpoint: &str, times: i64) {
    let answered = format!("SELECT count(*) FROM webhooks.logs('{endpoint}') WHERE http_status = 204");
    eventually(DEADLINE, "the log has the answers", async || (db.one::<i64>(&answered).await == times).then_some(()))
        .await;
}

async fn takes_what_is_sent_once_and_refuses_strangers(language: &str) {
    let db = Cluster::shared().await.database().await;
    for secret in [SECRET, WHSEC] {
        let mut example = Example::start(language, secret).await;
        let endpoint = db.register(&example.url, "supplier.created", secret).await;
        let sidecar = Sidecar::start(&db);
        db.run("INSERT INTO suppliers (name) VALUES ('Société « É » 😀')").await;
        example.hang_up().await;
        let line = example.line().await;
        assert!(line.contains("supplier.created") && line.contains("wh_"), "{line}");

        // A second delivery of the same message is answered like the first and not worked on again.
        let webhook_id: String = db.one("SELECT webhook_id FROM webhooks.events() LIMIT 1").await;
        until_answered(&db, &endpoint, 1).await;
        db.run(&format!("SELECT webhooks.redeliver('{webhook_id}')")).await;
        until_answered(&db, &endpoint, 2).await;
        db.run("INSERT INTO suppliers (name) VALUES ('the next')").await;
        assert!(example.line().await.contains("the next"));

        // While the secret is rotated the receiver goes on with the one it has.
        db.run(&format!("SELECT webhooks.rotate_secret('{endpoint}')")).await;
        db.run("INSERT INTO suppliers (name) VALUES ('in the overlap')").await;
        assert!(example.line().await.contains("in the overlap"));
        drop(sidecar);

        let body: String = db.one(&format!("SELECT body FROM webhooks.message('{webhook_id}')")).await;
        let signature: String = db.one(&format!("SELECT webhooks.sign($${body}$$, '{secret}')")).await;
        let at = |seconds: i64| format!("SELECT extract(epoch FROM now())::bigint - {seconds}");
        let (now, earlier): (i64, i64) = (db.one(&at(0)).await, db.one(&at(3600)).await);
        let standard = |at: i64| format!("SELECT webhooks.sign_standard('{webhook_id}', {at}, $${body}$$, '{secret}')");
        let (fresh, stale): (String, String) = (db.one(&standard(now)).await, db.one(&standard(earlier)).await);
        let (now, earlier) = (now.to_string(), earlier.to_string());
        let headers = |timestamp, standard, signature| {
            let id = ("webhook-id", webhook_id.as_str());
            [id, ("webhook-timestamp", timestamp), ("webhook-signature", standard), ("x-webhook-signature", signature)]
        };
        assert_eq!(example.answer(&headers(&now, &fresh, &signature), &body).await, 204, "the genuine one");
        assert_eq!(example.answer(&headers(&now, &fresh, &signature), &format!("{body} ")).await, 401, "another body");
        assert_eq!(example.answer(&headers(&earlier, &stale, &signature), &body).await, 401, "an old one");
        assert_eq!(example.answer(&headers(&now, &stale, &signature), &body).await, 401, "the standard one is wrong");
        assert_eq!(example.answer(&headers(&now, &fresh, "sha256=00"), &body).await, 401, "the plain one is wrong");
        example.hang_up().await;
        assert_eq!(example.answer(&[], &body).await, 401, "unsigned");
        db.run(&format!("SELECT webhooks.delete('{endpoint}')")).await;
    }
}

#[tokio::test]
async fn the_receiver_in_node_takes_what_is_sent_once_and_refuses_strangers() {
    takes_what_is_sent_once_and_refuses_strangers("node").await;
}

#[tokio::test]
async fn the_receiver_in_python_takes_what_is_sent_once_and_refuses_strangers() {
    takes_what_is_sent_once_and_refuses_strangers("python").await;
}

#[tokio::test]
async fn the_receiver_in_rust_takes_what_is_sent_once_and_refuses_strangers() {
    takes_what_is_sent_once_and_refuses_strangers("rust").await;
}
