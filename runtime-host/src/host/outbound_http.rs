//! Outbound `wasi:http`: only to `allowed_outbound_hosts`, with connections kept for the next request and a bound on each wait.
//! Redirects are the guest's business: a server cannot send the host on to a place that the manifest does not name.

mod connector;
mod context;
mod itself;
mod patience;
mod siblings;
#[cfg(test)]
mod tests;

pub use connector::{OwnAddresses, system_roots};
pub use context::{RequestContext, RequestContexts};
pub use itself::Itself;
pub use patience::Patience;
pub use siblings::Siblings;

use crate::guest::Guest;
use crate::limits;
use crate::outbound::{AllowedHosts, Internal, default_port, internal};
use bytes::Bytes;
use connector::{ConnectError, Connector, shake_hands};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::Connect;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use itself::ToItself;
use patience::{CONNECTING, Progress, Waits, answered};
use rustls::RootCertStore;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// What the outbound requests of all components share. One for the process.
#[derive(Clone)]
pub struct Connections {
    tls: TlsConnector,
    /// For other protocols than HTTP.
    other_tls: TlsConnector,
    own: OwnAddresses,
    siblings: Siblings,
    /// This host, for requests to `self`.
    itself: Itself,
    to_itself: Client<ToItself, WasiBody>,
}

impl Connections {
    pub fn new(roots: RootCertStore) -> Self {
        let itself = Itself::default();
        Self {
            tls: connector::tls(roots.clone(), &[b"h2", b"http/1.1"]),
            other_tls: connector::tls(roots, &[]),
            own: OwnAddresses::default(),
            siblings: Siblings::default(),
            to_itself: client_builder().build(ToItself(itself.clone())),
            itself,
        }
    }

    pub fn own_addresses(&self) -> &OwnAddresses {
        &self.own
    }

    pub fn itself(&self) -> &Itself {
        &self.itself
    }

    pub fn siblings(&self) -> &Siblings {
        &self.siblings
    }
}

fn client_builder() -> legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(limits::OUTBOUND_IDLE_CONNECTIONS)
        .pool_idle_timeout(limits::OUTBOUND_IDLE_TIMEOUT)
        .http1_max_buf_size(limits::OUTBOUND_HEADER_BYTES)
        .http2_max_header_list_size(limits::OUTBOUND_HEADER_BYTES as u32);
    builder
}

/// What one component may reach, and its connections. They are not shared with other components: a connection that one of them
/// may have to a private address would else serve another that may not.
#[derive(Clone)]
pub struct OutboundHttp {
    component: Arc<str>,
    allowed: Arc<AllowedHosts>,
    shared: Connections,
    connector: Connector,
    client: Client<Connector, WasiBody>,
    /// Bounds the requests of this component that run at once.
    room: Arc<Semaphore>,
    patience: Patience,
    /// What the next request is for.
    context: Option<RequestContext>,
}

/// Why there is no connection to a server of another protocol.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("allowed_outbound_hosts of the component does not give this address")]
    Denied,
    #[error("{0:?}")]
    Unreachable(Error),
}

/// Where a request goes.
enum Way {
    Out(Client<Connector, WasiBody>),
    Itself(Client<ToItself, WasiBody>),
    Sibling(Arc<Guest>),
}

impl OutboundHttp {
    pub fn new(component: Arc<str>, allowed: AllowedHosts, shared: Connections, patience: Patience) -> Self {
        let allowed = Arc::new(allowed);
        let connector = Connector {
            component: component.clone(),
            allowed: allowed.clone(),
            own: shared.own.clone(),
            tls: shared.tls.clone(),
        };
        let client = client_builder().build(connector.clone());
        let room = Arc::new(Semaphore::new(limits::OUTBOUND_REQUESTS));
        Self { component, allowed, shared, connector, client, room, patience, context: None }
    }

    /// Lets the requests that follow belong to `context`.
    pub fn set_context(&mut self, context: Option<RequestContext>) {
        self.context = context;
    }

    /// Whether an entry of the manifest names this, whatever is behind the name.
    pub fn allows(&self, scheme: &str, host: &str, port: u16) -> bool {
        self.allowed.reach(scheme, host, port).is_some()
    }

