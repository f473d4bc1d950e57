//! Outbound `wasi:http`: only to `allowed_outbound_hosts`, with connections kept for the next request and a bound on each wait.

use crate::limits;
use crate::outbound::{AllowedHosts, default_port};
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, default_send_request};

/// What one component may reach, and the connections that all components share.
#[derive(Clone)]
pub struct OutboundHttp {
    component: Arc<str>,
    allowed: Arc<AllowedHosts>,
    connections: Connections,
}

/// Connections to other servers, kept for the next request. One for the process.
#[derive(Clone)]
pub struct Connections {
    client: Client<HttpConnector, WasiBody>,
}

impl Default for Connections {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(limits::OUTBOUND_CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(limits::OUTBOUND_IDLE_CONNECTIONS)
            .pool_idle_timeout(limits::OUTBOUND_IDLE_TIMEOUT)
            .build(connector);
        Self { client }
    }
}

impl OutboundHttp {
    pub fn new(component: Arc<str>, allowed: AllowedHosts, connections: Connections) -> Self {
        Self { component, allowed: Arc::new(allowed), connections }
    }

    fn allows(&self, request: &Request<WasiBody>) -> bool {
        let uri = request.uri();
        let scheme = uri.scheme_str().unwrap_or("https");
        let Some(port) = uri.port_u16().or_else(|| default_port(scheme)) else { return false };
        uri.host().is_some_and(|host| self.allowed.allows(scheme, host, port))
    }
}

type Answered = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for OutboundHttp {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Answered, Error>> + Send> {
        if !self.allows(&request) {
            let (component, uri) = (&*self.component, request.uri());
            tracing::warn!(component, %uri, "allowed_outbound_hosts of the component does not name this host");
            return Box::new(std::future::ready(Err(Error::HttpRequestDenied)));
        }
        let options = bounded(options.unwrap_or_default());
        let client = self.connections.client.clone();
        Box::new(async move {
            if request.uri().scheme_str() != Some("http") {
                let (response, connection) = default_send_request(request, Some(options)).await?;
                return Ok((response.map(http_body_util::BodyExt::boxed_unsync), Box::new(connection) as _));
            }
            let response = send(&client, request, options).await?;
            Ok((response, Box::new(std::future::ready(Ok(()))) as _))
        })
    }
}

/// A guest may wait less than the limits, not more.
fn bounded(options: RequestOptions) -> RequestOptions {
    let least =
        |wished: Option<Duration>, limit: Duration| Some(wished.map_or(limit, |wished| wished.min(limit)));
    RequestOptions {
        connect_timeout: least(options.connect_timeout, limits::OUTBOUND_CONNECT_TIMEOUT),
        first_byte_timeout: least(options.first_byte_timeout, limits::OUTBOUND_FIRST_BYTE_TIMEOUT),
        between_bytes_timeout: least(options.between_bytes_timeout, limits::OUTBOUND_BETWEEN_BYTES_TIMEOUT),
    }
}

async fn send(
    client: &Client<HttpConnector, WasiBody>,
    request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<Response<WasiBody>, Error> {
    let wait = options.first_byte_timeout.unwrap_or(limits::OUTBOUND_FIRST_BYTE_TIMEOUT);
    let response = tokio::time::timeout(wait, client.request(request))
        .await
        .map_err(|_| Error::ConnectionReadTimeout)?
        .map_err(|error| {
            tracing::debug!(error = &error as &dyn std::error::Error, "outbound request");
            if error.is_connect() { Error::ConnectionRefused } else { Error::ConnectionTerminated }
        })?;
    let pause = options.between_bytes_timeout.unwrap_or(limits::OUTBOUND_BETWEEN_BYTES_TIMEOUT);
    Ok(response.map(|incoming| TimedBody::new(incoming, pause).boxed_unsync()))
}

/// The other server's answer, which may not pause for longer than it may.
struct TimedBody {
    incoming: Incoming,
    pause: Duration,
    late: Pin<Box<Sleep>>,
}

impl TimedBody {
    fn new(incoming: Incoming, pause: Duration) -> Self {
        Self { incoming, pause, late: Box::pin(tokio::time::sleep(pause)) }
    }
}

impl Body for TimedBody {
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
