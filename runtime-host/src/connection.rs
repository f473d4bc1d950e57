//! One client's connection: whose it is, what it speaks, and how long it may stay.

use crate::client_stream::{ClientStream, Transport, Unread};
use crate::connection_activity::{ConnectionActivity, Patience};
use crate::front::{Client, Front};
use crate::limits;
use crate::proxy_protocol::{self, ProxyHeader, ProxyHeaderError};
use bytes::{Bytes, BytesMut};
use http::Request;
use http::uri::Scheme;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// What a client that knows HTTP/2 beforehand sends first (RFC 9113, section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// After our goodbye, what is under way and the other end's goodbye have this long to arrive.
const GOODBYE: Duration = Duration::from_secs(1);

/// What all connections of a listener share.
pub struct ConnectionSettings {
    pub front: Arc<Front>,
    pub tls: Option<TlsAcceptor>,
    pub patience: Patience,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectionEnd {
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("PROXY protocol: {0}")]
    ProxyHeader(#[from] ProxyHeaderError),
    #[error("TLS: {0}")]
    Tls(#[source] io::Error),
    #[error("{0}")]
    Read(#[source] io::Error),
    #[error("no request came in time")]
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

impl ConnectionSettings {
    pub fn new(front: Arc<Front>, tls: Option<TlsAcceptor>, patience: Patience) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // Ours, which knows an idle connection from one that dribbles.
            .header_read_timeout(None)
            .max_headers(limits::MAX_HEADERS_READ)
            .max_buf_size(limits::MAX_HEADER_BYTES_READ);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits::MAX_HTTP2_STREAMS)
            .max_header_list_size(limits::MAX_HEADER_BYTES as u32)
            .keep_alive_interval(limits::HEARTBEAT)
            .keep_alive_timeout(limits::HEARTBEAT);
        Self { front, tls, patience, http1, http2 }
    }

    /// Serves one connection to its end. `stop` ends it after the requests that run.
    pub async fn serve(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
        slot: OwnedSemaphorePermit,
        stop: CancellationToken,
    ) -> Result<(), ConnectionEnd> {
        let mut address = peer;
        let mut unread = Bytes::new();
        if self.front.proxies.send_header(peer.ip()) {
            let header = timely(self.patience.headers, proxy_protocol::read(&mut stream));
            let Some(header) = unless(&stop, header).await else { return Ok(()) };
            let ProxyHeader { source, rest } = header??;
            address = source.unwrap_or(peer);
            unread = rest;
        }
        let mut stream = Unread::new(unread, stream);
        let (transport, protocol) = match &self.tls {
            Some(tls) => {
                let stream = unless(&stop, timely(self.patience.headers, tls.accept(stream))).await;
                let Some(stream) = stream else { return Ok(()) };
                let stream = stream?.map_err(ConnectionEnd::Tls)?;
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let protocol = if http2 { Protocol::Http2 } else { Protocol::Http1 };
                (Transport::Tls(Box::new(stream)), protocol)
            }
            None => {
                let first = unless(&stop, self.first_bytes(&mut stream)).await.transpose()?;
                let Some((first, protocol)) = first.flatten() else { return Ok(()) };
                (Transport::Plain(stream.again(first)), protocol)
            }
        };
        let scheme = if self.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let client = Client { peer, address, scheme };
        self.serve_http(transport, protocol, client, Some(slot), stop).await
    }

    /// Serves a connection that one of the application's own components has made to it.
    pub async fn serve_itself(
        &self,
        stream: DuplexStream,
        stop: CancellationToken,
    ) -> Result<(), ConnectionEnd> {
        // No proxy that anybody trusts has this address: a component cannot say on whose behalf it asks.
        let peer = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let client = Client { peer, address, scheme: Scheme::HTTP };
        self.serve_http(Transport::Local(stream), Protocol::Http1, client, None, stop).await
    }

    async fn serve_http(
        &self,
        transport: Transport,
        protocol: Protocol,
        client: Client,
        slot: Option<OwnedSemaphorePermit>,
        stop: CancellationToken,
    ) -> Result<(), ConnectionEnd> {
        let activity = ConnectionActivity::begin();
        let stream = TokioIo::new(ClientStream::new(transport, activity.clone(), slot));
        let front = self.front.clone();
        let activity_of_requests = activity.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let (front, client, running) = (front.clone(), client.clone(), activity_of_requests.request());
            async move { Ok::<_, Infallible>(front.handle(request, client, running).await) }
        });
        match protocol {
            Protocol::Http1 => {
                let connection = self.http1.serve_connection(stream, service).with_upgrades();
                let end =
                    |connection: Pin<&mut http1::UpgradeableConnection<_, _>>| connection.graceful_shutdown();
                self.watch(pin!(connection), end, &activity, protocol, stop).await
            }
            Protocol::Http2 => {
                let connection = self.http2.serve_connection(stream, service);
                let end = |connection: Pin<&mut http2::Connection<_, _, _>>| connection.graceful_shutdown();
                self.watch(pin!(connection), end, &activity, protocol, stop).await
            }
        }
    }