    /// Whether an entry of the manifest gives anything under this scheme.
    pub fn names_scheme(&self, scheme: &str) -> bool {
        self.allowed.names_scheme(scheme)
    }

    /// Whether the component may reach this address, which is all that it knows of the other server.
    pub fn gives_address(&self, scheme: &str, to: SocketAddr) -> bool {
        let reach = self.allowed.reach(scheme, &to.ip().to_string(), to.port());
        reach.is_some_and(|reach| self.connector.permits(reach, to))
    }

    /// The same, and says in the log what is refused.
    pub fn allows_address(&self, scheme: &str, to: SocketAddr) -> bool {
        let given = self.gives_address(scheme, to);
        if !given {
            let component = &*self.component;
            tracing::warn!(component, scheme, %to, "allowed_outbound_hosts of the component does not give this address");
        }
        given
    }

    /// Connects for a client of another protocol, where the manifest allows it.
    pub async fn dial(
        &self,
        scheme: &str,
        host: &str,
        port: u16,
        tls: bool,
    ) -> Result<Either<TcpStream, TlsStream<TcpStream>>, DialError> {
        let connect = async {
            let stream = self.connector.tcp(scheme, host, port).await?;
            Ok(match tls {
                true => Either::Right(shake_hands(&self.shared.other_tls, host, stream).await?),
                false => Either::Left(stream),
            })
        };
        let connected = tokio::time::timeout(limits::OUTBOUND_CONNECT_TIMEOUT, connect).await;
        connected.unwrap_or(Err(Error::ConnectionTimeout)).map_err(|error| match error {
            Error::HttpRequestDenied | Error::DestinationIpProhibited => DialError::Denied,
            error => DialError::Unreachable(error),
        })
    }

    fn way(&self, request: &mut Request<WasiBody>) -> Result<Way, Error> {
        let scheme = request.uri().scheme_str().unwrap_or("https").to_owned();
        let host = request.uri().host().unwrap_or("self").to_owned();
        let allowed = match internal(&host) {
            Some(to) => self.allowed.allows_internal(&scheme, to),
            None => target(request.uri())
                .is_some_and(|(scheme, host, port)| self.allowed.reach(scheme, host, port).is_some()),
        };
        if !allowed {
            let (component, uri) = (&*self.component, request.uri());
            tracing::warn!(component, %uri, "allowed_outbound_hosts of the component does not name this host");
            return Err(Error::HttpRequestDenied);
        }
        match internal(&host) {
            None => Ok(Way::Out(self.client.clone())),
            Some(Internal::Component(id)) => {
                let guest = self.shared.siblings.get(id).ok_or(Error::DestinationNotFound)?;
                // Which component it is says the route; `Host` would be a name that only exists here.
                request.headers_mut().remove(header::HOST);
                Ok(Way::Sibling(guest))
            }
            Some(Internal::Itself) => {
                if !self.shared.itself.is_served() {
                    return Err(Error::DestinationUnavailable);
                }
                redirect(request, self.shared.own.first())?;
                Ok(Way::Itself(self.shared.to_itself.clone()))
            }
        }
    }

    async fn send(
        self,
        way: Way,
        request: Request<WasiBody>,
        waits: Waits,
    ) -> Result<Response<WasiBody>, Error> {
        let Ok(Ok(permit)) = tokio::time::timeout(waits.connect, self.room.acquire_owned()).await else {
            return Err(Error::ConnectionLimitReached);
        };
        let progress = Progress::start();
        let request = request.map(|body| patience::upload(body, progress.clone()));
        let ask = async {
            Ok(match way {
                Way::Out(client) => through(&client, request, waits, &progress).await?.map(Either::Left),
                Way::Itself(client) => through(&client, request, waits, &progress).await?.map(Either::Left),
                Way::Sibling(guest) => {
                    let called = self.shared.siblings.call(&guest, request, self.context.as_ref());
                    called.await?.map(Either::Right)
                }
            })
        };
        let response = answered(waits.first_byte, &progress, ask).await?;
        Ok(response.map(|body| match body {
            Either::Left(body) => TimedBody::new(body, waits.between_bytes, permit).boxed_unsync(),
            Either::Right(body) => TimedBody::new(body, waits.between_bytes, permit).boxed_unsync(),
        }))
    }
}

