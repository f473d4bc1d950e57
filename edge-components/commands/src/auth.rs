//! Sign-in and what belongs to it, which only the origin can answer: forwarded as it is.

use crate::passed_on;
use http::Method;
use http::header::{ACCEPT_LANGUAGE, AUTHORIZATION, CACHE_CONTROL, USER_AGENT};
use rollcall_guest::{Answer, Call, Origin, Problem, answer, body};
use spin_sdk::http::Request;

/// Every path below it.
pub(crate) const PATH: &str = "/api/auth/";

/// An email address and a password, or a refresh token, with room.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Two tokens of at most 8 KiB, or a list of sessions and their devices, with room.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What may be done at a path below [`PATH`]; none for a path that is not there.
fn allowed(path: &str) -> Option<(&'static [Method], &'static str)> {
    const POST: (&[Method], &str) = (&[Method::POST], "POST");
    const GET: (&[Method], &str) = (&[Method::GET], "GET");
    const DELETE: (&[Method], &str) = (&[Method::DELETE], "DELETE");
    const PUT_OR_DELETE: (&[Method], &str) = (&[Method::PUT, Method::DELETE], "PUT, DELETE");
    match path.strip_prefix(PATH)? {
        "login" | "refresh" | "logout" | "logout-everywhere" => Some(POST),
        "password" | "password/forgot" | "password/reset" => Some(POST),
        "sessions" | "devices" => Some(GET),
        one => match one.split_once('/')? {
            (_, id) if id.is_empty() || id.contains('/') => None,
            ("sessions", _) => Some(DELETE),
            ("devices", _) => Some(PUT_OR_DELETE),
            _ => None,
        },
    }
}

pub(crate) async fn forward(request: Request) -> Result<Answer, Problem> {
    let (methods, names) = allowed(request.uri().path()).ok_or_else(Problem::not_found)?;
    if !methods.contains(request.method()) {
        return Err(Problem::method_not_allowed(names));
    }
    let (parts, incoming) = request.into_parts();
    let body = body::read(incoming, BODY_BYTES_MAX).await?;
    let mut call = Call::new(parts.method, parts.uri.path(), ANSWER_BYTES_MAX)
        .forward_headers(&parts.headers, &[AUTHORIZATION, USER_AGENT, ACCEPT_LANGUAGE]);
    if !body.is_empty() {
        call = call.body("application/json", body);
    }
    let mut answer = passed_on(Origin::configured().await?.send(call).await?);
    // RFC 6749 section 5.1: tokens are kept by nobody on the way.
    answer::set_header(&mut answer, CACHE_CONTROL, "no-store");
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_takes_its_own_methods_and_no_other_path_is_forwarded() {
        let names = |path: &str| allowed(path).map(|(_, names)| names);
        assert_eq!(names("/api/auth/login"), Some("POST"));
        assert_eq!(names("/api/auth/sessions"), Some("GET"));
        assert_eq!(names("/api/auth/sessions/s1"), Some("DELETE"));
        assert_eq!(names("/api/auth/devices/d1"), Some("PUT, DELETE"));
        for path in
            ["/api/auth/", "/api/auth/sessions/", "/api/auth/sessions/a/b", "/api/auth/x/y", "/commands"]
        {
            assert_eq!(names(path), None, "{path}");
        }
    }
}
