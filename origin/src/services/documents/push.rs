//! The way of pushed changes: gate, merge, log, projection, all of a push in one transaction.

use super::projection::{self, Sheet};
use super::races::retried;
use super::replica::{Replica, Replicas, has_change, hex_heads};
use super::{DocumentError, Membership, ORIGIN, gate, quarantine, succession};
use crate::clock::unix_ms;
use crate::store::{Carried, ChangeRow, NewDocument, QuarantineRow, Store, StoreError, Succession, WriteTx};
use automerge::{Change, ChangeHash};
use std::collections::{BTreeMap, HashMap, HashSet, btree_map, hash_map};
use std::panic::{AssertUnwindSafe, catch_unwind};
use sync_protocol::actor::{Actors, Binding, Bringer};
use sync_protocol::directory::DirectoryEntry;
use sync_protocol::document_id::DocumentId;
use sync_protocol::document_limits::{DocumentLimits, KindLimits};
use sync_protocol::kind::versions::{self, is_own};
use sync_protocol::kind::{Access, DELETED, Kind};
use sync_protocol::link::{DocumentRecord, Push, PushItem, Pushed, Refused};
use sync_protocol::rules::{self, Writer};
use sync_protocol::token::Role;

/// What is known before any change is looked at.
struct Known {
    /// Whether there is such an institute.
    institute: bool,
    documents: HashMap<DocumentId, Option<(DocumentRecord, bool)>>,
    deleted: HashSet<DocumentId>,
    members: HashMap<String, Option<Membership>>,
}

/// The work on one document of a push.
pub(super) struct Work {
    pub(super) record: DocumentRecord,
    /// Not in the store yet.
    pub(super) new: bool,
    pub(super) replica: Replica,
    pub(super) actors: Actors,
    /// What is new of them.
    bound: Vec<Binding>,
    pub(super) accepted: Vec<(u64, Change, ChangeRow)>,
    /// Hashes of `accepted`.
    hashes: HashSet<ChangeHash>,
    /// How many of `accepted` are in the replica.
    applied: usize,
    /// What continues it, when its history was cut.
    pub(super) succession: Option<Succession>,
    /// How many of `accepted` were carried over.
    pub(super) carried: usize,
    pub(super) mirrors: HashMap<ChangeHash, Carried>,
    /// Of them those that the store has not.
    pub(super) newly_carried: Vec<Carried>,
}

/// One document's part of the transaction.
pub(super) struct Append {
    record: DocumentRecord,
    new: bool,
    bound: Vec<Binding>,
    /// Position of the last change before these.
    after: u64,
    changes: Vec<ChangeRow>,
    heads: Vec<String>,
    snapshot: Option<(u64, Vec<u8>)>,
    sheet: Option<Sheet>,
    carried: Vec<Carried>,
}

/// Where a push is merged.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) store: &'a Store,
    pub(super) replicas: &'a Replicas,
    pub(super) institute: &'a str,
    pub(super) edge: &'a str,
    pub(super) now: i64,
}

impl Place<'_> {
    /// The document as the log has it.
    fn replica(self, document: DocumentId, new: bool) -> Result<Replica, DocumentError> {
        if new { Ok(Replica::empty()) } else { self.replicas.take(self.store, self.institute, document) }
    }
}

/// Merges a push. Blocks; the caller has the institute's turn.
///
/// No lock is held while changes are merged: when another process has appended to one of the documents meanwhile,
/// nothing is written, and the push is merged anew with what that process wrote.
pub(super) fn merge(
    store: &Store,
    replicas: &Replicas,
    edge: &str,
    push: Push,
) -> Result<Pushed, DocumentError> {
    let Push { institute, log, items } = push;
    let merged = merge_items(store, replicas, edge, (&institute, Some(&log)), &items)?;
    Ok(Pushed { institute, log, acknowledged: merged.acknowledged, refused: merged.refused })
}

/// What is refused, with the sequence numbers by which the edge knows it.
type Refusals = Vec<(u64, QuarantineRow)>;

/// What came of a merge.
pub(super) struct Merged {
    acknowledged: u64,
    refused: Vec<Refused>,
}

/// Merges items of an institute, and notes how far `log` has come if they are of one.
pub(super) fn merge_items(
    store: &Store,
    replicas: &Replicas,
    edge: &str,
    from: (&str, Option<&str>),
    items: &[PushItem],
) -> Result<Merged, DocumentError> {
    retried(|| merge_once(store, replicas, edge, from, items.to_vec()))
}

