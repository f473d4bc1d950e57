//! Sign-in, which only the origin can answer: forwarded as it is.

use crate::passed_on;
use http::Method;
use http::header::{ACCEPT_LANGUAGE, CACHE_CONTROL, USER_AGENT};
use rollcall_guest::{Answer, Call, Origin, Problem, answer, body};
use spin_sdk::http::Request;

pub(crate) const LOGIN_PATH: &str = "/api/auth/login";
pub(crate) const REFRESH_PATH: &str = "/api/auth/refresh";

/// An email address and a password, or a refresh token, with room.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Two tokens of at most 8 KiB, with room.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

pub(crate) async fn forward(request: Request) -> Result<Answer, Problem> {
    let (parts, incoming) = request.into_parts();
    let body = body::read(incoming, BODY_BYTES_MAX).await?;
    let call = Call::new(Method::POST, parts.uri.path(), ANSWER_BYTES_MAX)
        .forward_headers(&parts.headers, &[USER_AGENT, ACCEPT_LANGUAGE])
        .body("application/json", body);
    let mut answer = passed_on(Origin::configured().await?.send(call).await?);
    // RFC 6749 section 5.1: tokens are kept by nobody on the way.
    answer::set_header(&mut answer, CACHE_CONTROL, "no-store");
    Ok(answer)
}
