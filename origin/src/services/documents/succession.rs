//! The cutting of a document's history at an agreed point, and what comes late.
//!
//! The successor begins with the first change that every replica makes, and one of the origin that says what the old document
//! said at the agreed heads. All that the old document has beyond those heads, and all that it still gets, is carried over: what
//! a change made of the old document is made of the successor, forked where the mirror of what the change stands on is. So two
//! late changes that did not know of each other do not in the successor either. What was carried is written down in the
//! transaction that appends it: each change once.

use super::mirror::mirror;
use super::push::{self, Place, Work};
use super::races::retried;
use super::{DocumentError, DocumentService, ORIGIN};
use crate::clock::unix_ms;
use crate::store::{AuditEntry, Carried, StoreError, Succession, WriteTx};
use automerge::transaction::{CommitOptions, Transactable as _};
use automerge::{ActorId, Automerge, AutomergeError, Change, ChangeHash, ROOT, ReadDoc as _};
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use sync_protocol::document_id::DocumentId;
use sync_protocol::gate::MAX_OPERATIONS;
use sync_protocol::kind::versions::{newest_migration, own_changes};
use sync_protocol::kind::{Kind, SUCCESSOR};
use sync_protocol::link::{DocumentRecord, PushItem};
use sync_protocol::tag;
use sync_protocol::token::Claims;
use utoipa::ToSchema;

/// Heads that may be named as the agreed point: as many devices may have written at once.
const MAX_AGREED_HEADS: usize = 64;

/// Where the history of a document was cut, and what continues it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Cut {
    #[schema(value_type = String)]
    document: DocumentId,
    #[schema(value_type = String)]
    successor: DocumentId,
    /// Whether it was cut by this request.
    cut: bool,
}

/// Consecutive changes of one writer, each upon the one before, in the old document.
struct Run {
    changes: Vec<Change>,
    user: String,
    device: String,
}

impl Run {
    fn last(&self) -> &Change {
        self.changes.last().expect("a run begins with a change")
    }

    fn continues_with(&self, change: &Change, user: &str, device: &str) -> bool {
        let last = self.last();
        self.user == user
            && self.device == device
            && last.actor_id() == change.actor_id()
            && change.deps() == [last.hash()]
    }
}

fn runs<'a>(changes: impl Iterator<Item = (&'a Change, &'a str, &'a str)>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (change, user, device) in changes {
        match runs.last_mut() {
            Some(run) if run.continues_with(change, user, device) => run.changes.push(change.clone()),
            Some(_) | None => runs.push(Run {
                changes: vec![change.clone()],
                user: user.to_owned(),
                device: device.to_owned(),
            }),
        }
    }
    runs
}

/// Carries what the works of a push have taken into documents that were cut over into their successors, which may have been cut
/// themselves.
pub(super) fn carry_over(
    place: Place<'_>,
    works: &mut BTreeMap<DocumentId, Work>,
) -> Result<(), DocumentError> {
    let mut next: Vec<DocumentId> = works.keys().copied().collect();
    while let Some(document) = next.pop() {
        let Some(mut old) = works.remove(&document) else { continue };
        if let Some(successor) = old.succession.as_ref().map(|succession| succession.successor)
            && old.uncarried() > 0
        {
            let mut new = match works.remove(&successor) {
                Some(work) => work,
                None => open(place, successor)?,
            };
            carry(place, &mut old, &mut new)?;
            works.insert(successor, new);
            next.push(successor);
        }
        works.insert(document, old);
    }
    Ok(())
}

fn open(place: Place<'_>, document: DocumentId) -> Result<Work, DocumentError> {
    let record =
        place.store.read_blocking::<_, StoreError>(place.institute, |records| records.document(document))?;
    // Where the successor was deleted, the old document was too, between two looks at the store.
    Work::open(place, record.ok_or(DocumentError::Raced(document))?, false)
}

