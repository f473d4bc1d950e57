//! TLS at both ends: the certificate that clients see, replaced while they stay connected, and whom this edge trusts as its origin.

use crate::host::outbound_http::system_roots;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: {source}")]
    Unreadable { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("{0} holds no certificate")]
    NoCertificate(PathBuf),
    #[error("{certificate} and {key} do not fit: {source}")]
    Unfit { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("{path}: a certificate is malformed: {source}")]
    Malformed { path: PathBuf, source: rustls::Error },
    #[error("TLS: {0}")]
    Library(#[from] rustls::Error),
}

/// Where the certificate is; PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the server's own first.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// The certificate in use. Handshakes take what is there; connections that stand are not touched by a new one.
#[derive(Debug)]
pub struct ServerCertificate {
    files: CertificateFiles,
    current: RwLock<Arc<CertifiedKey>>,
    /// What the files held when they were read last, so that a fault is told once.
    seen: Mutex<Contents>,
}

type Contents = (Option<Vec<u8>>, Option<Vec<u8>>);

impl CertificateFiles {
    fn contents(&self) -> Contents {
        (std::fs::read(&self.certificate).ok(), std::fs::read(&self.key).ok())
    }

    fn load(&self) -> Result<Arc<CertifiedKey>, TlsError> {
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|source| TlsError::Unreadable { path: self.key.clone(), source })?;
        let provider = rustls::crypto::ring::default_provider();
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|source| {
            let (certificate, key) = (self.certificate.clone(), self.key.clone());
            TlsError::Unfit { certificate, key, source }
        })?;
        Ok(Arc::new(certified))
    }
}

impl ServerCertificate {
    /// Reads the files.
    pub fn load(files: CertificateFiles) -> Result<Arc<Self>, TlsError> {
        let seen = Mutex::new(files.contents());
        let current = RwLock::new(files.load()?);
        Ok(Arc::new(Self { files, current, seen }))
    }

    /// Takes what the files hold if it has changed and fits; else what is in use stays. Whether there is a new certificate.
    ///
    /// Whoever replaces two files does it one after the other, so that a pair that does not fit yet is no fault to act on.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let contents = self.files.contents();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == contents {
            return Ok(false);
        }
        *seen = contents;
        let certificate = self.files.load()?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = certificate;
        Ok(true)
    }

    /// The settings for handshakes with clients, HTTP/2 preferred.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect();
    let chain = chain.map_err(unreadable)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(path.to_owned()));
    }
    Ok(chain)
}

/// Whom this edge believes to be its origin: the authorities in `file`, or else the system's.
pub fn origin_roots(file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let Some(path) = file else { return Ok(system_roots()) };
    let mut roots = RootCertStore::empty();
    add_authorities(&mut roots, path)?;
    Ok(roots)
}

/// Believes the authorities in a file, PEM, too.
pub fn add_authorities(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    for certificate in certificates(path)? {
        let malformed = |source| TlsError::Malformed { path: path.to_owned(), source };
        roots.add(certificate).map_err(malformed)?;
    }
    Ok(())
}

/// The settings for handshakes with the origin.
pub fn client_config(roots: RootCertStore) -> Result<Arc<ClientConfig>, TlsError> {
    let config = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
