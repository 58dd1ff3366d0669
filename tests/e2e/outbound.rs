//! Certificates and proxies on the way to the receivers.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tests::{Cluster, Database, Receiver, SECRET, Sidecar, eventually};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto::ring};

/// An authority, and what it signed for the receiver and for the sidecar, as PEM files in a directory.
struct Files(TempDir);

impl Files {
    fn new() -> Files {
        let directory = TempDir::new().expect("a temporary directory");
        let authority_key = KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::new([]).expect("no names");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = authority.self_signed(&authority_key).expect("it signs itself").pem();
        fs::write(directory.path().join("ca.pem"), pem).expect("the directory is ours");
        let issuer = Issuer::new(authority, authority_key);
        for (name, host) in [("server", "127.0.0.1"), ("client", "sidecar.internal")] {
            let key = KeyPair::generate().expect("a key");
            let signed = CertificateParams::new([host.to_owned()]).expect("a name").signed_by(&key, &issuer);
            let certificate = signed.expect("the authority signs it").pem();
            fs::write(directory.path().join(format!("{name}.pem")), certificate).expect("the directory is ours");
            fs::write(directory.path().join(format!("{name}.key")), key.serialize_pem())
                .expect("the directory is ours");
        }
        Files(directory)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(name)).expect("a certificate")
    }

    /// Speaks TLS in front of a receiver, and takes only clients with a certificate of the authority; returns the port.
    async fn serve_tls(&self, receiver: &Receiver) -> u16 {
        let (provider, mut roots) = (Arc::new(ring::default_provider()), RootCertStore::empty());
        roots.add(self.certificate("ca.pem")).expect("an authority");
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let key = PrivateKeyDer::from_pem_file(self.path("server.key")).expect("a key");
        let config = config.expect("the versions are known").with_client_cert_verifier(clients.expect("it has a root"));
        let config = config.with_single_cert(vec![self.certificate("server.pem")], key).expect("they fit");
        let (acceptor, to) = (TlsAcceptor::from(Arc::new(config)), receiver.port());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                // A connection that breaks off is the client's affair.
                tokio::spawn(async move {
                    let mut client = acceptor.accept(connection).await?;
                    copy_bidirectional(&mut client, &mut TcpStream::connect(("127.0.0.1", to)).await?).await
                });
            }
        });
        port
    }
}

/// An HTTP proxy that notes the first line of what it is asked. It takes every name for 127.0.0.1.
struct Proxy {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start() -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = asked.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, notes.clone()));
            }
        });
        Proxy { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panics under it").clone()
    }
}

/// Passes a connection on to where its first request goes.
async fn relay(client: TcpStream, asked: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    let mut line = String::new();
    client.read_line(&mut line).await?;
    asked.lock().expect("nobody panics under it").push(line.trim_end().to_owned());
    let target = line.split(' ').nth(1).expect("a target");
    let authority = target.trim_start_matches("http://").split('/').next().expect("an authority");
    let port: u16 = authority.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let mut receiver = TcpStream::connect(("127.0.0.1", port)).await?;
    if line.starts_with("CONNECT ") {
        let mut header = String::new();
        while client.read_line(&mut header).await? > 2 {
            header.clear();
        }
        client.get_mut().write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
    } else {
        receiver.write_all(line.replace(&format!("http://{authority}"), "").as_bytes()).await?;
    }
    let read = client.buffer().to_vec();
    receiver.write_all(&read).await?;
    copy_bidirectional(&mut client.into_inner(), &mut receiver).await.map(drop)
}

async fn first_error(db: &Database<'_>) -> (String, bool) {
    eventually(Duration::from_secs(20), "an attempt", async || {
        let attempt = db.json("SELECT error, coalesce(ours, false) AS ours FROM webhooks.attempt").await.pop()?;
        Some((attempt["error"].as_str().unwrap_or_default().to_owned(), attempt["ours"] == true))
    })
    .await
}

#[tokio::test]
async fn the_sidecar_trusts_an_authority_of_the_operators_and_shows_its_certificate() {
    let (db, files, receiver) = (Cluster::shared().await.database().await, Files::new(), Receiver::start().await);
    let port = files.serve_tls(&receiver).await;
    db.register(&format!("https://127.0.0.1:{port}/"), "*", SECRET).await;
    let names = ["ca.pem", "client.pem", "client.key"].map(|name| files.path(name));
    let [ca, cert, key] = &names;
    let _sidecar = Sidecar::start_with(
        &db,
        &[("PG_WEBHOOKS_CA_FILE", ca), ("PG_WEBHOOKS_CLIENT_CERT", cert), ("PG_WEBHOOKS_CLIENT_KEY", key)],
    );
    db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    receiver.wait_at("/", 1).await;
}

