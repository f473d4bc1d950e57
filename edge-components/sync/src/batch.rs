//! `POST /sync/v1/batch`: sync messages of many documents in one request.

use crate::documents;
use crate::runner::Runner;
use crate::store_problem;
use http::{HeaderMap, StatusCode};
use rollcall_guest::{Answer, Problem, answer, body, now_ms};
use spin_sdk::http::Request;
use std::cmp::Reverse;
use sync_protocol::batch::{
    BatchError, BatchMessage, BatchRequest, BatchResponse, BatchResult, CONTENT_TYPE, MAX_BATCH_BYTES,
    MAX_MESSAGES, Outcome, RefusedChange,
};
use sync_protocol::engine::Reply;
use sync_protocol::link::Hash;
use sync_protocol::token::Claims;

/// How long a request may be worked on before what is left is answered `Later`, in milliseconds. A phone that wakes for
/// some seconds must have its answer by then.
const TIME_MS: i64 = 10_000;
/// The one session of a request.
const SESSION: u64 = 1;

pub(crate) async fn exchange(claims: Claims, request: Request) -> Result<Answer, Problem> {
    let headers = request.headers().clone();
    let bytes = body::read(request.into_body(), MAX_BATCH_BYTES).await?;
    let mut messages = BatchRequest::decode(&bytes).map_err(problem)?.messages;
    // Stable: messages of one priority keep their order.
    messages.sort_by_key(|message| Reverse(message.priority));

    let mut runner = Runner::open(&claims.inst).map_err(|error| store_problem(&error))?;
    runner.open_exchange(SESSION, claims);
    let deadline = now_ms() + TIME_MS;
    let mut origin_reachable = true;
    let mut handled = Vec::with_capacity(messages.len());
    for message in &messages {
        let in_time = now_ms() < deadline;
        if in_time {
            hand_in(&mut runner, message, &headers, &mut origin_reachable).await?;
        }
        handled.push(in_time);
    }
    runner.run(unix_ms(), Vec::new()).map_err(|error| store_problem(&error))?;

    let results = messages.iter().zip(handled).map(|(message, handled)| BatchResult {
        document: message.document,
        refused: refused(runner.exchange_refusals(SESSION, message.document)),
        committed: Some(runner.exchange_committed(SESSION, message.document))
            .filter(|heads| !heads.is_empty()),
        outcome: if handled {
            outcome(runner.exchange_reply(SESSION, message.document))
        } else {
            Outcome::Later
        },
    });
    let response = BatchResponse { results: results.collect() };
    Ok(answer::bytes(StatusCode::OK, CONTENT_TYPE, response.encode()))
}

/// Merges one message, after a document that this edge does not hold has been fetched from the origin.
async fn hand_in(
    runner: &mut Runner,
    message: &BatchMessage,
    headers: &HeaderMap,
    origin_reachable: &mut bool,
) -> Result<(), Problem> {
    let known = runner.log().has_record(message.document).map_err(|error| store_problem(&error))?;
    if !known && *origin_reachable {
        // A transaction must not wait for the network.
        runner.run(unix_ms(), Vec::new()).map_err(|error| store_problem(&error))?;
        match documents::fetch(runner.log(), message.document, headers).await {
            Ok(stored) => drop(stored.map_err(|error| store_problem(&error))?),
            Err(error) => {
                eprintln!("batch: {error}");
                *origin_reachable = false;
            }
        }
    }
    let data = message.data.to_vec();
    runner.exchange(unix_ms(), SESSION, message.document, data).map_err(|error| store_problem(&error))
}

fn unix_ms() -> u64 {
    u64::try_from(now_ms()).unwrap_or(0)
}

fn refused(changes: Vec<(Hash, String)>) -> Option<Vec<RefusedChange>> {
    let changes = changes.into_iter().map(|(hash, code)| RefusedChange { hash, code });
    Some(changes.collect()).filter(|changes: &Vec<RefusedChange>| !changes.is_empty())
}

fn outcome(reply: Option<Reply>) -> Outcome {
    match reply {
        Some(Reply::Synced(data)) => Outcome::Synced(data.map(Into::into)),
        Some(Reply::Unavailable) => Outcome::Unavailable,
        Some(Reply::Refused(code)) => Outcome::Refused(code),
        None => Outcome::Later,
    }
}

fn problem(error: BatchError) -> Problem {
    match error {
        BatchError::TooLong(_) => Problem::body_too_large(MAX_BATCH_BYTES),
        BatchError::TooMany(_) => Problem::invalid_field("messages", error.to_string()).limit(MAX_MESSAGES),
        BatchError::Malformed(_) => Problem::new(StatusCode::BAD_REQUEST, "invalid-cbor", error.to_string()),
    }
}
