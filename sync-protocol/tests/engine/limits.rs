//! A document that is full: new changes are refused, and all else goes on. The sheet has the lowest limits.

use super::*;
use std::convert::Infallible;
use sync_protocol::document_limits::{
    ATTENDANCE_BYTES, ATTENDANCE_CHANGES, CHANGE_TOO_LARGE, DOCUMENT_FULL, MAX_CHANGE_BYTES, NOTES_CHANGES,
};
use sync_protocol::gate::MAX_DOCUMENT_HEADS;
use sync_protocol::link::{Document as Pulled, PushItem, Pushed, Refused};

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

/// The link could not carry it to the origin, and all that came after it in the log waited behind it for ever.
#[test]
fn a_change_that_no_message_of_the_link_has_room_for_is_refused_and_the_next_is_not() {
    let mut edge = Edge::new();
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    let mut doc = notes(1);
    let before = doc.get_heads();
    write(&mut doc, "pasted", &"a".repeat(MAX_CHANGE_BYTES));
    let large = doc.get_changes(&before).remove(0);
    let sent = edge.say(1, NOTES, carrying(&doc, std::slice::from_ref(&large)));
    assert_eq!(refusals(&sent), [(1, Hash::from(large.hash()), CHANGE_TOO_LARGE)]);
    assert_eq!(edge.appended(), 0);
    // In two parts it is taken.
    let mut doc = notes(2);
    for key in ["first", "second"] {
        write(&mut doc, key, &"a".repeat(MAX_CHANGE_BYTES / 2));
    }
    edge.talk(1, NOTES, &mut doc, &mut State::new());
    assert_eq!(edge.appended(), 2);
}

/// A log from before there was a limit.
#[test]
fn what_is_too_large_to_be_pushed_is_set_aside_and_what_waits_behind_it_is_pushed() {
    let mut edge = Edge::new();
    linked(&mut edge);
    edge.written.clear();
    let item = |sequence, bytes: usize| PushItem {
        sequence,
        document: NOTES,
        user: "tara".into(),
        device: "tara-phone".into(),
        bytes: vec![0; bytes].into(),
        logged_at: 1,
    };
    edge.run([Event::Unpushed(vec![item(1, MAX_CHANGE_BYTES + 1), item(2, 10)])]);
    let refused = vec![(1, CHANGE_TOO_LARGE.to_owned())];
    assert!(edge.written.contains(&Effect::Discard { document: NOTES, refused }));
    let pushed = edge.written.iter().find_map(|effect| match effect {
        Effect::Link(LinkMessage::Push(push)) => Some(&push.items),
        _ => None,
    });
    assert_eq!(pushed.unwrap().iter().map(|item| item.sequence).collect::<Vec<_>>(), [2]);

    let mut edge = Edge::new();
    linked(&mut edge);
    edge.written.clear();
    edge.run([Event::Unpushed(vec![item(1, MAX_CHANGE_BYTES + 1)])]);
    assert!(edge.written.contains(&Effect::ReadLog { after: 0 }), "the next are looked for");
}

/// Everybody who had read it named more heads than a message may, and was cut off with all of his documents.
#[test]
fn a_document_gets_no_more_heads_than_everybody_can_name_and_merge() {
    let mut edge = Edge::new();
    edge.join(1, "mallory", Role::Teacher, &["b1"]);
    edge.join(2, "tom", Role::Teacher, &["b1"]);
    let base = notes(1);
    let mut apart = Vec::new();
    for n in 0..MAX_DOCUMENT_HEADS + 10 {
        let actor = ActorId::from(&(n as u32).to_be_bytes()[..]);
        let mut one = base.clone().with_actor(actor);
        write(&mut one, "a", &n.to_string());
        apart.extend(one.get_changes(&base.get_heads()));
    }
    let sent = edge.say(1, NOTES, carrying(&base, &apart));
    let codes: Vec<&str> = refusals(&sent).into_iter().map(|(_, _, code)| code).collect();
    assert_eq!(codes, ["too-many-heads"; 10]);
    assert_eq!(heads_of(&edge, NOTES).len(), MAX_DOCUMENT_HEADS);
    // An honest reader merges them with the next word that he writes.
    let (mut toms, mut state) = (Automerge::new(), State::new());
    edge.talk(2, NOTES, &mut toms, &mut state);
    write(&mut toms, "b", "1");
    edge.talk(2, NOTES, &mut toms, &mut state);
    assert_eq!(heads_of(&edge, NOTES), [Hash::from(toms.get_heads()[0])]);
    // With that there is room again.
    let sent = edge.say(1, NOTES, carrying(&base, &apart[MAX_DOCUMENT_HEADS..]));
    assert_eq!(refusals(&sent), []);
    assert_eq!(heads_of(&edge, NOTES).len(), 11);
}

/// Documents that are opened in one batch of events do not wait for its end to be put away.
#[test]
fn a_batch_that_opens_more_than_there_is_room_for_is_seen_before_its_end() {
    let mut edge = Edge::new();
    edge.engine =
        Engine::new(INSTITUTE, Limits { memory_bytes: 1, ..Limits::default() }, Position::default());
    assert!(!edge.engine.is_over_budget());
    edge.engine.handle(1, Event::Opened { session: 1, claims: claims("tara", Role::Teacher, &["b1"]) });
    let (stored, refused) = (Some(stored_notes()), Vec::new());
    edge.engine.handle(1, Event::Loaded { document: NOTES, stored, refused, deleted: false });
    assert!(edge.engine.is_over_budget());
    edge.engine.flush();
    assert_eq!(edge.engine.usage().documents, 0);
    assert!(!edge.engine.is_over_budget());
}
