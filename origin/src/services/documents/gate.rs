//! What a change must be before the merge sees it.
//!
//! Changes are bytes from devices. The limits are the edge's own (`sync_protocol::gate`): what an edge acknowledged to
//! a device must not be refused here for its size.

use automerge::Change;
use sha2::{Digest as _, Sha256};
use std::panic::{AssertUnwindSafe, catch_unwind};
use sync_protocol::gate::changes_in;

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

/// The hash of a change; of the bytes where they are none.
pub(super) fn hash_of(bytes: &[u8]) -> [u8; 32] {
    decode(bytes).map_or_else(|_| Sha256::digest(bytes).into(), |change| change.hash().0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use automerge::transaction::Transactable as _;
    use automerge::{Automerge, ROOT};

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
}
