//! What the origin has committed: devices that read our messages hear of it, once, and never of less.

use super::*;
use sync_protocol::link::{Document as Pulled, DocumentHeads, Feed, Hash, LinkMessage};

const INSTITUTE: &str = "northside.example";

fn feed(revision: u64, heads: Vec<Hash>) -> Event {
    Event::Link(LinkMessage::Feed(Feed {
        institute: INSTITUTE.into(),
        revision,
        tags: vec![],
        documents: vec![DocumentHeads { document: NOTES, heads }],
        members: vec![],
    }))
}

fn heads_of(doc: &Automerge) -> Vec<Hash> {
    doc.get_heads().into_iter().map(Hash::from).collect()
}

fn receipts(sent: &[(SessionId, RepoMessage)]) -> Vec<(SessionId, Vec<Hash>)> {
    sent.iter()
        .filter_map(|(session, message)| match message {
            RepoMessage::Committed { document: NOTES, heads, .. } => Some((*session, heads.clone())),
            _ => None,
        })
        .collect()
}

#[test]
fn the_feed_says_what_is_committed_and_older_news_take_nothing_back() {
    let mut edge = Edge::new();
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    edge.join_plainly(2, "tom", Role::Teacher, &["b1"]);
    edge.run([Event::LinkUp, followed()]);
    let (mut doc, mut state) = (notes(1), State::new());
    edge.talk(1, NOTES, &mut doc, &mut state);
    edge.talk(2, NOTES, &mut notes(2), &mut State::new());
    write(&mut doc, "a", "1");
    let first = heads_of(&doc);
    write(&mut doc, "a", "2");
    let second = heads_of(&doc);
    edge.talk(1, NOTES, &mut doc, &mut state);
    assert_eq!(edge.appended(), 2);

    assert_eq!(receipts(&edge.run([feed(1, first.clone())])), [(1, first.clone())]);
    assert_eq!(receipts(&edge.run([feed(2, second.clone())])), [(1, second.clone())]);
    assert_eq!(receipts(&edge.run([feed(3, second.clone())])), []);
    assert_eq!(receipts(&edge.run([feed(4, first)])), []);
    let unknown = vec![Hash([7; 32])];
    assert_eq!(receipts(&edge.run([feed(5, unknown)])), [], "it is pulled first");
    let saved = edge.written.iter().rev().find_map(|effect| match effect {
        Effect::SaveCommitted { heads, .. } => Some(heads.clone()),
        _ => None,
    });
    assert_eq!(saved, Some(second));
}

#[test]
fn a_device_that_comes_after_a_restart_is_told_what_the_log_knows() {
    let mut edge = Edge::new();
    edge.committed = heads_of(&notes(1));
    edge.restart(None);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    let sent = edge.say(1, NOTES, first_message(&notes(1)));
    assert_eq!(receipts(&sent), [(1, heads_of(&notes(1)))]);
    let sent = edge.say(1, NOTES, first_message(&notes(1)));
    assert_eq!(receipts(&sent), [], "once is enough");
}

#[test]
fn what_a_pull_brings_is_committed() {
    let mut edge = Edge::new();
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    edge.run([Event::LinkUp, followed()]);
    edge.say(1, NOTES, first_message(&notes(1)));
    let mut doc = notes(5);
    write(&mut doc, "a", "1");
    let pulled = Pulled {
        institute: INSTITUTE.into(),
        document: NOTES,
        record: Some(stored_notes().record),
        chunks: vec![doc.save().into()],
        heads: heads_of(&doc),
        actors: Vec::new(),
        deleted: false,
    };
    let sent = edge.run([Event::Link(LinkMessage::Document(pulled))]);
    assert_eq!(receipts(&sent), [(1, heads_of(&doc))]);
}
