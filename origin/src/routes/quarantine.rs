//! Refused changes, for admins: what each would do, and what becomes of it. `admin/lists.rs` lists them.

use super::error::ApiError;
use super::extract::Admin;
use crate::app::App;
use crate::services::documents::{Acceptance, QuarantinedChange};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use sync_protocol::document_id::DocumentId;

/// The document and the hash that name an item.
fn named((document, hash): (String, String)) -> Result<(DocumentId, [u8; 32]), ApiError> {
    let document = document.parse().map_err(|_| ApiError::NO_DOCUMENT)?;
    let hash = hex::decode(hash).ok().and_then(|hash| hash.try_into().ok());
    Ok((document, hash.ok_or(ApiError::NO_DOCUMENT)?))
}

/// A refused change, and what it would do.
#[utoipa::path(get, path = "/admin/v1/quarantine/{document}/{hash}", tag = "Documents", responses((status = 200, description = "The change", body = QuarantinedChange)))]
pub(super) async fn show(
    State(app): State<App>,
    Admin(claims): Admin,
    Path(name): Path<(String, String)>,
) -> Result<Json<QuarantinedChange>, ApiError> {
    let (document, hash) = named(name)?;
    Ok(Json(app.documents.quarantined_change(&claims.inst, document, hash).await?))
}

/// Merges a refused change on the admin's authority, and with it what waited for it.
#[utoipa::path(post, path = "/admin/v1/quarantine/{document}/{hash}/accept", tag = "Documents", responses((status = 200, description = "What was merged", body = Acceptance), (status = 409, description = "It cannot be merged")))]
pub(super) async fn accept(
    State(app): State<App>,
    Admin(claims): Admin,
    Path(name): Path<(String, String)>,
) -> Result<Json<Acceptance>, ApiError> {
    let (document, hash) = named(name)?;
    Ok(Json(app.documents.accept_quarantined(&claims, document, hash).await?))
}

/// Drops a refused change for good.
#[utoipa::path(post, path = "/admin/v1/quarantine/{document}/{hash}/drop", tag = "Documents", responses((status = 204, description = "It is dropped")))]
pub(super) async fn discard(
    State(app): State<App>,
    Admin(claims): Admin,
    Path(name): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let (document, hash) = named(name)?;
    app.documents.drop_quarantined(&claims, document, hash).await?;
    Ok(StatusCode::NO_CONTENT)
}
