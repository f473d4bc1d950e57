//! Reads that this edge keeps no copy of: several views in one request, rosters, and searches in doubts. The origin answers them.

use crate::{BOOKMARK, passed_on};
use http::Method;
use http::header::{AUTHORIZATION, ETAG, IF_NONE_MATCH};
use rollcall_guest::{Answer, Call, Origin, Problem, body, identity};
use spin_sdk::http::Request;

pub(crate) const BATCH_PATH: &str = "/api/batch";
pub(crate) const CLASSES: &str = "/api/classes/";
pub(crate) const DOUBTS_PATH: &str = "/api/doubts";

/// Ten paths of at most 512 bytes with their entity tags, with room.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Ten views; a larger answer is an error of the origin.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// `POST /api/batch`.
pub(crate) async fn batch(request: Request) -> Result<Answer, Problem> {
    // Here for the answer to a bad token; the origin looks at it again.
    identity(&request).await?;
    let (parts, incoming) = request.into_parts();
    let body = body::read(incoming, BODY_BYTES_MAX).await?;
    let call = Call::new(Method::POST, BATCH_PATH, ANSWER_BYTES_MAX)
        .forward_headers(&parts.headers, &[AUTHORIZATION, BOOKMARK])
        .body("application/json", body);
    Ok(passed_on(Origin::configured().await?.send(call).await?))
}

/// `GET /api/classes/{class}/roster`, `GET /api/doubts`.
pub(crate) async fn forward(request: &Request) -> Result<Answer, Problem> {
    identity(request).await?;
    let path = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    let call = Call::new(Method::GET, path, ANSWER_BYTES_MAX)
        .forward_headers(request.headers(), &[AUTHORIZATION, BOOKMARK, IF_NONE_MATCH]);
    let fetched = Origin::configured().await?.send(call).await?;
    let tag = fetched.headers.get(ETAG).cloned();
    let mut answer = passed_on(fetched);
    if let Some(tag) = tag {
        answer.headers_mut().insert(ETAG, tag);
    }
    Ok(answer)
}
