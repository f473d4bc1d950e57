//! What is counted about each request: its route, status and time.

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use std::time::Instant;

const REQUESTS: &str = "rollcall_origin_http_requests_total";
const DURATION: &str = "rollcall_origin_http_request_duration_seconds";
const RUNNING: &str = "rollcall_origin_http_requests_running";

/// Counts down when the answer is there, and when the client has gone before.
struct Running;

impl Running {
    fn begin() -> Self {
        metrics::gauge!(RUNNING).increment(1.0);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        metrics::gauge!(RUNNING).decrement(1.0);
    }
}

pub(super) async fn observe(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let _running = Running::begin();
    // The pattern and never the path, whose values would be labels without end.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = method_label(request.method());
    let response = next.run(request).await;
    let route = route.as_ref().map_or("none", MatchedPath::as_str).to_owned();
    let status = response.status().as_str().to_owned();
    metrics::histogram!(DURATION, "route" => route.clone(), "method" => method).record(began.elapsed());
    metrics::counter!(REQUESTS, "route" => route, "method" => method, "status" => status).increment(1);
    response
}

/// Clients may write any word there.
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [(&Method, &str); 7] = [
        (&Method::GET, "GET"),
        (&Method::POST, "POST"),
        (&Method::PUT, "PUT"),
        (&Method::PATCH, "PATCH"),
        (&Method::DELETE, "DELETE"),
        (&Method::HEAD, "HEAD"),
        (&Method::OPTIONS, "OPTIONS"),
    ];
    KNOWN.iter().find(|(known, _)| *known == method).map_or("other", |(_, label)| label)
}

/// Says what the metrics of this file mean, to whoever collects them.
pub(crate) fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!(REQUESTS, "Answered requests, by route, method and status.");
    describe_histogram!(DURATION, Unit::Seconds, "From the request's headers to the answer's.");
    describe_gauge!(RUNNING, "Requests that are not answered yet.");
}
