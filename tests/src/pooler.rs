//! A pooler in transaction mode, as small as one can be: each transaction of a client gets the server's session that
//! was free last, and what a session says between transactions gets lost.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::database::Database;

/// A listening pooler; it closes with the test's runtime.
pub struct Pooler {
    address: SocketAddr,
}

/// The server's sessions that no transaction has, the last one free at the end.
type Free = Arc<Mutex<Vec<TcpStream>>>;

const SSL_REQUEST: u32 = 80_877_103;

impl Pooler {
    /// In front of the cluster of `database`.
    pub async fn start(database: &Database<'_>) -> Pooler {
        let url = database.url("postgres");
        let server = url.split(['@', '/']).find(|part| part.starts_with("127.0.0.1:")).expect("its address").to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let free = Free::default();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (free, server) = (free.clone(), server.clone());
                // A connection that breaks off is the client's affair.
                tokio::spawn(async move { drop(serve(client, &server, &free).await) });
            }
        });
        Pooler { address }
    }

    /// A connection string for `role` in `database`, through the pooler.
    pub fn url(&self, database: &Database<'_>, role: &str) -> String {
        format!("postgres://{role}@{}/{}", self.address, database.name())
    }
}

async fn serve(mut client: TcpStream, server: &str, free: &Free) -> io::Result<()> {
    // The first message has no type; one that asks for encryption is refused, and the real one follows.
    let mut hello = read_body(&mut client).await?;
    if hello[4..8] == SSL_REQUEST.to_be_bytes() {
        client.write_all(b"N").await?;
        hello = read_body(&mut client).await?;
    }
    let mut session = TcpStream::connect(server).await?;
    session.write_all(&hello).await?;
    answer(&mut session, &mut client).await?;
    free.lock().expect("nobody panics under it").push(session);

    let mut lent: Option<TcpStream> = None;
    loop {
        let kind = client.read_u8().await?;
        let body = read_body(&mut client).await?;
        if kind == b'X' {
            return Ok(());
        }
        let mut session = match lent.take() {
            Some(session) => session,
            None => free.lock().expect("nobody panics under it").pop().expect("there are as many as clients"),
        };
        session.write_all(&[&[kind], &*body].concat()).await?;
        let is_over = matches!(kind, b'Q' | b'S') && answer(&mut session, &mut client).await? == b'I';
        if is_over {
            free.lock().expect("nobody panics under it").push(session);
        } else {
            lent = Some(session);
        }
    }
}

/// Passes on what the server says until it is ready again; returns whether a transaction is open.
async fn answer(session: &mut TcpStream, client: &mut TcpStream) -> io::Result<u8> {
    loop {
        let kind = session.read_u8().await?;
        let body = read_body(session).await?;
        client.write_all(&[&[kind], &*body].concat()).await?;
        if kind == b'Z' {
            return Ok(body[4]);
        }
    }
}

/// A length and as many bytes, itself included.
async fn read_body(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mut body = length.to_be_bytes().to_vec();
    body.resize(length as usize, 0);
    from.read_exact(&mut body[4..]).await?;
    Ok(body)
}
