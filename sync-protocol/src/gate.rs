//! The gate before the Automerge library: untrusted sync messages and changes are checked and bounded here first.
//!
//! Known attacks on automerge 0.12, all of a few bytes, that must not reach the library: a Bloom filter with 0 bits for
//! an entry (division by zero) or with 2^32 probes (seconds of CPU, gigabytes), a deflate bomb (1 MB to 3 GB), a
//! `start_op` near 2^32 (later honest edits panic), a sequence number used twice (the victim never converges again).

mod columns;
mod counters;

pub use columns::{MAX_ACTOR_BYTES, MAX_MESSAGE_OPERATIONS, MAX_OPERATIONS, MAX_REPEATED_TEXT};
pub use counters::Counters;

use columns::{Allowance, Table};

use automerge::sync::Message;
use automerge::{Automerge, Change};
use std::io::Read as _;

/// Most heads in a message. A document has as many as there are concurrent, unmerged writers.
pub const MAX_HEADS: u64 = 4_096;
/// Most heads that a document gets, which is writers who have not heard of each other. A quarter of what a message may name, so that
/// everybody can say what he has and merge it: a document beyond would lock its readers out.
pub const MAX_DOCUMENT_HEADS: usize = 1_024;
/// Most changes asked for by hash in one message.
pub const MAX_NEED: u64 = 65_536;
/// Most Bloom filters in one message. Automerge sends one; older versions may send more after a merge of states.
pub const MAX_HAVE: u64 = 8;
/// Most changes summarised by one Bloom filter.
pub const MAX_BLOOM_ENTRIES: u64 = 4_000_000;
/// Bits for an entry: Automerge writes 10.
pub const BLOOM_BITS: std::ops::RangeInclusive<u64> = 1..=32;
/// Probes for an entry: Automerge writes 7.
pub const BLOOM_PROBES: std::ops::RangeInclusive<u64> = 1..=32;
/// Most chunks in one message.
pub const MAX_CHUNKS: u64 = 65_536;
/// Most bytes that the chunks of one message may have once inflated. Four times the largest frame: text deflates to
/// about a third, and it stays well under the sandbox's memory.
pub const MAX_INFLATED_BYTES: u64 = 64 * 1024 * 1024;
/// Highest operation counter. Automerge packs counters into 32 bits.
pub const MAX_OP: u64 = 1 << 31;
/// How far a change may run ahead of the highest counter that its document has seen. An honest change starts right
/// behind it; the room is for clients that count differently.
pub const MAX_OP_AHEAD: u64 = 1 << 20;

/// First bytes of every Automerge chunk.
const CHUNK_MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
/// Set in a column's specification when its data is deflated.
const DEFLATED_COLUMN: u64 = 0b1000;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    #[error("sync message is cut off or not a sync message")]
    Malformed,
    #[error("sync message has {count} {what}, the limit is {limit}")]
    TooMany { what: &'static str, count: u64, limit: u64 },
    #[error("sync message has a Bloom filter with {what} {value}")]
    BadBloomFilter { what: &'static str, value: u64 },
    #[error("chunk inflates to more than {MAX_INFLATED_BYTES} bytes")]
    InflatesTooFar,
    #[error("changes stand for more than {MAX_OPERATIONS} operations, or {MAX_MESSAGE_OPERATIONS} together")]
    TooManyOperations,
    #[error("change is not written as the Automerge library writes it")]
    NotCanonical,
    #[error("chunk is not an Automerge change or document")]
    BadChunk,
}

impl GateError {
    /// The stable code that a device is told.
    pub fn code(&self) -> &'static str {
        match self {
            GateError::Malformed | GateError::TooMany { .. } | GateError::BadBloomFilter { .. } => {
                "invalid-sync-message"
            }
            GateError::TooManyOperations => "too-many-operations",
            GateError::InflatesTooFar | GateError::NotCanonical | GateError::BadChunk => "invalid-change",
        }
    }
}

/// Reads numbers and bytes off the front of untrusted input.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: u64) -> Result<&'a [u8], GateError> {
        let n = usize::try_from(n).map_err(|_| GateError::Malformed)?;
        let (taken, rest) = self.0.split_at_checked(n).ok_or(GateError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, GateError> {
        Ok(self.take(1)?[0])
    }

    /// Unsigned LEB128 of at most 64 bits.
    fn number(&mut self) -> Result<u64, GateError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(GateError::Malformed);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(GateError::Malformed)
    }

    /// Signed LEB128 of at most 64 bits.
    fn signed(&mut self) -> Result<i64, GateError> {
        let mut value = 0_i64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte != 0 && byte != 0x7f {
                return Err(GateError::Malformed);
            }
            value |= i64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let negative = shift < 57 && byte & 0x40 != 0;
                return Ok(if negative { value | (-1 << (shift + 7)) } else { value });
            }
        }
        Err(GateError::Malformed)
    }

    fn count(&mut self, what: &'static str, limit: u64) -> Result<u64, GateError> {
        let count = self.number()?;
        if count > limit {
            return Err(GateError::TooMany { what, count, limit });
        }
        Ok(count)
    }

    fn prefixed(&mut self) -> Result<&'a [u8], GateError> {
        let length = self.number()?;
        self.take(length)
    }

    fn hashes(&mut self, what: &'static str, limit: u64) -> Result<(), GateError> {
        let count = self.count(what, limit)?;
        self.take(count * 32).map(drop)
    }
}

