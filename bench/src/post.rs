//! The alternative to the sidecar: plain `reqwest` posts of bodies from standard input, a line each, that many at once,
//! to addresses in turn.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::sink::{Sink, rate};

/// Posts the bodies to the sinks in turn from a process of its own; returns requests a second.
pub async fn measure(bodies: &[String], sinks: &[Sink], concurrency: usize) -> f64 {
    let myself = std::env::current_exe().expect("this program has a path");
    let urls: Vec<&str> = sinks.iter().map(|sink| sink.url.as_str()).collect();
    let mut poster = Command::new(myself);
    poster.args(["post", &urls.join(","), &concurrency.to_string()]);
    poster.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut poster = poster.spawn().expect("it starts");
    let mut input = poster.stdin.take().expect("it is piped");
    input.write_all((bodies.join("\n") + "\n").as_bytes()).await.expect("it reads");
    drop(input);
    let mut output = BufReader::new(poster.stdout.take().expect("it is piped")).lines();
    assert_eq!(output.next_line().await.expect("UTF-8").as_deref(), Some("ready"));
    let rate = rate(sinks, bodies.len(), Duration::from_secs(120)).await;
    assert!(poster.wait().await.expect("it is our child").success());
    rate
}

/// That process: reads all bodies, says `ready`, posts them, and ends.
pub async fn run(urls: &str, concurrency: usize) {
    let bodies: Arc<Vec<String>> = Arc::new(std::io::stdin().lines().map(|line| line.expect("UTF-8")).collect());
    let urls: Arc<Vec<String>> = Arc::new(urls.split(',').map(str::to_owned).collect());
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(concurrency).build().expect("a client");
    let next = Arc::new(AtomicUsize::new(0));
    println!("ready");
    let workers = (0..concurrency).map(|_| {
        let (bodies, client, next, urls) = (bodies.clone(), client.clone(), next.clone(), urls.clone());
        tokio::spawn(async move {
            loop {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                let Some(body) = bodies.get(turn) else { return };
                let request = client.post(&urls[turn % urls.len()]).header("content-type", "application/json");
                let response = request.body(body.clone()).send().await.expect("the receiver answers");
                response.bytes().await.expect("and says no more");
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.expect("no worker panics");
    }
}
