//! Problem details (RFC 9457): the one place where the host makes an error answer.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use wasmtime_wasi_http::WasiBody;

/// What a client is told when the host itself answers. `code` is stable, `detail` is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    pub detail: String,
    /// What the fault is in.
    pub field: Option<String>,
    pub limit: Option<u64>,
    pub retry_after_seconds: Option<u32>,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), field: None, limit: None, retry_after_seconds: None }
    }

    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "no route leads here")
    }

    pub fn invalid_field(field: &str, detail: impl Into<String>) -> Self {
        let field = Some(field.to_owned());
        Self { field, ..Self::new(StatusCode::BAD_REQUEST, "invalid-field", detail) }
    }

    pub fn token_missing() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "token-missing", "this route needs an access token")
    }

    pub fn body_too_large(limit: u64) -> Self {
        let detail = format!("the request body is over the limit of {limit} bytes");
        Self { limit: Some(limit), ..Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail) }
    }

    pub fn body_too_slow() -> Self {
        let detail = "the request body came too slowly";
        Self::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", detail)
    }

    pub fn headers_too_large(detail: String, limit: usize) -> Self {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self { limit: Some(limit as u64), ..Self::new(status, "headers-too-large", detail) }
    }

    pub fn component_failed() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "component-failed",
            "the component failed while it worked on this request",
        )
    }

    pub fn component_timeout() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "component-timeout", "the component did not answer in time")
    }

    pub fn overloaded() -> Self {
        let detail = "all component instances are busy";
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail);
        Self { retry_after_seconds: Some(1), ..problem }
    }

    pub fn draining() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "this edge stops; send requests to another")
    }

    pub fn keys_unknown() -> Self {
        let detail = "this edge has not reached its origin yet, so it cannot check tokens";
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "origin-unavailable", detail);
        Self { retry_after_seconds: Some(2), ..problem }
    }

    pub fn into_response(self) -> Response<WasiBody> {
        let mut body = serde_json::json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if let Some(field) = self.field {
            body["field"] = field.into();
        }
        if let Some(limit) = self.limit {
            body["limit"] = limit.into();
        }
        let mut response = Response::new(whole_body(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A body that is already here.
pub fn whole_body(body: impl Into<Bytes>) -> WasiBody {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_problem_names_its_code_its_limit_and_its_type() {
        let response = Problem::body_too_large(7).into_response();
        assert_eq!(response.status(), 413);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["code"], "body-too-large");
        assert_eq!(body["limit"], 7);
        assert_eq!(body["status"], 413);
    }

    #[test]
    fn a_refused_token_names_the_scheme_and_a_busy_edge_when_to_retry() {
        assert_eq!(Problem::token_missing().into_response().headers()[header::WWW_AUTHENTICATE], "Bearer");
        assert_eq!(Problem::overloaded().into_response().headers()[header::RETRY_AFTER], "1");
    }
}
