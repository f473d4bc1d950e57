//! Versions of kinds: what each has added, and the change that brings a document from one to the next.
//!
//! A migration is one change that everybody makes alike, to the byte: its actor is the document's id and the version, its
//! time is 0, and it depends on the migration before it alone (the first on the document's first change). So replicas that
//! migrate apart, at whatever time and beside whatever edits, have made one change and not two. It only adds. Changes under
//! such an actor are these or none, and nobody else writes `version` ([`crate::rules`]).

use super::{Kind, genesis};
use crate::document_id::DocumentId;
use automerge::transaction::{CommitOptions, Transactable as _, Transaction};
use automerge::{ActorId, Automerge, AutomergeError, Change, ChangeHash, ObjId, ObjType, ROOT, ReadDoc as _};

/// Refuses a change that writes the version of a document, or under an actor of its kind's own, and is no migration that
/// this build knows.
pub const UNKNOWN_VERSION: &str = "unknown-version";
/// The field of the root that holds the version.
pub const VERSION: &str = "version";
/// Stands between the document's id and the version in a migration's actor.
const MARK: u8 = b'v';

type Step = fn(&mut Transaction<'_>) -> Result<(), AutomergeError>;

/// What each migration of a kind makes: the first one is to version 2.
fn steps(kind: Kind) -> &'static [Step] {
    match kind {
        Kind::Attendance => &[|tx| tx.put_object(ROOT, "remarks", ObjType::Map).map(drop)],
        Kind::Notes | Kind::Doubt | Kind::Planner | Kind::Private => &[],
    }
}

impl Kind {
    /// The newest version that this build knows.
    pub fn version(self) -> u32 {
        1 + steps(self).len() as u32
    }
}

/// The actor of the migration to a version.
pub fn migration_actor(document: DocumentId, version: u32) -> ActorId {
    ActorId::from([&document.as_bytes()[..], &[MARK], &version.to_be_bytes()].concat())
}

/// The version that an actor of the kind's own brings a document to; 1 for that of the first change.
fn version_of(document: DocumentId, actor: &ActorId) -> Option<u32> {
    match actor.to_bytes().strip_prefix(document.as_bytes().as_slice())? {
        [] => Some(1),
        [MARK, version @ ..] => version.try_into().ok().map(u32::from_be_bytes),
        _ => None,
    }
}

/// Whether the actor is nobody's: it makes the first change of the document, or a migration, of this or a later version.
pub fn is_own_actor(document: DocumentId, actor: &ActorId) -> bool {
    version_of(document, actor).is_some()
}

/// Whether this is the first change of such a document or one of its migrations, up to version `newest`.
pub fn is_own(kind: Kind, document: DocumentId, change: &Change, newest: u32) -> bool {
    let version = version_of(document, change.actor_id()).filter(|version| *version <= newest);
    let Some(at) = version.and_then(|version| version.checked_sub(1)) else { return false };
    let own = own_changes(kind, document);
    own.get(at as usize).is_some_and(|own| own.hash() == change.hash())
}

/// The first change of a document and all migrations, each behind the one before it. None of a private document.
pub fn own_changes(kind: Kind, document: DocumentId) -> Vec<Change> {
    let Some(first) = genesis(kind, document) else { return Vec::new() };
    let mut doc = Automerge::load(&first).expect("a document that was saved just now can be loaded");
    for (step, version) in steps(kind).iter().zip(2_u32..) {
        doc.set_actor(migration_actor(document, version));
        let mut tx = doc.transaction();
        // Signed, as in the first change.
        tx.put(ROOT, VERSION, i64::from(version)).expect("putting into the root never fails");
        step(&mut tx).expect("a migration fits what the one before it has made");
        tx.commit_with(CommitOptions::default().with_time(0));
    }
    doc.get_changes(&[])
}

/// The version that a document shows: the highest that its kind's own changes have brought it to, whether this build knows it
/// or not. None before the first change, of a private document, and where somebody has written over it when nobody forbade it.
pub fn version(doc: &Automerge, document: DocumentId) -> Option<u32> {
    // Concurrent values of others do not count.
    let written = doc.get_all(ROOT, VERSION).ok()?.into_iter();
    let own = written.filter_map(|(_, op)| match op {
        ObjId::Id(_, actor, _) => version_of(document, &actor),
        ObjId::Root => None,
    });
    own.max()
}

/// The changes that bring a document to the newest version, in their order; none when it is there, or is newer, or has no first
/// change of this kind.
pub fn migrate(doc: &Automerge, kind: Kind, document: DocumentId) -> Vec<Change> {
    let shown = version(doc, document);
    if shown.is_some_and(|version| version >= kind.version()) {
        return Vec::new();
    }
    let mut own = own_changes(kind, document);
    let has = |change: &&Change| doc.get_change_meta_by_hash(&change.hash()).is_some();
    match own.iter().take_while(has).count() {
        0 => Vec::new(),
        made => own.split_off(made),
    }
}

/// The last of the changes that [`migrate`] gives: whoever has it has the newest version. None of a kind that has never
/// changed.
pub fn newest_migration(kind: Kind, document: DocumentId) -> Option<ChangeHash> {
    if steps(kind).is_empty() {
        return None;
    }
    own_changes(kind, document).last().map(Change::hash)
}

/// The container that the kind itself has made in a field of the root, whatever else somebody has put there.
pub fn container(doc: &Automerge, document: DocumentId, field: &str) -> Option<ObjId> {
    let made = doc.get_all(ROOT, field).ok()?.into_iter();
    let mut own = made.filter(|(value, op)| match op {
        ObjId::Id(_, actor, _) => value.is_object() && is_own_actor(document, actor),
        ObjId::Root => false,
    });
    own.next().map(|(_, id)| id)
}

#[cfg(test)]
mod tests;
