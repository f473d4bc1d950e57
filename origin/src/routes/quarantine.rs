//! Refused changes, for admins: what there is, what each would do, and what becomes of it.

use super::error::ApiError;
use super::extract::{Admin, PageQuery};
use crate::app::App;
use crate::services::documents::{Acceptance, QuarantinePage, QuarantinedChange};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use sync_protocol::document_id::DocumentId;

pub(super) async fn list(
    State(app): State<App>,
    Admin(claims): Admin,
    Query(page): Query<PageQuery>,
) -> Result<Json<QuarantinePage>, ApiError> {
    let page = app.documents.quarantine_page(&claims.inst, page.cursor.as_deref(), page.limit);
    Ok(Json(page.await?))
}

/// The document and the hash that name an item.
fn named((document, hash): (String, String)) -> Result<(DocumentId, [u8; 32]), ApiError> {
    let document = document.parse().map_err(|_| ApiError::NO_DOCUMENT)?;
    let hash = hex::decode(hash).ok().and_then(|hash| hash.try_into().ok());
    Ok((document, hash.ok_or(ApiError::NO_DOCUMENT)?))
}

pub(super) async fn show(
    State(app): State<App>,
    Admin(claims): Admin,
    Path(name): Path<(String, String)>,
) -> Result<Json<QuarantinedChange>, ApiError> {
    let (document, hash) = named(name)?;
    Ok(Json(app.documents.quarantined_change(&claims.inst, document, hash).await?))
}

pub(super) async fn accept(
    State(app): State<App>,
    Admin(claims): Admin,
    Path(name): Path<(String, String)>,
) -> Result<Json<Acceptance>, ApiError> {
    let (document, hash) = named(name)?;
    Ok(Json(app.documents.accept_quarantined(&claims, document, hash).await?))
}

pub(super) async fn discard(
    State(app): State<App>,
    Admin(claims): Admin,
    Path(name): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let (document, hash) = named(name)?;
    app.documents.drop_quarantined(&claims, document, hash).await?;
    Ok(StatusCode::NO_CONTENT)
}
