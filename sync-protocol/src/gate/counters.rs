//! What a document has seen of each writer: tells a new change from one that would harm the document.

use super::{MAX_OP, MAX_OP_AHEAD, MAX_OPERATIONS};
use automerge::{ActorId, Automerge, Change, ChangeHash};
use std::collections::HashMap;

/// Sequence numbers and operation counters of one document. The edge and the origin judge changes by the same rule.
#[derive(Debug, Default)]
pub struct Counters {
    /// Highest sequence number of each actor.
    sequences: HashMap<ActorId, u64>,
    max_op: u64,
}

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
    }

    /// What speaks against a change whose dependencies are in the document: the code of the refusal.
    pub fn check(&self, change: &Change) -> Result<(), &'static str> {
        let last = self.sequences.get(change.actor_id()).copied().unwrap_or(0);
        if change.seq() <= last {
            return Err("sequence-reused");
        }
        if change.seq() > last + 1 {
            return Err("sequence-gap");
        }
        if change.len() as u64 > MAX_OPERATIONS {
            return Err("too-many-operations");
        }
        if change.start_op().get() > self.max_op + 1 + MAX_OP_AHEAD || change.max_op() > MAX_OP {
            return Err("operation-counter-too-high");
        }
        Ok(())
    }

    /// Takes in a change that goes into the document.
    pub fn admit(&mut self, change: &Change) {
        self.note(change.actor_id(), change.seq(), change.max_op());
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
        assert_eq!(counters.check(&changes[1]), Err("sequence-gap"));
        counters.admit(&changes[0]);
        assert_eq!(counters.check(&changes[0]), Err("sequence-reused"));
        assert_eq!(counters.check(&changes[1]), Ok(()));
        assert_eq!(Counters::of(&doc).check(&changes[2]), Err("sequence-reused"));
    }
}
