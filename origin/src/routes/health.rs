//! Whether the process lives, and whether its store answers.

use super::error::ApiError;
use crate::app::App;
use crate::store::NO_INSTITUTE;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

pub(super) async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

pub(super) async fn ready(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    app.store.read::<_, ApiError, _>(NO_INSTITUTE, |records| Ok(records.revision()?)).await?;
    Ok(Json(json!({"status": "ok"})))
}
