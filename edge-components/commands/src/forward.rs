//! Sending one command to the origin, and what its answer means.

use crate::submission::Submission;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{HeaderName, Method, StatusCode};
use rollcall_guest::{Call, Origin, OriginAnswer, OriginError, Problem};
use serde_json::Value;

/// An outcome is a few hundred bytes; the limit keeps a broken origin out of the outbox.
pub(crate) const ANSWER_BYTES_MAX: usize = 256 * 1024;

const PATH: &str = "/edge/v1/commands";
const EDGE: HeaderName = HeaderName::from_static("rollcall-edge");

/// What the origin decided about a command, as it said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) http_status: u16,
    /// `{"outcome":{…},"bookmark":"E.R"}`, or problem details.
    pub(crate) body: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Delivered(Outcome),
    /// Refused for good: sending it again would change nothing.
    Refused(Outcome),
    /// The origin did not decide, or its decision did not arrive.
    TryAgain,
    /// The origin has seen nothing.
    Unreachable,
}

/// The origin, and how this edge proves itself to it.
#[derive(Debug)]
pub(crate) struct Forwarder {
    origin: Origin,
    edge: HeaderValue,
    secret: HeaderValue,
}

impl Forwarder {
    pub(crate) async fn configured() -> Result<Self, Problem> {
        let mut secret = header_value(&format!("Bearer {}", variable("edge_secret").await?), "edge_secret")?;
        secret.set_sensitive(true);
        let edge = header_value(&variable("edge_id").await?, "edge_id")?;
        Ok(Self { origin: Origin::configured().await?, edge, secret })
    }

    pub(crate) async fn forward(&self, submission: &Submission) -> Verdict {
        let call = Call::new(Method::POST, PATH, ANSWER_BYTES_MAX)
            .header(AUTHORIZATION, self.secret.clone())
            .header(EDGE, self.edge.clone())
            .body("application/json", submission.to_json());
        judge(self.origin.send(call).await)
    }
}

async fn variable(name: &str) -> Result<String, Problem> {
    spin_sdk::variables::get(name)
        .await
        .map_err(|error| Problem::misconfigured(&format!("variable {name}: {error}")))
}

fn header_value(text: &str, name: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text)
        .map_err(|_| Problem::misconfigured(&format!("variable {name} cannot stand in a header")))
}

/// Only the origin's own words settle a command: a `200` of something in between, such as the sign-in page of a wireless
/// network, does not, and neither does a refusal of this edge's secret.
fn judge(sent: Result<OriginAnswer, OriginError>) -> Verdict {
    let answer = match sent {
        Ok(answer) => answer,
        Err(error) => {
            eprintln!("{error}");
            return match error {
                OriginError::Unreachable(_) => Verdict::Unreachable,
                OriginError::Interrupted(_) => Verdict::TryAgain,
            };
        }
    };
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    let code = said.get("code").and_then(Value::as_str);
    let outcome = || Outcome { http_status: answer.status.as_u16(), body: said.to_string() };
    if answer.status == StatusCode::OK && said.get("outcome").is_some() {
        return Verdict::Delivered(outcome());
    }
    let undecided = [
        StatusCode::UNAUTHORIZED,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    let in_flight = code == Some("idempotency-in-flight");
    if answer.status.is_client_error() && code.is_some() && !in_flight && !undecided.contains(&answer.status)
    {
        return Verdict::Refused(outcome());
    }
    eprintln!("origin answered a command with {} {}", answer.status, code.unwrap_or("and no code"));
    Verdict::TryAgain
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    fn said(status: u16, body: &'static str) -> Verdict {
        let status = StatusCode::from_u16(status).unwrap();
        judge(Ok(OriginAnswer { status, headers: HeaderMap::new(), body: body.into() }))
    }

    #[test]
    fn an_outcome_and_a_refusal_settle_a_command() {
        let body = r#"{"bookmark":"1.7","outcome":{"id":"x"}}"#;
        assert_eq!(said(200, body), Verdict::Delivered(Outcome { http_status: 200, body: body.into() }));
        for (status, code) in [
            (403, r#"{"code":"forbidden"}"#),
            (404, r#"{"code":"not-found"}"#),
            (409, r#"{"code":"class-full"}"#),
            (422, r#"{"code":"idempotency-key-reused"}"#),
        ] {
            assert!(matches!(said(status, code), Verdict::Refused(_)), "{status}");
        }
    }

    #[test]
    fn what_the_origin_did_not_decide_is_sent_again() {
        for (status, body) in [
            (409, r#"{"code":"idempotency-in-flight"}"#),
            (401, r#"{"code":"token-invalid"}"#),
            (429, r#"{"code":"too-many-requests"}"#),
            (500, r#"{"code":"internal"}"#),
            (503, ""),
            (200, "<html>sign in to the wireless network</html>"),
            (302, ""),
            (404, "<html>not here</html>"),
        ] {
            assert_eq!(said(status, body), Verdict::TryAgain, "{status} {body}");
        }
    }

    #[test]
    fn a_connection_that_was_never_made_is_told_from_one_that_broke() {
        assert_eq!(judge(Err(OriginError::Unreachable(String::new()))), Verdict::Unreachable);
        assert_eq!(judge(Err(OriginError::Interrupted(String::new()))), Verdict::TryAgain);
    }
}
