//! Documents: their registration, the changes that edges push, and what edges pull.
//!
//! Merging is CPU work on bytes from devices: it runs off the async threads, one institute at a time, on replicas that
//! are kept in memory within a bound. What a device wrote is either in the log or in quarantine, never lost.

mod doubts;
mod gate;
mod migration;
mod mirror;
mod projection;
mod push;
mod quarantine;
mod races;
mod replica;
mod succession;

#[cfg(test)]
mod tests;

use crate::clock::unix_ms;
use crate::services::auth::account_of;
use crate::store::{ChangeRow, LoggedDocument, NewDocument, Store, StoreError, WriteTx};
use automerge::{ActorId, Automerge, AutomergeError, Change};
use replica::Replicas;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use sync_protocol::actor::Actors;
use sync_protocol::bookmark::Bookmark;
use sync_protocol::directory::{self, DirectoryEntry};
use sync_protocol::document_id::DocumentId;
use sync_protocol::gate::MAX_OPERATIONS;
use sync_protocol::kind::versions::own_changes;
use sync_protocol::kind::{Access, Kind, KindError};
use sync_protocol::link::{self, DocumentRecord, Hash, MAX_LINK_MESSAGE_BYTES};
use sync_protocol::parts::first_part;
use sync_protocol::tag;
use sync_protocol::token::{Claims, Role, TokenError};
use utoipa::ToSchema;

/// Longest subject: a batch, a slash and a name of an id's length.
const MAX_SUBJECT_BYTES: usize = 160;
/// What is sent of a document at most, in bytes. Half of a link message leaves room for its frame; one change is no larger.
const MAX_PULLED_BYTES: usize = MAX_LINK_MESSAGE_BYTES / 2;
/// Mean size of changes above which they were pasted: a keystroke has about 110 bytes.
const PASTED_CHANGE_BYTES: usize = 1024;
/// The edge in the log of changes that the origin itself made.
const ORIGIN: &str = "origin";

