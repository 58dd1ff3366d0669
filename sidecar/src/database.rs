//! Where the database is and how a session with it is opened: libpq's `sslmode` in rustls. As in libpq, `prefer` and
//! `require` encrypt and check no certificate; `verify-ca` and `verify-full` check it and the host's name against the
//! system's roots.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::{future::poll_fn, str::FromStr, sync::Arc, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Error, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use url::form_urlencoded;

/// Where the database is and how to reach it.
#[derive(Clone)]
pub struct Database {
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

/// Why a connection string is refused. The message does not repeat it: it may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("DATABASE_URL is no connection string that Postgres knows: {0}")]
    Malformed(String),
    #[error("DATABASE_URL names no host; a Unix socket is named by its directory, host=/var/run/postgresql")]
    NoHost,
}

/// What sessions set that nobody watches, whatever the role or the database is set to: with a limit on time they would
/// be cut off at work or in their sleep, and at another isolation level their looks at the log would have writers'
/// transactions fail. What the server does not know is left out.
const UNATTENDED: &str = "
    SELECT pg_catalog.set_config(name, value, false)
      FROM (VALUES ('lock_timeout', '0'), ('transaction_timeout', '0'), ('idle_session_timeout', '0'),
                   ('idle_in_transaction_session_timeout', '0'), ('default_transaction_read_only', 'off'),
                   ('default_transaction_isolation', 'read committed'), ('default_transaction_deferrable', 'off'),
                   -- The server, too, notices within half a minute that the other side has vanished.
                   ('tcp_keepalives_idle', '10'), ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '3'),
                   ('tcp_user_timeout', '20000')) AS pinned (name, value)
     WHERE pg_catalog.current_setting(name, true) <> value";

impl From<Error> for DatabaseError {
    fn from(error: Error) -> Self {
        Self::Malformed(std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string))
    }
}

impl FromStr for Database {
    type Err = DatabaseError;

    fn from_str(url: &str) -> Result<Self, DatabaseError> {
        let (known, verifies) = translated(url);
        let mut config: Config = known.parse()?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(DatabaseError::NoHost);
        }
        if config.get_application_name().is_none() {
            config.application_name("pg-webhooks");
        }
        // A server that vanished without a word is noticed within half a minute.
        config
            .connect_timeout(Duration::from_secs(5))
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(20));
        // A Unix socket has no TLS, nor a host's name to ask for it.
        let is_local =
            config.get_hostaddrs().is_empty() && config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        let tls = match config.get_ssl_mode() {
            _ if is_local => None,
            SslMode::Disable => None,
            _ if verifies => Some(verifying()),
            _ => Some(encrypting()),
        };
        Ok(Self { config, tls: tls.map(MakeRustlsConnect::new) })
    }
}

/// Puts what tokio-postgres knows in the place of what libpq knows besides: `require` for the two modes of TLS that
/// verify, and `read-write` for `primary`. Returns whether a certificate is to be verified.
fn translated(text: &str) -> (String, bool) {
    let mut verifies = false;
    let mut known = |parameter: &str, key: &str, mode: &str| {
        let is_verifying = key == "sslmode" && ["verify-ca", "verify-full"].contains(&mode);
        verifies |= is_verifying;
        match (key, mode) {
            _ if is_verifying => "sslmode=require".to_owned(),
            ("target_session_attrs", "primary") => "target_session_attrs=read-write".to_owned(),
            _ => parameter.to_owned(),
        }
    };
    let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
    let text = if is_url {
        // A password may hold a question mark, too.
        let host = text.find('@').unwrap_or_default();
        let query = text[host..].find('?').map_or(text.len(), |at| host + at + 1);
        let parameters = text[query..].split('&').map(|parameter| {
            let decoded = form_urlencoded::parse(parameter.as_bytes()).next();
            decoded.map_or_else(String::new, |(key, mode)| known(parameter, &key, &mode))
        });
        text[..query].to_owned() + &parameters.collect::<Vec<_>>().join("&")
    } else {
        let parameters =
            parameters(text).map(|(parameter, key, value)| known(parameter, key, value.trim_matches('\'')));
        parameters.collect::<Vec<_>>().join(" ")
    };
    (text, verifies)
}

/// Splits a connection string such as `host=db password='a b'` into its parameters: each whole, its key, and its value
/// as written.
fn parameters(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let mut rest = text.trim();
    std::iter::from_fn(move || {
        let (key, behind) = rest.split_once('=').unwrap_or((rest, ""));
        let value = behind.trim_start();
        let (value, behind) = value.split_at(value_length(value));
        let parameter = &rest[..rest.len() - behind.len()];
        rest = behind.trim_start();
        (!parameter.is_empty()).then_some((parameter, key.trim_end(), value))
    })
}

/// Returns the length of the value that the text begins with: quoted, or up to a blank. A backslash escapes the next
/// character.
fn value_length(text: &str) -> usize {
    let is_quoted = text.starts_with('\'');
    let mut is_escaped = false;
    for (at, letter) in text.char_indices().skip(usize::from(is_quoted)) {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '\'' if is_quoted => return at + 1,
            blank if !is_quoted && blank.is_whitespace() => return at,
            _ => {}
        }
    }
    text.len()
}

