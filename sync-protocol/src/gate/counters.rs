//! What a document has seen of each writer: tells a new change from one that would harm the document.

use super::{MAX_DOCUMENT_HEADS, MAX_OP, MAX_OP_AHEAD, MAX_OPERATIONS};
use automerge::{ActorId, Automerge, Change, ChangeHash};
use std::collections::{HashMap, HashSet};

/// Sequence numbers and operation counters of one document. The edge and the origin judge changes by the same rule.
#[derive(Debug, Default)]
pub struct Counters {
    /// Highest sequence number of each actor.
    sequences: HashMap<ActorId, u64>,
    max_op: u64,
    /// Those of the document with the changes that were admitted.
    heads: HashSet<ChangeHash>,
    /// The highest operation of changes that were admitted and may not be in the document yet.
    pending: HashMap<ChangeHash, u64>,
    /// How many of them there are when those that are in the document are forgotten.
    crowded: usize,
}

/// Few enough to keep, many enough to look through them seldom.
const MIN_CROWDED: usize = 1_024;

impl Counters {
    /// Reads all changes of the document: costs its age, once for each loading.
    pub fn of(doc: &Automerge) -> Self {
        let mut counters = Self::default();
        counters.read(doc, &[]);
        counters
    }

    /// Takes in the document's changes that are not ancestors of `before`.
    pub fn read(&mut self, doc: &Automerge, before: &[ChangeHash]) {
        for change in doc.get_changes_meta(before) {
            self.note(change.actor.as_ref(), change.seq, change.max_op);
        }
        self.heads = doc.get_heads().into_iter().collect();
    }

    /// What speaks against a change whose dependencies are in the document, or were admitted: the code of the refusal.
    pub fn check(&mut self, doc: &Automerge, change: &Change) -> Result<(), &'static str> {
        self.forget_merged(doc);
        let merges = change.deps().iter().any(|dep| self.heads.contains(dep));
        if self.heads.len() >= MAX_DOCUMENT_HEADS && !merges {
            return Err("too-many-heads");
        }
        let last = self.sequences.get(change.actor_id()).copied().unwrap_or(0);
        if change.seq() <= last {
            return Err("sequence-reused");
        }
        if change.seq() > last + 1 {
            return Err("sequence-gap");
        }
        // The library looks each of them up and panics when it is not there.
        if change.other_actor_ids().iter().any(|actor| !self.sequences.contains_key(actor)) {
            return Err("unknown-actor");
        }
        if change.len() as u64 > MAX_OPERATIONS {
            return Err("too-many-operations");
        }
        // A saved document keeps where the operations of a change end, and finds where they begin by its dependencies. With a
        // change that overlaps them, or one of no operations that leaves a gap, it cannot be loaded any more.
        let (start, behind) = (change.start_op().get(), self.highest_of(doc, change.deps()));
        if start <= behind {
            return Err("operation-counter-too-low");
        }
        let ahead = if change.is_empty() { behind } else { self.max_op.max(behind) + MAX_OP_AHEAD };
        if start > ahead + 1 || change.max_op() > MAX_OP {
            return Err("operation-counter-too-high");
        }
        Ok(())
    }

    fn highest_of(&self, doc: &Automerge, deps: &[ChangeHash]) -> u64 {
        let highest = |dep: &ChangeHash| match self.pending.get(dep) {
            Some(max_op) => *max_op,
            None => doc.get_change_meta_by_hash(dep).map_or(0, |meta| meta.max_op),
        };
        deps.iter().map(highest).max().unwrap_or(0)
    }

    fn forget_merged(&mut self, doc: &Automerge) {
        if self.pending.len() > self.crowded.max(MIN_CROWDED) {
            self.pending.retain(|hash, _| doc.get_change_meta_by_hash(hash).is_none());
            self.crowded = 2 * self.pending.len();
        }
    }

    /// Takes in a change that goes into the document.
    pub fn admit(&mut self, change: &Change) {
        self.note(change.actor_id(), change.seq(), change.max_op());
        for dep in change.deps() {
            self.heads.remove(dep);
        }
        self.heads.insert(change.hash());
        self.pending.insert(change.hash(), change.max_op());
    }

    fn note(&mut self, actor: &ActorId, sequence: u64, max_op: u64) {
        match self.sequences.get_mut(actor) {
            Some(last) => *last = sequence.max(*last),
            None => drop(self.sequences.insert(actor.clone(), sequence)),
        }
        self.max_op = self.max_op.max(max_op);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use automerge::ROOT;
    use automerge::transaction::Transactable as _;

    #[test]
    fn a_change_continues_the_row_of_its_writer() {
        let mut doc = Automerge::new();
        for n in 0..3 {
            let mut tx = doc.transaction();
            tx.put(ROOT, "n", n).unwrap();
            tx.commit();
        }
        let changes = doc.get_changes(&[]);
        let mut counters = Counters::default();
        let empty = Automerge::new();
        assert_eq!(counters.check(&empty, &changes[1]), Err("sequence-gap"));
        counters.admit(&changes[0]);
        assert_eq!(counters.check(&empty, &changes[0]), Err("sequence-reused"));
        assert_eq!(counters.check(&empty, &changes[1]), Ok(()));
        assert_eq!(Counters::of(&doc).check(&doc, &changes[2]), Err("sequence-reused"));
    }
}
