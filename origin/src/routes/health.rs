//! Whether the process lives, and whether what it depends on works.

use super::error::ApiError;
use crate::app::App;
use crate::services::readiness::{self, Health};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

pub(super) async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

pub(super) async fn ready(State(app): State<App>) -> Response {
    let readiness = readiness::check(&app.store, &app.cache, &app.queue).await;
    match readiness.status {
        Health::Ok | Health::Degraded => Json(readiness).into_response(),
        Health::Down => (ApiError::NOT_READY, Json(readiness)).into_response(),
    }
}
