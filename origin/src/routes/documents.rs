//! Registration of shared documents.

use super::error::ApiError;
use super::extract::{Identity, JsonBody};
use crate::app::App;
use crate::services::documents::{Registered, Registration};
use axum::Json;
use axum::extract::State;

pub(super) async fn register(
    State(app): State<App>,
    Identity(claims): Identity,
    JsonBody(registration): JsonBody<Registration>,
) -> Result<Json<Registered>, ApiError> {
    Ok(Json(app.documents.register(&claims, registration).await?))
}
