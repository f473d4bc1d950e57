//! What a device is told about a command: an outcome, a receipt, or that its key belongs to another command.

use crate::forward::Outcome;
use crate::outbox::{Kept, Status};
use crate::submission::Submission;
use crate::{BOOKMARK, PENDING};
use http::StatusCode;
use http::header::{LOCATION, RETRY_AFTER};
use rollcall_guest::{Answer, Problem, answer};
use serde_json::{Value, json};

/// Seconds after which asking for a receipt makes sense.
const RETRY_AFTER_S: &str = "2";

/// Where the receipt of a command is.
pub(crate) fn path(key: &str) -> String {
    let mut path = String::from("/commands/");
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

/// The key in a path that [`path`] made, or that a client wrote by hand. None when an escape is broken.
pub(crate) fn decode_key(encoded: &str) -> Option<String> {
    let mut key = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            key.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = rest else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        key.push(digit(*high)? * 16 + digit(*low)?);
        rest = tail;
    }
    String::from_utf8(key).ok()
}

/// `202`: the command is in the outbox.
pub(crate) fn accepted(key: &str) -> Answer {
    let receipt = path(key);
    let body = json!({"status": Status::Pending.as_str(), "key": key, "receipt": receipt});
    let mut answer = answer::json(StatusCode::ACCEPTED, &body);
    answer::set_header(&mut answer, LOCATION, &receipt);
    answer::set_header(&mut answer, RETRY_AFTER, RETRY_AFTER_S);
    // The host may deliver sooner than the link comes up the next time.
    answer::set_header(&mut answer, PENDING, "1");
    answer
}

/// The origin's outcome or refusal, as it was said.
pub(crate) fn outcome(outcome: &Outcome) -> Answer {
    let status = StatusCode::from_u16(outcome.http_status).unwrap_or(StatusCode::BAD_GATEWAY);
    let content_type = if status.is_success() { "application/json" } else { "application/problem+json" };
    let mut answer = answer::bytes(status, content_type, outcome.body.clone());
    if let Some(bookmark) = parse(outcome).get("bookmark").and_then(Value::as_str) {
        answer::set_header(&mut answer, BOOKMARK, bookmark);
    }
    answer
}

/// The answer to a command whose key the outbox has already.
pub(crate) fn repeated(kept: &Kept, submission: &Submission) -> Result<Answer, Problem> {
    if kept.hash != submission.hash || kept.user != submission.user {
        let detail = "this idempotency key belongs to another command";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", detail));
    }
    Ok(match &kept.outcome {
        Some(stored) => outcome(stored),
        None => accepted(&submission.key),
    })
}

/// The answer of `GET /commands/{key}`.
pub(crate) fn status(kept: &Kept) -> Answer {
    let Some(stored) = &kept.outcome else {
        let mut answer = answer::json(StatusCode::OK, &json!({"status": kept.status.as_str()}));
        answer::set_header(&mut answer, RETRY_AFTER, RETRY_AFTER_S);
        return answer;
    };
    let mut said = parse(stored);
    let mut body = json!({"status": kept.status.as_str()});
    match kept.status {
        Status::Refused => body["outcome"] = said,
        Status::Delivered | Status::Pending => {
            body["outcome"] = said["outcome"].take();
            body["bookmark"] = said["bookmark"].take();
        }
    }
    let mut answer = answer::json(StatusCode::OK, &body);
    if let Some(bookmark) = body["bookmark"].as_str() {
        answer::set_header(&mut answer, BOOKMARK, bookmark);
    }
    answer
}

pub(crate) fn outbox_full() -> Problem {
    let detail = "too many commands of this institute wait for the origin at this edge";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "outbox-full", detail)
        .limit(crate::outbox::PENDING_MAX)
        .retry_after(60)
}

fn parse(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.body).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::submission::tests::submission;

    fn kept(status: Status, outcome: Option<Outcome>) -> Kept {
        let submission = submission("d1", "k1", "s1");
        Kept { user: submission.user, device: submission.device, hash: submission.hash, status, outcome }
    }

    fn delivered() -> Outcome {
        Outcome { http_status: 200, body: r#"{"outcome":{"id":"x"},"bookmark":"1.7"}"#.into() }
    }

    #[test]
    fn any_key_survives_its_path() {
        let key: String = (0x21..0x7f).map(char::from).collect();
        assert_eq!(decode_key(path(&key).strip_prefix("/commands/").unwrap()), Some(key));
        assert_eq!(path("k/1?%"), "/commands/k%2F1%3F%25");
        for broken in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(decode_key(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_repeat_is_answered_like_the_first_and_another_payload_is_refused() {
        let same = submission("d1", "k1", "s1");
        let pending = repeated(&kept(Status::Pending, None), &same).unwrap();
        assert_eq!(pending.status(), StatusCode::ACCEPTED);
        assert_eq!(pending.headers()[LOCATION], "/commands/k1");
        let settled = repeated(&kept(Status::Delivered, Some(delivered())), &same).unwrap();
        assert_eq!(settled.status(), StatusCode::OK);
        assert_eq!(settled.headers()[BOOKMARK], "1.7");
        let refusal = Outcome { http_status: 403, body: r#"{"code":"forbidden"}"#.into() };
        let refused = repeated(&kept(Status::Refused, Some(refusal)), &same).unwrap();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        let other = submission("d1", "k1", "s2");
        let problem = repeated(&kept(Status::Pending, None), &other).unwrap_err();
        assert_eq!((problem.status.as_u16(), problem.code), (422, "idempotency-key-reused"));
        let mut stranger = same;
        stranger.user = "u2".into();
        assert_eq!(
            repeated(&kept(Status::Pending, None), &stranger).unwrap_err().code,
            "idempotency-key-reused"
        );
    }

    #[test]
    fn a_receipt_carries_the_bookmark_of_the_effect() {
        let answer = status(&kept(Status::Delivered, Some(delivered())));
        assert_eq!(answer.headers()[BOOKMARK], "1.7");
        let waiting = status(&kept(Status::Pending, None));
        assert_eq!(waiting.headers()[RETRY_AFTER], RETRY_AFTER_S);
    }
}
