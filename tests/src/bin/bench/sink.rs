//! A receiver that does as little as HTTP allows: it counts requests, and notes when each came and for which product.

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
    arrivals: Mutex<Vec<(String, Instant)>>,
}

impl Sink {
    /// Starts one on a free port.
    pub async fn start() -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
        let seen = Arc::new(Seen::default());
        let sink = Sink { url, seen: seen.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, seen.clone()));
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
        let began = Instant::now();
        while self.count() < count {
            assert!(began.elapsed() < deadline, "{} of {count} requests came within {deadline:?}", self.count());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The SKU in each body, with the moment when its first byte came.
    pub fn arrivals(&self) -> Vec<(String, Instant)> {
        self.seen.arrivals.lock().expect("nobody panics under it").clone()
    }
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

fn sku(request: &[u8]) -> Option<String> {
    const MARK: &[u8] = b"\"sku\":\"";
    let start = find(request, MARK)? + MARK.len();
    let end = start + find(&request[start..], b"\"")?;
    String::from_utf8(request[start..end].to_vec()).ok()
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
