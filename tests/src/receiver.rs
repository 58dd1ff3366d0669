//! An HTTP receiver on a loopback port that records every request to the byte and answers as the test says.
//!
//! It speaks just enough HTTP/1.1 (keep-alive, Content-Length) over plain TCP, so that it can also break the rules:
//! drip a body, hang, reset the connection.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long `wait_for` waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its path.
    pub path: String,
    /// Its headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its exact body.
    pub body: String,
    /// When its last byte was there.
    pub at: Instant,
    /// The same by the wall clock.
    pub clock: SystemTime,
}

impl Received {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// `event` in the body.
    pub fn event(&self) -> String {
        self.envelope("event")
    }

    /// `webhook_id` in the body.
    pub fn webhook_id(&self) -> String {
        self.envelope("webhook_id")
    }

    /// A field before `data`, which may hold what JavaScript takes and serde_json does not: lone surrogates.
    fn envelope(&self, field: &str) -> String {
        let envelope = self.body.split(r#","data":"#).next().unwrap_or_default();
        let envelope: Value = serde_json::from_str(&format!("{envelope}}}")).expect("an envelope, then data");
        envelope[field].as_str().expect("a string").into()
    }

    /// `data` in the body.
    pub fn data(&self) -> Value {
        self.json()["data"].clone()
    }
}

/// What the receiver does with a request.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: String,
    body: String,
    delay: Duration,
    ending: Ending,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Whole,
    Hang,
    Drip,
    Reset,
    Flood,
    Cut,
    CloseNext,
    ResetNext,
}

impl Answer {
    /// An empty response with this status.
    pub fn status(status: u16) -> Answer {
        Answer { status, headers: String::new(), body: String::new(), delay: Duration::ZERO, ending: Ending::Whole }
    }

    /// No response; the connection stays open.
    pub fn hang() -> Answer {
        Answer { ending: Ending::Hang, ..Answer::status(200) }
    }

    /// This status at once, then a body that comes a byte at a time and never ends.
    pub fn drip(status: u16) -> Answer {
        Answer { ending: Ending::Drip, ..Answer::status(status) }
    }

    /// The connection is reset when the request has been read.
    pub fn reset() -> Answer {
        Answer { ending: Ending::Reset, ..Answer::status(200) }
    }

    /// This status, then a body without end, as fast as it is read.
    pub fn flood(status: u16) -> Answer {
        Answer { ending: Ending::Flood, ..Answer::status(status) }
    }

    /// This status, then the beginning of a body; the connection is closed in the middle of it.
    pub fn cut(status: u16) -> Answer {
        Answer { ending: Ending::Cut, ..Answer::status(status) }
    }

    /// Status 200, and the connection, which seemed to be kept alive, is closed when another request comes over it.
    pub fn close_next() -> Answer {
        Answer { ending: Ending::CloseNext, ..Answer::status(200) }
    }

    /// Status 200, and the connection, which seemed to be kept alive, is reset when another request comes over it.
    pub fn reset_next() -> Answer {
        Answer { ending: Ending::ResetNext, ..Answer::status(200) }
    }

    /// With this header too.
    pub fn header(mut self, name: &str, value: &str) -> Answer {
        self.headers += &format!("{name}: {value}\r\n");
        self
    }

    /// With this body.
    pub fn body(mut self, body: &str) -> Answer {
        self.body = body.into();
        self
    }

    /// So long after the request.
    pub fn after(mut self, delay: Duration) -> Answer {
        self.delay = delay;
        self
    }
}

/// A listening receiver. It answers 200 unless told otherwise, and closes with the test's runtime.
pub struct Receiver {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    record: Mutex<Record>,
    connections: AtomicUsize,
    arrived: Notify,
}

#[derive(Default)]
struct Record {
    requests: Vec<Received>,
    answers: HashMap<String, VecDeque<Answer>>,
}

impl Receiver {
    /// Listens on a free port.
    pub async fn start() -> Receiver {
        Receiver::start_at("127.0.0.1").await
    }

