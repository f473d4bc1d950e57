//! Loaded documents, kept in memory within a bound.

use super::DocumentError;
use crate::store::{Store, StoreError};
use automerge::{Automerge, Change, ChangeHash, LoadOptions, ReadDoc as _, VerificationMode};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use sync_protocol::document_id::DocumentId;
use sync_protocol::document_limits::Size;
use sync_protocol::gate::Counters;

/// Documents kept loaded. A batch's classes of a week with their notes fit many times over.
const MAX_REPLICAS: usize = 512;
/// Bytes of changes of all loaded documents; in memory they take a small multiple of that.
const MAX_REPLICA_BYTES: usize = 64 * 1024 * 1024;
/// A snapshot is due when the changes after the last one are at least so many…
const SNAPSHOT_CHANGES: u64 = 256;
/// … and at least this part of all, so that the cost of snapshots stays a constant for each change.
const SNAPSHOT_SHARE: u64 = 4;

/// One loaded document. Invariant: it holds exactly the changes of the log.
pub(super) struct Replica {
    pub(super) doc: Automerge,
    /// Changes in the log.
    pub(super) changes: u64,
    /// Of them in the last snapshot.
    snapshot: u64,
    /// Bytes of the log, as far as this replica has read them.
    bytes: usize,
    /// Change data without compression, as edges count it: changes since the replica was loaded count whole.
    content: usize,
    pub(super) counters: Counters,
}

impl Replica {
    pub(super) fn empty() -> Self {
        let (doc, counters) = (Automerge::new(), Counters::default());
        Self { doc, changes: 0, snapshot: 0, bytes: 0, content: 0, counters }
    }

    fn load(store: &Store, institute: &str, document: DocumentId) -> Result<Self, DocumentError> {
        let (snapshot, tail) = store.read_blocking::<_, StoreError>(institute, |records| {
            let snapshot = records.snapshot(document)?.unwrap_or_default();
            let tail = records.changes_after(document, snapshot.0)?;
            Ok((snapshot, tail))
        })?;
        let damaged = |source| DocumentError::Damaged { document, source: Box::new(source) };
        let (position, saved) = snapshot;
        let mut doc = match saved.as_slice() {
            [] => Automerge::new(),
            // The bytes are our own: their hashes were checked when the changes came.
            saved => {
                let options = LoadOptions::new().verification_mode(VerificationMode::DontCheck);
                Automerge::load_with_options(saved, options).map_err(damaged)?
            }
        };
        doc.apply_changes(parse(document, &tail)?).map_err(damaged)?;
        Ok(Self {
            counters: Counters::of(&doc),
            content: doc.save_nocompress().len(),
            doc,
            changes: position + tail.len() as u64,
            snapshot: position,
            bytes: saved.len() + tail.iter().map(Vec::len).sum::<usize>(),
        })
    }

    /// Applies what other processes have appended to the log since this replica was last true.
    fn catch_up(
        mut self,
        store: &Store,
        institute: &str,
        document: DocumentId,
    ) -> Result<Self, DocumentError> {
        let position = self.changes;
        let tail = store
            .read_blocking::<_, StoreError>(institute, |records| records.changes_after(document, position))?;
        if tail.is_empty() {
            return Ok(self);
        }
        let changes = parse(document, &tail)?;
        changes.iter().for_each(|change| self.admit(change));
        let damaged = |source| DocumentError::Damaged { document, source: Box::new(source) };
        self.doc.apply_changes(changes).map_err(damaged)?;
        self.changes += tail.len() as u64;
        self.bytes += tail.iter().map(Vec::len).sum::<usize>();
        Ok(self)
    }

    /// Takes note of a change that goes into the document.
    pub(super) fn admit(&mut self, change: &Change) {
        self.counters.admit(change);
        self.content += change.raw_bytes().len();
    }

    /// How much the document holds, with so many changes that were admitted and are not in the log yet.
    pub(super) fn size(&self, unlogged: usize) -> Size {
        Size { changes: self.changes + unlogged as u64, bytes: self.content }
    }

    /// Notes that `changes` more changes of `bytes` are in the log, and gives the snapshot that is due, if one is.
    pub(super) fn grow(&mut self, changes: u64, bytes: usize) -> Option<Vec<u8>> {
        self.changes += changes;
        self.bytes += bytes;
        let tail = self.changes - self.snapshot;
        if tail < SNAPSHOT_CHANGES || tail < self.changes / SNAPSHOT_SHARE {
            return None;
        }
        self.snapshot = self.changes;
        let saved = self.doc.save();
        self.bytes = saved.len();
        Some(saved)
    }
}

/// Changes of the log.
fn parse(document: DocumentId, tail: &[Vec<u8>]) -> Result<Vec<Change>, DocumentError> {
    let parse = |bytes: &Vec<u8>| {
        Change::try_from(bytes.as_slice())
            .map_err(|error| DocumentError::Damaged { document, source: Box::new(error.into()) })
    };
    tail.iter().map(parse).collect()
}

/// Loaded documents, the longest unused of which go first.
#[derive(Default)]
pub(super) struct Replicas {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    replicas: HashMap<DocumentId, (u64, Replica)>,
    bytes: usize,
    /// Rises with each use.
    clock: u64,
}

impl Replicas {
    /// Takes the document out, loading it when it is not here, as true as the log is now: other processes append to
    /// it too. The caller has the institute's turn, puts it back when
    /// all is committed, and drops it when it may differ from the log.
    pub(super) fn take(
        &self,
        store: &Store,
        institute: &str,
        document: DocumentId,
    ) -> Result<Replica, DocumentError> {
        let kept = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = kept.replicas.remove(&document).map(|(_, replica)| replica);
            kept.bytes -= taken.as_ref().map_or(0, |replica| replica.bytes);
            taken
        };
        match kept {
            Some(replica) => replica.catch_up(store, institute, document),
            None => Replica::load(store, institute, document),
        }
    }

    pub(super) fn put(&self, document: DocumentId, replica: Replica) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clock += 1;
        kept.bytes += replica.bytes;
        let used = kept.clock;
        if let Some((_, before)) = kept.replicas.insert(document, (used, replica)) {
            kept.bytes -= before.bytes;
        }
        while kept.replicas.len() > MAX_REPLICAS || kept.bytes > MAX_REPLICA_BYTES {
            let oldest = kept.replicas.iter().min_by_key(|(_, (used, _))| *used).map(|(id, _)| *id);
            let Some((_, replica)) = oldest.and_then(|id| kept.replicas.remove(&id)) else { break };
            kept.bytes -= replica.bytes;
        }
    }
}

/// Whether the document holds this change.
pub(super) fn has_change(doc: &Automerge, hash: &ChangeHash) -> bool {
    doc.get_missing_deps(std::slice::from_ref(hash)).is_empty()
}

pub(super) fn hex_heads(doc: &Automerge) -> Vec<String> {
    doc.get_heads().iter().map(|hash| hex::encode(hash.0)).collect()
}
