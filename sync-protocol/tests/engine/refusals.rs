//! A change that breaks the rules of its document's kind: who brought it is told, nobody else notices.

use super::*;
use sync_protocol::link::{Document as Pulled, Following, Hash, LinkMessage};

fn sheet(actor: u8) -> Automerge {
    let genesis = kind::genesis(Kind::Attendance, SHEET).unwrap();
    Automerge::load(&genesis).unwrap().with_actor(ActorId::from([actor]))
}

fn mark(doc: &mut Automerge, student: &str, value: &str) -> Change {
    let before = doc.get_heads();
    let (_, marks) = doc.get(ROOT, "marks").unwrap().unwrap();
    let mut tx = doc.transaction();
    tx.put(&marks, student, value).unwrap();
    tx.commit();
    doc.get_changes(&before).remove(0)
}

fn refusals(sent: &[(SessionId, RepoMessage)]) -> Vec<(SessionId, Hash, &str)> {
    sent.iter()
        .filter_map(|(session, message)| match message {
            RepoMessage::Refused { document: SHEET, hash, code, .. } => {
                Some((*session, *hash, code.as_str()))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn a_bad_mark_is_refused_by_its_hash_and_the_sheet_and_everybody_else_go_on() {
    let mut edge = Edge::new();
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    edge.join(2, "tom", Role::Teacher, &["b1"]);
    let (mut taras, mut toms) = (sheet(1), sheet(2));
    let good = mark(&mut taras, "s1", "late");
    let bad = mark(&mut taras, "s2", "asleep");
    let sent = edge.say(1, SHEET, carrying(&taras, &[good.clone(), bad.clone()]));
    assert_eq!(refusals(&sent), [(1, bad.hash().into(), "invalid-mark")]);
    assert_eq!((edge.appended(), edge.quarantined()), (1, vec!["invalid-mark"]));

    let mut state = State::new();
    mark(&mut toms, "s3", "present");
    edge.talk(2, SHEET, &mut toms, &mut state);
    assert_eq!(edge.appended(), 2);
    let has = |change: &Change| toms.get_change_meta_by_hash(&change.hash()).is_some();
    assert!(has(&good) && !has(&bad));
}

/// A batch of changes is judged in its order, each against the sheet with those before it.
#[test]
fn changes_of_one_message_are_judged_one_after_the_other() {
    let mut edge = Edge::new();
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    let mut doc = sheet(1);
    let changes: Vec<Change> =
        (0..50).map(|n| mark(&mut doc, &format!("s{}", n % 7), kind::MARKS[n % 4])).collect();
    edge.say(1, SHEET, carrying(&doc, &changes));
    assert_eq!((edge.appended(), edge.quarantined().len()), (50, 0));
}

#[test]
fn a_client_that_does_not_know_our_messages_gets_none() {
    let mut edge = Edge::new();
    let claims = claims("tara", Role::Teacher, &["b1"]);
    let join =
        RepoMessage::Join { sender: "js".into(), versions: vec!["1".into()], extended: false }.encode();
    edge.run([Event::Opened { session: 1, claims }, Event::Frame { session: 1, bytes: join }]);
    let mut doc = sheet(1);
    let bad = mark(&mut doc, "s1", "asleep");
    let sent = edge.say(1, SHEET, carrying(&doc, &[bad]));
    assert!(sent.iter().all(|(_, message)| matches!(message, RepoMessage::Sync { .. })), "{sent:?}");
    assert_eq!(edge.quarantined(), ["invalid-mark"]);
}

/// The device has said all that it has; what it waits for comes from elsewhere.
#[test]
fn a_change_that_is_held_back_is_merged_when_its_dependency_comes_from_the_origin() {
    let mut edge = Edge::new();
    let following = Following {
        institute: "northside.example".into(),
        epoch: 1,
        revision: 0,
        log: String::new(),
        acknowledged: 0,
        reset: false,
    };
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    edge.run([Event::LinkUp, Event::Link(LinkMessage::Following(following))]);
    let mut doc = sheet(1);
    let first = mark(&mut doc, "s1", "late");
    let second = mark(&mut doc, "s1", "present");
    edge.say(1, SHEET, carrying(&doc, std::slice::from_ref(&second)));
    assert_eq!(edge.appended(), 0);
    let pulled = Pulled {
        institute: "northside.example".into(),
        document: SHEET,
        record: Some(stored_sheet().record),
        chunks: vec![first.raw_bytes().to_vec().into()],
        heads: vec![first.hash().into()],
    };
    let sent = edge.run([Event::Link(LinkMessage::Document(pulled))]);
    let [(1, RepoMessage::Sync { data, .. })] = &sent[..] else { panic!("{sent:?}") };
    let mut state = State::new();
    doc.receive_sync_message(&mut state, Message::decode(data).unwrap()).unwrap();
    edge.talk(1, SHEET, &mut doc, &mut state);
    assert_eq!(edge.appended(), 2, "the origin's and the one that waited for it");
}
