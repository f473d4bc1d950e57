//! Answers that say at which state of the institute they were read, or what they changed.

use crate::app::App;
use axum::Json;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use sync_protocol::bookmark::{BOOKMARK_HEADER, Bookmark};

pub(super) fn header(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Bookmarks, tags and paths of ids are ASCII.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The body, which nobody keeps, with the bookmark at which it was read.
pub(super) fn with_bookmark(
    app: &App,
    institute: &str,
    body: impl Serialize,
    bookmark: Bookmark,
) -> Response {
    answer(body, app.auth.prove_bookmark(institute, bookmark, 0))
}

/// The same with a bookmark that is proved.
pub(super) fn answer(body: impl Serialize, bookmark: Bookmark) -> Response {
    let mut response = Json(body).into_response();
    header(response.headers_mut(), HeaderName::from_static(BOOKMARK_HEADER), &bookmark.to_string());
    header(response.headers_mut(), CACHE_CONTROL, "private, no-store");
    response
}
