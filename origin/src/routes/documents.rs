//! Registration of shared documents, and a whole document for an edge without a link.

use super::error::ApiError;
use super::extract::{Identity, JsonBody};
use crate::app::App;
use crate::services::documents::{Registered, Registration};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use sync_protocol::link::LinkMessage;

/// Finds or makes the document of a kind and subject.
#[utoipa::path(post, path = "/api/documents", tag = "Documents", request_body = Registration, responses((status = 200, description = "The document", body = Registered)))]
pub(super) async fn register(
    State(app): State<App>,
    Identity(claims): Identity,
    JsonBody(registration): JsonBody<Registration>,
) -> Result<Json<Registered>, ApiError> {
    Ok(Json(app.documents.register(&claims, registration).await?))
}

/// A document as the link would bring it.
#[utoipa::path(get, path = "/api/documents/{document}", tag = "Documents", responses((status = 200, description = "`LinkMessage::Document`", body = Vec<u8>, content_type = "application/cbor")))]
pub(super) async fn fetch(
    State(app): State<App>,
    Identity(claims): Identity,
    Path(document): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    let document = document.parse().map_err(|_| ApiError::NO_DOCUMENT)?;
    let found = app.documents.fetch_document(&claims, document).await?.ok_or(ApiError::NO_DOCUMENT)?;
    Ok(([(CONTENT_TYPE, "application/cbor")], LinkMessage::Document(found).encode()))
}
