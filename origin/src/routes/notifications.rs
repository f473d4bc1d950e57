//! What a person was told.

use super::error::ApiError;
use super::extract::{Identity, JsonBody, Seen};
use crate::app::App;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use sync_protocol::bookmark::BOOKMARK_HEADER;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    before: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MarkRead {
    until: String,
}

pub(super) async fn list(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    uri: Uri,
) -> Result<Response, ApiError> {
    let page = Query::<Page>::try_from_uri(&uri);
    let Query(page) =
        page.map_err(|error| ApiError::invalid_field("before".to_owned(), error.to_string()))?;
    let (list, bookmark) = app.notifications.list(&claims, page.before.as_deref(), seen).await?;
    let mut response = Json(list).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    if let Ok(bookmark) = HeaderValue::from_str(&bookmark.to_string()) {
        response.headers_mut().insert(HeaderName::from_static(BOOKMARK_HEADER), bookmark);
    }
    Ok(response)
}

pub(super) async fn mark_read(
    State(app): State<App>,
    Identity(claims): Identity,
    JsonBody(MarkRead { until }): JsonBody<MarkRead>,
) -> Result<Json<Value>, ApiError> {
    let read = app.notifications.mark_read(&claims, &until).await?;
    Ok(Json(json!({"read": read})))
}
