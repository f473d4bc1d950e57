//! The operators' listener: metrics in Prometheus' text format, health, and what sync does. Never on the public address.

mod sync;

use crate::front::Front;
use crate::problem::{Problem, whole_body};
use crate::sync::{engine_task, session_registry};
use crate::{access, guest, limits, reload, server};
use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::net::TcpListener;
use wasmtime_wasi_http::WasiBody;

/// Upper bounds of the histograms' buckets, in seconds: from a cached answer to the longest that a request may take.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// Starts to collect. What was recorded before is lost, so this comes before the application is loaded.
pub fn collect() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new().set_buckets(&SECONDS)?.install_recorder()?;
    access::describe();
    server::describe();
    guest::describe();
    reload::describe();
    engine_task::describe();
    session_registry::describe();
    Ok(handle)
}

/// Serves until the process ends, so that the drain can be watched.
pub async fn serve(listener: TcpListener, front: Arc<Front>, metrics: PrometheusHandle) {
    let mut upkeep = tokio::time::interval(limits::METRICS_UPKEEP);
    loop {
        let accepted = tokio::select! {
            // Else what histograms have seen is kept until somebody asks.
            _ = upkeep.tick() => {
                metrics.run_upkeep();
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(limits::ACCEPT_PAUSE).await;
            continue;
        };
        let (front, metrics) = (front.clone(), metrics.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (front, metrics) = (front.clone(), metrics.clone());
            async move { Ok::<_, Infallible>(answer(&request, &front, &metrics).await) }
        });
        tokio::spawn(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits::HEADER_READ_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}

async fn answer(
    request: &Request<Incoming>,
    front: &Front,
    metrics: &PrometheusHandle,
) -> Response<WasiBody> {
    let path = request.uri().path();
    if let Some(path) = path.strip_prefix("/sync/") {
        let answer = sync::answer(front.sync.as_ref(), request.method(), path, request.uri().query()).await;
        return answer.unwrap_or_else(Problem::into_response);
    }
    if path != "/metrics" {
        let health = front.health(path).unwrap_or_else(|| Err(Problem::not_found()));
        return health.unwrap_or_else(Problem::into_response);
    }
    let mut response = Response::new(whole_body(metrics.render()));
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, format);
    response
}
