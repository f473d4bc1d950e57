//! A document that is full: new changes are refused, and all else goes on. The sheet has the lowest limits.

use super::*;
use std::convert::Infallible;
use sync_protocol::document_limits::{ATTENDANCE_BYTES, ATTENDANCE_CHANGES, DOCUMENT_FULL, NOTES_CHANGES};
use sync_protocol::link::{Document as Pulled, Pushed, Refused};

const INSTITUTE: &str = "northside.example";

fn sheet() -> Automerge {
    Automerge::load(&kind::genesis(Kind::Attendance, SHEET).unwrap()).unwrap()
}

/// Writes beside the marks, where an attendance sheet takes what it does not know.
fn note(doc: &mut Automerge, text: &str) -> Change {
    let before = doc.get_heads();
    write(doc, "remark", text);
    doc.get_changes(&before).remove(0)
}

/// A sheet that has room for so many changes more.
fn sheet_with_room_for(changes: u64) -> Automerge {
    let mut doc = sheet();
    for n in 1..ATTENDANCE_CHANGES - changes {
        write(&mut doc, "remark", if n % 2 == 0 { "a" } else { "b" });
    }
    doc
}

fn edge_with(doc: &Automerge) -> Edge {
    let mut edge = Edge::new();
    edge.sheet = vec![doc.save()];
    edge
}

fn refusals(sent: &[(SessionId, RepoMessage)]) -> Vec<(SessionId, Hash, &str)> {
    sent.iter()
        .filter_map(|(session, message)| match message {
            RepoMessage::Refused { hash, code, .. } => Some((*session, *hash, code.as_str())),
            _ => None,
        })
        .collect()
}

fn pulled(doc: &Automerge, changes: &[Change]) -> Event {
    Event::Link(LinkMessage::Document(Pulled {
        institute: INSTITUTE.into(),
        document: SHEET,
        record: Some(stored_sheet().record),
        chunks: changes.iter().map(|change| change.raw_bytes().to_vec().into()).collect(),
        heads: doc.get_heads().into_iter().map(Hash::from).collect(),
        actors: Vec::new(),
        deleted: false,
    }))
}

fn full(session: SessionId, change: &Change) -> (SessionId, Hash, &'static str) {
    (session, change.hash().into(), DOCUMENT_FULL)
}

fn heads_of(edge: &Edge, document: DocumentId) -> Vec<Hash> {
    let found: Result<_, Infallible> = edge.engine.inspect(document, || Ok(None));
    let Ok(found) = found;
    found.unwrap().heads
}

#[test]
fn of_one_message_what_fits_is_kept_and_each_change_behind_it_is_refused() {
    let base = sheet_with_room_for(2);
    let mut edge = edge_with(&base);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    let mut taras = base.fork();
    let changes: Vec<Change> = (0..5).map(|n| note(&mut taras, &n.to_string())).collect();
    let sent = edge.say(1, SHEET, carrying(&taras, &changes));
    let expected: Vec<_> = changes[2..].iter().map(|change| full(1, change)).collect();
    assert_eq!(refusals(&sent), expected);
    assert_eq!((edge.appended(), edge.quarantined()), (2, vec![DOCUMENT_FULL; 3]));
    assert_eq!(heads_of(&edge, SHEET), [Hash::from(changes[1].hash())]);
    // What is there is no news, and no reason to refuse it.
    let sent = edge.say(1, SHEET, carrying(&taras, &changes[..2]));
    assert_eq!((refusals(&sent), edge.appended()), (vec![], 2));
}

#[test]
fn a_full_document_is_read_and_others_are_written() {
    let base = sheet_with_room_for(0);
    let mut edge = edge_with(&base);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    edge.join(2, "tom", Role::Teacher, &["b1"]);
    let (mut taras, mut state) = (base.fork(), State::new());
    let refused = note(&mut taras, "more");
    edge.talk(1, SHEET, &mut taras, &mut state);
    assert_eq!((edge.appended(), edge.quarantined()), (0, vec![DOCUMENT_FULL]));
    assert!(edge.written.iter().any(|effect| matches!(effect,
        Effect::Quarantine { document: SHEET, hash, .. } if *hash == Hash::from(refused.hash()))));

    let (mut toms, mut state) = (Automerge::new(), State::new());
    edge.talk(2, SHEET, &mut toms, &mut state);
    assert_eq!(toms.get_heads(), base.get_heads());
    let mut notes = notes(2);
    write(&mut notes, "a", "1");
    edge.talk(2, NOTES, &mut notes, &mut State::new());
    assert_eq!(edge.appended(), 1);
}

/// Older data, from before there were limits.
#[test]
fn a_document_that_is_over_its_limit_is_loaded_and_synced() {
    let mut base = sheet_with_room_for(0);
    for n in 0..50 {
        write(&mut base, "remark", &n.to_string());
    }
    let mut edge = edge_with(&base);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    let mut doc = Automerge::new();
    edge.talk(1, SHEET, &mut doc, &mut State::new());
    assert_eq!(doc.get_heads(), base.get_heads());
    let more = note(&mut doc, "more");
    let sent = edge.say(1, SHEET, carrying(&doc, std::slice::from_ref(&more)));
    assert_eq!(refusals(&sent), [full(1, &more)]);
}

