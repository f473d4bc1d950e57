//! What is written down about each request when its answer has ended: a line of the access log, and the metrics of its route.
//! Never a token: neither headers nor the query are looked at.

use crate::connection_activity::RunningRequest;
use crate::limits;
use crate::trace_context::TraceContext;
use bytes::Bytes;
use http::{Method, Request, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use metrics::{Counter, Gauge, Histogram};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use wasmtime_wasi_http::{Error, WasiBody};

/// The metrics of one route, found once when the route is loaded.
pub struct RouteMetrics {
    /// By the first digit of the status.
    requests: [Counter; 5],
    duration: Histogram,
    running: Gauge,
    sent_bytes: Counter,
}

pub const REQUESTS: &str = "rollcall_edge_http_requests_total";
pub const DURATION: &str = "rollcall_edge_http_request_duration_seconds";
pub const RUNNING: &str = "rollcall_edge_http_requests_running";
pub const SENT_BYTES: &str = "rollcall_edge_http_response_body_bytes_total";

/// Says what the metrics of this file mean, to whoever collects them.
pub fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!(REQUESTS, "Answered requests, by route, component and class of status.");
    describe_histogram!(DURATION, Unit::Seconds, "From the request's headers to the answer's last byte.");
    describe_gauge!(RUNNING, "Requests whose answers have not ended.");
    describe_counter!(SENT_BYTES, Unit::Bytes, "Bytes of answers' bodies.");
}

impl RouteMetrics {
    pub fn new(route: &str, component: &str) -> Self {
        let labels = [("route", route.to_owned()), ("component", component.to_owned())];
        let requests = ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|class| {
            let [route, component] = labels.clone();
            metrics::counter!(REQUESTS, &[route, component, ("status", class.to_owned())])
        });
        Self {
            requests,
            duration: metrics::histogram!(DURATION, &labels),
            running: metrics::gauge!(RUNNING, &labels),
            sent_bytes: metrics::counter!(SENT_BYTES, &labels),
        }
    }
}

/// A route of a component, as the log and the metrics name it.
pub struct RouteName {
    pub route: String,
    pub component: String,
    pub metrics: RouteMetrics,
}

impl RouteName {
    pub fn new(route: &str, component: &str) -> Arc<Self> {
        let metrics = RouteMetrics::new(route, component);
        Arc::new(Self { route: route.to_owned(), component: component.to_owned(), metrics })
    }
}

/// One request, from its headers to the end of its answer.
pub struct AccessRecord {
    started: Instant,
    /// None when nobody reads the log.
    line: Option<Line>,
    route: Option<Arc<RouteName>>,
    status: StatusCode,
    bytes: u64,
}

struct Line {
    method: Method,
    path: String,
    version: Version,
    client: IpAddr,
    trace: TraceContext,
    institute: Option<String>,
    problem: Option<&'static str>,
}

impl AccessRecord {
    pub fn begin<B>(request: &Request<B>, client: IpAddr, trace: TraceContext) -> Self {
        let line = tracing::enabled!(target: "access", tracing::Level::INFO).then(|| Line {
            method: request.method().clone(),
            path: shortened(request.uri().path()),
            version: request.version(),
            client,
            trace,
            institute: None,
            problem: None,
        });
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self { started: Instant::now(), line, route: None, status, bytes: 0 }
    }

    pub fn routed(&mut self, route: &Arc<RouteName>) {
        route.metrics.running.increment(1);
        self.route = Some(route.clone());
    }

    pub fn asked_by(&mut self, institute: &str) {
        if let Some(line) = &mut self.line {
            line.institute = Some(institute.to_owned());
        }
    }

    pub fn answered(&mut self, status: StatusCode, problem: Option<&'static str>) {
        self.status = status;
        if let Some(line) = &mut self.line {
            line.problem = problem;
        }
    }
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let route = self.route.as_deref();
        if let Some(line) = &self.line {
            tracing::info!(
                target: "access",
                method = %line.method,
                path = line.path,
                status = self.status.as_u16(),
                milliseconds = took.as_micros() as f64 / 1000.0,
                bytes = self.bytes,
                route = route.map(|route| route.route.as_str()),
                component = route.map(|route| route.component.as_str()),
                institute = line.institute,
                problem = line.problem,
                trace = %line.trace.id(),
                client = %line.client,
                version = ?line.version,
            );
        }
        if let Some(RouteName { metrics, .. }) = route {
            metrics.running.decrement(1);
            metrics.duration.record(took);
            metrics.sent_bytes.increment(self.bytes);
            let class = usize::from(self.status.as_u16() / 100).clamp(1, metrics.requests.len());
            metrics.requests[class - 1].increment(1);
        }
    }
}

/// As much of a path as the log shows: a client must not choose how long our lines are.
fn shortened(path: &str) -> String {
    path[..path.floor_char_boundary(limits::MAX_LOGGED_PATH_BYTES)].to_owned()
}

/// An answer's body, with which the request ends.
pub struct AnswerBody {
    body: WasiBody,
    record: AccessRecord,
    _running: RunningRequest,
}

impl AnswerBody {
    pub fn new(body: WasiBody, record: AccessRecord, running: RunningRequest) -> Self {
        Self { body, record, _running: running }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
