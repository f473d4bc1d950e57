//! A change that breaks the rules of its document's kind: who brought it is told, nobody else notices.

use super::*;
use automerge::sync::{ChunkList, MessageFlags};
use sync_protocol::link::{Document as Pulled, LinkMessage, QuarantineItem, Quarantined};

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
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    edge.run([Event::LinkUp, followed()]);
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
        actors: Vec::new(),
        deleted: false,
    };
    let sent = edge.run([Event::Link(LinkMessage::Document(pulled))]);
    assert_eq!(edge.appended(), 2, "the origin's and the one that waited for it");
    let told = sent.iter().find_map(|(_, message)| match message {
        RepoMessage::Sync { data, .. } => Some(Message::decode(data).unwrap().heads),
        _ => None,
    });
    assert_eq!(told, Some(vec![second.hash()]), "its device hears that it is there");
}

/// What waits is put away with its document where there is no room. Its device was cut off for it, connected again, brought it
/// again, and so on without end.
#[test]
fn what_waited_in_a_document_that_was_put_away_is_asked_for_when_there_is_news_and_not_before() {
    let mut edge = Edge::new();
    // Room for one of the two documents, and not for two.
    let limits = Limits { memory_bytes: 24 * 1024, ..Limits::default() };
    // Without a link: a document that is being pulled is not put away.
    edge.engine = Engine::new("northside.example", limits, Position::default());
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    edge.join(2, "tom", Role::Teacher, &["b1"]);
    let mut doc = sheet(1);
    let first = mark(&mut doc, "s1", "late");
    let second = mark(&mut doc, "s1", "present");
    edge.say(1, SHEET, carrying(&doc, std::slice::from_ref(&second)));
    edge.say(2, NOTES, first_message(&notes(2)));
    assert_eq!(edge.engine.usage().parked, 2);

    let asks = |sent: &[(SessionId, RepoMessage)], session| {
        sent.iter().any(|(to, message)| match message {
            RepoMessage::Sync { data, .. } if *to == session => {
                let flags = Message::decode(data).unwrap().flags;
                flags.is_some_and(|flags| flags.contains(MessageFlags::SYNC_RESET))
            }
            _ => false,
        })
    };
    let mut empty = doc.generate_sync_message(&mut State::new()).unwrap();
    empty.changes = ChunkList::empty();
    assert!(!asks(&edge.say(1, SHEET, empty.encode()), 1), "it would only wait again");

    edge.sheet.push(first.raw_bytes().to_vec());
    let sent = edge.run([Event::Written(vec![SHEET])]);
    assert!(asks(&sent, 1), "{sent:?}");
    assert!(!asks(&sent, 2));
    edge.say(1, SHEET, carrying(&doc, &[first, second]));
    assert_eq!(edge.appended(), 1);
    let closed = edge.written.iter().any(|effect| matches!(effect, Effect::Close { .. }));
    assert!(!closed && edge.quarantined().is_empty());
}

/// The origin gets what is in quarantine, one message at a time, and again until it has answered.
#[test]
fn what_was_refused_is_told_to_the_origin() {
    let mut edge = Edge::new();
    let asked = |edge: &mut Edge| {
        let count = edge.written.iter().filter(|e| matches!(e, Effect::ReadQuarantine)).count();
        edge.written.clear();
        count
    };
    edge.run([Event::LinkUp, followed()]);
    assert_eq!(asked(&mut edge), 1, "what a run before left");
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    let mut doc = sheet(1);
    let bad = mark(&mut doc, "s1", "asleep");
    edge.say(1, SHEET, carrying(&doc, std::slice::from_ref(&bad)));
    assert_eq!(asked(&mut edge), 1);
    let item = QuarantineItem {
        sequence: 3,
        document: SHEET,
        user: "tara".into(),
        device: "tara-phone".into(),
        code: "invalid-mark".into(),
        refused_at: 1,
        bytes: bad.raw_bytes().to_vec().into(),
    };
    edge.run([Event::Untold(vec![item.clone()])]);
    let told = |edge: &Edge| {
        edge.written.iter().filter(|e| matches!(e, Effect::Link(LinkMessage::Quarantine(_)))).count()
    };
    assert_eq!(told(&edge), 1);
    edge.wait(1_000);
    assert_eq!(asked(&mut edge), 0, "one is under way");
    // The answer is lost with the connection.
    edge.run([Event::LinkDown, Event::LinkUp, followed()]);
    assert_eq!(asked(&mut edge), 1);
    edge.run([Event::Untold(vec![item])]);
    let answer = Quarantined { institute: "northside.example".into(), log: String::new(), acknowledged: 3 };
    edge.run([Event::Link(LinkMessage::Quarantined(answer))]);
    assert!(edge.written.contains(&Effect::SaveTold(3)));
    assert_eq!(asked(&mut edge), 1, "there may be more");
}
