//! Documents between this edge and the origin over HTTP: registering one, and fetching one that this edge does not hold.

use crate::log::{Log, LogError};
use crate::store_problem;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, StatusCode};
use rollcall_guest::{Answer, Call, Origin, OriginError, Problem, answer, body};
use serde::{Deserialize, Serialize};
use spin_sdk::http::Request;
use std::collections::BTreeSet;
use std::time::Duration;
use sync_protocol::actor::Binding;
use sync_protocol::document_id::DocumentId;
use sync_protocol::engine::Effect;
use sync_protocol::kind::{self, Kind};
use sync_protocol::link::{Document, DocumentRecord, Hash, LinkMessage, MAX_LINK_MESSAGE_BYTES};
use sync_protocol::token::Claims;

/// How long a device waits for a document that its edge does not hold: half of the time that it has for a batch of them.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A registration is two short texts.
const REGISTRATION_BYTES_MAX: usize = 4 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registration {
    kind: String,
    subject: String,
}

#[derive(Deserialize, Serialize)]
struct Registered {
    #[serde(rename = "documentId")]
    document: DocumentId,
    kind: String,
    subject: String,
    batch: Option<String>,
}

/// `POST /api/documents`: the origin decides and names the document; the edge holds it from then on.
pub(crate) async fn register(claims: Claims, request: Request) -> Result<Answer, Problem> {
    let headers = request.headers().clone();
    let body = body::read(request.into_body(), REGISTRATION_BYTES_MAX).await?;
    let registration: Registration = serde_json::from_slice(&body)
        .map_err(|e| Problem::new(StatusCode::BAD_REQUEST, "invalid-json", e.to_string()))?;
    let kind = registration.kind.parse::<Kind>().ok().filter(|kind| *kind != Kind::Private);
    if kind.is_none() {
        return Err(Problem::invalid_field("kind", kind::KindError.to_string()));
    }
    if registration.subject.is_empty() {
        return Err(Problem::invalid_field("subject", "subject is empty"));
    }
    let call = Call::new(Method::POST, "/api/documents", REGISTRATION_BYTES_MAX)
        .forward_headers(&headers, &[AUTHORIZATION])
        .body("application/json", body);
    let answered = Origin::configured().await?.send(call).await?;
    if answered.status == StatusCode::OK {
        let registered: Registered = serde_json::from_slice(&answered.body).map_err(|error| {
            eprintln!("registration: the origin's answer: {error}");
            Problem::origin_unavailable()
        })?;
        hold(&claims, &registered, &headers).await.map_err(|error| store_problem(&error))?;
    }
    let content_type = answered.header("content-type").unwrap_or("application/json").to_owned();
    Ok(answer::bytes(answered.status, &content_type, answered.body))
}

/// Writes a registered document down, so that devices can open it while the origin is away: as the origin has it, or its first
/// change if the origin cannot be asked.
async fn hold(claims: &Claims, registered: &Registered, headers: &HeaderMap) -> Result<(), LogError> {
    let mut log = Log::open(&claims.inst)?;
    if log.has_record(registered.document)? {
        return Ok(());
    }
    match fetch(&mut log, registered.document, headers).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Err(error)) => Err(error),
        // The engine fetches the rest when it has a link.
        Ok(Ok(false)) | Err(_) => hold_first_change(&mut log, registered),
    }
}

fn hold_first_change(log: &mut Log, registered: &Registered) -> Result<(), LogError> {
    let Ok(kind) = registered.kind.parse::<Kind>() else { return Ok(()) };
    let owner = match kind {
        Kind::Planner => registered.subject.clone(),
        // The origin's word on who registered it first comes with the first pull; rights do not depend on it.
        Kind::Attendance | Kind::Notes | Kind::Doubt | Kind::Private => String::new(),
    };
    let record = DocumentRecord {
        document: registered.document,
        kind: registered.kind.clone(),
        subject: registered.subject.clone(),
        batch: registered.batch.clone(),
        owner,
    };
    let chunks = kind::genesis(kind, registered.document).into_iter().collect();
    store(log, record, chunks, Vec::new(), &[]).map(drop)
}

/// Fetches a document that the log does not have. True when it is there now.
async fn fetch(
    log: &mut Log,
    document: DocumentId,
    headers: &HeaderMap,
) -> Result<Result<bool, LogError>, OriginError> {
    match ask(document, headers).await? {
        Some(found) => Ok(keep(log, found)),
        None => Ok(Ok(false)),
    }
}

/// Asks the origin for a document, as its user's device: it answers only for documents that this user may read.
pub(crate) async fn ask(document: DocumentId, headers: &HeaderMap) -> Result<Option<Document>, OriginError> {
    let Ok(origin) = Origin::configured().await else { return Ok(None) };
    let path = format!("/api/documents/{document}");
    let call = Call::new(Method::GET, path, MAX_LINK_MESSAGE_BYTES)
        .forward_headers(headers, &[AUTHORIZATION])
        .answer_within(ANSWER_TIMEOUT);
    let answered = origin.send(call).await?;
    if answered.status != StatusCode::OK {
        return Ok(None);
    }
    let Ok(LinkMessage::Document(found)) = LinkMessage::decode(&answered.body) else {
        return Err(OriginError::Interrupted("the origin's answer is not a document".into()));
    };
    Ok(Some(found))
}

/// Writes down what the origin has answered. True when the document is there now.
pub(crate) fn keep(log: &mut Log, found: Document) -> Result<bool, LogError> {
    let Some(record) = found.record else { return Ok(false) };
    let chunks = found.chunks.into_iter().map(Into::into).collect();
    store(log, record, chunks, found.actors, &found.heads)
}

/// Writes a document that the origin has named, with these heads; the chunks may be its beginning alone. The log gets changes, not a
/// snapshot, so that other instances see them. False when the document was deleted since it was asked for.
fn store(
    log: &mut Log,
    record: DocumentRecord,
    chunks: Vec<Vec<u8>>,
    actors: Vec<Binding>,
    named: &[Hash],
) -> Result<bool, LogError> {
    let document = record.document;
    let author = sync_protocol::engine::Author {
        user: String::new(),
        device: String::new(),
        source: sync_protocol::engine::Source::Origin,
        at: 0,
    };
    let outcome = (|| {
        log.write(Effect::SaveRecord(record))?;
        // Looked for after the write lock is taken, which the first write takes: the engine may have heard of it meanwhile.
        if log.is_deleted(document)? {
            log.roll_back();
            return Ok(false);
        }
        for binding in actors {
            log.write(Effect::SaveBinding { document, binding })?;
        }
        let mut heads = BTreeSet::<Hash>::new();
        for chunk in chunks {
            let changes =
                sync_protocol::gate::changes_in(&chunk).map_err(|e| LogError::Store(e.to_string()))?;
            for change in &changes {
                heads.retain(|head| !change.deps().contains(&(*head).into()));
                heads.insert(change.hash().into());
            }
            let rows = changes.iter().map(|change| (change.hash().into(), change.raw_bytes().to_vec()));
            log.append(document, &author, rows.collect())?;
        }
        // What the origin has named, it has. Of a document that did not come whole the engine fetches the rest: it looks for it where
        // nothing is known to be committed.
        if named.iter().copied().collect::<BTreeSet<_>>() == heads {
            log.write(Effect::SaveCommitted { document, heads: heads.into_iter().collect() })?;
        }
        log.commit()?;
        Ok(true)
    })();
    if outcome.is_err() {
        log.roll_back();
    }
    outcome
}
