//! What a change must be before the merge sees it.
//!
//! Changes are bytes from devices. The limits are the edge's own (`sync_protocol::gate`): what an edge acknowledged to
//! a device must not be refused here for its size.

use automerge::{ActorId, Automerge, Change};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use sync_protocol::gate::{MAX_OP, MAX_OP_AHEAD, changes_in};

/// Where a chunk says its type: behind magic and checksum, of 4 bytes each.
const TYPE_AT: usize = 8;
const CHANGE: u8 = 1;
const DEFLATED_CHANGE: u8 = 2;

/// Reads bytes that must be one change chunk. The error is the code of the refusal.
pub(super) fn decode(bytes: &[u8]) -> Result<Change, &'static str> {
    if !matches!(bytes.get(TYPE_AT), Some(&CHANGE | &DEFLATED_CHANGE)) {
        return Err("malformed-change");
    }
    // The library is not made for hostile bytes; a panic of it refuses this change alone.
    let changes = catch_unwind(AssertUnwindSafe(|| changes_in(bytes)));
    let mut changes = changes.map_err(|_| "malformed-change")?.map_err(|_| "malformed-change")?;
    match (changes.pop(), changes.is_empty()) {
        (Some(change), true) => Ok(change),
        (Some(_), false) | (None, _) => Err("malformed-change"),
    }
}

/// What a document has seen of each writer, to tell a new change from one that would harm the document.
#[derive(Default)]
pub(super) struct Counters {
    sequences: HashMap<ActorId, u64>,
    max_op: u64,
}

impl Counters {
    /// Reads all changes of the document: costs its age, once for each loading.
    pub(super) fn of(doc: &Automerge) -> Self {
        let mut counters = Self::default();
        for change in doc.get_changes_meta(&[]) {
            counters.note(change.actor.as_ref(), change.seq, change.max_op);
        }
        counters
    }

    /// What speaks against a change whose dependencies are in the document.
    pub(super) fn check(&self, change: &Change) -> Result<(), &'static str> {
        let last = self.sequences.get(change.actor_id()).copied().unwrap_or(0);
        if change.seq() <= last {
            return Err("sequence-reused");
        }
        if change.seq() > last + 1 {
            return Err("sequence-gap");
        }
        if change.start_op().get() > self.max_op + 1 + MAX_OP_AHEAD || change.max_op() > MAX_OP {
            return Err("operation-counter-too-high");
        }
        Ok(())
    }

    /// Takes in a change that goes into the document.
    pub(super) fn admit(&mut self, change: &Change) {
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

    fn change() -> Change {
        let mut doc = Automerge::new();
        let mut tx = doc.transaction();
        tx.put(ROOT, "text", "x".repeat(2_000)).unwrap();
        tx.commit();
        doc.get_changes(&[]).remove(0)
    }

    #[test]
    fn plain_and_deflated_changes_pass() {
        let mut change = change();
        assert_eq!(decode(change.raw_bytes()).unwrap().hash(), change.hash());
        let deflated = change.bytes().into_owned();
        assert_eq!(deflated[TYPE_AT], DEFLATED_CHANGE);
        assert_eq!(decode(&deflated).unwrap().hash(), change.hash());
    }

    #[test]
    fn every_truncation_is_malformed() {
        let bytes = change().raw_bytes().to_vec();
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Err("malformed-change"), "{end}");
        }
    }

    #[test]
    fn a_whole_document_is_not_a_change() {
        let mut doc = Automerge::new();
        doc.apply_changes([change()]).unwrap();
        assert_eq!(decode(&doc.save()), Err("malformed-change"));
    }

    #[test]
    fn two_changes_in_a_row_and_a_wrong_checksum_are_malformed() {
        let bytes = change().raw_bytes().to_vec();
        assert_eq!(decode(&[bytes.clone(), bytes.clone()].concat()), Err("malformed-change"));
        let mut forged = bytes;
        forged[5] ^= 1;
        assert_eq!(decode(&forged), Err("malformed-change"));
    }

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