    /// Listens on a free port of an address of this machine.
    pub async fn start_at(address: &str) -> Receiver {
        let listener = TcpListener::bind((address, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State::default());
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let state = shared.clone();
                state.connections.fetch_add(1, Ordering::Relaxed);
                // A connection that breaks off is the client's affair.
                tokio::spawn(async move {
                    let _ = serve(connection, &state).await;
                });
            }
        });
        Receiver { address, state }
    }

    /// The URL of a path on it, such as `/hook`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on answers requests to `path` so.
    pub fn answer(&self, path: &str, answer: Answer) {
        self.answer_in_turn(path, [answer]);
    }

    /// From now on answers requests to `path` with these in turn, and with the last for good.
    pub fn answer_in_turn(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        self.state.record().answers.insert(path.into(), answers.into_iter().collect());
    }

    /// How many connections have been opened so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Received> {
        self.state.record().requests.clone()
    }

    /// The requests to `path` so far.
    pub fn at(&self, path: &str) -> Vec<Received> {
        self.state.record().requests.iter().filter(|one| one.path == path).cloned().collect()
    }

    /// Waits until `enough` is true of all requests so far; panics with `what` after 20 s.
    pub async fn wait_for(&self, what: &str, enough: impl FnMut(&[Received]) -> bool) {
        self.wait_at_most(PATIENCE, what, enough).await;
    }

    /// Waits until `enough` is true of all requests so far; panics with `what` after `deadline`.
    pub async fn wait_at_most(&self, deadline: Duration, what: &str, mut enough: impl FnMut(&[Received]) -> bool) {
        let began = Instant::now();
        loop {
            let next = self.state.arrived.notified();
            tokio::pin!(next);
            next.as_mut().enable();
            if enough(&self.state.record().requests) {
                return;
            }
            let left = deadline.saturating_sub(began.elapsed());
            if timeout(left, next).await.is_err() {
                panic!("not within {deadline:?}: {what}; {} requests came", self.state.record().requests.len());
            }
        }
    }

    /// Waits for `count` requests to `path` and returns them.
    pub async fn wait_at(&self, path: &str, count: usize) -> Vec<Received> {
        let what = format!("{count} requests to {path}");
        self.wait_for(&what, |all| all.iter().filter(|one| one.path == path).count() >= count).await;
        self.at(path)
    }

    /// Waits for `count` requests in all.
    pub async fn wait_count(&self, deadline: Duration, count: usize) {
        self.wait_at_most(deadline, &format!("{count} requests"), |all| all.len() >= count).await;
    }
}

impl State {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("nobody panics under it")
    }

    /// Records a request and says how to answer it.
    fn take(&self, request: Received) -> Answer {
        let mut record = self.record();
        let answer = match record.answers.get_mut(&request.path) {
            Some(turns) if turns.len() > 1 => turns.pop_front(),
            Some(turns) => turns.front().cloned(),
            None => None,
        };
        record.requests.push(request);
        drop(record);
        self.arrived.notify_waiters();
        answer.unwrap_or_else(|| Answer::status(200))
    }
}

async fn serve(connection: TcpStream, state: &State) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut connection = BufReader::new(connection);
    while let Some(request) = read_request(&mut connection).await? {
        let answer = state.take(request);
        if !answer.delay.is_zero() {
            tokio::time::sleep(answer.delay).await;
        }
        send(connection.get_mut(), &answer).await?;
        if matches!(answer.ending, Ending::Reset | Ending::Cut | Ending::CloseNext | Ending::ResetNext) {
            return Ok(());
        }
    }
    Ok(())
}

async fn read_request(connection: &mut BufReader<TcpStream>) -> std::io::Result<Option<Received>> {
    let mut line = String::new();
    if connection.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_string();
    let mut headers = Vec::new();
    loop {
        line.clear();
        connection.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_string()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.and_then(|(_, length)| length.parse().ok()).unwrap_or(0)];
    connection.read_exact(&mut body).await?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(Received { path, headers, body, at: Instant::now(), clock: SystemTime::now() }))
}

async fn send(connection: &mut TcpStream, answer: &Answer) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {} Scripted\r\n{}", answer.status, answer.headers);
    let endless = "Content-Length: 1000000000\r\n\r\n";
    let whole = || format!("{head}Content-Length: {}\r\n\r\n{}", answer.body.len(), answer.body);
    match answer.ending {
        Ending::Whole => connection.write_all(whole().as_bytes()).await,
        Ending::CloseNext => {
            connection.write_all(whole().as_bytes()).await?;
            connection.readable().await?;
            connection.shutdown().await?;
            // With something unread it would be reset.
            tokio::io::copy(connection, &mut tokio::io::sink()).await.map(drop)
        }
        Ending::ResetNext => {
            connection.write_all(whole().as_bytes()).await?;
            connection.readable().await?;
            connection.set_zero_linger()
        }
        Ending::Hang => std::future::pending().await,
        Ending::Reset => connection.set_zero_linger(),
        Ending::Cut => connection.write_all((head + endless + "the beginning").as_bytes()).await,
        Ending::Drip => {
            connection.write_all((head + endless).as_bytes()).await?;
            loop {
                connection.write_all(b".").await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ending::Flood => {
            connection.write_all((head + endless).as_bytes()).await?;
            loop {
                connection.write_all(&[b'.'; 65_536]).await?;
            }
        }
    }
}
