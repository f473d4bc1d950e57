//! Connects to other servers for guests: resolves the name, looks at each address before it is used, and speaks TLS.

use super::patience::{CONNECTING, Progress};
use crate::limits;
use crate::outbound::AllowedHosts;
use crate::outbound::address::{self, Reach};
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tokio::io::DuplexStream;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wasmtime_wasi_http::Error;

/// Why there is no connection, kept until the guest is told.
#[derive(Debug, thiserror::Error)]
#[error("{0:?}")]
pub(super) struct ConnectError(pub(super) Error);

/// Where this host listens, known once it does.
#[derive(Clone, Default)]
pub struct OwnAddresses(Arc<OnceLock<Vec<SocketAddr>>>);

impl OwnAddresses {
    /// Said once, when the listeners stand. Guests reach none of them.
    pub fn set(&self, all: Vec<SocketAddr>) {
        if self.0.set(all).is_err() {
            tracing::debug!("the addresses of the listener were known before");
        }
    }

    /// Where clients come, as one on this machine would say it.
    pub(super) fn first(&self) -> Option<SocketAddr> {
        let mut address = *self.0.get()?.first()?;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        Some(address)
    }

    /// Whether a connection to `to` may end at one of them, under whatever name.
    fn contain(&self, to: SocketAddr) -> bool {
        let own = self.0.get().map_or(&[][..], |all| all);
        let ip = address::embedded(to.ip());
        own.iter().filter(|own| own.port() == to.port()).any(|own| {
            let own = address::embedded(own.ip());
            // Who connects to no address in particular is connected to this machine.
            own == ip || ip.is_unspecified() || own.is_unspecified() && is_of_this_machine(ip)
        })
    }
}

/// Only addresses of this machine can be bound.
fn is_of_this_machine(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || UdpSocket::bind((ip, 0)).is_ok()
}

/// The roots of the system, or Mozilla's where the system has none, as in small containers.
pub fn system_roots() -> RootCertStore {
    /// Some two hundred files, of which two stores are made at a start.
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(read_system_roots).clone()
}

fn read_system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "certificates of the system");
    }
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(added, ignored, "certificates of the system");
    if roots.is_empty() {
        tracing::info!("the system has no root certificates; Mozilla's are used");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// Offers the protocols `alpn`, the best first.
pub(super) fn tls(roots: RootCertStore, alpn: &[&[u8]]) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the ciphers of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

/// Connects where one component may.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) component: Arc<str>,
    pub(super) allowed: Arc<AllowedHosts>,
    pub(super) own: OwnAddresses,
    pub(super) tls: TlsConnector,
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        // The client calls this while it is asked for the request's answer.
        let request = CONNECTING.try_with(Clone::clone);
        let (wait, progress) =
            request.unwrap_or_else(|_| (limits::OUTBOUND_CONNECT_TIMEOUT, Progress::start()));
        Box::pin(async move {
            let connect = tokio::time::timeout(wait, connector.connect(&uri));
            let stream = connect.await.unwrap_or(Err(Error::ConnectionTimeout)).map_err(ConnectError)?;
            progress.step();
            Ok(stream)
        })
    }
}

impl Connector {
    async fn connect(&self, uri: &Uri) -> Result<Stream, Error> {
        let (scheme, host, port) = super::target(uri).ok_or(Error::HttpRequestUriInvalid)?;
        let stream = self.tcp(scheme, host, port).await?;
        if scheme != "https" {
            return Ok(Stream::Plain(TokioIo::new(stream)));
        }
        let stream = shake_hands(&self.tls, host, stream).await?;
        Ok(Stream::Tls(Box::new(TokioIo::new(stream))))
    }

    /// A connection to one of the addresses of `host`, if this component may have it.
    pub(super) async fn tcp(&self, scheme: &str, host: &str, port: u16) -> Result<TcpStream, Error> {
        let addresses = self.addresses(scheme, host, port).await?;
        let mut last = Error::DestinationUnavailable;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY");
                    }
                    return Ok(stream);
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    last = Error::ConnectionRefused
                }
                Err(error) => {
                    tracing::debug!(%address, %error, "connect");
                    last = Error::DestinationUnavailable;
                }
            }
        }
        Err(last)
    }

    /// Whether an entry that reaches so far gives this address.
    pub(super) fn permits(&self, reach: Reach, to: SocketAddr) -> bool {
        address::needed(to.ip()) <= reach && !self.own.contain(to)
    }

    /// The addresses of `host` to which this component may connect.
    async fn addresses(&self, scheme: &str, host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
        let reach = self.allowed.reach(scheme, host, port).ok_or(Error::HttpRequestDenied)?;
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let found = tokio::net::lookup_host((name, port)).await.map_err(|error| {
            tracing::debug!(host, %error, "resolve");
            Error::DnsError { rcode: None, info_code: None }
        })?;
        let found: Vec<SocketAddr> = found.collect();
        let addresses: Vec<SocketAddr> =
            found.iter().copied().filter(|to| self.permits(reach, *to)).collect();
        if addresses.is_empty() && !found.is_empty() {
            let component = &*self.component;
            tracing::warn!(
                component,
                host,
                address = %found[0],
                "the host is at a private, local or own address, which no entry of allowed_outbound_hosts gives"
            );
            return Err(Error::DestinationIpProhibited);
        }
        Ok(addresses)
    }
}

/// Speaks TLS with `host`, whose certificate must be its.
pub(super) async fn shake_hands(
    tls: &TlsConnector,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Error> {
    let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(name).map_err(Error::InvalidDnsNameError)?;
    tls.connect(name, stream).await.map_err(|error| {
        tracing::debug!(host, %error, "TLS");
        match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
            _ => Error::TlsProtocolError,
        }
    })
}

/// A connection, encrypted or not.
pub(super) enum Stream {
    Plain(TokioIo<TcpStream>),
    /// Within this process.
    Local(TokioIo<DuplexStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Stream::Plain(_) | Stream::Local(_) => Connected::new(),
            Stream::Tls(stream) => match stream.inner().get_ref().1.alpn_protocol() {
                Some(b"h2") => Connected::new().negotiated_h2(),
                _ => Connected::new(),
            },
        }
    }
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Local(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Local(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Local(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Local(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Stream::Local(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Local(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