    /// Reads until it is clear what the client speaks; none when it says nothing and goes. A browser may connect long before it asks.
    async fn first_bytes<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
    ) -> Result<Option<(Bytes, Protocol)>, ConnectionEnd> {
        let mut first = BytesMut::with_capacity(limits::FIRST_READ_BYTES);
        let mut wait = self.patience.idle;
        loop {
            let read = timely(wait, stream.read_buf(&mut first)).await?.map_err(ConnectionEnd::Read)?;
            let preface = &HTTP2_PREFACE[..HTTP2_PREFACE.len().min(first.len())];
            match () {
                () if read == 0 => return Ok(None),
                () if !first.starts_with(preface) => return Ok(Some((first.freeze(), Protocol::Http1))),
                () if first.len() >= HTTP2_PREFACE.len() => {
                    return Ok(Some((first.freeze(), Protocol::Http2)));
                }
                () => wait = self.patience.headers,
            }
        }
    }

    /// Runs the connection, and ends it when it is over its time or everything stops.
    ///
    /// `end` makes it take no more requests, so that it ends after those that run.
    async fn watch<C: Future<Output = hyper::Result<()>>>(
        &self,
        mut connection: Pin<&mut C>,
        end: impl Fn(Pin<&mut C>),
        activity: &ConnectionActivity,
        protocol: Protocol,
        stop: CancellationToken,
    ) -> Result<(), ConnectionEnd> {
        let reads_are_headers = protocol == Protocol::Http1;
        let mut look = pin!(tokio::time::sleep(self.patience.headers));
        let mut stopped = pin!(stop.cancelled());
        let mut stopping = false;
        let mut late = false;
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => return Ok(ended?),
                () = stopped.as_mut(), if !stopping => {
                    stopping = true;
                    end(connection.as_mut());
                    look.as_mut().reset(Instant::now() + GOODBYE);
                }
                () = look.as_mut() => match activity.look_again(self.patience, reads_are_headers) {
                    // Who does not take its leave is not waited for.
                    _ if stopping && activity.is_quiet() => return Ok(()),
                    Some(_) if stopping => look.as_mut().reset(Instant::now() + GOODBYE),
                    Some(next) => look.as_mut().reset(next.into()),
                    None if protocol == Protocol::Http1 => return Err(ConnectionEnd::Silent),
                    None if late => return Err(ConnectionEnd::Silent),
                    None => {
                        late = true;
                        end(connection.as_mut());
                        look.as_mut().reset(Instant::now() + GOODBYE);
                    }
                },
            }
        }
    }
}

/// None when everything stops first: there is no request yet that would have to end.
async fn unless<T>(stop: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = stop.cancelled() => None,
    }
}

async fn timely<T>(patience: Duration, work: impl Future<Output = T>) -> Result<T, ConnectionEnd> {
    tokio::time::timeout(patience, work).await.map_err(|_| ConnectionEnd::Silent)
}
