//! Changes that are well formed and mean harm: counters, sequences, depth, objects inside themselves.

use crate::chunks::*;
use crate::edge::Edge;
use automerge::sync::{State, SyncDoc as _};
use automerge::transaction::Transactable as _;
use automerge::{Automerge, ObjType, ROOT};
use sync_protocol::engine::Limits;
use sync_protocol::gate::{self, Counters};
use sync_protocol::kind::Kind;
use sync_protocol::rules::{MAX_JUDGED_DEPTH, MAX_JUDGED_OPERATIONS};

const OBJECT_ACTOR: u64 = 0x01;
const OBJECT_COUNTER: u64 = 0x02;

fn carrying(doc: &Automerge, chunk: Vec<u8>) -> Vec<u8> {
    let mut message = doc.generate_sync_message(&mut State::new()).unwrap();
    message.changes = vec![chunk].into();
    message.encode()
}

/// The last change of `doc` beyond `before`, brought by a teacher.
fn brought(kind: Kind, edit: impl FnOnce(&mut Automerge)) -> Edge {
    let mut edge = Edge::new(Limits::default());
    let mut doc = edge.register(1, kind);
    edge.join(1, "tara", "a");
    let before = doc.get_heads();
    edit(&mut doc);
    let changes = doc.get_changes(&before);
    let chunks: Vec<u8> = changes.iter().flat_map(|change| change.raw_bytes().to_vec()).collect();
    edge.say(1, 1, carrying(&doc, chunks));
    edge
}

/// Honest edits after it would overflow the library's 32 bits.
#[test]
fn a_counter_near_its_end_is_refused() {
    for start_op in [u64::from(u32::MAX) - 1, 1 << 31, gate::MAX_OP_AHEAD + 2] {
        let columns = [
            (KEY_TEXT, run(1, &text(b"k"))),
            (INSERT, unsigned(1)),
            (ACTION, run(1, &[1])),
            (VALUE_LENGTH, run(1, &[0])),
            (PREDECESSORS, run(1, &[0])),
        ];
        let changes = gate::changes_in(&change(&body(start_op, &columns))).unwrap();
        assert_eq!(
            Counters::default().check(&Automerge::new(), &changes[0]),
            Err("operation-counter-too-high")
        );
    }
}

#[test]
fn more_operations_than_are_judged_are_refused_whole() {
    let edge = brought(Kind::Doubt, |doc| {
        let mut tx = doc.transaction();
        for n in 0..=MAX_JUDGED_OPERATIONS {
            tx.put(ROOT, "free", n as u64).unwrap();
        }
        tx.commit();
    });
    assert_eq!(
        (edge.quarantined.as_slice(), edge.appended),
        (["too-many-operations".to_owned()].as_slice(), 0)
    );
}

/// Each operation at the bottom would climb all the way up.
#[test]
fn an_object_that_is_deeper_than_is_judged_takes_no_operation() {
    let edge = brought(Kind::Doubt, |doc| {
        let mut tx = doc.transaction();
        let mut at = tx.put_object(ROOT, "free", ObjType::Map).unwrap();
        for _ in 0..200 * MAX_JUDGED_DEPTH {
            at = tx.put_object(&at, "k", ObjType::Map).unwrap();
        }
        tx.commit();
        let mut tx = doc.transaction();
        tx.put(&at, "bottom", 1).unwrap();
        tx.commit();
    });
    assert_eq!((edge.quarantined.as_slice(), edge.appended), (["nested-too-deep".to_owned()].as_slice(), 1));
}

/// In a document without rules depth costs nobody but its own reader: it is merged, saved and loaded.
#[test]
fn depth_alone_breaks_nothing() {
    let edge = brought(Kind::Notes, |doc| {
        let mut tx = doc.transaction();
        let mut at = ROOT;
        for _ in 0..50_000 {
            at = tx.put_object(&at, "k", ObjType::Map).unwrap();
        }
        tx.commit();
        let again = Automerge::load(&doc.save()).unwrap();
        assert_eq!(again.get_heads(), doc.get_heads());
    });
    assert_eq!(edge.appended, 1);
}

/// Two objects, each made in the other: who follows their parents never comes to an end.
#[test]
fn an_object_that_is_in_itself_is_refused() {
    let made_in = |objects: &[u8]| {
        let n = objects.len() as u64;
        let counters: Vec<u8> = objects.iter().flat_map(|object| run(1, &[*object])).collect();
        body(
            1,
            &[
                (OBJECT_ACTOR, run(n, &[0])),
                (OBJECT_COUNTER, counters),
                (KEY_TEXT, run(n, &text(b"k"))),
                (INSERT, unsigned(n)),
                (ACTION, run(n, &[0])),
                (VALUE_LENGTH, run(n, &[0])),
                (PREDECESSORS, run(n, &[0])),
            ],
        )
    };
    for objects in [[2_u8, 1].as_slice(), &[1], &[3, 1, 2]] {
        assert!(gate::changes_in(&change(&made_in(objects))).is_err(), "{objects:?}");
    }
}

