//! What a person was told.

use super::error::ApiError;
use super::extract::{Identity, JsonBody, Seen};
use super::proved::with_bookmark;
use crate::app::App;
use crate::services::notifications::NotificationPage;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `REVISION-POSITION`, as in `id`.
#[derive(Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(pattern = "^[0-9]{1,15}-[0-9]{1,9}$")]
struct NotificationName(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    before: Option<NotificationName>,
}

/// The newest notification that was read.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MarkRead {
    until: NotificationName,
}

#[derive(Serialize, ToSchema)]
pub(super) struct MarkedRead {
    /// How many were not read before.
    read: u64,
}

/// What the user who is signed in was told, the newest first.
#[utoipa::path(get, path = "/api/notifications", tag = "Notifications", params(("before" = Option<NotificationName>, Query, description = "The `next` of the page before")), responses((status = 200, description = "A page", body = NotificationPage)))]
pub(super) async fn list(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    uri: Uri,
) -> Result<Response, ApiError> {
    let page = Query::<Page>::try_from_uri(&uri);
    let Query(page) =
        page.map_err(|error| ApiError::invalid_field("before".to_owned(), error.to_string()))?;
    let (list, bookmark) =
        app.notifications.list(&claims, page.before.as_ref().map(|name| name.0.as_str()), seen).await?;
    Ok(with_bookmark(&app, &claims.inst, list, bookmark))
}

/// Marks all notifications up to one as read.
#[utoipa::path(post, path = "/api/notifications/read", tag = "Notifications", request_body = MarkRead, responses((status = 200, description = "How many were marked", body = MarkedRead)))]
pub(super) async fn mark_read(
    State(app): State<App>,
    Identity(claims): Identity,
    JsonBody(MarkRead { until }): JsonBody<MarkRead>,
) -> Result<Json<MarkedRead>, ApiError> {
    let read = app.notifications.mark_read(&claims, &until.0).await?;
    Ok(Json(MarkedRead { read }))
}
