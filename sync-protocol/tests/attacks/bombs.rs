//! Few bytes that stand for many: each is refused before it is expanded. The cost is what the gate allocates.

use crate::allocations::{Cost, cost_of};
use crate::chunks::*;
use automerge::transaction::Transactable as _;
use automerge::{Change, ObjType, ROOT};
use std::io::Read as _;
use sync_protocol::gate::{self, GateError, MAX_OPERATIONS};

/// What a refusal may cost besides reading the bytes.
const SMALL: usize = 64 * 1024;

fn refused(bytes: &[u8]) -> (GateError, Cost) {
    let (outcome, cost) = cost_of(|| gate::decode_sync_message(bytes));
    (outcome.expect_err("the message is refused"), cost)
}

fn refused_change(columns: &[(u64, Vec<u8>)]) -> GateError {
    let change = change(&body(1, columns));
    assert!(change.len() < 512, "a bomb is small: {}", change.len());
    let (error, cost) = refused(&message(&change));
    assert!(cost.peak < SMALL, "{cost:?}");
    let (outcome, cost) = cost_of(|| gate::changes_in(&change));
    assert_eq!(outcome.map(|changes| changes.len()), Err(error.clone()));
    assert!(cost.peak < SMALL, "{cost:?}");
    error
}

#[test]
fn a_bloom_filter_that_divides_by_nothing_or_probes_for_ever_costs_nothing() {
    let filters: [&[u8]; 3] =
        [&[1, 0, 7], &[1, 10, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0], &[0xff, 0xff, 0xff, 0x01, 10, 7, 0]];
    for filter in filters {
        let bytes = [&[0x42, 0, 0, 1, 0, filter.len() as u8], filter, &[0]].concat();
        let (_, cost) = refused(&bytes);
        assert!(cost.peak < SMALL, "{cost:?}");
    }
}

/// Ten bytes that say: 2^40 operations like this one. The library makes each of them.
#[test]
fn a_run_of_operations_is_counted_before_it_is_written_out() {
    let many = 1 << 40;
    let columns = [(KEY_TEXT, run(many, &text(b"k"))), (ACTION, run(many, &[1]))];
    assert_eq!(refused_change(&columns), GateError::TooManyOperations);
    let nothings = [&[0], unsigned(many).as_slice()].concat();
    assert_eq!(refused_change(&[(ACTION, nothings)]), GateError::TooManyOperations);
    assert_eq!(refused_change(&[(INSERT, unsigned(u64::MAX))]), GateError::TooManyOperations);
    // A count of -2^63, whose absolute value no signed number holds.
    assert_eq!(refused_change(&[(ACTION, signed(i64::MIN))]), GateError::TooManyOperations);
    // Many runs that are harmless one by one.
    let piecemeal = run(MAX_OPERATIONS / 4, &[1]).repeat(5);
    assert_eq!(refused_change(&[(ACTION, piecemeal)]), GateError::TooManyOperations);
}

/// One operation that replaces 2^40 others.
#[test]
fn a_list_of_predecessors_is_counted_before_it_is_written_out() {
    let many = 1 << 40;
    let columns = [
        (KEY_TEXT, run(1, &text(b"k"))),
        (ACTION, run(1, &[1])),
        (PREDECESSORS, run(1, &unsigned(many))),
        (PREDECESSOR_ACTOR, run(many, &[0])),
        (PREDECESSOR_COUNTER, run(many, &[1])),
    ];
    assert_eq!(refused_change(&columns), GateError::TooManyOperations);
    let columns = [(ACTION, run(4_096, &[1])), (PREDECESSORS, run(4_096, &unsigned(4_096)))];
    assert_eq!(refused_change(&columns), GateError::TooManyOperations);
}