/// A first change of one operation, or of none, that begins at a counter.
fn beginning_at(start_op: u64, operations: u64) -> Vec<u8> {
    let columns = [
        (KEY_TEXT, run(1, &text(b"k"))),
        (INSERT, unsigned(1)),
        (ACTION, run(1, &[1])),
        (VALUE_LENGTH, run(1, &[0])),
        (PREDECESSORS, run(1, &[0])),
    ];
    change(&body(start_op, if operations == 0 { &[] } else { &columns }))
}

/// A saved document holds no change as it came: it would come out with another hash, and nobody could load it any more.
#[test]
fn a_change_that_the_library_would_write_otherwise_is_refused() {
    let single = [(ACTION, [1, 1].to_vec()), (INSERT, unsigned(1)), (PREDECESSORS, run(1, &[0]))];
    let mut columns = vec![(KEY_TEXT, run(1, &text(b"k"))), (VALUE_LENGTH, run(1, &[0]))];
    columns.extend(single);
    columns.sort();
    // A run of one, where the library writes a row of one.
    let bytes = change(&body(1, &columns));
    assert_eq!(gate::changes_in(&bytes).unwrap_err(), gate::GateError::NotCanonical);
    assert_eq!(gate::changes_in(&beginning_at(1, 1)).unwrap().len(), 1);
}

/// A change of no operations behind a gap, and one that begins before the end of what it depends on: both are merged by the
/// library, which then cannot load what it saves.
#[test]
fn a_change_that_breaks_the_saved_document_is_refused() {
    let refusal = |start_op, operations| {
        let changes = gate::changes_in(&beginning_at(start_op, operations)).unwrap();
        Counters::default().check(&Automerge::new(), &changes[0]).err()
    };
    assert_eq!((refusal(1, 0), refusal(1, 1), refusal(5, 1)), (None, None, None));
    assert_eq!(refusal(3, 0), Some("operation-counter-too-high"));
    let mut doc = Automerge::new().with_actor(automerge::ActorId::from([7]));
    for n in 0..3 {
        let mut tx = doc.transaction();
        tx.put(ROOT, "n", n).unwrap();
        tx.commit();
    }
    for (start_op, refusal) in [
        (2, Some("operation-counter-too-low")),
        (3, Some("operation-counter-too-low")),
        (4, None),
        (5, Some("operation-counter-too-high")),
    ] {
        let head = doc.get_heads()[0].0;
        // One dependency, actor 9, its first change, no time, message, other actors or columns.
        let body = [&[1], head.as_slice(), &[1, 9, 1], &unsigned(start_op), &[0, 0, 0, 0]].concat();
        let changes = gate::changes_in(&change(&body)).unwrap();
        assert_eq!(Counters::of(&doc).check(&doc, &changes[0]).err(), refusal, "{start_op}");
    }
}

/// The library looks up every actor that a change names, and panics when the document has none of it.
#[test]
fn a_change_that_names_a_stranger_is_refused() {
    let mut body = body(1, &[]);
    // Instead of no other actors: one.
    body.truncate(body.len() - 2);
    body.extend([1, 1, 200, 0]);
    match gate::changes_in(&change(&body)) {
        Ok(changes) => {
            assert_eq!(Counters::default().check(&Automerge::new(), &changes[0]), Err("unknown-actor"))
        }
        Err(error) => assert_eq!(error, gate::GateError::NotCanonical),
    }
    // A stranger's operation that is replaced: the library writes it so, and the document does not know the stranger.
    let columns = [
        (KEY_TEXT, run(1, &text(b"k"))),
        (INSERT, unsigned(1)),
        (ACTION, run(1, &[1])),
        (VALUE_LENGTH, run(1, &[0])),
        (PREDECESSORS, run(1, &[1])),
        (PREDECESSOR_ACTOR, run(1, &[1])),
        (PREDECESSOR_COUNTER, run(1, &[1])),
    ];
    let mut replacing = vec![0, 1, 1, 1, 2, 0, 0, 1, 1, 200, columns.len() as u8];
    for (specification, data) in &columns {
        replacing.extend(unsigned(*specification));
        replacing.extend(unsigned(data.len() as u64));
    }
    replacing.extend(columns.iter().flat_map(|(_, data)| data.clone()));
    let changes = gate::changes_in(&change(&replacing)).unwrap();
    assert_eq!(Counters::default().check(&Automerge::new(), &changes[0]), Err("unknown-actor"));
}