#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    #[error(transparent)]
    Kind(#[from] KindError),
    #[error("subject is {0}")]
    Subject(&'static str),
    #[error("there is no {what} {subject:?}")]
    UnknownSubject { what: &'static str, subject: String },
    #[error("the user has no right to this document")]
    Forbidden,
    /// A stored document cannot be read any more.
    #[error("document {document}: {source}")]
    Damaged { document: DocumentId, source: Box<AutomergeError> },
    /// Another institute registered the same document id, or another process changed the document, at the same time.
    #[error("document {0} was made or changed elsewhere meanwhile")]
    Raced(DocumentId),
    #[error("there is no such change in quarantine")]
    NotQuarantined,
    /// Not even an admin can have it merged; the code says why.
    #[error("the change cannot be merged: {0}")]
    NotAcceptable(&'static str),
    #[error("the institute has no such document")]
    NoDocument,
    #[error("heads are {0}")]
    Heads(&'static str),
    #[error("the history of the document was cut at other heads; {0} continues it")]
    AlreadyCut(DocumentId),
    #[error("what the document says takes {0} operations to say anew, the limit is {MAX_OPERATIONS}")]
    TooLargeToCut(usize),
    /// What was taken into a document that was cut does not go into its successor.
    #[error("a change was not carried over: {0}")]
    NotCarried(&'static str),
    #[error("{field} {problem}")]
    Field { field: &'static str, problem: String },
    /// The reader has seen a later state than this store holds.
    #[error("this origin is at {current}, the reader has seen {seen}")]
    Behind { current: Bookmark, seen: Bookmark },
    #[error("the merge worker panicked")]
    Panicked,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(crate) use doubts::{DoubtPage, DoubtPlace, DoubtSearch, SearchWords, read_words};
pub(crate) use quarantine::{Acceptance, QuarantinedChange};
pub(crate) use succession::Cut;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registration {
    pub(crate) kind: String,
    pub(crate) subject: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Registered {
    #[serde(rename = "documentId")]
    #[schema(value_type = String)]
    pub(crate) document: DocumentId,
    pub(crate) kind: String,
    pub(crate) subject: String,
    pub(crate) batch: Option<String>,
}

#[derive(Clone)]
pub(crate) struct DocumentService {
    store: Store,
    replicas: Arc<Replicas>,
    turns: Arc<Turns>,
}

/// One lock for each institute: its documents are merged by one task at a time.
#[derive(Default)]
struct Turns {
    locks: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl Turns {
    async fn take(&self, institute: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            // Locks that nobody holds or waits for are forgotten.
            locks.retain(|_, lock| lock.strong_count() > 0);
            let known = locks.get(institute).and_then(Weak::upgrade);
            let lock = known.unwrap_or_default();
            locks.insert(institute.to_owned(), Arc::downgrade(&lock));
            lock
        };
        lock.lock_owned().await
    }
}

impl DocumentService {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, replicas: Arc::default(), turns: Arc::default() }
    }

    /// Gives the document of a kind and subject, which is made when it is not there.
    pub(crate) async fn register(
        &self,
        claims: &Claims,
        registration: Registration,
    ) -> Result<Registered, DocumentError> {
        let kind: Kind = registration.kind.parse()?;
        if kind == Kind::Private {
            return Err(KindError.into());
        }
        if registration.subject.is_empty() || registration.subject.len() > MAX_SUBJECT_BYTES {
            return Err(DocumentError::Subject("not 1 to 160 bytes"));
        }
        let user = claims.sub.clone();
        let device = claims.dev.clone();
        let subject = registration.subject;
        // Most calls find the document: they need not wait for the writer.
        let known = {
            let (claims, subject) = (claims.clone(), subject.clone());
            let institute = claims.inst.clone();
            let known = self.store.read(&institute, move |records| {
                admit(records, &claims)?;
                registered(records, kind, &subject, &claims.sub)
            });
            known.await?
        };
        if let Some(known) = known {
            self.bring_up_to_date(claims, kind, known.document).await?;
            return Ok(known);
        }
        let made = self.store.write(&claims.inst, move |tx| {
            match registered(tx.records(), kind, &subject, &user)? {
                Some(known) => Ok(known),
                None => create(tx, kind, &subject, (&user, &device), unix_ms()),
            }
        });
        Ok(made.await?.value)
    }

    /// Merges what an edge pushes. When this returns, each item is in the log or in quarantine; see [`push`].
    pub(crate) async fn push_changes(
        &self,
        edge: &str,
        push: link::Push,
    ) -> Result<link::Pushed, DocumentError> {
        let turn = self.turns.take(&push.institute).await;
        let service = self.clone();
        let edge = edge.to_owned();
        let merged = tokio::task::spawn_blocking(move || {
            // Held here, so that a cancelled caller does not let the next one in while this one still merges.
            let _turn = turn;
            push::merge(&service.store, &service.replicas, &edge, push)
        });
        merged.await.unwrap_or(Err(DocumentError::Panicked))
    }

    /// What a document has beyond the edge's heads.
    pub(crate) async fn pull_changes(&self, pull: link::Pull) -> Result<link::Document, DocumentError> {
        let turn = self.turns.take(&pull.institute).await;
        let service = self.clone();
        let pulled = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            service.pull_blocking(pull)
        });
        pulled.await.unwrap_or(Err(DocumentError::Panicked))
    }

    /// A whole document for somebody who may read it; none tells nobody whether there is one.
    pub(crate) async fn fetch_document(
        &self,
        claims: &Claims,
        document: DocumentId,
    ) -> Result<Option<link::Document>, DocumentError> {
        let asking = claims.clone();
        let readable = self.store.read(&claims.inst, move |records| {
            admit(records, &asking)?;
            let record = records.document(document)?;
            let member = Membership::load(records, &asking.sub)?;
            Ok::<_, DocumentError>(record.zip(member).is_some_and(|(r, m)| m.access(&r) != Access::None))
        });
        if !readable.await? {
            return Ok(None);
        }
        let pull = link::Pull { institute: claims.inst.clone(), document, have: Vec::new() };
        Ok(Some(self.pull_changes(pull).await?))
    }

    fn pull_blocking(&self, pull: link::Pull) -> Result<link::Document, DocumentError> {
        let document = pull.document;
        let (known, deleted) = self.store.read_blocking::<_, StoreError>(&pull.institute, |records| {
            Ok((records.document(document)?, records.is_deleted(document)?))
        })?;
        let Some(record) = known else {
            return Ok(link::Document {
                institute: pull.institute,
                document,
                record: None,
                chunks: Vec::new(),
                heads: Vec::new(),
                actors: Vec::new(),
                deleted,
            });
        };
        let replica = self.replicas.take(&self.store, &pull.institute, document)?;
        let (chunks, written_by) = chunks_beyond(&replica.doc, &pull.have);
        let mut actors = Actors::default();
        for binding in self
            .store
            .read_blocking::<_, StoreError>(&pull.institute, |records| records.bindings(document))?
        {
            actors.put(binding);
        }
        let actors = written_by.map_or_else(|| actors.clone().all(), |some| actors.of(some.iter()));
        let heads = replica.doc.get_heads().into_iter().map(Hash::from).collect();
        self.replicas.put(document, replica);
        let (institute, record, deleted) = (pull.institute, Some(record), false);
        Ok(link::Document { institute, document, record, chunks, heads, actors, deleted })
    }
}

/// The changes that are not ancestors of `have`, or the whole document when that is less; and the actors that wrote the
/// changes, none for all of the document's. What is too much for one answer is cut: the edge asks again, with what it has then.
fn chunks_beyond(doc: &Automerge, have: &[Hash]) -> (Vec<minicbor::bytes::ByteVec>, Option<Vec<ActorId>>) {
    let known: Vec<_> =
        have.iter().map(|hash| (*hash).into()).filter(|hash| replica::has_change(doc, hash)).collect();
    let bytes = |changes: &[Change]| changes.iter().map(|change| change.raw_bytes().len()).sum::<usize>();
    let lacking = (!known.is_empty()).then(|| doc.get_changes(&known));
    let changes = match lacking {
        Some(lacking) if bytes(&lacking) <= MAX_PULLED_BYTES => lacking,
        lacking => {
            // A document that was typed is several times smaller than its changes; of one that was pasted together there is nothing
            // to save, and to find that out costs the whole of it with each part.
            let pasted = |lacking: &Vec<Change>| bytes(lacking) > lacking.len() * PASTED_CHANGE_BYTES;
            let whole = if lacking.as_ref().is_some_and(pasted) { None } else { Some(doc.save()) };
            if let Some(whole) = whole.filter(|whole| whole.len() <= MAX_PULLED_BYTES) {
                return (vec![whole.into()], None);
            }
            let mut changes = lacking.unwrap_or_else(|| doc.get_changes(&[]));
            changes.truncate(first_part(&changes, MAX_PULLED_BYTES));
            changes
        }
    };
    let chunks = changes.iter().map(|change| change.raw_bytes().to_vec().into()).collect();
    (chunks, Some(changes.iter().map(|change| change.actor_id().clone()).collect()))
}

/// Refuses a token that was revoked.
fn admit(records: &dyn crate::store::Records, claims: &Claims) -> Result<(), DocumentError> {
    account_of::<DocumentError>(records, claims)?.map(drop).ok_or(DocumentError::Forbidden)
}

/// The document of a kind and subject, if it is there and the user may reach it.
fn registered(
    records: &dyn crate::store::Records,
    kind: Kind,
    subject: &str,
    user: &str,
) -> Result<Option<Registered>, DocumentError> {
    let Some(known) = records.document_by_subject(kind.as_str(), subject)? else { return Ok(None) };
    let member = Membership::load(records, user)?.ok_or(DocumentError::Forbidden)?;
    if member.access(&known.record) == Access::None {
        return Err(DocumentError::Forbidden);
    }
    let LoggedDocument { record, .. } = known;
    let DocumentRecord { document, kind, subject, batch, .. } = record;
    Ok(Some(Registered { document, kind, subject, batch }))
}

/// Makes the document of a kind and subject, of the newest version, with changes that every replica makes alike.
fn create(
    tx: &mut WriteTx<'_>,
    kind: Kind,
    subject: &str,
    (user, device): (&str, &str),
    now: i64,
) -> Result<Registered, DocumentError> {
    let document = DocumentId::from_bytes(*uuid::Uuid::new_v4().as_bytes());
    let batch = batch_of(tx, kind, subject)?;
    let owner = if kind == Kind::Planner { subject } else { user };
    let record = DocumentRecord {
        document,
        kind: kind.as_str().to_owned(),
        subject: subject.to_owned(),
        batch: batch.clone(),
        owner: owner.to_owned(),
    };
    let member = Membership::load(tx.records(), user)?.ok_or(DocumentError::Forbidden)?;
    // To read is enough: a student may open the notes of a class before the teacher has. A guardian makes nothing.
    if member.access(&record) == Access::None || member.entry.role == Role::Guardian {
        return Err(DocumentError::Forbidden);
    }
    let own = own_changes(kind, document);
    let changes: Vec<ChangeRow> =
        own.iter().map(|change| push::migration_row(change, (user, device), now)).collect();
    // Each depends on the one before it.
    let heads = own.last().map(|change| vec![hex::encode(change.hash().0)]).ok_or(KindError)?;
    if !tx.add_document(&NewDocument { record, created_at: now })? {
        return Err(DocumentError::Raced(document));
    }
    if !tx.append_changes(document, 0, &changes, &heads)? {
        return Err(DocumentError::Raced(document));
    }
    tx.touch_document(document, heads);
    tx.touch(batch.as_deref().map_or_else(|| tag::user(owner), tag::batch));
    Ok(Registered { document, kind: kind.as_str().to_owned(), subject: subject.to_owned(), batch })
}

/// The batch that a subject belongs to; fails when the institute has no such subject.
fn batch_of(tx: &WriteTx<'_>, kind: Kind, subject: &str) -> Result<Option<String>, DocumentError> {
    let unknown = |what| DocumentError::UnknownSubject { what, subject: subject.to_owned() };
    match kind {
        Kind::Attendance | Kind::Notes => {
            let class = tx.class(subject)?.ok_or_else(|| unknown("class"))?;
            Ok(Some(class.batch))
        }
        Kind::Doubt => {
            let (batch, name) = subject.split_once('/').unwrap_or((subject, ""));
            if name.is_empty() {
                return Err(DocumentError::Subject("not BATCH/NAME"));
            }
            if !tx.batch_exists(batch)? {
                return Err(unknown("batch"));
            }
            Ok(Some(batch.to_owned()))
        }
        Kind::Planner => {
            tx.account(subject)?.ok_or_else(|| unknown("user"))?;
            Ok(None)
        }
        Kind::Private => Err(KindError.into()),
    }
}

/// What the rules of access need to know of a user, as the store knows it now.
struct Membership {
    entry: DirectoryEntry,
    children: Vec<DirectoryEntry>,
}

impl Membership {
    /// None for somebody who is not of the institute, or not any more.
    fn load(records: &dyn crate::store::Records, user: &str) -> Result<Option<Self>, StoreError> {
        let Some(entry) = records.directory_entry(user)?.filter(|entry| entry.active) else {
            return Ok(None);
        };
        let children = entry.guardian_of.iter().map(|student| records.directory_entry(student));
        let children = children.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        Ok(Some(Self { entry, children }))
    }

    fn access(&self, record: &DocumentRecord) -> Access {
        let child = |student: &str| self.children.iter().find(|child| child.user == student);
        directory::access(record, &self.entry, child)
    }
}
