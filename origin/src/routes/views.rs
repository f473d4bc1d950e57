//! The views, with the headers that let edges keep them.

use super::error::ApiError;
use super::extract::{Day, Identity, Seen, Student};
use crate::app::App;
use crate::services::views::View;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};
use sync_protocol::bookmark::BOOKMARK_HEADER;
use sync_protocol::tag::TAGS_HEADER;
use sync_protocol::token::Role;

pub(super) async fn student_dashboard(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    Ok(answer(&app, &claims.inst, app.views.student_dashboard(&claims, seen).await?, &headers))
}

pub(super) async fn teacher_dashboard(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    Ok(answer(&app, &claims.inst, app.views.teacher_dashboard(&claims, seen).await?, &headers))
}

pub(super) async fn admin_dashboard(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    Ok(answer(&app, &claims.inst, app.views.admin_dashboard(&claims, seen).await?, &headers))
}

pub(super) async fn student_fees(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Student(student): Student,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    Ok(answer(&app, &claims.inst, app.views.student_fees(&claims, student, seen).await?, &headers))
}

pub(super) async fn admin_fees(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    Ok(answer(&app, &claims.inst, app.views.admin_fees(&claims, seen).await?, &headers))
}

pub(super) async fn student_schedule(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Day(date): Day,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let view = app.views.schedule(&claims, Role::Student, date.as_deref(), seen).await?;
    Ok(answer(&app, &claims.inst, view, &headers))
}

pub(super) async fn teacher_schedule(
    State(app): State<App>,
    Identity(claims): Identity,
    Seen(seen): Seen,
    Day(date): Day,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let view = app.views.schedule(&claims, Role::Teacher, date.as_deref(), seen).await?;
    Ok(answer(&app, &claims.inst, view, &headers))
}

/// The view with its headers, or 304 when the reader has this very body.
fn answer(app: &App, institute: &str, view: View, request: &HeaderMap) -> Response {
    // Where the log was when this was read, nobody asked.
    let bookmark = app.auth.prove_bookmark(institute, view.bookmark, 0);
    let etag = format!("\"{}\"", hex::encode(&Sha256::digest(&view.body)[..16]));
    let known = request.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    // Weak comparison (RFC 9110, section 13.1.2).
    let same = known.is_some_and(|tags| {
        tags.split(',').map(|tag| tag.trim().trim_start_matches("W/")).any(|tag| tag == etag || tag == "*")
    });
    let text = |text: &str| HeaderValue::from_str(text).ok();
    let mut response = if same {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, "application/json")], view.body).into_response()
    };
    let headers = [
        (header::ETAG, text(&etag)),
        (header::CACHE_CONTROL, Some(HeaderValue::from_static("private, no-cache"))),
        (HeaderName::from_static(BOOKMARK_HEADER), text(&bookmark.to_string())),
        // Ids are of ASCII: see the words in ARCHITECTURE.md.
        (HeaderName::from_static(TAGS_HEADER), text(&view.tags.join(", "))),
    ];
    response.headers_mut().extend(headers.into_iter().filter_map(|(name, value)| Some((name, value?))));
    response
}