/// A key of three hundred bytes in a run of a quarter of a million.
#[test]
fn a_run_of_long_keys_is_measured_before_it_is_written_out() {
    let columns = [(KEY_TEXT, run(1 << 18, &text(&[b'k'; 300]))), (ACTION, run(1 << 18, &[1]))];
    assert_eq!(refused_change(&columns), GateError::InflatesTooFar);
}

#[test]
fn an_actor_that_the_change_does_not_name_is_refused() {
    let columns = [
        (KEY_TEXT, run(1, &text(b"k"))),
        (ACTION, run(1, &[1])),
        (PREDECESSORS, run(1, &[1])),
        (PREDECESSOR_ACTOR, run(1, &[9])),
        (PREDECESSOR_COUNTER, run(1, &[1])),
    ];
    assert_eq!(refused_change(&columns), GateError::BadChunk);
}

/// The same runs in a document chunk, deflated on top.
#[test]
fn a_run_in_a_deflated_column_of_a_document_is_counted_too() {
    let mut deflated = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(&mut run(1 << 40, &[1]).as_slice(), &mut deflated).unwrap();
    let column = deflated.finish().unwrap();
    // No actors, no heads, no change columns, one operation column.
    let mut data = vec![0, 0, 0, 1];
    data.extend(unsigned(ACTION | 8));
    data.extend(unsigned(column.len() as u64));
    data.extend(&column);
    let chunk = chunk_with(0, &data, checksum(0, &data));
    let (error, cost) = refused(&message(&chunk));
    assert_eq!(error, GateError::TooManyOperations);
    assert!(cost.peak < SMALL + 512 * 1024, "the inflater's own tables: {cost:?}");
}

/// 300 KB that inflate to 300 MB: no more than the limit is inflated, and none of it is kept.
#[test]
fn a_deflate_bomb_costs_no_memory() {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(&mut std::io::repeat(0).take(300 << 20), &mut encoder).unwrap();
    let bomb = message(&chunk_with(2, &encoder.finish().unwrap(), [0; 4]));
    assert!(bomb.len() < 400_000);
    let (error, cost) = refused(&bomb);
    assert_eq!(error, GateError::InflatesTooFar);
    assert!(cost.peak < 1024 * 1024, "{cost:?}");
}

/// As many operations as a message may have pass, and cost what the limit's reason says.
#[test]
fn the_most_operations_that_pass_fit_into_the_sandbox() {
    let columns = |n: u64| {
        [
            (KEY_TEXT, run(n, &text(b"k"))),
            (INSERT, unsigned(n)),
            (ACTION, run(n, &[1])),
            (VALUE_LENGTH, run(n, &[0])),
            (PREDECESSORS, run(n, &[0])),
        ]
    };
    let bytes = change(&body(1, &columns(MAX_OPERATIONS)));
    let ((), cost) = cost_of(|| {
        let changes: Vec<Change> = gate::changes_in(&bytes).unwrap();
        assert_eq!(changes[0].len() as u64, MAX_OPERATIONS);
        let mut doc = automerge::Automerge::new();
        doc.apply_changes(changes).unwrap();
    });
    assert!(cost.peak < 400 << 20, "of a sandbox of 512 MiB: {cost:?}");

    let mut writer = automerge::Automerge::new();
    let mut tx = writer.transaction();
    let pasted = tx.put_object(ROOT, "text", ObjType::Text).unwrap();
    tx.splice_text(&pasted, 0, 0, &"abcdefgh".repeat(MAX_OPERATIONS as usize / 8 - 1)).unwrap();
    tx.commit();
    let bytes = writer.get_changes(&[])[0].raw_bytes().to_vec();
    let ((), cost) = cost_of(|| {
        let mut doc = automerge::Automerge::new();
        doc.apply_changes(gate::changes_in(&bytes).unwrap()).unwrap();
    });
    assert!(cost.peak < 400 << 20, "of a sandbox of 512 MiB: {cost:?}");
    assert_eq!(refused_change(&columns(MAX_OPERATIONS + 1)), GateError::TooManyOperations);
}
