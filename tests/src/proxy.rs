//! A proxy between a client and Postgres that can fall silent: what goes on over the connections that it has is
//! swallowed then, and new ones are served.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::database::Database;

/// A listening proxy; it closes with the test's runtime.
pub struct Proxy {
    address: SocketAddr,
    /// How often it has fallen silent.
    silences: watch::Sender<u32>,
}

impl Proxy {
    /// In front of the cluster of `database`.
    pub async fn start(database: &Database<'_>) -> Proxy {
        let url = database.url("postgres");
        let server = url.split(['@', '/']).find(|part| part.starts_with("127.0.0.1:")).expect("its address").to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (silences, _) = watch::channel(0);
        let hear = silences.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A connection that breaks off is the client's affair.
                let (server, mut hear) = (server.clone(), hear.clone());
                hear.mark_unchanged();
                tokio::spawn(async move { drop(serve(client, &server, hear).await) });
            }
        });
        Proxy { address, silences }
    }

    /// A connection string for `role` in `database`, through the proxy.
    pub fn url(&self, database: &Database<'_>, role: &str) -> String {
        format!("postgres://{role}@{}/{}", self.address, database.name())
    }

    /// Swallows what comes over the connections of now, and closes none of them.
    pub fn fall_silent(&self) {
        self.silences.send_modify(|count| *count += 1);
    }
}

async fn serve(client: TcpStream, server: &str, mut silence: watch::Receiver<u32>) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    tokio::select! {
        done = pass_on(&mut from_client, &mut to_server) => done,
        done = pass_on(&mut from_server, &mut to_client) => done,
        _ = silence.changed() => {
            // The server's connection stays, too, whatever the client does.
            std::future::pending::<()>().await;
            drop((from_client, to_client, from_server, to_server));
            Ok(())
        }
    }
}

async fn pass_on(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..length]).await?;
    }
}
