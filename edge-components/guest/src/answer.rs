//! Answers of the components: a complete body with its headers.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

/// What every route of a component gives back.
pub type Answer = Response<Full<Bytes>>;

/// An answer with a body of the given media type.
pub fn bytes(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Answer {
    let body = body.into();
    let mut answer = Response::new(Full::new(body.clone()));
    *answer.status_mut() = status;
    set_header(&mut answer, CONTENT_LENGTH, &body.len().to_string());
    set_header(&mut answer, CONTENT_TYPE, content_type);
    answer
}

/// An answer of `application/json`.
pub fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(value).expect("answers are made of texts, numbers and JSON");
    bytes(status, "application/json", body)
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = status;
    answer
}

/// Sets a header; a value that cannot stand in a header is left out, so that no text of another system breaks an answer.
pub fn set_header(answer: &mut Answer, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}
