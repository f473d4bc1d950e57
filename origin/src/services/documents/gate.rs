//! What a change must be before the merge sees it.
//!
//! Changes are bytes from devices. The gate bounds what they cost: their size, what they inflate to, and the operation
//! ids that they claim.

use automerge::{Automerge, Change};
use std::io::Read as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// First bytes of each chunk, from Automerge's binary format.
const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
/// Magic, checksum of 4 bytes, type.
const TYPE_AT: usize = 8;
const CHANGE: u8 = 1;
const DEFLATED_CHANGE: u8 = 2;
/// Largest change, as it comes: a page of pasted pictures would not fit, a book's text does.
pub(super) const MAX_CHANGE_BYTES: usize = 4 * 1024 * 1024;
/// Largest change when inflated. Deflate makes up to 1,000 bytes out of one.
const MAX_INFLATED_BYTES: u64 = 16 * 1024 * 1024;
/// Operation ids stay far below 2^32, where counters of other replicas would end.
const MAX_OP: u64 = 1 << 30;
/// A change may begin so far above the operations that the document has: a device may have made changes that were
/// refused here.
const MAX_OP_GAP: u64 = 1 << 16;

/// Reads one change chunk. The error is the code of the refusal.
pub(super) fn decode(bytes: &[u8]) -> Result<Change, &'static str> {
    if bytes.len() > MAX_CHANGE_BYTES {
        return Err("change-too-large");
    }
    if bytes.get(..MAGIC.len()) != Some(&MAGIC[..]) {
        return Err("malformed-change");
    }
    match bytes.get(TYPE_AT) {
        Some(&CHANGE) => {}
        Some(&DEFLATED_CHANGE) => check_inflated(bytes)?,
        Some(_) | None => return Err("malformed-change"),
    }
    // The parser is not made for hostile bytes; a panic of it refuses this change alone.
    let change = catch_unwind(AssertUnwindSafe(|| Change::try_from(bytes)));
    let change = change.map_err(|_| "malformed-change")?.map_err(|_| "malformed-change")?;
    // What stands after the chunk would be stored and sent on.
    if change.max_op() > MAX_OP {
        return Err("operation-out-of-range");
    }
    Ok(change)
}

/// Checks a change against the document that it goes into, all of whose dependencies are there.
pub(super) fn check_start(change: &Change, max_op: u64) -> Result<(), &'static str> {
    if change.start_op().get() > max_op + 1 + MAX_OP_GAP {
        return Err("operation-out-of-range");
    }
    Ok(())
}

/// The highest operation id of the document: its heads', since no ancestor has a higher one.
pub(super) fn max_op(doc: &Automerge) -> u64 {
    use automerge::ReadDoc as _;
    doc.get_heads()
        .iter()
        .filter_map(|hash| doc.get_change_by_hash(hash))
        .map(|change| change.max_op())
        .max()
        .unwrap_or(0)
}

fn check_inflated(bytes: &[u8]) -> Result<(), &'static str> {
    // The chunk's length follows as LEB128, at most 10 bytes; the deflated part follows it.
    let length = bytes[TYPE_AT + 1..].iter().take(10).position(|byte| byte & 0x80 == 0);
    let start = TYPE_AT + 2 + length.ok_or("malformed-change")?;
    let inflater = flate2::read::DeflateDecoder::new(&bytes[start..]);
    let inflated = std::io::copy(&mut inflater.take(MAX_INFLATED_BYTES + 1), &mut std::io::sink());
    match inflated {
        Ok(inflated) if inflated <= MAX_INFLATED_BYTES => Ok(()),
        Ok(_) => Err("change-too-large"),
        Err(_) => Err("malformed-change"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use automerge::ROOT;
    use automerge::transaction::Transactable as _;
    use std::io::Write as _;

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
    fn a_deflate_bomb_is_refused_before_it_is_inflated() {
        let mut deflated = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        let zeros = vec![0; 1024 * 1024];
        for _ in 0..64 {
            deflated.write_all(&zeros).unwrap();
        }
        let mut bomb = MAGIC.to_vec();
        bomb.extend([0, 0, 0, 0, DEFLATED_CHANGE, 0x7f]);
        bomb.extend(deflated.finish().unwrap());
        assert!(bomb.len() < 100_000);
        assert_eq!(decode(&bomb), Err("change-too-large"));
    }
}