#[test]
fn what_the_origin_has_committed_is_taken_whatever_the_limit() {
    let base = sheet_with_room_for(0);
    let mut edge = edge_with(&base);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    linked(&mut edge);
    let mut taras = base.fork();
    let changes = [note(&mut taras, "1"), note(&mut taras, "2")];
    let sent = edge.say(1, SHEET, carrying(&taras, &changes));
    assert_eq!(refusals(&sent), [full(1, &changes[0]), full(1, &changes[1])]);
    // An admin has accepted both.
    edge.run([pulled(&taras, &changes)]);
    assert_eq!(edge.appended(), 2);
    assert_eq!(heads_of(&edge, SHEET), [Hash::from(changes[1].hash())]);
    let mut other = Automerge::new();
    edge.join(2, "tom", Role::Teacher, &["b1"]);
    edge.talk(2, SHEET, &mut other, &mut State::new());
    assert_eq!(other.get_heads(), taras.get_heads());
}

/// What waited is judged when it can be merged: by then the document may be full.
#[test]
fn what_waited_for_a_dependency_is_refused_when_the_document_has_filled_meanwhile() {
    let base = sheet_with_room_for(1);
    let mut edge = edge_with(&base);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    linked(&mut edge);
    let mut taras = base.fork();
    let (first, second) = (note(&mut taras, "1"), note(&mut taras, "2"));
    let sent = edge.say(1, SHEET, carrying(&taras, std::slice::from_ref(&second)));
    assert_eq!((refusals(&sent), edge.appended()), (vec![], 0));
    let mut origins = base.fork();
    origins.apply_changes([first.clone()]).unwrap();
    let sent = edge.run([pulled(&origins, &[first])]);
    assert_eq!(refusals(&sent), [full(1, &second)]);
    assert_eq!((edge.appended(), edge.quarantined()), (1, vec![DOCUMENT_FULL]));
}

#[test]
fn a_change_that_is_too_large_is_refused_and_a_small_one_still_fits() {
    let mut edge = Edge::new();
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    let most = usize::try_from(ATTENDANCE_BYTES).unwrap();
    let mut doc = sheet();
    let half = note(&mut doc, &"x".repeat(most / 2));
    let sent = edge.say(1, SHEET, carrying(&doc, std::slice::from_ref(&half)));
    assert_eq!((refusals(&sent), edge.appended()), (vec![], 1));
    let large = note(&mut doc.fork(), &"y".repeat(most / 2));
    let sent = edge.say(1, SHEET, carrying(&doc, std::slice::from_ref(&large)));
    assert_eq!(refusals(&sent), [full(1, &large)]);
    let small = note(&mut doc, "z");
    let sent = edge.say(1, SHEET, carrying(&doc, std::slice::from_ref(&small)));
    assert_eq!((refusals(&sent), edge.appended()), (vec![], 2));
}

/// The edge was behind and had room; the origin had none. The edge forgets its copy, fetches the origin's, and refuses the change
/// with the origin's code from then on.
#[test]
fn what_the_origin_refuses_leaves_the_edge_and_stays_refused() {
    let mut edge = Edge::new();
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    linked(&mut edge);
    let mut taras = sheet();
    let change = note(&mut taras, "one too many");
    edge.say(1, SHEET, carrying(&taras, std::slice::from_ref(&change)));
    assert_eq!(edge.appended(), 1);

    let refused = vec![Refused { sequence: 1, document: SHEET, code: DOCUMENT_FULL.into() }];
    let answer = Pushed { institute: INSTITUTE.into(), log: String::new(), acknowledged: 1, refused };
    edge.refused = vec![(change.hash().into(), DOCUMENT_FULL.into())];
    let sent = edge.run([Event::Link(LinkMessage::Pushed(answer))]);
    assert!(sent.iter().any(|(_, message)| matches!(message, RepoMessage::Unavailable { .. })), "{sent:?}");
    let refused = vec![(1, DOCUMENT_FULL.to_owned())];
    assert!(edge.written.contains(&Effect::Discard { document: SHEET, refused }));

    let sent = edge.say(1, SHEET, carrying(&taras, std::slice::from_ref(&change)));
    assert_eq!(refusals(&sent), [full(1, &change)]);
    assert_eq!(edge.appended(), 1, "it is not taken again");
    let mut toms = Automerge::new();
    edge.join(2, "tom", Role::Teacher, &["b1"]);
    edge.talk(2, SHEET, &mut toms, &mut State::new());
    assert_eq!(toms.get_heads(), sheet().get_heads());
}

#[test]
fn operators_see_how_full_a_document_is() {
    let base = sheet_with_room_for(3);
    let mut edge = edge_with(&base);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    edge.talk(1, SHEET, &mut base.fork(), &mut State::new());
    let inspect = |document, stored| {
        let found: Result<_, Infallible> = edge.engine.inspect(document, || Ok(stored));
        let Ok(found) = found;
        found.unwrap()
    };
    let found = inspect(SHEET, None);
    assert_eq!((found.changes, found.most_changes), (ATTENDANCE_CHANGES - 3, ATTENDANCE_CHANGES));
    assert_eq!(found.most_content_bytes, ATTENDANCE_BYTES);
    assert_eq!(found.content_bytes, base.save_nocompress().len() as u64);
    assert_eq!(
        inspect(NOTES, Some(stored_notes())).most_changes,
        NOTES_CHANGES,
        "of one that is not in memory"
    );
}