/// Carries what `old` has taken since it last was.
fn carry(place: Place<'_>, old: &mut Work, new: &mut Work) -> Result<(), DocumentError> {
    let late = &old.accepted[old.accepted.len() - old.uncarried()..];
    if let Some((_, _, first)) = late.first() {
        new.migrate(place.now, (&first.user, &first.device))?;
    }
    let runs = runs(late.iter().map(|(_, change, row)| (change, row.user.as_str(), row.device.as_str())));
    for run in runs {
        carry_run(place, old, new, &run)?;
    }
    old.carried = old.accepted.len();
    Ok(())
}

fn carry_run(place: Place<'_>, old: &mut Work, new: &mut Work, run: &Run) -> Result<(), DocumentError> {
    let (document, successor) = (old.record.document, new.record.document);
    let succession = old.succession.clone().ok_or(DocumentError::Raced(document))?;
    let stands_on = old.mirrors_of(place, run.changes[0].deps())?;
    let mut after: Vec<ChangeHash> = succession.heads.iter().map(|hash| ChangeHash(*hash)).collect();
    after.extend(stands_on.values().map(|carried| ChangeHash(carried.upto)));
    after.push(run.last().hash());
    let mut base: Vec<ChangeHash> =
        stands_on.values().map(|carried| ChangeHash(carried.carried_as)).collect();
    if base.is_empty() {
        base.push(ChangeHash(succession.first));
    }
    // What a later version has added there is not to be made a second time.
    let kind = new.record.kind.parse::<Kind>().ok();
    base.extend(kind.and_then(|kind| newest_migration(kind, successor)).filter(|hash| new.holds(hash)));
    base.sort_unstable();
    base.dedup();

    let damaged = |document| move |source| DocumentError::Damaged { document, source: Box::new(source) };
    let source = old.replica.doc.fork_at(&after).map_err(damaged(document))?;
    let mut target = new.replica.doc.fork_at(&base).map_err(damaged(successor))?;
    let made = write(&source, &mut target, successor, run.last().timestamp()).map_err(damaged(successor))?;
    let (carried_as, upto) = (made.hash().0, run.last().hash().0);
    add(place, new, made, &run.user, &run.device)?;
    for change in &run.changes {
        let row = Carried { hash: change.hash().0, upto, carried_as };
        old.mirrors.insert(change.hash(), row.clone());
        old.newly_carried.push(row);
    }
    Ok(())
}

/// Makes a fork say what the source says, in one change: an empty one where it says so already.
fn write(
    source: &Automerge,
    target: &mut Automerge,
    document: DocumentId,
    time: i64,
) -> Result<Change, AutomergeError> {
    let options = || CommitOptions::default().with_time(time);
    let mut tx = target.transaction();
    mirror(source, &mut tx, document)?;
    let (made, _) = tx.commit_with(options());
    let hash = match made {
        Some(hash) => hash,
        None => target.empty_commit(options()),
    };
    target.get_change_by_hash(&hash).ok_or(AutomergeError::MissingHash(hash))
}

/// Puts a change of the origin's making into a document, under a user's name.
fn add(
    place: Place<'_>,
    work: &mut Work,
    change: Change,
    user: &str,
    device: &str,
) -> Result<(), DocumentError> {
    let (document, bytes) = (work.record.document, change.raw_bytes().to_vec().into());
    let logged_at = place.now.unsigned_abs();
    let (user, device) = (user.to_owned(), device.to_owned());
    let item = PushItem { sequence: 0, document, user, device, bytes, logged_at };
    work.admit(&item, change, place).map_err(DocumentError::NotCarried)?;
    let mut refused = Vec::new();
    push::apply(place, work, &mut refused)?;
    match refused.first() {
        Some(_) => Err(DocumentError::NotCarried("merge-refused")),
        None => Ok(()),
    }
}

impl Work {
    /// How many of the accepted changes are not carried over yet.
    fn uncarried(&self) -> usize {
        self.accepted.len() - self.carried
    }