fn merge_once(
    store: &Store,
    replicas: &Replicas,
    edge: &str,
    (institute, log): (&str, Option<&str>),
    items: Vec<PushItem>,
) -> Result<Merged, DocumentError> {
    let last = items.iter().map(|item| item.sequence).max().unwrap_or(0);
    let known = load_known(store, institute, &items)?;
    let place = Place { store, replicas, institute, edge, now: unix_ms() };
    let TakenIn { mut works, refused, unread } = take_in(place, &known, items)?;
    let (mut appends, mut moved) = (Vec::new(), Vec::new());
    for work in works.values_mut() {
        if let Some((_, _, last)) = work.accepted.last() {
            // Whoever writes to an old document makes it a new one.
            let (user, device) = (last.user.clone(), last.device.clone());
            work.migrate(place.now, (&user, &device))?;
            appends.push(append(work));
        } else if !work.new {
            // Only whose they are is news.
            let bound = std::mem::take(&mut work.bound);
            moved.extend(bound.into_iter().map(|binding| (work.record.document, binding)));
        }
    }
    let answer: Vec<Refused> = refused
        .iter()
        .map(|(sequence, row)| Refused {
            sequence: *sequence,
            document: row.document,
            code: row.code.clone(),
        })
        .collect();
    let committed = {
        let (log, edge) = (log.map(str::to_owned), edge.to_owned());
        let registered = known.institute;
        store.write_blocking::<_, DocumentError, _>(institute, move |tx| {
            commit(tx, &appends)?;
            for (document, binding) in &moved {
                tx.put_binding(*document, binding)?;
            }
            // Of an unknown institute there is nobody to look at them.
            if registered {
                quarantine::keep(tx, refused.iter().map(|(_, row)| row).chain(&unread))?;
            }
            // An unknown institute has no log to keep the position in; its items are refused each time.
            let Some(log) = log else { return Ok(last) };
            if registered {
                tx.acknowledge(&log, &edge, last)?;
            }
            tx.acknowledged(&log)
                .map(|acknowledged| acknowledged.max(if registered { 0 } else { last }))
                .map_err(DocumentError::from)
        })?
    };
    // Only now do the replicas hold what the log holds; before, an error drops them.
    for (document, work) in works {
        if !work.new || !work.accepted.is_empty() {
            replicas.put(document, work.replica);
        }
    }
    Ok(Merged { acknowledged: committed.value, refused: answer })
}

/// What came of the items of a push.
struct TakenIn {
    works: BTreeMap<DocumentId, Work>,
    refused: Refusals,
    /// Of documents that cannot be read here. They are kept for an admin, and not refused to the edge: what it has may be the last
    /// good copy.
    unread: Vec<QuarantineRow>,
}

/// The code under which changes of a document are kept that cannot be read here.
const DAMAGED: &str = "document-damaged";

/// Takes in what can be taken, and gives what cannot.
fn take_in(place: Place<'_>, known: &Known, items: Vec<PushItem>) -> Result<TakenIn, DocumentError> {
    let (mut works, mut refused, mut unread) = (BTreeMap::new(), Vec::new(), Vec::new());
    for item in items {
        let document = item.document;
        let admitted = match admit(place, known, &mut works, &item) {
            // It must not hold back all others.
            Err(error @ DocumentError::Damaged { .. }) => {
                tracing::error!(%error, %document, "push");
                unread.push(refuse(place, item, DAMAGED).1);
                continue;
            }
            admitted => admitted?,
        };
        if let Err(code) = admitted {
            refused.push(refuse(place, item, code));
        } else if let Some(work) = works.get_mut(&document).filter(|work| rules::has_rules(&work.record)) {
            // The rules look at the document as it is with all changes before.
            apply(place, work, &mut refused)?;
        }
    }
    for work in works.values_mut() {
        apply(place, work, &mut refused)?;
    }
    succession::carry_over(place, &mut works)?;
    Ok(TakenIn { works, refused, unread })
}

