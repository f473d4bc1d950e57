//! `POST /sync/v1/batch`: sync messages of many documents in one request.

use crate::documents;
use crate::log::Log;
use crate::runner::Runner;
use crate::store_problem;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode};
use rollcall_guest::{Answer, Problem, answer, body, now_ms};
use spin_sdk::http::Request;
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::pin::pin;
use sync_protocol::batch::{
    BatchError, BatchMessage, BatchRequest, BatchResponse, BatchResult, CONTENT_TYPE, MAX_BATCH_BYTES,
    MAX_MESSAGES, Outcome, RefusedChange,
};
use sync_protocol::document_id::DocumentId;
use sync_protocol::engine::Reply;
use sync_protocol::link::{Document, Hash};
use sync_protocol::token::Claims;

/// How long a request may be worked on before what is left is answered `Later`, in milliseconds. A phone that wakes for
/// some seconds must have its answer by then.
const TIME_MS: i64 = 10_000;
/// Documents that are asked for at the origin at one time.
const FETCHES: usize = 8;
/// The one session of a request.
const SESSION: u64 = 1;

pub(crate) async fn exchange(claims: Claims, request: Request) -> Result<Answer, Problem> {
    let headers = request.headers().clone();
    let bytes = body::read(request.into_body(), MAX_BATCH_BYTES).await?;
    let mut messages = BatchRequest::decode(&bytes).map_err(problem)?.messages;
    // Stable: messages of one priority keep their order.
    messages.sort_by_key(|message| Reverse(message.priority));

    let deadline = now_ms() + TIME_MS;
    let mut log = Log::open(&claims.inst).map_err(|error| store_problem(&error))?;
    let late = fetch_unknown(&mut log, &messages, &headers, deadline - TIME_MS / 2).await?;
    // What the directory says of the user's rights is read after the waiting.
    let mut runner = Runner::over(log, &claims.inst).map_err(|error| store_problem(&error))?;
    runner.open_exchange(SESSION, claims);
    // However long the origin has kept the others waiting, some are merged.
    let deadline = deadline.max(now_ms() + TIME_MS / 2);
    let mut handled = Vec::with_capacity(messages.len());
    for message in &messages {
        // Documents stay in memory until they are answered about.
        let has_room = now_ms() < deadline && !runner.is_over_budget() && !late.contains(&message.document);
        if has_room {
            let data = message.data.to_vec();
            let handed_in = runner.exchange(unix_ms(), SESSION, message.document, data);
            handed_in.map_err(|error| store_problem(&error))?;
        }
        handled.push(has_room);
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

/// Fetches the documents that this edge does not hold from the origin, several at one time, before anything is merged: a transaction
/// must not wait for the network. Gives those for which there was no time until `deadline`.
///
/// When the origin cannot be reached no more are asked for, and what the device brings founds them here: the engine asks for them when
/// it has a link.
async fn fetch_unknown(
    log: &mut Log,
    messages: &[BatchMessage],
    headers: &HeaderMap,
    deadline: i64,
) -> Result<BTreeSet<DocumentId>, Problem> {
    let mut unknown = Vec::new();
    let mut seen = BTreeSet::new();
    for document in messages.iter().map(|message| message.document) {
        if seen.insert(document) && !log.has_record(document).map_err(|error| store_problem(&error))? {
            unknown.push(document);
        }
    }
    let reachable = Cell::new(true);
    let ask = async |document: DocumentId| match (reachable.get(), now_ms() < deadline) {
        (false, _) => (document, Asked::Unreachable),
        (true, false) => (document, Asked::Late),
        (true, true) => match documents::ask(document, headers).await {
            Ok(found) => (document, Asked::Answered(found.map(Box::new))),
            Err(error) => {
                eprintln!("batch: {error}");
                reachable.set(false);
                (document, Asked::Unreachable)
            }
        },
    };
    let mut asked = pin!(stream::iter(unknown).map(ask).buffer_unordered(FETCHES));
    let mut late = BTreeSet::new();
    while let Some((document, answer)) = asked.next().await {
        match answer {
            Asked::Answered(Some(found)) => {
                documents::keep(log, *found).map_err(|error| store_problem(&error))?;
            }
            Asked::Answered(None) | Asked::Unreachable => {}
            Asked::Late => {
                late.insert(document);
            }
        }
    }
    Ok(late)
}

/// What came of asking the origin for a document.
enum Asked {
    Answered(Option<Box<Document>>),
    Unreachable,
    Late,
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
