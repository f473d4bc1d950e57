//! Whether the process lives, and whether what it depends on works.

use super::error::ApiError;
use crate::app::App;
use crate::services::readiness::{self, Health, Readiness};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

/// Whether the process lives.
#[utoipa::path(get, path = "/health", tag = "Operation", security(()), responses((status = 200, description = "It does", body = Object)))]
pub(super) async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Whether this origin can serve, and what of that upon which it depends does not work.
#[utoipa::path(get, path = "/health/ready", tag = "Operation", security(()), responses(
    (status = 200, description = "It serves, if `degraded` then slower or not everything", body = Readiness),
    (status = 503, description = "It does not serve", body = Readiness),
))]
pub(super) async fn ready(State(app): State<App>) -> Response {
    let readiness = readiness::check(&app.store, &app.cache, &app.queue).await;
    match readiness.status {
        Health::Ok | Health::Degraded => Json(readiness).into_response(),
        Health::Down => (ApiError::NOT_READY, Json(readiness)).into_response(),
    }
}