fn load_known(store: &Store, institute: &str, items: &[PushItem]) -> Result<Known, StoreError> {
    store.read_blocking(institute, |records| {
        let mut known = Known {
            institute: records.institute()?.is_some(),
            documents: HashMap::new(),
            deleted: HashSet::new(),
            members: HashMap::new(),
        };
        for item in items {
            if let hash_map::Entry::Vacant(unknown) = known.documents.entry(item.document) {
                let found = records.document_anywhere(item.document)?;
                unknown.insert(found.map(|found| (found.record, found.institute == institute)));
                if records.is_deleted(item.document)? {
                    known.deleted.insert(item.document);
                }
            }
            if let hash_map::Entry::Vacant(unknown) = known.members.entry(item.user.clone()) {
                unknown.insert(Membership::load(records, &item.user)?);
            }
        }
        Ok(known)
    })
}

/// Checks one item and adds it to its document's work. The inner error is the code of the refusal.
fn admit(
    place: Place<'_>,
    known: &Known,
    works: &mut BTreeMap<DocumentId, Work>,
    item: &PushItem,
) -> Result<Result<(), &'static str>, DocumentError> {
    if !known.institute {
        return Ok(Err("unknown-institute"));
    }
    if known.deleted.contains(&item.document) {
        return Ok(Err(DELETED));
    }
    let Some(member) = known.members.get(&item.user).and_then(Option::as_ref) else {
        return Ok(Err("unknown-user"));
    };
    let record = match known.documents.get(&item.document) {
        // A foreign document is refused in the words of one that the user may not reach.
        Some(Some((_, false))) => return Ok(Err("forbidden")),
        Some(Some((record, true))) => record.clone(),
        Some(None) | None => match works.get(&item.document) {
            Some(work) => work.record.clone(),
            None => private(item),
        },
    };
    let change = match gate::decode(&item.bytes) {
        Ok(change) => change,
        Err(code) => return Ok(Err(code)),
    };
    let work = match works.entry(item.document) {
        btree_map::Entry::Occupied(entry) => entry.into_mut(),
        btree_map::Entry::Vacant(entry) => {
            let new = !matches!(known.documents.get(&item.document), Some(Some(_)));
            entry.insert(Work::open(place, record, new)?)
        }
    };
    // A reader's device may bring what the document has, its first change above all: nothing is written by that.
    if work.holds(&change.hash()) {
        work.bound.extend(work.actors.hear_again(change.actor_id(), bringer(item)));
        return Ok(Ok(()));
    }
    // What the kind itself changes is the same whoever brings it, and others' changes may depend on it.
    let own = work.record.kind.parse().is_ok_and(|kind| is_own(kind, item.document, &change, u32::MAX));
    if !own && member.access(&work.record) != Access::Write {
        return Ok(Err("forbidden"));
    }
    if let Err(code) = work.actors.check(item.document, change.actor_id(), bringer(item)) {
        return Ok(Err(code));
    }
    if !own && let Err(code) = work.check_size(work.limits(), &change) {
        return Ok(Err(code));
    }
    if work.complete(&change)
        && let Err(code) = judge(place, work, &change, &member.entry)
    {
        return Ok(Err(code));
    }
    Ok(work.admit(item, change, place))
}

/// What the rules of the document's kind say against a change whose dependencies the replica has.
pub(super) fn judge(
    place: Place<'_>,
    work: &Work,
    change: &Change,
    by: &DirectoryEntry,
) -> Result<(), &'static str> {
    let writer = Writer { user: &by.user, moderates: matches!(by.role, Role::Teacher | Role::Admin) };
    let studies = |user: &str, batch: &str| {
        let entry = place
            .store
            .read_blocking::<_, StoreError>(place.institute, |records| records.directory_entry(user));
        // A mark that passes here for want of an answer is looked at again by the projection.
        let entry = entry.ok()??;
        Some(entry.role == Role::Student && entry.batches.iter().any(|own| own == batch))
    };
    rules::check(&work.replica.doc, &work.record, change, writer, studies)
}

fn bringer(item: &PushItem) -> Bringer<'_> {
    Bringer { user: &item.user, device: &item.device, at: item.logged_at }
}

/// The record of a document that a client brought without registration.
fn private(item: &PushItem) -> DocumentRecord {
    DocumentRecord {
        document: item.document,
        kind: Kind::Private.as_str().to_owned(),
        subject: item.document.to_string(),
        batch: None,
        owner: item.user.clone(),
    }
}

