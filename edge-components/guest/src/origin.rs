//! Calls to the origin, which tell "nobody was reached" from "reached, and the outcome is unknown" from an answer.

use crate::body::{self, BodyError};
use crate::problem::Problem;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::Full;
use spin_sdk::wasip3::http::types::{ErrorCode, RequestOptions};
use spin_sdk::wasip3::http_compat::RequestOptionsExtension;
use std::time::Duration;

/// A healthy origin accepts within one round trip. Longer, and every request of an edge without network waits for nothing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The slowest answer, a view of a large institute computed anew, takes well under a second.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);
/// A body that stands still this long will not go on.
const BETWEEN_BYTES_TIMEOUT: Duration = Duration::from_secs(10);

/// The origin that this edge belongs to.
#[derive(Debug, Clone)]
pub struct Origin {
    url: String,
}

/// One request to the origin.
#[derive(Debug, Clone)]
pub struct Call {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    answer_bytes_max: usize,
    first_byte_timeout: Duration,
}

/// What the origin said, whatever its status.
#[derive(Debug, Clone)]
pub struct OriginAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// No connection was made: the origin has seen nothing of the request.
    #[error("origin cannot be reached: {0}")]
    Unreachable(String),
    /// The connection broke or timed out: the origin may have acted on the request.
    #[error("origin was reached and gave no complete answer: {0}")]
    Interrupted(String),
}

impl From<OriginError> for Problem {
    fn from(error: OriginError) -> Self {
        eprintln!("{error}");
        Problem::origin_unavailable()
    }
}

impl Call {
    /// `path` begins with `/` and has its query with it. Answers up to `answer_bytes_max` are read.
    pub fn new(method: Method, path: impl Into<String>, answer_bytes_max: usize) -> Self {
        let (headers, body, first_byte_timeout) = (HeaderMap::new(), Bytes::new(), FIRST_BYTE_TIMEOUT);
        Self { method, path: path.into(), headers, body, answer_bytes_max, first_byte_timeout }
    }

    /// Waits this long for the answer's head, and not as long as one may take.
    pub fn answer_within(mut self, patience: Duration) -> Self {
        self.first_byte_timeout = patience;
        self
    }

    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Takes the named headers over from `incoming` where they are there.
    pub fn forward_headers(mut self, incoming: &HeaderMap, names: &[HeaderName]) -> Self {
        for name in names {
            if let Some(value) = incoming.get(name) {
                self.headers.insert(name, value.clone());
            }
        }
        self
    }

    pub fn body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.body = body.into();
        self
    }
}

impl OriginAnswer {
    /// A header's value when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Origin {
    /// The origin of the variable `origin_url`.
    pub async fn configured() -> Result<Self, Problem> {
        let url = spin_sdk::variables::get("origin_url")
            .await
            .map_err(|e| Problem::misconfigured(&format!("variable origin_url: {e}")))?;
        Ok(Self { url: url.trim_end_matches('/').to_owned() })
    }

    pub async fn send(&self, call: Call) -> Result<OriginAnswer, OriginError> {
        let mut request = Request::new(Full::new(call.body));
        *request.method_mut() = call.method;
        *request.headers_mut() = call.headers;
        let uri = format!("{}{}", self.url, call.path);
        *request.uri_mut() = uri.parse().map_err(|e| OriginError::Unreachable(format!("{uri:?}: {e}")))?;
        request.extensions_mut().insert(RequestOptionsExtension(options(call.first_byte_timeout)));

        let response = spin_sdk::http::send(request).await.map_err(transport_error)?;
        let (parts, incoming) = response.into_parts();
        let body = body::read(incoming, call.answer_bytes_max).await.map_err(|error| match error {
            BodyError::TooLarge(_) | BodyError::Broken(_) => OriginError::Interrupted(error.to_string()),
        })?;
        Ok(OriginAnswer { status: parts.status, headers: parts.headers, body })
    }
}

/// A host that does not know one of the timeouts says so and keeps its own.
fn options(first_byte_timeout: Duration) -> RequestOptions {
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).ok();
    let options = RequestOptions::new();
    let _ = options.set_connect_timeout(nanoseconds(CONNECT_TIMEOUT));
    let _ = options.set_first_byte_timeout(nanoseconds(first_byte_timeout));
    let _ = options.set_between_bytes_timeout(nanoseconds(BETWEEN_BYTES_TIMEOUT));
    options
}

/// Only errors that come before the connection stands mean that the origin has seen nothing.
fn transport_error(error: ErrorCode) -> OriginError {
    let before_connection = matches!(
        error,
        ErrorCode::DnsTimeout
            | ErrorCode::DnsError(_)
            | ErrorCode::DestinationNotFound
            | ErrorCode::DestinationUnavailable
            | ErrorCode::DestinationIpProhibited
            | ErrorCode::DestinationIpUnroutable
            | ErrorCode::ConnectionRefused
            | ErrorCode::ConnectionTimeout
            | ErrorCode::ConnectionLimitReached
            | ErrorCode::TlsProtocolError
            | ErrorCode::TlsCertificateError
            | ErrorCode::TlsAlertReceived(_)
            | ErrorCode::HttpRequestDenied
            | ErrorCode::HttpRequestUriInvalid
    );
    let cause = format!("{error:?}");
    if before_connection { OriginError::Unreachable(cause) } else { OriginError::Interrupted(cause) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_connection_leaves_the_outcome_open_and_a_refused_one_does_not() {
        let refused = transport_error(ErrorCode::ConnectionRefused);
        assert!(matches!(refused, OriginError::Unreachable(_)));
        for error in [
            ErrorCode::ConnectionReadTimeout,
            ErrorCode::ConnectionTerminated,
            ErrorCode::HttpResponseTimeout,
            ErrorCode::HttpResponseIncomplete,
        ] {
            assert!(matches!(transport_error(error), OriginError::Interrupted(_)));
        }
    }
}
