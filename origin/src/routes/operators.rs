//! What operators read: metrics in Prometheus' text format. Never on the public address.

use crate::app::App;
use axum::extract::State;
use axum::http::{HeaderName, header};
use metrics_exporter_prometheus::PrometheusHandle;

const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn metrics(
    State((app, collected)): State<(App, PrometheusHandle)>,
) -> ([(HeaderName, &'static str); 1], String) {
    app.measure().await;
    ([(header::CONTENT_TYPE, FORMAT)], collected.render())
}