impl Work {
    pub(super) fn open(place: Place<'_>, record: DocumentRecord, new: bool) -> Result<Self, DocumentError> {
        let document = record.document;
        let replica = place.replica(document, new)?;
        let mut actors = Actors::default();
        // Read each time: another process may have bound some, or cut the document.
        let (bindings, succession) =
            place.store.read_blocking::<_, StoreError>(place.institute, |records| {
                Ok((records.bindings(document)?, records.succession(document)?))
            })?;
        for binding in bindings {
            actors.put(binding);
        }
        Ok(Self {
            record,
            new,
            replica,
            actors,
            bound: Vec::new(),
            accepted: Vec::new(),
            hashes: HashSet::new(),
            applied: 0,
            succession,
            carried: 0,
            mirrors: HashMap::new(),
            newly_carried: Vec::new(),
        })
    }

    /// Whether the change is in the document or will be with this push.
    pub(super) fn holds(&self, hash: &ChangeHash) -> bool {
        self.hashes.contains(hash) || has_change(&self.replica.doc, hash)
    }

    /// What devices may bring the document to.
    pub(super) fn limits(&self) -> DocumentLimits {
        KindLimits::default().of_document(Some(&self.record))
    }

    /// Whether there is room for one change more within limits.
    pub(super) fn check_size(&self, limits: DocumentLimits, change: &Change) -> Result<(), &'static str> {
        limits.check(self.replica.size(self.accepted.len()), change.raw_bytes().len())
    }

    pub(super) fn complete(&self, change: &Change) -> bool {
        change.deps().iter().all(|dep| self.holds(dep))
    }

    pub(super) fn admit(
        &mut self,
        item: &PushItem,
        change: Change,
        place: Place<'_>,
    ) -> Result<(), &'static str> {
        let hash = change.hash();
        if !self.complete(&change) {
            return Err("missing-dependency");
        }
        let Replica { counters, doc, .. } = &mut self.replica;
        counters.check(doc, &change)?;
        self.replica.admit(&change);
        self.bound.extend(self.actors.bind(self.record.document, change.actor_id(), bringer(item)));
        let row = ChangeRow {
            hash: hash.0,
            bytes: item.bytes.to_vec(),
            user: item.user.clone(),
            device: item.device.clone(),
            edge: place.edge.to_owned(),
            received_at: place.now,
        };
        self.hashes.insert(hash);
        self.accepted.push((item.sequence, change, row));
        Ok(())
    }

    /// Brings the document up to the newest version of its kind.
    pub(super) fn migrate(&mut self, now: i64, by: (&str, &str)) -> Result<(), DocumentError> {
        let document = self.record.document;
        let Ok(kind) = self.record.kind.parse::<Kind>() else { return Ok(()) };
        for change in versions::migrate(&self.replica.doc, kind, document) {
            let Replica { counters, doc, .. } = &mut self.replica;
            if let Err(code) = counters.check(doc, &change) {
                // Somebody wrote under its actor before that was forbidden. The document works as it is.
                tracing::warn!(%document, code, "a document cannot be migrated");
                break;
            }
            self.replica.admit(&change);
            self.hashes.insert(change.hash());
            self.accepted.push((0, change.clone(), migration_row(&change, by, now)));
            let damaged = |source| DocumentError::Damaged { document, source: Box::new(source) };
            self.replica.doc.apply_changes([change]).map_err(damaged)?;
            self.applied = self.accepted.len();
        }
        Ok(())
    }
}

/// A change that the origin itself makes, on behalf of somebody.
pub(super) fn migration_row(change: &Change, (user, device): (&str, &str), now: i64) -> ChangeRow {
    ChangeRow {
        hash: change.hash().0,
        bytes: change.raw_bytes().to_vec(),
        user: user.to_owned(),
        device: device.to_owned(),
        edge: ORIGIN.to_owned(),
        received_at: now,
    }
}

