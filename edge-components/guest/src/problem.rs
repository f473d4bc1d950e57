//! Errors as clients see them: problem details (RFC 9457) with a stable `code`.

use crate::answer::{self, Answer};
use http::StatusCode;
use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::{Map, Value};
use sync_protocol::command::{CommandError, MAX_COMMAND_BYTES};
use sync_protocol::token::TokenError;

/// An error answer. `detail` is a plain sentence for the client; causes inside the edge belong into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    pub detail: String,
    /// The field that is at fault.
    pub field: Option<String>,
    /// The limit that was passed, in bytes unless `detail` says otherwise.
    pub limit: Option<usize>,
    /// Seconds after which trying again makes sense.
    pub retry_after: Option<u32>,
    /// The methods that the route has, for 405.
    pub allow: Option<&'static str>,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), field: None, limit: None, retry_after: None, allow: None }
    }

    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "there is nothing here")
    }

    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    pub fn invalid_field(field: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-field", detail).field(field)
    }

    /// `allow` lists the methods that the route has, for example `GET, POST`.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let detail = format!("this route has {allow} only");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail) }
    }

    pub fn body_too_large(limit: usize) -> Self {
        let detail = format!("body is longer than the limit of {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail).limit(limit)
    }

    pub fn origin_unavailable() -> Self {
        let detail = "the origin cannot be reached from this edge at the moment";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "origin-unavailable", detail).retry_after(5)
    }

    pub fn store_unavailable() -> Self {
        let detail = "the store of this edge does not answer";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", detail).retry_after(5)
    }

    pub fn token_missing() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "token-missing", "this route needs an access token")
    }

    /// The edge itself is set up wrongly; the log says how.
    pub fn misconfigured(cause: &str) -> Self {
        eprintln!("edge is misconfigured: {cause}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "this edge is not set up completely")
    }

    /// The members of the problem details object.
    pub fn to_json(&self) -> Value {
        let mut members = Map::new();
        members.insert("type".into(), "about:blank".into());
        members.insert("title".into(), self.status.canonical_reason().unwrap_or("Error").into());
        members.insert("status".into(), self.status.as_u16().into());
        members.insert("code".into(), self.code.into());
        members.insert("detail".into(), self.detail.as_str().into());
        if let Some(field) = &self.field {
            members.insert("field".into(), field.as_str().into());
        }
        if let Some(limit) = self.limit {
            members.insert("limit".into(), limit.into());
        }
        Value::Object(members)
    }

    pub fn into_answer(self) -> Answer {
        let mut answer =
            answer::bytes(self.status, "application/problem+json", self.to_json().to_string().into_bytes());
        if let Some(seconds) = self.retry_after {
            answer::set_header(&mut answer, RETRY_AFTER, &seconds.to_string());
        }
        if let Some(allow) = self.allow {
            answer::set_header(&mut answer, ALLOW, allow);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            answer::set_header(&mut answer, WWW_AUTHENTICATE, "Bearer");
        }
        answer
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, error.code(), error.to_string())
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let status = match error {
            CommandError::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            CommandError::NotJson(_)
            | CommandError::Unknown(_)
            | CommandError::Field { .. }
            | CommandError::MissingKey
            | CommandError::BadKey => StatusCode::BAD_REQUEST,
        };
        Self {
            field: error.field().map(str::to_owned),
            limit: matches!(error, CommandError::TooLong(_)).then_some(MAX_COMMAND_BYTES),
            ..Self::new(status, error.code(), error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_its_code_its_field_and_its_limit() {
        let problem =
            Problem::from(CommandError::Field { field: "score".into(), message: "too high".into() });
        assert_eq!(
            problem.to_json(),
            serde_json::json!({"type": "about:blank", "title": "Bad Request", "status": 400,
                "code": "invalid-field", "detail": "too high", "field": "score"})
        );
        let problem = Problem::from(CommandError::TooLong(MAX_COMMAND_BYTES + 1));
        assert_eq!(problem.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(problem.to_json()["limit"], MAX_COMMAND_BYTES);
    }

    #[test]
    fn headers_go_with_the_status() {
        let answer = Problem::origin_unavailable().into_answer();
        assert_eq!(answer.headers()[RETRY_AFTER], "5");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let answer = Problem::from(TokenError::Expired).into_answer();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(answer.headers()[WWW_AUTHENTICATE], "Bearer");
        assert_eq!(Problem::method_not_allowed("GET").into_answer().headers()[ALLOW], "GET");
    }
}