#[tokio::test]
async fn without_the_authority_the_receivers_certificate_is_refused_which_is_not_our_fault() {
    let (db, files, receiver) = (Cluster::shared().await.database().await, Files::new(), Receiver::start().await);
    let port = files.serve_tls(&receiver).await;
    db.register(&format!("https://127.0.0.1:{port}/"), "*", SECRET).await;
    let _sidecar = Sidecar::start(&db);
    db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    let (error, ours) = first_error(&db).await;
    assert!(error.starts_with("TLS error: ") && !ours, "{error}");
    assert!(receiver.requests().is_empty());
}

#[tokio::test]
async fn a_file_that_cannot_be_used_ends_the_start_with_its_name() {
    let (db, files) = (Cluster::shared().await.database().await, Files::new());
    let (empty, other) = (files.path("empty.pem"), Files::new());
    fs::write(Path::new(&empty), "").expect("the directory is ours");
    let (missing, cert, key) = (files.path("missing.pem"), files.path("client.pem"), other.path("client.key"));
    for (environment, named) in [
        (vec![("PG_WEBHOOKS_CA_FILE", &missing)], &missing),
        (vec![("PG_WEBHOOKS_CA_FILE", &empty)], &empty),
        (vec![("PG_WEBHOOKS_CLIENT_CERT", &cert), ("PG_WEBHOOKS_CLIENT_KEY", &empty)], &empty),
        (vec![("PG_WEBHOOKS_CLIENT_CERT", &cert), ("PG_WEBHOOKS_CLIENT_KEY", &key)], &key),
    ] {
        let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Sidecar::start_with(&db, &environment).wait_for_log(named).await;
    }
}

#[tokio::test]
async fn through_a_proxy_plain_requests_name_their_target_and_tls_goes_through_a_tunnel() {
    let (db, files, receiver) = (Cluster::shared().await.database().await, Files::new(), Receiver::start().await);
    let (proxy, port) = (Proxy::start().await, files.serve_tls(&receiver).await);
    let plain = receiver.url("/plain");
    db.register(&plain, "*", SECRET).await;
    db.register(&format!("https://127.0.0.1:{port}/tls"), "*", SECRET).await;
    let names = ["ca.pem", "client.pem", "client.key"].map(|name| files.path(name));
    let [ca, cert, key] = &names;
    let _sidecar = Sidecar::start_with(
        &db,
        &[
            ("PG_WEBHOOKS_CA_FILE", ca),
            ("PG_WEBHOOKS_CLIENT_CERT", cert),
            ("PG_WEBHOOKS_CLIENT_KEY", key),
            ("PG_WEBHOOKS_PROXY", &proxy.url),
        ],
    );
    db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    receiver.wait_at("/plain", 1).await;
    receiver.wait_at("/tls", 1).await;
    let mut asked = proxy.asked();
    asked.sort();
    assert_eq!(asked, [format!("CONNECT 127.0.0.1:{port} HTTP/1.1"), format!("POST {plain} HTTP/1.1")]);
}

#[tokio::test]
async fn a_proxy_need_not_be_permitted_but_its_targets_must_be() {
    let (db, proxy, receiver) =
        (Cluster::shared().await.database().await, Proxy::start().await, Receiver::start().await);
    db.register(&format!("http://localhost:{}/", receiver.port()), "*", SECRET).await;
    let environment = [("PG_WEBHOOKS_PROXY", proxy.url.as_str()), ("PG_WEBHOOKS_ALLOW_NETS", "10.0.0.0/8")];
    let _sidecar = Sidecar::start_with(&db, &environment);
    db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    let (error, ours) = first_error(&db).await;
    assert!(error.starts_with("Refused to connect to ") && !ours, "{error}");
    assert!(proxy.asked().is_empty(), "the proxy was not asked");
}

#[tokio::test]
async fn a_proxy_that_is_down_is_our_fault() {
    let (db, receiver) = (Cluster::shared().await.database().await, Receiver::start().await);
    db.register(&receiver.url("/"), "*", SECRET).await;
    let _sidecar = Sidecar::start_with(&db, &[("PG_WEBHOOKS_PROXY", "http://127.0.0.1:1")]);
    db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    assert_eq!(first_error(&db).await, ("No connection to the proxy: Connection refused".to_owned(), true));
}

#[tokio::test]
async fn a_hangup_ends_nothing() {
    let (db, receiver) = (Cluster::shared().await.database().await, Receiver::start().await);
    db.register(&receiver.url("/"), "*", SECRET).await;
    let sidecar = Sidecar::start(&db);
    sidecar.wait_for_log("delivering").await;
    sidecar.hang_up();
    sidecar.wait_for_log("SIGHUP changes nothing").await;
    db.run("SELECT webhooks.emit('order.paid', '{}')").await;
    receiver.wait_at("/", 1).await;
}