/// Merges the accepted changes into the replica. When they do not go in together, they go in one by one, and those
/// that the merge refuses leave `accepted`.
pub(super) fn apply(place: Place<'_>, work: &mut Work, refused: &mut Refusals) -> Result<(), DocumentError> {
    let changes: Vec<Change> =
        work.accepted[work.applied..].iter().map(|(_, change, _)| change.clone()).collect();
    if changes.is_empty() || merged(&mut work.replica, changes) {
        work.applied = work.accepted.len();
        return Ok(());
    }
    let document = work.record.document;
    let new = work.new;
    let reload = || place.replica(document, new);
    let mut replica = reload()?;
    let mut kept: Vec<(u64, Change, ChangeRow)> = Vec::new();
    for (sequence, change, row) in std::mem::take(&mut work.accepted) {
        let complete = change.deps().iter().all(|dep| has_change(&replica.doc, dep));
        if complete && merged(&mut replica, vec![change.clone()]) {
            replica.admit(&change);
            kept.push((sequence, change, row));
            continue;
        }
        let code = if complete { "merge-refused" } else { "missing-dependency" };
        let (user, device, bytes) = (row.user, row.device, row.bytes.into());
        let item = PushItem { sequence, document, user, device, bytes, logged_at: 0 };
        refused.push(refuse(place, item, code));
        // A change that failed half way may have left traces.
        replica = reload()?;
        let again = kept.iter().map(|(_, change, _)| change.clone()).collect();
        if !merged(&mut replica, again) {
            return Err(DocumentError::Panicked);
        }
        kept.iter().for_each(|(_, change, _)| replica.admit(change));
    }
    work.hashes = kept.iter().map(|(_, change, _)| change.hash()).collect();
    work.applied = kept.len();
    work.accepted = kept;
    work.replica = replica;
    Ok(())
}

/// Applies the changes; false when the merge fails, panics or leaves one of them waiting.
fn merged(replica: &mut Replica, changes: Vec<Change>) -> bool {
    let hashes: Vec<ChangeHash> = changes.iter().map(Change::hash).collect();
    let applied = catch_unwind(AssertUnwindSafe(|| replica.doc.apply_changes(changes)));
    matches!(applied, Ok(Ok(()))) && hashes.iter().all(|hash| has_change(&replica.doc, hash))
}

pub(super) fn append(work: &mut Work) -> Append {
    let changes: Vec<ChangeRow> = work.accepted.iter().map(|(_, _, row)| row.clone()).collect();
    let bytes = changes.iter().map(|row| row.bytes.len()).sum();
    let after = work.replica.changes;
    let snapshot = work.replica.grow(changes.len() as u64, bytes);
    // Rows follow the document that is written on.
    let goes_on = work.succession.is_none();
    Append {
        record: work.record.clone(),
        new: work.new,
        bound: std::mem::take(&mut work.bound),
        after,
        heads: hex_heads(&work.replica.doc),
        snapshot: snapshot.map(|saved| (work.replica.changes, saved)),
        sheet: Sheet::of(&work.record, &work.replica.doc).filter(|_| goes_on),
        carried: std::mem::take(&mut work.newly_carried),
        changes,
    }
}

fn refuse(place: Place<'_>, item: PushItem, code: &'static str) -> (u64, QuarantineRow) {
    tracing::info!(document = %item.document, user = item.user, device = item.device, code, "change refused");
    let PushItem { sequence, document, user, device, bytes, logged_at: _ } = item;
    let hash = gate::hash_of(&bytes);
    let (bytes, code, edge) = (bytes.into(), code.to_owned(), place.edge.to_owned());
    let refused_at = place.now;
    (sequence, QuarantineRow { document, hash, user, device, edge, code, bytes, refused_at })
}

pub(super) fn commit(tx: &mut WriteTx<'_>, appends: &[Append]) -> Result<(), DocumentError> {
    let now = unix_ms();
    for append in appends {
        let document = append.record.document;
        if append.new && !tx.add_document(&NewDocument { record: append.record.clone(), created_at: now })? {
            return Err(DocumentError::Raced(document));
        }
        if !tx.append_changes(document, append.after, &append.changes, &append.heads)? {
            return Err(DocumentError::Raced(document));
        }
        if let Some((position, saved)) = &append.snapshot {
            tx.put_snapshot(document, *position, saved)?;
        }
        for binding in &append.bound {
            tx.put_binding(document, binding)?;
        }
        for carried in &append.carried {
            tx.put_carried(document, carried)?;
        }
        // They may have been refused where they first came.
        let hashes: Vec<[u8; 32]> = append.changes.iter().map(|change| change.hash).collect();
        tx.settle_arrived(document, &hashes, now)?;
        tx.touch_document(document, append.heads.clone());
        if let Some(sheet) = &append.sheet {
            projection::project_attendance(tx, &append.record, sheet)?;
        }
    }
    Ok(())
}