    /// Of changes that came after the cut: what they were carried over as.
    fn mirrors_of(
        &self,
        place: Place<'_>,
        changes: &[ChangeHash],
    ) -> Result<HashMap<ChangeHash, Carried>, DocumentError> {
        let known = changes.iter().filter_map(|hash| Some((*hash, self.mirrors.get(hash)?.clone())));
        let mut mirrors: HashMap<ChangeHash, Carried> = known.collect();
        let document = self.record.document;
        let unknown: Vec<[u8; 32]> =
            changes.iter().filter(|hash| !mirrors.contains_key(hash)).map(|hash| hash.0).collect();
        let stored = place
            .store
            .read_blocking::<_, StoreError>(place.institute, |records| records.carried(document, &unknown))?;
        mirrors.extend(stored.into_iter().map(|carried| (ChangeHash(carried.hash), carried)));
        Ok(mirrors)
    }
}

impl DocumentService {
    /// Cuts the history of a document at the agreed heads. Who asks again for the same hears the same.
    pub(crate) async fn cut_history(
        &self,
        admin: &Claims,
        document: DocumentId,
        heads: Vec<[u8; 32]>,
    ) -> Result<Cut, DocumentError> {
        if heads.is_empty() || heads.len() > MAX_AGREED_HEADS {
            return Err(DocumentError::Heads("not 1 to 64 hashes"));
        }
        let (service, admin) = (self.clone(), admin.clone());
        let turn = self.turns.take(&admin.inst).await;
        let cut = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            retried(|| service.cut_blocking(&admin, document, &heads))
        });
        cut.await.unwrap_or(Err(DocumentError::Panicked))
    }

    fn cut_blocking(
        &self,
        admin: &Claims,
        document: DocumentId,
        agreed: &[[u8; 32]],
    ) -> Result<Cut, DocumentError> {
        let mut heads = agreed.to_vec();
        heads.sort_unstable();
        heads.dedup();
        let record = self
            .store
            .read_blocking::<_, StoreError>(&admin.inst, |records| records.document(document))?
            .ok_or(DocumentError::NoDocument)?;
        let now = unix_ms();
        let place =
            Place { store: &self.store, replicas: &self.replicas, institute: &admin.inst, edge: ORIGIN, now };
        let mut old = Work::open(place, record.clone(), false)?;
        if let Some(known) = &old.succession {
            let cut = Cut { document, successor: known.successor, cut: false };
            let same = known.heads == heads;
            self.replicas.put(document, old.replica);
            return if same { Ok(cut) } else { Err(DocumentError::AlreadyCut(cut.successor)) };
        }
        if !heads.iter().all(|hash| old.holds(&ChangeHash(*hash))) {
            self.replicas.put(document, old.replica);
            return Err(DocumentError::Heads("not of changes that the document has"));
        }
        let (mut new, succession) = succeed(place, admin, &old, heads)?;
        old.succession = Some(succession.clone());
        carry_beyond(place, admin, &mut old, &mut new)?;
        mark(place, admin, &mut old, &mut new)?;

        let appends = [push::append(&mut new), push::append(&mut old)];
        let (by, successor) = (admin.clone(), succession.successor);
        self.store.write_blocking::<_, DocumentError, _>(&admin.inst, move |tx| {
            if !tx.succeed_document(document, &succession)? {
                return Err(DocumentError::Raced(document));
            }
            push::commit(tx, &appends)?;
            tx.touch(record.batch.as_deref().map_or_else(|| tag::user(&record.owner), tag::batch));
            Ok(audit(tx, &by, document, &succession)?)
        })?;
        self.replicas.put(document, old.replica);
        self.replicas.put(successor, new.replica);
        tracing::info!(%document, %successor, admin = admin.sub, "history cut");
        Ok(Cut { document, successor, cut: true })
    }
}

