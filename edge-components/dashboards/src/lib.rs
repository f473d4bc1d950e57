//! The `dashboards` component: views of the origin, answered from the edge's cache while they are fresh.
//!
//! What fresh means is in `entry.rs`, which reads no clock and no store. The host raises the floors and keeps the feed's
//! state; this component only reads them.

mod cache;
mod conditional;
mod entry;
mod view;

use cache::Cache;
use entry::{Entry, EntryHead, Freshness, Reading};
use http::header::{AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ETAG, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use rollcall_guest::{Answer, Call, Origin, OriginAnswer, OriginError, Problem, answer, identity, now_ms};
use spin_sdk::http::Request;
use spin_sdk::http_service;
use sync_protocol::bookmark::{BOOKMARK_HEADER, Bookmark};
use sync_protocol::tag;
use sync_protocol::token::Claims;
use view::View;

/// Larger answers of the origin are an error: no view comes near it.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Larger views are passed on and not kept, so that one reader cannot fill the store.
const STORED_BYTES_MAX: usize = 1024 * 1024;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const BOOKMARK: HeaderName = HeaderName::from_static(BOOKMARK_HEADER);
/// A device keeps a view only to show it offline: it asks before it uses one, and shares it with nobody.
const DEVICE_CACHING: &str = "private, no-cache";

#[http_service]
async fn handle(request: Request) -> Answer {
    answer_view(&request).await.unwrap_or_else(Problem::into_answer)
}

async fn answer_view(request: &Request) -> Result<Answer, Problem> {
    let view = View::decode(request.uri().path(), request.uri().query())?;
    if request.method() != Method::GET {
        return Err(Problem::method_not_allowed("GET"));
    }
    let claims = identity(request).await?;
    view.check_role(claims.role)?;
    let reader = Reader { claims, bookmark: bookmark(request.headers())?, headers: request.headers() };

    let cache = Cache::open(&reader.claims.inst, view.cache_key(&reader.claims)).await;
    let entry = cache.load(&view.path_and_query()).await;
    let freshness = match &entry {
        Some(entry) => Some(entry.head.freshness(&reader.reading(&cache, &entry.head).await)),
        None => None,
    };
    if let (Some(entry), Some(Freshness::Fresh)) = (&entry, freshness) {
        return Ok(from_cache(entry, "hit", request.headers()));
    }
    match fetch(&view, &reader).await {
        Ok(fetched) if !fetched.status.is_server_error() => {
            Ok(from_origin(&cache, &view, &reader, fetched, entry.is_some()).await)
        }
        failed => without_origin(failed, entry.zip(freshness), &reader),
    }
}

/// Who reads, and what they have seen.
struct Reader<'a> {
    claims: Claims,
    bookmark: Option<Bookmark>,
    headers: &'a HeaderMap,
}

impl Reader<'_> {
    async fn reading(&self, cache: &Cache, head: &EntryHead) -> Reading {
        Reading {
            feed: cache.feed().await,
            floor: cache.highest_floor(&head.tags).await,
            bookmark: self.bookmark,
            now_ms: now_ms(),
        }
    }
}

fn bookmark(headers: &HeaderMap) -> Result<Option<Bookmark>, Problem> {
    let Some(value) = headers.get(BOOKMARK) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or_else(|| {
        Problem::invalid_field("Rollcall-Bookmark", "bookmark is not one that this service gave")
    })
}

async fn fetch(view: &View, reader: &Reader<'_>) -> Result<OriginAnswer, OriginError> {
    let call = Call::new(Method::GET, view.path_and_query(), ANSWER_BYTES_MAX)
        .forward_headers(reader.headers, &[AUTHORIZATION, BOOKMARK]);
    let origin = Origin::configured().await.map_err(|problem| OriginError::Unreachable(problem.detail))?;
    origin.send(call).await
}

/// Passes an answer of the origin on, and keeps it when it is a view.
async fn from_origin(
    cache: &Cache,
    view: &View,
    reader: &Reader<'_>,
    fetched: OriginAnswer,
    had_entry: bool,
) -> Answer {
    let reason = if had_entry { "fwd=stale" } else { "fwd=miss" };
    let Some(entry) = entry_of(view, &fetched) else {
        let status = fetched.status.as_u16();
        return passed_on(fetched, &format!("{reason}; fwd-status={status}"));
    };
    let stored = entry.body.len() <= STORED_BYTES_MAX && cache.store(&entry).await;
    let status = if stored { format!("{reason}; stored") } else { reason.to_owned() };
    view_answer(&entry, &status, reader.headers)
}

