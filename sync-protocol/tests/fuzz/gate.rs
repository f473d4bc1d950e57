//! Sync messages and chunks of changes. What the gate lets through, the Automerge library must take without a panic.

use crate::input::Input;
use automerge::sync::{ChunkList, State, SyncDoc as _};
use automerge::transaction::Transactable as _;
use automerge::{ActorId, Automerge, Change, ChangeHash, ObjType, ROOT, ReadDoc as _};
use sha2::{Digest as _, Sha256};
use std::io::Write as _;
use sync_protocol::gate::{self, Counters};

/// A document with one of everything, the same at each run.
pub(crate) fn specimen() -> Automerge {
    let mut doc = Automerge::new().with_actor(ActorId::from([1]));
    let mut tx = doc.transaction();
    tx.put(ROOT, "a", 1).unwrap();
    tx.put(ROOT, "counter", automerge::ScalarValue::counter(1)).unwrap();
    let text = tx.put_object(ROOT, "text", ObjType::Text).unwrap();
    tx.splice_text(&text, 0, 0, "abc").unwrap();
    let list = tx.put_object(ROOT, "list", ObjType::List).unwrap();
    tx.insert(&list, 0, "x").unwrap();
    let map = tx.put_object(ROOT, "map", ObjType::Map).unwrap();
    tx.put(&map, "k", "v").unwrap();
    tx.commit_with(automerge::transaction::CommitOptions::default().with_time(0));
    doc
}

pub(crate) fn message(data: &[u8]) {
    let Ok(mut message) = gate::decode_sync_message(data) else { return };
    for chunk in message.changes.iter() {
        if let Ok(changes) = gate::changes_in(chunk) {
            take_in(&mut Automerge::new(), changes);
        }
    }
    message.changes = ChunkList::empty();
    let mut doc = specimen();
    let mut state = State::new();
    drop(doc.receive_sync_message(&mut state, message));
    if let Some(answer) = doc.generate_sync_message(&mut state) {
        gate::decode_sync_message(&answer.encode()).expect("what the library writes passes the gate");
    }
}

pub(crate) fn changes(data: &[u8]) {
    let mut input = Input::new(data);
    let mut doc = specimen();
    let chunk = chunk_of(&mut input, &doc);
    if let Ok(changes) = gate::changes_in(&chunk) {
        take_in(&mut doc, changes);
    }
}

/// A chunk of fuzzed bytes with the checksum that belongs to them: no fuzzer finds one of those.
pub(crate) fn chunk_of(input: &mut Input<'_>, doc: &Automerge) -> Vec<u8> {
    match input.below(5) {
        0 => chunk(0, input.rest(), None),
        1 => chunk(1, input.rest(), None),
        2 => {
            let inflated = input.rest();
            let mut deflated = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
            deflated.write_all(inflated).unwrap();
            chunk(2, &deflated.finish().unwrap(), Some(checksum(1, inflated)))
        }
        3 => input.rest().to_vec(),
        _ => following(doc, input.rest()),
    }
}

/// A change right behind what `doc` holds, by a writer whom it does not know yet; `rest` begins with its other actors.
pub(crate) fn following(doc: &Automerge, rest: &[u8]) -> Vec<u8> {
    let heads: Vec<ChangeHash> = doc.get_heads();
    let max_op = doc.get_changes_meta(&[]).iter().map(|meta| meta.max_op).max().unwrap_or(0);
    let mut body = vec![heads.len() as u8];
    body.extend(heads.iter().flat_map(|head| head.0));
    body.extend([1, 9, 1]);
    leb128(&mut body, max_op + 1);
    body.extend([0, 0]);
    body.extend_from_slice(rest);
    chunk(1, &body, None)
}

pub(crate) fn chunk(kind: u8, data: &[u8], sum: Option<[u8; 4]>) -> Vec<u8> {
    let mut chunk = vec![0x85, 0x6f, 0x4a, 0x83];
    chunk.extend(sum.unwrap_or_else(|| checksum(kind, data)));
    chunk.push(kind);
    leb128(&mut chunk, data.len() as u64);
    chunk.extend_from_slice(data);
    chunk
}

fn checksum(kind: u8, data: &[u8]) -> [u8; 4] {
    let mut header = vec![kind];
    leb128(&mut header, data.len() as u64);
    let hash = Sha256::new().chain_update(&header).chain_update(data).finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

pub(crate) fn leb128(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Merges as the engine does, and looks at what came out of it.
fn take_in(doc: &mut Automerge, changes: Vec<Change>) {
    let mut counters = Counters::of(doc);
    for change in changes {
        let known = change.deps().iter().all(|dep| doc.get_change_meta_by_hash(dep).is_some());
        let new = doc.get_change_meta_by_hash(&change.hash()).is_none();
        if known && new && counters.check(doc, &change).is_ok() {
            counters.admit(&change);
            if doc.apply_changes([change]).is_err() {
                return;
            }
        }
    }
    walk(doc);
    let saved = doc.save();
    let again = Automerge::load(&saved).expect("what was merged can be saved and loaded");
    assert_eq!(again.get_heads(), doc.get_heads());
    assert_eq!(again.get_changes(&[]).len(), doc.get_changes(&[]).len());
    drop(doc.generate_sync_message(&mut State::new()));
}

pub(crate) fn walk(doc: &Automerge) {
    let mut next = vec![ROOT];
    let mut seen = 0;
    while let Some(object) = next.pop() {
        seen += 1;
        assert!(seen < 100_000, "the document has no end");
        match doc.object_type(&object) {
            Ok(ObjType::Text) => drop(doc.text(&object)),
            Ok(ObjType::List) => {
                let items = (0..doc.length(&object)).filter_map(|at| doc.get(&object, at).ok().flatten());
                next.extend(items.filter(|(value, _)| value.is_object()).map(|(_, id)| id));
            }
            Ok(ObjType::Map | ObjType::Table) => {
                for key in doc.keys(&object) {
                    let values = doc.get_all(&object, key.as_str()).unwrap_or_default();
                    next.extend(values.into_iter().filter(|(value, _)| value.is_object()).map(|(_, id)| id));
                }
            }
            Err(_) => {}
        }
    }
}
