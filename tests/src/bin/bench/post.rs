//! The alternative to the sidecar: plain `reqwest` posts of bodies from standard input, a line each, that many at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Reads all bodies, says `ready`, posts them, and ends.
pub async fn run(url: &str, concurrency: usize) {
    let bodies: Arc<Vec<String>> = Arc::new(std::io::stdin().lines().map(|line| line.expect("UTF-8")).collect());
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(concurrency).build().expect("a client");
    let next = Arc::new(AtomicUsize::new(0));
    println!("ready");
    let workers = (0..concurrency).map(|_| {
        let (bodies, client, next, url) = (bodies.clone(), client.clone(), next.clone(), url.to_owned());
        tokio::spawn(async move {
            while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                let response = client.post(&url).header("content-type", "application/json").body(body.clone()).send();
                response.await.expect("the receiver answers").bytes().await.expect("and says no more");
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.expect("no worker panics");
    }
}