async fn through<C>(
    client: &Client<C, WasiBody>,
    request: Request<WasiBody>,
    waits: Waits,
    progress: &Progress,
) -> Result<Response<Incoming>, Error>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let response = CONNECTING.scope((waits.connect, progress.clone()), client.request(request)).await;
    response.map_err(|error| connection_error(&error))
}

/// Scheme, host and port of an address.
fn target(uri: &Uri) -> Option<(&str, &str, u16)> {
    let scheme = uri.scheme_str().unwrap_or("https");
    let port = uri.port_u16().or_else(|| default_port(scheme))?;
    matches!(scheme, "http" | "https").then_some((scheme, uri.host()?, port))
}

/// `own` is where this host listens, as far as that is known.
fn redirect(request: &mut Request<WasiBody>, own: Option<SocketAddr>) -> Result<(), Error> {
    let authority = own.map_or("localhost".to_owned(), |own| own.to_string());
    let host = HeaderValue::try_from(&authority).map_err(|_| Error::HttpRequestUriInvalid)?;
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::try_from(authority).map_err(|_| Error::HttpRequestUriInvalid)?);
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Error::HttpRequestUriInvalid)?;
    request.headers_mut().insert(header::HOST, host);
    Ok(())
}

type Answered = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for OutboundHttp {
    fn send_request(
        &mut self,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Answered, Error>> + Send> {
        let way = match self.way(&mut request) {
            Ok(way) => way,
            Err(error) => return Box::new(std::future::ready(Err(error))),
        };
        if let Some(context) = &self.context {
            context.add_trace(request.headers_mut());
        }
        let waits = self.patience.waits(&options.unwrap_or_default());
        let sent = self.clone().send(way, request, waits);
        Box::new(async move { Ok((sent.await?, Box::new(std::future::ready(Ok(()))) as _)) })
    }
}

fn connection_error(error: &legacy::Error) -> Error {
    tracing::debug!(error = error as &dyn std::error::Error, "outbound request");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(ConnectError(error)) = error.downcast_ref() {
            return copy(error);
        }
        cause = error.source();
    }
    if error.is_connect() { Error::ConnectionRefused } else { Error::ConnectionTerminated }
}

/// The client lends its error only, and `Error` cannot be cloned.
fn copy(error: &Error) -> Error {
    match error {
        Error::HttpRequestDenied => Error::HttpRequestDenied,
        Error::HttpRequestUriInvalid => Error::HttpRequestUriInvalid,
        Error::DestinationIpProhibited => Error::DestinationIpProhibited,
        Error::DestinationUnavailable => Error::DestinationUnavailable,
        Error::ConnectionTimeout => Error::ConnectionTimeout,
        Error::DnsError { .. } => Error::DnsError { rcode: None, info_code: None },
        Error::TlsCertificateError => Error::TlsCertificateError,
        Error::TlsProtocolError => Error::TlsProtocolError,
        _ => Error::ConnectionRefused,
    }
}

/// The other server's answer, which may not pause for longer than it may.
struct TimedBody<B> {
    incoming: B,
    pause: Duration,
    late: Pin<Box<Sleep>>,
    _room: OwnedSemaphorePermit,
}

impl<B> TimedBody<B> {
    fn new(incoming: B, pause: Duration, room: OwnedSemaphorePermit) -> Self {
        Self { incoming, pause, late: Box::pin(tokio::time::sleep(pause)), _room: room }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for TimedBody<B>
where
    Error: From<B::Error>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => {
                let next = Instant::now() + self.pause;
                self.late.as_mut().reset(next);
                Poll::Ready(frame.map(|frame| frame.map_err(Error::from)))
            }
            Poll::Pending => self.late.as_mut().poll(cx).map(|()| Some(Err(Error::ConnectionReadTimeout))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
