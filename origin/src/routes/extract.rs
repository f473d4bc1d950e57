//! What handlers take out of a request: who asks, what they have seen, and the body.

use super::MAX_BODY_BYTES;
use super::error::ApiError;
use crate::app::App;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use sync_protocol::bookmark::{BOOKMARK_HEADER, Bookmark};
use sync_protocol::command::MAX_ID_BYTES;
use sync_protocol::token::Claims;

/// The header in which an edge names itself.
const EDGE_HEADER: &str = "rollcall-edge";
/// Longest name of an edge.
const MAX_EDGE_BYTES: usize = 64;

/// The verified claims of the bearer token.
pub(super) struct Identity(pub(super) Arc<Claims>);

impl FromRequestParts<App> for Identity {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        if let Some(claims) = parts.extensions.get::<Arc<Claims>>() {
            return Ok(Self(Arc::clone(claims)));
        }
        let token = bearer(parts).ok_or(ApiError::TOKEN_MISSING)?;
        let claims = app.auth.verify(token)?;
        // For what else is taken out of this request.
        parts.extensions.insert(Arc::clone(&claims));
        Ok(Self(claims))
    }
}

/// The verified claims of somebody who is an admin now.
pub(super) struct Admin(pub(super) Arc<Claims>);

impl FromRequestParts<App> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Identity(claims) = Identity::from_request_parts(parts, app).await?;
        app.admin.admit(&claims).await?;
        Ok(Self(claims))
    }
}

/// The name of an edge that knows the secret.
pub(super) struct Edge(pub(super) String);

impl FromRequestParts<App> for Edge {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let secret = bearer(parts).unwrap_or_default();
        if !app.edge_secret.as_ref().is_some_and(|expected| expected.matches(secret)) {
            return Err(ApiError::EDGE_SECRET);
        }
        let name = parts.headers.get(EDGE_HEADER).and_then(|name| name.to_str().ok()).unwrap_or_default();
        if name.is_empty() || name.len() > MAX_EDGE_BYTES || !name.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ApiError::EDGE_NAME);
        }
        Ok(Self(name.to_owned()))
    }
}

/// The bookmark that the reader carries, if any that this service gave out for the reader's institute: an invented one counts as
/// none, so that nobody makes servers wait for a revision that is not there.
pub(super) struct Seen(pub(super) Option<Bookmark>);

impl FromRequestParts<App> for Seen {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get(BOOKMARK_HEADER) else { return Ok(Self(None)) };
        let bookmark = value.to_str().ok().and_then(|text| text.parse::<Bookmark>().ok());
        let bookmark = bookmark.ok_or(ApiError::BOOKMARK)?;
        let Identity(claims) = Identity::from_request_parts(parts, app).await?;
        Ok(Self(app.auth.proven_bookmark(&claims.inst, bookmark)))
    }
}

/// The day that the query names, as it is written.
pub(super) struct Day(pub(super) Option<String>);

#[derive(Deserialize)]
struct DayQuery {
    date: Option<String>,
}

impl FromRequestParts<App> for Day {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        let query = Query::<DayQuery>::try_from_uri(&parts.uri);
        let query = query.map_err(|error| ApiError::invalid_field("date".to_owned(), error.to_string()))?;
        Ok(Self(query.0.date))
    }
}

/// The student that the query names.
pub(super) struct Student(pub(super) Option<String>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StudentQuery {
    student: Option<String>,
}

impl FromRequestParts<App> for Student {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        let query = Query::<StudentQuery>::try_from_uri(&parts.uri);
        let query =
            query.map_err(|error| ApiError::invalid_field("student".to_owned(), error.to_string()))?;
        check_student(query.0.student.as_deref())?;
        Ok(Self(query.0.student))
    }
}

/// The student and the day, as it is written, that the query names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StudentDay {
    pub(super) student: Option<String>,
    pub(super) date: Option<String>,
}

impl FromRequestParts<App> for StudentDay {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        let query = Query::<Self>::try_from_uri(&parts.uri);
        let Query(query) =
            query.map_err(|error| ApiError::invalid_field("query".to_owned(), error.to_string()))?;
        check_student(query.student.as_deref())?;
        Ok(query)
    }
}

fn check_student(id: Option<&str>) -> Result<(), ApiError> {
    let plain = |id: &str| (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    if id.is_none_or(plain) {
        return Ok(());
    }
    let detail = format!("student is not 1 to {MAX_ID_BYTES} visible ASCII characters");
    Err(ApiError::invalid_field("student".to_owned(), detail))
}

/// The address of the connection; absent where there is none, as in tests.
pub(super) struct Address(pub(super) Option<IpAddr>);

impl FromRequestParts<App> for Address {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        Ok(Self(parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|address| address.0.ip())))
    }
}

/// The whole body, within the limit.
pub(super) struct Body(pub(super) Bytes);

impl FromRequest<App> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let body = Bytes::from_request(request, app).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                ApiError::body_too_large(MAX_BODY_BYTES)
            } else {
                ApiError::invalid_json("the body did not arrive".to_owned())
            }
        })?;
        Ok(Self(body))
    }
}

/// A body of JSON. Which field is wrong is told, whatever the `Content-Type`.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let Body(body) = Body::from_request(request, app).await?;
        let value: serde_json::Value =
            serde_json::from_slice(&body).map_err(|error| ApiError::invalid_json(error.to_string()))?;
        let decoded = serde_json::from_value(value).map_err(|error| {
            let message = error.to_string();
            // serde names the field between back quotes: ``missing field `email` ``.
            let field = message.split('`').nth(1).unwrap_or_default().to_owned();
            ApiError::invalid_field(field, message)
        })?;
        Ok(Self(decoded))
    }
}

fn bearer(parts: &Parts) -> Option<&str> {
    let (scheme, token) = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
