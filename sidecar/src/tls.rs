//! How the connection to Postgres is made: libpq's `sslmode` in rustls. As in libpq, `prefer` and `require` encrypt
//! and check no certificate; `verify-ca` and `verify-full` check it and the host's name against the system's roots.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::{str::FromStr, sync::Arc, time::Duration};
use tokio_postgres::{Client, Config, Connection, Error, Socket, tls::TlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Where the database is and how to reach it.
#[derive(Clone)]
pub struct Database {
    config: Config,
    tls: MakeRustlsConnect,
}

/// A connection still to be driven.
pub type Wire = Connection<Socket, <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::Stream>;

impl FromStr for Database {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self, Error> {
        // tokio-postgres does not know the two modes that verify.
        let plain = url.replace("sslmode=verify-full", "sslmode=require").replace("sslmode=verify-ca", "sslmode=require");
        let mut config: Config = plain.parse()?;
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
        let tls = if plain == url { encrypting() } else { verifying() };
        Ok(Self { config, tls: MakeRustlsConnect::new(tls) })
    }
}

impl Database {
    /// Opens a session.
    pub async fn connect(&self) -> Result<(Client, Wire), Error>
    where
        <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::TlsConnect: TlsConnect<Socket>,
    {
        self.config.connect(self.tls.clone()).await
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
    builder().dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(ring::default_provider()))).with_no_client_auth()
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
