//! A deleted document is gone for everybody, and no old copy brings it back.

use super::*;
use sync_protocol::link::{Document as Pulled, DocumentHeads, Feed, LinkMessage, Pushed, Refused};

const INSTITUTE: &str = "northside.example";

fn heads_of(doc: &Automerge) -> Vec<Hash> {
    doc.get_heads().into_iter().map(Hash::from).collect()
}

fn feed(revision: u64) -> Event {
    Event::Link(LinkMessage::Feed(Feed {
        institute: INSTITUTE.into(),
        revision,
        tags: vec![],
        documents: vec![DocumentHeads { document: NOTES, heads: vec![] }],
        members: vec![],
    }))
}

fn is_gone(sent: &[(SessionId, RepoMessage)], to: SessionId) -> bool {
    let own: Vec<&RepoMessage> =
        sent.iter().filter(|(id, _)| *id == to).map(|(_, message)| message).collect();
    matches!(
        own[..],
        [RepoMessage::Deleted { document: NOTES, .. }, RepoMessage::Unavailable { document: NOTES, .. }]
    )
}

#[test]
fn readers_are_told_and_what_they_bring_is_not_taken() {
    let mut edge = Edge::new();
    linked(&mut edge);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    edge.join_plainly(2, "tom", Role::Teacher, &["b1"]);
    let (mut doc, mut state) = (notes(1), State::new());
    edge.talk(1, NOTES, &mut doc, &mut state);
    edge.talk(2, NOTES, &mut notes(2), &mut State::new());

    let sent = edge.run([feed(1)]);
    assert!(is_gone(&sent, 1), "{sent:?}");
    let to_plain: Vec<_> = sent.iter().filter(|(id, _)| *id == 2).collect();
    assert!(matches!(to_plain[..], [(2, RepoMessage::Unavailable { .. })]), "{sent:?}");
    assert!(edge.written.contains(&Effect::Delete(NOTES)));

    write(&mut doc, "a", "1");
    let old = carrying(&doc, &doc.get_changes(&[]));
    assert!(is_gone(&edge.say(1, NOTES, old.clone()), 1));
    let sent = edge.say(2, NOTES, old);
    assert!(matches!(&sent[..], [(2, RepoMessage::Unavailable { .. })]), "{sent:?}");
    edge.wait(60_000);
    assert_eq!((edge.appended(), edge.quarantined().len()), (0, 0));
    assert_eq!(edge.run([feed(1)]), [], "the news comes twice");
}

/// The log keeps that it was deleted: a device that was away all the time finds out, and founds nothing.
#[test]
fn a_device_that_returns_after_a_restart_does_not_revive_it() {
    let mut edge = Edge::new();
    edge.deleted = true;
    edge.restart(None);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    let mut doc = notes(1);
    write(&mut doc, "a", "1");
    assert!(is_gone(&edge.say(1, NOTES, carrying(&doc, &doc.get_changes(&[]))), 1));
    edge.wait(10_000);
    assert_eq!(edge.appended(), 0);
    assert!(!edge.written.iter().any(|effect| matches!(effect, Effect::SaveRecord(_))));
}

/// An edge that was away during the deletion hears of it when it pulls, or when the origin refuses what it pushes.
#[test]
fn an_edge_that_missed_the_news_learns_from_the_origins_answers() {
    let mut edge = Edge::new();
    linked(&mut edge);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    edge.talk(1, NOTES, &mut notes(1), &mut State::new());
    let answer = Pulled {
        institute: INSTITUTE.into(),
        document: NOTES,
        record: None,
        chunks: vec![],
        heads: vec![],
        actors: vec![],
        deleted: true,
    };
    let sent = edge.run([Event::Link(LinkMessage::Document(answer))]);
    assert!(is_gone(&sent, 1), "{sent:?}");

    let mut edge = Edge::new();
    linked(&mut edge);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    let (mut doc, mut state) = (notes(1), State::new());
    write(&mut doc, "a", "1");
    edge.talk(1, NOTES, &mut doc, &mut state);
    let refused = vec![Refused { sequence: 1, document: NOTES, code: "document-deleted".into() }];
    let (institute, log) = (INSTITUTE.to_owned(), String::new());
    let pushed = Pushed { institute, log, acknowledged: 1, refused };
    let sent = edge.run([Event::Link(LinkMessage::Pushed(pushed))]);
    assert!(is_gone(&sent, 1), "{sent:?}");
    assert!(edge.written.contains(&Effect::Delete(NOTES)));
}

/// A document that was put away for want of memory has its readers all the same.
#[test]
fn readers_of_a_document_that_is_not_in_memory_are_told_too() {
    let mut edge = Edge::new();
    let limits = Limits { memory_bytes: 1, ..Limits::default() };
    edge.engine = Engine::new(INSTITUTE, limits, Position::default());
    linked(&mut edge);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    edge.committed = heads_of(&notes(1));
    edge.talk(1, NOTES, &mut notes(1), &mut State::new());
    assert_eq!((edge.engine.usage().documents, edge.engine.usage().parked), (0, 1));
    let sent = edge.run([feed(1)]);
    assert!(is_gone(&sent, 1), "{sent:?}");
    assert_eq!(edge.engine.usage().parked, 0);
}
