//! A receiver that does as little as HTTP allows: it counts requests, and notes when each came and for which product.
//! Or one that takes requests and never answers.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A running receiver; it ends with the process.
pub struct Sink {
    /// Where it listens.
    pub url: String,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    count: AtomicUsize,
    arrivals: Mutex<Vec<(u32, Instant)>>,
}

impl Sink {
    /// Starts one on a free port.
    pub async fn start() -> Sink {
        Sink::start_with(serve).await
    }

    /// Starts one that hangs.
    pub async fn start_hanging() -> Sink {
        Sink::start_with(hang).await
    }

    /// Starts several, each on a port of its own.
    pub async fn start_many(count: usize) -> Vec<Sink> {
        let mut sinks = Vec::new();
        for _ in 0..count {
            sinks.push(Sink::start().await);
        }
        sinks
    }

    async fn start_with<F: Future<Output = ()> + Send + 'static>(
        receive: impl Fn(TcpStream, Arc<Seen>) -> F + Send + 'static,
    ) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
        let seen = Arc::new(Seen::default());
        let sink = Sink { url, seen: seen.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(receive(stream, seen.clone()));
            }
        });
        sink
    }

    /// How many requests have come.
    pub fn count(&self) -> usize {
        self.seen.count.load(Ordering::Relaxed)
    }

    /// Waits until that many have come since the start.
    pub async fn wait_for(&self, count: usize, deadline: Duration) {
        wait_for(std::slice::from_ref(self), count, deadline).await;
    }

    /// The number in the SKU of each body, with the moment when its first byte came.
    pub fn arrivals(&self) -> Vec<(u32, Instant)> {
        self.seen.arrivals.lock().expect("nobody panics under it").clone()
    }
}

/// Waits until that many requests have come to all of them together.
pub async fn wait_for(sinks: &[Sink], count: usize, deadline: Duration) {
    let began = Instant::now();
    loop {
        let come: usize = sinks.iter().map(Sink::count).sum();
        if come >= count {
            return;
        }
        assert!(began.elapsed() < deadline, "{come} of {count} requests came within {deadline:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Requests a second, from the first that comes to the last of `count`.
pub async fn rate(sinks: &[Sink], count: usize, deadline: Duration) -> f64 {
    wait_for(sinks, 1, deadline).await;
    let (began, already) = (Instant::now(), sinks.iter().map(Sink::count).sum::<usize>());
    wait_for(sinks, count, deadline).await;
    (count - already) as f64 / began.elapsed().as_secs_f64()
}

async fn serve(mut stream: TcpStream, seen: Arc<Seen>) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(16 * 1024);
    let mut first_byte = None;
    loop {
        while let Some(length) = request_length(&buffer) {
            seen.count.fetch_add(1, Ordering::Relaxed);
            if let (Some(sku), Some(at)) = (sku(&buffer[..length]), first_byte) {
                seen.arrivals.lock().expect("nobody panics under it").push((sku, at));
            }
            buffer.drain(..length);
            first_byte = None;
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
        match stream.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                first_byte.get_or_insert_with(Instant::now);
            }
        }
    }
}

async fn hang(mut stream: TcpStream, seen: Arc<Seen>) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {
        seen.count.fetch_add(1, Ordering::Relaxed);
    }
}

/// The length of the first request in the buffer, once it is whole.
fn request_length(buffer: &[u8]) -> Option<usize> {
    let head = find(buffer, b"\r\n\r\n")? + 4;
    let headers = std::str::from_utf8(&buffer[..head]).ok()?;
    let length = headers.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let whole = head + length.unwrap_or(0);
    (buffer.len() >= whole).then_some(whole)
}

fn sku(request: &[u8]) -> Option<u32> {
    const MARK: &[u8] = b"\"sku\":\"SKU-";
    let start = find(request, MARK)? + MARK.len();
    let end = start + find(&request[start..], b"\"")?;
    std::str::from_utf8(&request[start..end]).ok()?.parse().ok()
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
