//! `/admin/v1`: an institute's records for its admins.
//!
//! Lists are pages with a cursor; a record has an entity tag, which a change must name; every write is a command, with
//! an idempotency key if the client has one.

pub(super) mod doubts;
pub(super) mod lists;
pub(super) mod operation;
pub(super) mod series;
pub(super) mod tables;
pub(super) mod writes;

use super::error::ApiError;
use super::proved::{answer, header, with_bookmark};
use crate::app::App;
use crate::services::admin::Found;
use crate::services::admin::shapes::PageOf;
use crate::services::commands::Receipt;
use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::request::Parts;
use axum::response::Response;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sync_protocol::command::{IDEMPOTENCY_KEY_HEADER, check_key};

/// Longest query of a URL, in bytes: every filter of a list and a cursor, with room.
const MAX_QUERY_BYTES: usize = 4096;

/// The names and values of the query, in their order.
pub(super) struct Pairs(Vec<(String, String)>);

impl FromRequestParts<App> for Pairs {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        if parts.uri.query().is_some_and(|query| query.len() > MAX_QUERY_BYTES) {
            let detail = format!("the query has more than {MAX_QUERY_BYTES} bytes");
            return Err(ApiError::invalid_field("query".to_owned(), detail));
        }
        let pairs = Query::try_from_uri(&parts.uri);
        let pairs = pairs.map_err(|error| ApiError::invalid_field("query".to_owned(), error.to_string()))?;
        Ok(Self(pairs.0))
    }
}

/// A path that takes no query.
pub(super) struct NoQuery;

impl FromRequestParts<App> for NoQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Pairs(pairs) = Pairs::from_request_parts(parts, app).await?;
        match pairs.into_iter().next() {
            None => Ok(Self),
            Some((name, _)) => {
                let name: String = name.chars().take(MAX_QUERY_BYTES).collect();
                Err(ApiError::invalid_field(name, "this path takes no query".to_owned()))
            }
        }
    }
}

/// The headers of a write.
pub(super) struct Terms {
    /// The idempotency key, if the client has one.
    key: Option<String>,
    if_match: Option<String>,
}

impl FromRequestParts<App> for Terms {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        NoQuery::from_request_parts(parts, app).await?;
        // A header that is no text is no visible ASCII either.
        let text = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let key = text(IDEMPOTENCY_KEY_HEADER).map(|key| check_key(Some(key))).transpose()?;
        Ok(Self { key: key.map(str::to_owned), if_match: text(IF_MATCH.as_str()).map(str::to_owned) })
    }
}

/// As [`Terms`], of a write that changes what somebody may have changed meanwhile.
pub(super) struct Careful(Terms);

impl FromRequestParts<App> for Careful {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let terms = Terms::from_request_parts(parts, app).await?;
        if terms.if_match.is_none() { Err(ApiError::IF_MATCH_MISSING) } else { Ok(Self(terms)) }
    }
}

/// A stored record in the shape that is documented: both name the same fields.
fn shaped<T: DeserializeOwned>(record: serde_json::Value) -> Result<T, ApiError> {
    serde_json::from_value(record).map_err(|error| ApiError::internal(&error))
}

fn page<T: Serialize + DeserializeOwned>(
    app: &App,
    institute: &str,
    page: crate::services::admin::Page,
) -> Result<Response, ApiError> {
    let items = page.items.into_iter().map(shaped::<T>).collect::<Result<Vec<T>, _>>()?;
    Ok(with_bookmark(app, institute, PageOf { items, next: page.next }, page.bookmark))
}

fn record<T: Serialize + DeserializeOwned>(
    app: &App,
    institute: &str,
    found: Found,
) -> Result<Response, ApiError> {
    let mut response = with_bookmark(app, institute, shaped::<T>(found.record)?, found.bookmark);
    header(response.headers_mut(), ETAG, &found.entity_tag);
    Ok(response)
}

fn changed(app: &App, institute: &str, status: StatusCode, mut receipt: Receipt) -> Response {
    receipt.bookmark = app.auth.prove_bookmark(institute, receipt.bookmark, receipt.position);
    let (bookmark, tag) = (receipt.bookmark, receipt.entity_tag.take());
    let mut response = answer(receipt, bookmark);
    *response.status_mut() = status;
    if let Some(tag) = tag {
        header(response.headers_mut(), ETAG, &tag);
    }
    response
}
