//! Registration of shared documents, a whole document for an edge without a link, and the cutting of a history.

use super::error::ApiError;
use super::extract::{Admin, Identity, JsonBody};
use crate::app::App;
use crate::services::documents::{Cut, Registered, Registration};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Deserialize;
use sync_protocol::document_id::DocumentId;
use sync_protocol::link::LinkMessage;
use utoipa::ToSchema;

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

/// The agreed point of a cut.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AgreedPoint {
    /// Hex hashes of 1 to 64 changes of the document: its heads, or such as it had once.
    heads: Vec<String>,
}

/// Cuts a document's history: a new one goes on from what it says at the agreed heads.
#[utoipa::path(post, path = "/admin/v1/documents/{document}/cut-history", tag = "Documents", request_body = AgreedPoint, responses((status = 200, description = "What continues the document", body = Cut), (status = 409, description = "It was cut at other heads")))]
pub(super) async fn cut_history(
    State(app): State<App>,
    Admin(claims): Admin,
    Path(document): Path<String>,
    JsonBody(point): JsonBody<AgreedPoint>,
) -> Result<Json<Cut>, ApiError> {
    let document: DocumentId = document.parse().map_err(|_| ApiError::NO_DOCUMENT)?;
    let hash = |text: &String| {
        let bytes = hex::decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.ok_or_else(|| {
            ApiError::invalid_field("heads".to_owned(), "heads are not hashes in hex".to_owned())
        })
    };
    let heads = point.heads.iter().map(hash).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(app.documents.cut_history(&claims, document, heads).await?))
}