/// Decodes a sync message after all its counts, Bloom filters and chunks have been checked.
pub fn decode_sync_message(bytes: &[u8]) -> Result<Message, GateError> {
    let mut r = Reader(bytes);
    if !matches!(r.byte()?, 0x42 | 0x43) {
        return Err(GateError::Malformed);
    }
    r.hashes("heads", MAX_HEADS)?;
    r.hashes("needed hashes", MAX_NEED)?;
    for _ in 0..r.count("Bloom filters", MAX_HAVE)? {
        r.hashes("last synced heads", MAX_HEADS)?;
        check_bloom_filter(r.prefixed()?)?;
    }
    let mut allowance = Allowance::of_a_message();
    for _ in 0..r.count("chunks", MAX_CHUNKS)? {
        for_each_chunk(r.prefixed()?, |kind, chunk| check_chunk(kind, chunk, &mut allowance))?;
    }
    let mut message = Message::decode(bytes).map_err(|_| GateError::Malformed)?;
    // The library sends a change as often as it is asked for.
    message.need.sort_unstable();
    message.need.dedup();
    Ok(message)
}

fn check_bloom_filter(bytes: &[u8]) -> Result<(), GateError> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut r = Reader(bytes);
    let entries = r.count("Bloom filter entries", MAX_BLOOM_ENTRIES)?;
    let bits = r.number()?;
    let probes = r.number()?;
    if entries == 0 {
        return Err(GateError::BadBloomFilter { what: "entries", value: entries });
    }
    if !BLOOM_BITS.contains(&bits) {
        return Err(GateError::BadBloomFilter { what: "bits for an entry", value: bits });
    }
    if !BLOOM_PROBES.contains(&probes) {
        return Err(GateError::BadBloomFilter { what: "probes", value: probes });
    }
    if r.0.len() as u64 != (entries * bits).div_ceil(8) {
        return Err(GateError::BadBloomFilter { what: "bytes", value: r.0.len() as u64 });
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChunkKind {
    Document,
    Change,
    Compressed,
}

/// Walks over the chunks that `bytes` consists of; `visit` gets the kind and the whole chunk.
fn for_each_chunk<'a>(
    bytes: &'a [u8],
    mut visit: impl FnMut(ChunkKind, &'a [u8]) -> Result<(), GateError>,
) -> Result<(), GateError> {
    let mut r = Reader(bytes);
    while !r.0.is_empty() {
        let start = r.0;
        let magic = r.take(4)?;
        r.take(4)?;
        let kind = match r.byte()? {
            0 => ChunkKind::Document,
            1 => ChunkKind::Change,
            2 => ChunkKind::Compressed,
            // Bundles (3) are experimental and no client sends them.
            _ => return Err(GateError::BadChunk),
        };
        if magic != CHUNK_MAGIC {
            return Err(GateError::BadChunk);
        }
        r.prefixed()?;
        visit(kind, &start[..start.len() - r.0.len()])?;
    }
    Ok(())
}

fn chunk_data(chunk: &[u8]) -> Result<&[u8], GateError> {
    // Magic, checksum and type; the length comes behind them.
    let mut r = Reader(chunk);
    r.take(9)?;
    r.prefixed()
}

/// Whether an operation of the change is on a member of this name of some map, without taking the operations apart.
pub(crate) fn names_key(change: &Change, key: &str) -> bool {
    let named = chunk_data(change.raw_bytes()).and_then(|body| columns::names_key(body, key));
    // Of what cannot be read so, somebody looks more closely.
    named.unwrap_or(true)
}

fn check_chunk(kind: ChunkKind, chunk: &[u8], allowance: &mut Allowance) -> Result<(), GateError> {
    let data = chunk_data(chunk)?;
    match kind {
        ChunkKind::Change => {
            allowance.spend(data.len() as u64)?;
            columns::check_change(data, allowance)
        }
        ChunkKind::Compressed => {
            let inflated = inflate(data, allowance)?;
            columns::check_change(&inflated, allowance)
        }
        ChunkKind::Document => check_document(data, allowance),
    }
}

/// Inflates twice, so that a bomb costs some milliseconds and no memory: once to see how much it is, once to keep it.
fn inflate(data: &[u8], allowance: &mut Allowance) -> Result<Vec<u8>, GateError> {
    let mut bounded = flate2::bufread::DeflateDecoder::new(data).take(allowance.bytes.saturating_add(1));
    let length = std::io::copy(&mut bounded, &mut std::io::sink()).map_err(|_| GateError::BadChunk)?;
    allowance.spend(length)?;
    let mut inflated = Vec::with_capacity(usize::try_from(length).map_err(|_| GateError::InflatesTooFar)?);
    let mut decoder = flate2::bufread::DeflateDecoder::new(data);
    decoder.read_to_end(&mut inflated).map_err(|_| GateError::BadChunk)?;
    Ok(inflated)
}

/// A document chunk deflates its columns one by one: actors, heads, column lists of changes and operations, then
/// the columns' data in the same order.
fn check_document(data: &[u8], allowance: &mut Allowance) -> Result<(), GateError> {
    let mut r = Reader(data);
    let actors = columns::actors(&mut r)?;
    r.hashes("heads", MAX_HEADS)?;
    let (of_changes, of_operations) = (columns::column_list(&mut r)?, columns::column_list(&mut r)?);
    let mut writes = actors == 0;
    check_table(&mut r, of_changes, actors, allowance, |specification, data| {
        if columns::is_change_actor(specification) {
            writes = columns::names_every_actor(data, actors)?;
        }
        Ok(())
    })?;
    check_table(&mut r, of_operations, actors, allowance, |_, _| Ok(()))?;
    // The library removes actors without changes as it loads a document, and panics on it.
    if writes { Ok(()) } else { Err(GateError::BadChunk) }
}

fn check_table(
    r: &mut Reader<'_>,
    list: Vec<(u64, u64)>,
    actors: u64,
    allowance: &mut Allowance,
    mut visit: impl FnMut(u64, &[u8]) -> Result<(), GateError>,
) -> Result<(), GateError> {
    let mut table = Table { actors, most: MAX_MESSAGE_OPERATIONS, rows: 0 };
    for (specification, length) in list {
        let mut column = std::borrow::Cow::Borrowed(r.take(length)?);
        if specification & DEFLATED_COLUMN == 0 {
            allowance.spend(length)?;
        } else {
            column = inflate(&column, allowance)?.into();
        }
        table.column(specification, &column, allowance)?;
        visit(specification, &column)?;
    }
    table.spend(allowance)
}

/// Reads the changes out of chunks that were checked by [`decode_sync_message`] or come in one message of `limit` bytes.
pub fn changes_in(bytes: &[u8]) -> Result<Vec<Change>, GateError> {
    let mut changes = Vec::new();
    let mut allowance = Allowance::of_a_message();
    for_each_chunk(bytes, |kind, chunk| {
        check_chunk(kind, chunk, &mut allowance)?;
        match kind {
            ChunkKind::Change | ChunkKind::Compressed => {
                let change = Change::from_bytes(chunk.to_vec()).map_err(|_| GateError::BadChunk)?;
                // `from_bytes` does not compare the checksum: the first bytes of the hash of the inflated change.
                if chunk[4..8] != change.hash().0[..4] {
                    return Err(GateError::BadChunk);
                }
                if !is_canonical(&change) {
                    return Err(GateError::NotCanonical);
                }
                changes.push(change);
            }
            ChunkKind::Document => {
                let document = Automerge::load(chunk).map_err(|_| GateError::BadChunk)?;
                let all = document.get_changes(&[]);
                for change in &all {
                    columns::check_change(chunk_data(change.raw_bytes())?, &mut Allowance::of_a_message())?;
                }
                changes.extend(all);
            }
        }
        Ok(())
    })?;
    Ok(changes)
}

/// Whether the library would write the change as it came. A saved document holds operations and not the changes' bytes: those are
/// written anew when it is loaded, and a document with a change that comes out otherwise cannot be loaded any more, by anybody.
fn is_canonical(change: &Change) -> bool {
    Change::from(change.decode()).hash() == change.hash()
}

#[cfg(test)]
mod tests {
    use super::*;
    use automerge::sync::{State, SyncDoc as _};
    use automerge::transaction::Transactable as _;
    use automerge::{ROOT, ReadDoc as _};

    fn document(edits: usize) -> Automerge {
        let mut doc = Automerge::new();
        for i in 0..edits {
            let mut tx = doc.transaction();
            tx.put(ROOT, "n", i as u64).unwrap();
            tx.commit();
        }
        doc
    }

    /// A message around one Bloom filter.
    fn with_bloom(bloom: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x42, 0, 0, 1, 0, bloom.len() as u8];
        bytes.extend_from_slice(bloom);
        bytes.push(0);
        bytes
    }

    /// A message around one chunk with a checksum of zeros.
    fn with_chunk(kind: u8, data: &[u8]) -> Vec<u8> {
        let mut chunk = CHUNK_MAGIC.to_vec();
        chunk.extend([0, 0, 0, 0, kind]);
        leb128(&mut chunk, data.len());
        chunk.extend_from_slice(data);
        let mut bytes = vec![0x42, 0, 0, 0, 1];
        leb128(&mut bytes, chunk.len());
        bytes.extend(chunk);
        bytes
    }

    fn leb128(out: &mut Vec<u8>, mut n: usize) {
        while n >= 0x80 {
            out.push(n as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
    }

    fn deflated_zeros(bytes: usize) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::copy(&mut std::io::repeat(0).take(bytes as u64), &mut encoder).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn honest_messages_pass_whole_and_no_truncation_panics() {
        let mut a = document(50);
        let mut b = Automerge::new();
        let (mut for_b, mut for_a) = (State::new(), State::new());
        let mut messages = 0;
        loop {
            let to_b = a.generate_sync_message(&mut for_b).map(|m| m.encode());
            let to_a = b.generate_sync_message(&mut for_a).map(|m| m.encode());
            for bytes in [&to_a, &to_b].into_iter().flatten() {
                messages += 1;
                for end in 0..bytes.len() {
                    // A message may be cut behind its flags' absence: those are optional.
                    drop(decode_sync_message(&bytes[..end]));
                }
            }
            if let Some(bytes) = &to_b {
                b.receive_sync_message(&mut for_a, decode_sync_message(bytes).unwrap()).unwrap();
            }
            if let Some(bytes) = &to_a {
                a.receive_sync_message(&mut for_b, decode_sync_message(bytes).unwrap()).unwrap();
            }
            if to_a.is_none() && to_b.is_none() {
                break;
            }
        }
        assert!(messages >= 3);
        assert_eq!(a.get_heads(), b.get_heads());
        assert!(b.get(ROOT, "n").unwrap().is_some());
    }

    #[test]
    fn a_bloom_filter_without_bits_or_with_many_probes_is_refused() {
        let refused = |bloom: &[u8], what| match decode_sync_message(&with_bloom(bloom)) {
            Err(GateError::BadBloomFilter { what: found, .. }) => assert_eq!(found, what),
            other => panic!("{bloom:?} gave {other:?}"),
        };
        refused(&[1, 0, 7], "bits for an entry");
        refused(&[1, 10, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0], "probes");
        refused(&[1, 10, 7, 0], "bytes");
        refused(&[0, 10, 7], "entries");
        assert!(decode_sync_message(&with_bloom(&[1, 10, 7, 0, 0])).is_ok());
    }

    #[test]
    fn a_deflate_bomb_is_refused_before_it_is_inflated() {
        let bomb = deflated_zeros(200 * 1024 * 1024);
        assert!(bomb.len() < 300_000);
        assert_eq!(decode_sync_message(&with_chunk(2, &bomb)), Err(GateError::InflatesTooFar));
        // The same in a column of a document: no actors, no heads, one deflated change column, no operation columns.
        let mut column = vec![0, 0, 1, 0x1d];
        leb128(&mut column, bomb.len());
        column.push(0);
        column.extend(&bomb);
        assert_eq!(decode_sync_message(&with_chunk(0, &column)), Err(GateError::InflatesTooFar));
    }

    #[test]
    fn false_counts_are_errors() {
        let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        let mut heads = vec![0x42];
        heads.extend(huge);
        assert!(matches!(decode_sync_message(&heads), Err(GateError::TooMany { what: "heads", .. })));
        let mut actors = huge.to_vec();
        actors.push(0);
        assert_eq!(decode_sync_message(&with_chunk(0, &actors)), Err(GateError::Malformed));
        assert_eq!(decode_sync_message(&with_chunk(3, &[])), Err(GateError::BadChunk));
        assert_eq!(decode_sync_message(b""), Err(GateError::Malformed));
        assert_eq!(decode_sync_message(b"{\"type\":\"sync\"}"), Err(GateError::Malformed));
    }

    #[test]
    fn changes_are_read_from_a_saved_document_and_from_single_changes() {
        let doc = document(3);
        assert_eq!(changes_in(&doc.save()).unwrap().len(), 3);
        let mut one_by_one = Vec::new();
        for mut change in doc.get_changes(&[]) {
            one_by_one.extend_from_slice(&change.bytes());
        }
        assert_eq!(changes_in(&one_by_one).unwrap().len(), 3);
        one_by_one[20] ^= 0xff;
        assert!(changes_in(&one_by_one).is_err());
    }
}
