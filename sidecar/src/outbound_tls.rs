//! TLS towards receivers: whom the sidecar trusts, and which certificate it shows. Files are read when the process
//! starts, and an error names them.

use anyhow::Context;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::PathBuf;
use std::sync::Arc;

/// The certificates of a PEM file, at least one.
#[derive(Clone, Debug)]
pub struct Certificates {
    file: PathBuf,
    certificates: Vec<CertificateDer<'static>>,
}

/// The private key of a PEM file.
#[derive(Clone)]
pub struct ClientKey {
    file: PathBuf,
    key: Arc<PrivateKeyDer<'static>>,
}

impl std::fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientKey").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads a file; the message says what is wrong with it.
    pub fn read(file: &str) -> Result<Self, String> {
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(file).and_then(|certificates| certificates.collect());
        let certificates = certificates.map_err(said)?;
        if certificates.is_empty() {
            return Err("there is no certificate in it; a PEM file has -----BEGIN CERTIFICATE-----".to_owned());
        }
        Ok(Self { file: file.into(), certificates })
    }
}

impl ClientKey {
    /// Reads a file; the message says what is wrong with it.
    pub fn read(file: &str) -> Result<Self, String> {
        let key = PrivateKeyDer::from_pem_file(file).map_err(said)?;
        Ok(Self { file: file.into(), key: Arc::new(key) })
    }
}

fn said(error: pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "there is no private key in it, or it has a passphrase".to_owned(),
        other => format!("it is no PEM file: {other}"),
    }
}

/// Trusts the system's authorities and those in `authorities`; shows `client` to receivers that ask.
pub fn client_config(
    authorities: Option<&Certificates>,
    client: Option<(&Certificates, &ClientKey)>,
) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(Certificates { file, certificates }) = authorities {
        for certificate in certificates {
            let added = roots.add(certificate.clone());
            added.with_context(|| format!("{} has a certificate that is no authority's", file.display()))?;
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match client {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let config = config.with_client_auth_cert(certificate.certificates.clone(), key.key.clone_key());
            let (certificate, key) = (certificate.file.display(), key.file.display());
            config.with_context(|| format!("the certificate of {certificate} and the key of {key} do not fit"))?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
