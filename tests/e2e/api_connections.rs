//! What connections that say nothing, on either side of the API, cost others: nothing.

use std::time::{Duration, Instant};

use tests::{Api, Cluster, Proxy, eventually, send};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const LIST: &str = "/api/v1/webhooks";

async fn open(api: &Api, count: usize, said: &[u8]) -> Vec<TcpStream> {
    let mut connections = Vec::new();
    for _ in 0..count {
        let mut connection = TcpStream::connect(api.address).await.expect("it listens");
        connection.write_all(said).await.expect("it reads");
        connections.push(connection);
    }
    connections
}

#[tokio::test]
async fn hundreds_of_silent_connections_keep_nobody_out() {
    let db = Cluster::shared().await.database().await;
    let api = Api::start(&db).await;
    let head = b"POST /session HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    for said in [&b"GET /healthz HT"[..], head] {
        let _silent = open(&api, 600, said).await;
        let began = Instant::now();
        for path in ["/healthz", "/readyz"] {
            eventually(Duration::from_secs(2), path, async || {
                let answer = api.stranger().request("GET", path).send().await.ok()?;
                answer.status().is_success().then_some(())
            })
            .await;
        }
        api.get(LIST).await.data(200);
        // Before the silent ones are given up for their silence.
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_database_connection_that_is_swallowed_costs_one_request_and_no_other() {
    let db = Cluster::shared().await.database().await;
    let proxy = Proxy::start(&db).await;
    let api = Api::start_with(&db, &[("DATABASE_URL", &proxy.url(&db, "server"))]).await;
    api.get(LIST).await.data(200);
    proxy.fall_silent();
    let cut_off = tokio::time::timeout(Duration::from_millis(500), send(api.request("GET", LIST)));
    assert!(cut_off.await.is_err(), "nobody answers");
    // The caller has gone, and with him the session that he waited for; the others that were idle go the same way.
    eventually(Duration::from_secs(15), "requests have new sessions", async || {
        let reply = tokio::time::timeout(Duration::from_secs(2), send(api.request("GET", LIST))).await;
        reply.is_ok_and(|reply| reply.status == 200).then_some(())
    })
    .await;
}
