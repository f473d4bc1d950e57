//! `POST /api/batch`: several views in one request, each with its own status.
//!
//! The requests run at once, through the same routes and in the name of the same token as if they had come alone.

use super::error::ApiError;
use super::extract::JsonBody;
use crate::app::App;
use crate::services::admin::orders::given;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Request};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::from_fn;
use axum::response::{IntoResponse as _, Response};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::convert::Infallible;
use sync_protocol::bookmark::BOOKMARK_HEADER;
use sync_protocol::tag::TAGS_HEADER;
use tower::ServiceExt as _;
use utoipa::ToSchema;

/// Most requests of one batch: what an app's first screen needs.
const MAX_REQUESTS: usize = 10;
/// Longest path below its place, and longest query, in bytes.
const MAX_PART_BYTES: usize = 200;
/// Largest body of one answer, in bytes: no view comes near it, and ten of them fit into memory many times.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Where the views are.
const PLACES: [&str; 5] =
    ["/api/students/", "/api/teachers/", "/api/guardians/", "/api/admin/", "/api/classes/"];
/// Headers of an answer that mean something to its reader.
const HEADERS: [HeaderName; 6] = [
    CONTENT_TYPE,
    ETAG,
    CACHE_CONTROL,
    RETRY_AFTER,
    HeaderName::from_static(BOOKMARK_HEADER),
    HeaderName::from_static(TAGS_HEADER),
];

/// The routes of the views, complete.
#[derive(Clone)]
pub(super) struct Views(Router);

impl Views {
    pub(super) fn new(routes: Router<App>, app: App) -> Self {
        Self(routes.fallback(async || ApiError::NO_ROUTE).layer(from_fn(super::sound_path)).with_state(app))
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchRequest {
    #[schema(min_items = 1, max_items = 10)]
    requests: Vec<BatchItem>,
}

/// One GET.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BatchItem {
    /// A view with its query, for example `/api/students/grades`.
    #[schema(
        max_length = 512,
        pattern = "^/api/(students|teachers|guardians|admin|classes)/[A-Za-z0-9/._~%-]{1,200}([?][A-Za-z0-9._~%&=+:-]{0,200})?$"
    )]
    path: String,
    /// As the header `If-None-Match`, of one tag.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, pattern = "^\"[0-9a-f]{32}\"$")]
    if_none_match: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchAnswer {
    /// In the order of the requests.
    responses: Vec<ItemAnswer>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ItemAnswer {
    status: u16,
    /// Names in lower case.
    #[schema(value_type = Object)]
    headers: Map<String, Value>,
    /// The view or the problem; null without one.
    body: Value,
}

/// Up to ten views in one request.
#[utoipa::path(
    post,
    path = "/api/batch",
    tag = "Views",
    request_body = BatchRequest,
    responses((status = 200, description = "The answers", body = BatchAnswer))
)]
pub(super) async fn read(
    Extension(views): Extension<Views>,
    _: super::extract::Identity,
    headers: HeaderMap,
    JsonBody(batch): JsonBody<BatchRequest>,
) -> Result<Response, ApiError> {
    let count = batch.requests.len();
    if count == 0 || count > MAX_REQUESTS {
        let detail = format!("requests has {count} entries, it must have 1 to {MAX_REQUESTS}");
        return Err(ApiError::invalid_field("requests".to_owned(), detail));
    }
    let requests = batch.requests.iter().enumerate().map(|(at, item)| request(at, item, &headers));
    let requests = requests.collect::<Result<Vec<_>, _>>()?;
    let responses = join_all(requests.into_iter().map(|request| answer(views.0.clone(), request))).await;
    let mut response = axum::Json(BatchAnswer { responses }).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    Ok(response)
}

fn request(at: usize, item: &BatchItem, headers: &HeaderMap) -> Result<Request, ApiError> {
    let wrong = |field: &str, detail: &str| {
        ApiError::invalid_field(format!("requests.{at}.{field}"), format!("requests.{at}.{field} {detail}"))
    };
    if !is_path_of_view(&item.path) {
        let detail =
            format!("is not the path of a view with its query, each of at most {MAX_PART_BYTES} bytes");
        return Err(wrong("path", &detail));
    }
    let mut request = Request::builder().method(Method::GET).uri(&item.path);
    for name in [AUTHORIZATION, HeaderName::from_static(BOOKMARK_HEADER)] {
        if let Some(value) = headers.get(&name) {
            request = request.header(name, value);
        }
    }
    if let Some(tags) = &item.if_none_match {
        if !is_entity_tag(tags) {
            return Err(wrong("if_none_match", "is not the entity tag of a view"));
        }
        request = request.header(IF_NONE_MATCH, tags);
    }
    request.body(Body::empty()).map_err(|_| wrong("path", "is not a path"))
}

/// Whether the text has the form that the description asks for: a place, a path of unreserved characters, and a query perhaps.
fn is_path_of_view(text: &str) -> bool {
    let allowed = |text: &str, more: &[u8]| {
        text.len() <= MAX_PART_BYTES
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~%-".contains(&b) || more.contains(&b))
    };
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let below = PLACES.iter().find_map(|place| path.strip_prefix(place));
    below.is_some_and(|below| !below.is_empty() && allowed(below, b"/")) && allowed(query, b"&=+:")
}

/// Whether the text is a tag as the views give it: 32 hexadecimal digits between quotes.
fn is_entity_tag(text: &str) -> bool {
    let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    digits.is_some_and(|digits| {
        digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

async fn answer(views: Router, request: Request) -> ItemAnswer {
    let response: Result<Response, Infallible> = views.oneshot(request).await;
    let Ok(response) = response;
    let (parts, body) = response.into_parts();
    let mut headers = Map::new();
    for name in HEADERS {
        if let Some(value) = parts.headers.get(&name).and_then(|value| value.to_str().ok()) {
            headers.insert(name.as_str().to_owned(), value.into());
        }
    }
    let body = to_bytes(body, MAX_ANSWER_BYTES).await.ok();
    let body = body.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or(Value::Null);
    ItemAnswer { status: parts.status.as_u16(), headers, body }
}
