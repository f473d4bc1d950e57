//! Payment providers' events, which bring their own proof of who sends them.

use super::error::ApiError;
use super::extract::Body;
use crate::app::App;
use crate::clock::unix_ms;
use crate::services::webhooks::{EventReceipt, SIGNATURE_HEADER};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;

pub(super) async fn receive(
    State(app): State<App>,
    Path((institute, provider)): Path<(String, String)>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Json<EventReceipt>, ApiError> {
    let signature = headers.get(SIGNATURE_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Ok(Json(app.webhooks.receive((&institute, &provider), signature, &body, unix_ms()).await?))
}