/// What is kept of an answer: only a complete view whose revision the origin names.
fn entry_of(view: &View, fetched: &OriginAnswer) -> Option<Entry> {
    if fetched.status != StatusCode::OK {
        return None;
    }
    let bookmark = fetched.header(BOOKMARK_HEADER)?;
    let read_at: Bookmark = bookmark.parse().ok()?;
    let mut tags = tag::parse_list(fetched.header(tag::TAGS_HEADER)?);
    if !tags.iter().any(|tag| tag == tag::EVERYTHING) {
        tags.push(tag::EVERYTHING.to_owned());
    }
    let head = EntryHead {
        view: view.path_and_query(),
        content_type: fetched.header(CONTENT_TYPE.as_str()).unwrap_or("application/json").to_owned(),
        etag: fetched.header(ETAG.as_str()).map(str::to_owned),
        tags,
        revision: read_at.revision,
        epoch: read_at.epoch,
        bookmark: bookmark.to_owned(),
        stored_at: now_ms(),
    };
    Some(Entry { head, body: fetched.body.to_vec() })
}

/// The rule for an origin that does not answer: what the edge has, said to be stale, unless the reader has seen more.
fn without_origin(
    failed: Result<OriginAnswer, OriginError>,
    entry: Option<(Entry, Freshness)>,
    reader: &Reader<'_>,
) -> Result<Answer, Problem> {
    if let Err(error) = &failed {
        eprintln!("{error}");
    }
    match (entry, failed) {
        (Some((entry, Freshness::Fresh | Freshness::Stale)), _) => {
            Ok(from_cache(&entry, "hit; detail=stale", reader.headers))
        }
        (Some((_, Freshness::Behind)), _) => {
            let mut problem = Problem::origin_unavailable();
            problem.detail =
                "the origin cannot be reached, and what this edge keeps is older than what you have seen"
                    .into();
            Err(problem)
        }
        (None, Ok(answer)) => {
            let status = answer.status.as_u16();
            Ok(passed_on(answer, &format!("fwd=miss; fwd-status={status}")))
        }
        (None, Err(_)) => Err(Problem::origin_unavailable()),
    }
}

fn from_cache(entry: &Entry, status: &str, headers: &HeaderMap) -> Answer {
    let mut answer = view_answer(entry, status, headers);
    let age_s = now_ms().saturating_sub(entry.head.stored_at).max(0) / 1000;
    answer::set_header(&mut answer, AGE, &age_s.to_string());
    answer
}

/// The view itself, or 304 for a device that has it.
fn view_answer(entry: &Entry, status: &str, headers: &HeaderMap) -> Answer {
    let mut answer = if conditional::not_modified(headers, entry.head.etag.as_deref()) {
        answer::empty(StatusCode::NOT_MODIFIED)
    } else {
        answer::bytes(StatusCode::OK, &entry.head.content_type, entry.body.clone())
    };
    if let Some(etag) = &entry.head.etag {
        answer::set_header(&mut answer, ETAG, etag);
    }
    answer::set_header(&mut answer, BOOKMARK, &entry.head.bookmark);
    answer::set_header(&mut answer, CACHE_CONTROL, DEVICE_CACHING);
    set_cache_status(&mut answer, status);
    answer
}

/// An answer of the origin that is no view to keep.
fn passed_on(fetched: OriginAnswer, status: &str) -> Answer {
    let content_type = fetched.header(CONTENT_TYPE.as_str()).unwrap_or("application/octet-stream").to_owned();
    let mut answer = answer::bytes(fetched.status, &content_type, fetched.body);
    for name in [BOOKMARK, ETAG, RETRY_AFTER, WWW_AUTHENTICATE] {
        if let Some(value) = fetched.headers.get(&name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    answer::set_header(&mut answer, CACHE_CONTROL, "no-store");
    set_cache_status(&mut answer, status);
    answer
}

/// RFC 9211.
fn set_cache_status(answer: &mut Answer, status: &str) {
    answer::set_header(answer, CACHE_STATUS, &format!("rollcall-edge; {status}"));
}