impl Database {
    /// Names the sessions in `pg_stat_activity`.
    pub fn named(mut self, application: &str) -> Self {
        self.config.application_name(application);
        self
    }

    /// Returns how to reach it, without the encryption.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the hosts and their ports, to be shown.
    pub fn address(&self) -> String {
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(directory) => directory.display().to_string(),
        });
        let mut hosts: Vec<String> = hosts.collect();
        if hosts.is_empty() {
            hosts = self.config.get_hostaddrs().iter().map(ToString::to_string).collect();
        }
        let ports = self.config.get_ports();
        let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(5432);
        let all: Vec<String> = hosts.iter().enumerate().map(|(at, host)| format!("{host} port {}", port(at))).collect();
        all.join(", ")
    }

    /// Opens a session. `tell` gets a word for each notification, or for several at once, and closes with the session.
    pub async fn connect(&self, tell: Option<mpsc::Sender<()>>) -> Result<Client, Error> {
        let (client, _) = self.open(tell).await?;
        Ok(client)
    }

    /// Opens a session as `connect` does, and returns the task that carries its messages, too.
    pub async fn open(&self, tell: Option<mpsc::Sender<()>>) -> Result<(Client, JoinHandle<()>), Error> {
        self.open_hearing(move |message| match (message, &tell) {
            // A full channel holds a notification already.
            (AsyncMessage::Notification(_), Some(tell)) => drop(tell.try_send(())),
            (AsyncMessage::Notice(notice), _) => tracing::debug!("{}", notice.message()),
            _ => {}
        })
        .await
    }

    /// Opens a session as `open` does, for work that nobody watches: what the role or the database is set to does not
    /// stop it. Its statements may take as long as `statement_timeout` says.
    pub async fn open_unattended(
        &self,
        tell: Option<mpsc::Sender<()>>,
        statement_timeout: &str,
    ) -> Result<(Client, JoinHandle<()>), Error> {
        let (client, wire) = self.open(tell).await?;
        // Not in the start-up packet: poolers refuse options there. This one first, for the role's may be very short.
        client.batch_execute(&format!("SET statement_timeout = '{statement_timeout}'")).await?;
        client.batch_execute(UNATTENDED).await?;
        Ok((client, wire))
    }

    /// Opens a session. `hear` gets its notices and notifications, those of a statement before its result.
    pub async fn open_hearing(
        &self,
        hear: impl FnMut(AsyncMessage) + Send + 'static,
    ) -> Result<(Client, JoinHandle<()>), Error> {
        if let Some(tls) = &self.tls {
            let (client, wire) = self.config.connect(tls.clone()).await?;
            return Ok((client, tokio::spawn(drive(wire, hear))));
        }
        let (client, wire) = self.config.connect(NoTls).await?;
        Ok((client, tokio::spawn(drive(wire, hear))))
    }
}

/// Carries a session's messages until it ends.
async fn drive<S>(mut wire: Connection<Socket, S>, mut hear: impl FnMut(AsyncMessage))
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| wire.poll_message(context)).await {
        hear(message);
    }
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring speaks the protocol versions rustls has")
}

fn verifying() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    builder().with_root_certificates(roots).with_no_client_auth()
}

fn encrypting() -> ClientConfig {
    builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(ring::default_provider())))
        .with_no_client_auth()
}

/// Takes every certificate, as libpq does below `verify-ca`.
#[derive(Debug)]
struct AnyCertificate(CryptoProvider);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_postgres::config::TargetSessionAttrs;

    #[test]
    fn a_password_that_reads_like_a_mode_stays_as_it_is() {
        for (text, password) in [
            ("postgres://app:sslmode=verify-full@db/shop", "sslmode=verify-full"),
            ("host=db user=app password='a sslmode=verify-ca'", "a sslmode=verify-ca"),
            (r"host=db password=a\ sslmode=verify-ca user=app", "a sslmode=verify-ca"),
        ] {
            let database: Database = text.parse().unwrap();
            assert_eq!(database.config.get_password().unwrap(), password.as_bytes(), "{text}");
            assert!(!translated(text).1, "{text}");
        }
    }

    #[test]
    fn what_libpq_knows_besides_is_known_in_every_spelling() {
        for text in [
            "postgres://app@db/shop?sslmode=verify-full",
            "postgres://app@db/shop?connect_timeout=5&sslmode=verify%2Dca&application_name=x",
            "postgresql://app:p?w@a:5432,b:5433/shop?sslmode=verify-full",
            "host=db user=app sslmode=verify-full",
            "host=db sslmode = 'verify-ca' user=app",
        ] {
            let database: Database = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(database.config.get_ssl_mode(), SslMode::Require, "{text}");
            assert_eq!(database.config.get_user(), Some("app"), "{text}");
            assert!(translated(text).1, "{text}");
        }
        for text in
            ["postgres://app@a,b:5433/shop?target_session_attrs=primary", "host=a,b target_session_attrs=primary"]
        {
            let database: Database = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(database.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite, "{text}");
        }
        for malformed in ["postgres://app@db/shop?sslmode=verify", "host=db sslmode=verify", "host=db user"] {
            assert!(malformed.parse::<Database>().is_err(), "{malformed}");
        }
    }
}