/// Makes the successor, which says what the old document said at the agreed heads.
fn succeed(
    place: Place<'_>,
    admin: &Claims,
    old: &Work,
    heads: Vec<[u8; 32]>,
) -> Result<(Work, Succession), DocumentError> {
    let document = old.record.document;
    let damaged = |source| DocumentError::Damaged { document, source: Box::new(source) };
    let successor = DocumentId::from_bytes(*uuid::Uuid::new_v4().as_bytes());
    let record = DocumentRecord { document: successor, ..old.record.clone() };
    let kind = record.kind.parse::<Kind>();
    let mut new = Work::open(place, record, true)?;
    // A new document is of the newest version.
    for change in kind.map_or_else(|_| Vec::new(), |kind| own_changes(kind, successor)) {
        add(place, &mut new, change, &admin.sub, &admin.dev)?;
    }
    let agreed: Vec<ChangeHash> = heads.iter().map(|hash| ChangeHash(*hash)).collect();
    let source = old.replica.doc.fork_at(&agreed).map_err(damaged)?;
    let mut target = new.replica.doc.fork().with_actor(ActorId::random());
    let made = write(&source, &mut target, successor, place.now / 1_000).map_err(damaged)?;
    // What devices may bring in one change; edges and devices take no more at once.
    if made.len() > MAX_OPERATIONS as usize {
        return Err(DocumentError::TooLargeToCut(made.len()));
    }
    let first = made.hash().0;
    add(place, &mut new, made, &admin.sub, &admin.dev)?;
    Ok((new, Succession { successor, heads, first }))
}

/// Carries what the document has beyond the agreed heads already, under the names of those who wrote it.
fn carry_beyond(
    place: Place<'_>,
    admin: &Claims,
    old: &mut Work,
    new: &mut Work,
) -> Result<(), DocumentError> {
    let Some(succession) = &old.succession else { return Ok(()) };
    let agreed: Vec<ChangeHash> = succession.heads.iter().map(|hash| ChangeHash(*hash)).collect();
    let beyond = old.replica.doc.get_changes(&agreed);
    let writers: Vec<(String, String)> = beyond
        .iter()
        .map(|change| match old.actors.of(std::iter::once(change.actor_id())).pop() {
            Some(binding) => (binding.user, binding.device),
            // Of a time when nobody kept whose an actor is.
            None => (admin.sub.clone(), admin.dev.clone()),
        })
        .collect();
    let written = beyond.iter().zip(&writers);
    for run in runs(written.map(|(change, (user, device))| (change, user.as_str(), device.as_str()))) {
        carry_run(place, old, new, &run)?;
    }
    Ok(())
}

/// Says in the old document which one continues it: whoever reads it, by whatever client, can see so.
fn mark(place: Place<'_>, admin: &Claims, old: &mut Work, new: &mut Work) -> Result<(), DocumentError> {
    let document = old.record.document;
    let damaged = |source| DocumentError::Damaged { document, source: Box::new(source) };
    let mut fork = old.replica.doc.fork().with_actor(ActorId::random());
    let before = fork.get_heads();
    let mut tx = fork.transaction();
    tx.put(ROOT, SUCCESSOR, format!("automerge:{}", new.record.document)).map_err(damaged)?;
    tx.commit_with(CommitOptions::default().with_time(place.now / 1_000));
    for change in fork.get_changes(&before) {
        add(place, old, change, &admin.sub, &admin.dev)?;
    }
    carry(place, old, new)
}

fn audit(
    tx: &WriteTx<'_>,
    by: &Claims,
    document: DocumentId,
    succession: &Succession,
) -> Result<(), StoreError> {
    let heads: Vec<String> = succession.heads.iter().map(hex::encode).collect();
    tx.add_audit(&AuditEntry {
        record: Some(document.to_string()),
        after: Some(json!({"heads": heads, "successor": succession.successor.to_string()}).to_string()),
        revision: tx.revision_after()?,
        ..AuditEntry::of_act(by, "cut-history", "document")
    })
}
