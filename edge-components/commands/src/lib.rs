//! The `commands` component: authoritative writes that survive a missing origin, and what is only forwarded: sign-in and
//! sessions, and the reads that this edge keeps no copy of.
//!
//! A command goes to the origin at once when it can. When it cannot, or its outcome stays unknown, it is written to the
//! outbox, acknowledged with `202`, and delivered later with the same idempotency key, in order for each device.

mod auth;
mod delivery;
mod forward;
mod outbox;
mod reads;
mod receipt;
mod submission;

use forward::{Forwarder, Verdict};
use http::header::{AUTHORIZATION, CONTENT_TYPE, IF_MATCH, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use outbox::{Appended, Outbox};
use rollcall_guest::{Answer, Call, Origin, Problem, answer, body, identified_by_host, identity, now_ms};
use spin_sdk::http::Request;
use spin_sdk::http_service;
use submission::Submission;
use sync_protocol::bookmark::BOOKMARK_HEADER;
use sync_protocol::command::{Command, IDEMPOTENCY_KEY_HEADER, MAX_COMMAND_BYTES, check_key};

/// Says that the caller is the host itself, on a route that the manifest does not show to anybody.
const INTERNAL: HeaderName = HeaderName::from_static("rollcall-internal");
/// How many commands wait, so that the host knows whether to call again.
const PENDING: HeaderName = HeaderName::from_static("rollcall-pending");
const BOOKMARK: HeaderName = HeaderName::from_static(BOOKMARK_HEADER);

#[http_service]
async fn handle(request: Request) -> Answer {
    route(request).await.unwrap_or_else(Problem::into_answer)
}

async fn route(request: Request) -> Result<Answer, Problem> {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/commands" | "/commands/" => {
            allow(&request, Method::POST, "POST")?;
            submit_command(request).await
        }
        reads::BATCH_PATH => {
            allow(&request, Method::POST, "POST")?;
            reads::batch(request).await
        }
        path if path == reads::DOUBTS_PATH || path.starts_with(reads::CLASSES) => {
            allow(&request, Method::GET, "GET")?;
            reads::forward(&request).await
        }
        "/internal/outbox/deliver" => deliver(&request).await,
        path if path.starts_with(auth::PATH) => auth::forward(request).await,
        _ => {
            let key = path.strip_prefix("/commands/").ok_or_else(Problem::not_found)?;
            allow(&request, Method::GET, "GET")?;
            command_receipt(&request, key).await
        }
    }
}

fn allow(request: &Request, method: Method, allowed: &'static str) -> Result<(), Problem> {
    if *request.method() == method { Ok(()) } else { Err(Problem::method_not_allowed(allowed)) }
}

/// `POST /commands`.
async fn submit_command(request: Request) -> Result<Answer, Problem> {
    let claims = identity(&request).await?;
    let (parts, incoming) = request.into_parts();
    let key = parts.headers.get(IDEMPOTENCY_KEY_HEADER).map(|key| key.to_str().unwrap_or_default());
    let key = check_key(key)?.to_owned();
    if parts.headers.contains_key(IF_MATCH) {
        // A command may wait here for hours: dropping the condition would be a lie, keeping it a sure refusal.
        let detail = "If-Match is for commands that go to the origin itself";
        return Err(Problem::invalid_field("If-Match", detail));
    }
    let command = Command::decode(&body::read(incoming, MAX_COMMAND_BYTES).await?)?;
    let submission = Submission::new(&claims, key, &command, now_ms());

    let outbox = Outbox::open().await?;
    if let Some(kept) = outbox.find(&submission.institute, &submission.key).await? {
        return receipt::repeated(&kept, &submission);
    }
    // A command that overtook one of the same device that waits would break the device's order.
    if !outbox.has_pending(&submission.institute, &submission.device).await? {
        match Forwarder::configured().await?.forward(&submission).await {
            Verdict::Delivered(outcome) | Verdict::Refused(outcome) => return Ok(receipt::outcome(&outcome)),
            // From here on the outcome may be unknown: the same key makes the second sending harmless.
            Verdict::TryAgain | Verdict::Unreachable => {}
        }
    }
    match outbox.append(&submission).await? {
        Appended::Yes => Ok(receipt::accepted(&submission.key)),
        Appended::Full => Err(receipt::outbox_full()),
        Appended::KeyTaken(kept) => receipt::repeated(&kept, &submission),
    }
}

/// `GET /commands/{key}`.
///
/// Asking for a command that waits tries to deliver the device's commands first, so a receipt comes true also where no host
/// calls [`deliver`].
async fn command_receipt(request: &Request, key: &str) -> Result<Answer, Problem> {
    let claims = identity(request).await?;
    let key = receipt::decode_key(key).ok_or_else(Problem::not_found)?;
    check_key(Some(&key))?;
    let outbox = Outbox::open().await?;
    let Some(mut kept) = outbox.find(&claims.inst, &key).await? else {
        return ask_origin(request, &key).await;
    };
    if kept.user != claims.sub || kept.device != claims.dev {
        return Err(Problem::not_found());
    }
    if kept.is_pending() {
        delivery::deliver_device(&outbox, &claims.inst, &claims.dev).await?;
        kept = outbox.find(&claims.inst, &key).await?.unwrap_or(kept);
    }
    Ok(receipt::status(&kept))
}

/// For commands that went to the origin at once, or through another edge.
async fn ask_origin(request: &Request, key: &str) -> Result<Answer, Problem> {
    let call = Call::new(Method::GET, receipt::path(key), forward::ANSWER_BYTES_MAX)
        .forward_headers(request.headers(), &[AUTHORIZATION]);
    let fetched = Origin::configured().await?.send(call).await?;
    Ok(passed_on(fetched))
}

/// An answer of the origin as it is, with the headers that mean something to a device.
fn passed_on(fetched: rollcall_guest::OriginAnswer) -> Answer {
    let content_type = fetched.header(CONTENT_TYPE.as_str()).unwrap_or("application/octet-stream").to_owned();
    let mut answer = if fetched.body.is_empty() {
        answer::empty(fetched.status)
    } else {
        answer::bytes(fetched.status, &content_type, fetched.body)
    };
    let names = [BOOKMARK, RETRY_AFTER, http::header::WWW_AUTHENTICATE, http::header::CACHE_CONTROL];
    for name in names {
        if let Some(value) = fetched.headers.get(&name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    answer
}

/// The host calls this when the link comes up, and again while the answer says that commands wait.
async fn deliver(request: &Request) -> Result<Answer, Problem> {
    let by_host =
        request.headers().get(INTERNAL).is_some_and(|value| value == "1") && identified_by_host().await;
    if !by_host {
        return Err(Problem::not_found());
    }
    allow(request, Method::POST, "POST")?;
    let outbox = Outbox::open().await?;
    let run = delivery::deliver_all(&outbox).await?;
    outbox.prune().await?;
    let pending = outbox.count_pending().await?;
    let body = serde_json::json!({"delivered": run.delivered, "refused": run.refused, "pending": pending});
    let mut answer = answer::json(StatusCode::OK, &body);
    answer.headers_mut().insert(PENDING, HeaderValue::from(pending));
    Ok(answer)
}
