//! Whether the process lives, and whether its store answers.

use super::error::ApiError;
use crate::app::App;
use crate::store::NO_INSTITUTE;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

/// Whether the process lives.
#[utoipa::path(get, path = "/health", tag = "Operation", security(()), responses((status = 200, description = "It does", body = Object)))]
pub(super) async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Whether the store answers.
#[utoipa::path(get, path = "/health/ready", tag = "Operation", security(()), responses((status = 200, description = "It does", body = Object)))]
pub(super) async fn ready(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let seen = None;
    app.store.read_after::<_, ApiError, _>(NO_INSTITUTE, seen, |records| Ok(records.revision()?)).await?;
    let servers = app.store.servers();
    // Reads go on without the primary: a balancer that took this node away would take them away too.
    let status = if servers.iter().all(|server| server.used) { "ok" } else { "degraded" };
    if servers.is_empty() {
        return Ok(Json(json!({"status": status})));
    }
    Ok(Json(json!({"status": status, "store": servers})))
}
