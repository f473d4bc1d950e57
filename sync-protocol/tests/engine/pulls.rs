//! Answers to pulls that come when the feed has said more already: they are no reason to believe that nothing is lacking.

use super::*;
use std::collections::BTreeSet;
use sync_protocol::engine::PULL_ANSWER_MS;
use sync_protocol::link::{Document as OriginDocument, DocumentHeads, Feed};

fn feed(revision: u64, document: DocumentId, doc: &Automerge) -> Event {
    let documents = vec![DocumentHeads { document, heads: heads_of(doc) }];
    let institute = "northside.example".into();
    Event::Link(LinkMessage::Feed(Feed { institute, revision, tags: vec![], documents, members: vec![] }))
}

fn heads_of(doc: &Automerge) -> Vec<Hash> {
    doc.get_heads().into_iter().map(Hash::from).collect()
}

/// What the origin answers that has the notes under another id, or nothing of that id.
fn answer(document: DocumentId, doc: Option<&Automerge>) -> Event {
    Event::Link(LinkMessage::Document(OriginDocument {
        institute: "northside.example".into(),
        document,
        record: doc.map(|_| DocumentRecord { document, ..stored_notes().record }),
        chunks: doc.map(|doc| doc.save().into()).into_iter().collect(),
        heads: doc.map(heads_of).unwrap_or_default(),
        actors: vec![],
        deleted: false,
    }))
}

/// Documents that were pulled since the last time, and those that were found to be current.
fn asked(edge: &mut Edge) -> (usize, usize) {
    let written = std::mem::take(&mut edge.written);
    let pulls = written.iter().filter(|effect| matches!(effect, Effect::Link(LinkMessage::Pull(_))));
    let current = written.iter().filter(|effect| matches!(effect, Effect::MarkCurrent(_)));
    (pulls.count(), current.count())
}

fn linked_again(edge: &mut Edge, revision: u64) {
    let following = Following { revision, ..following() };
    edge.run([Event::LinkDown, Event::LinkUp, Event::Link(LinkMessage::Following(following))]);
}

/// The feed names a document while the answer is under way that there is none.
#[test]
fn a_late_answer_that_there_is_no_such_document_does_not_undo_what_the_feed_has_said_since() {
    for broken in [false, true] {
        let mut edge = Edge::new();
        linked(&mut edge);
        edge.join(1, "tara", Role::Teacher, &["b1"]);
        edge.written.clear();
        assert_eq!(edge.say(1, UNKNOWN, first_message(&Automerge::new())), []);
        assert_eq!(asked(&mut edge), (1, 0));
        let made = notes(1);
        assert_eq!(edge.run([feed(1, UNKNOWN, &made)]), []);
        assert_eq!(asked(&mut edge), (1, 0), "what is under way may be older");
        assert_eq!(edge.run([answer(UNKNOWN, None)]), []);
        if broken {
            linked_again(&mut edge, 1);
            assert_eq!(asked(&mut edge), (1, 0), "the news is not forgotten with the connection");
        }
        let sent = edge.run([answer(UNKNOWN, Some(&made))]);
        assert!(matches!(&sent[..], [(1, RepoMessage::Sync { .. }), ..]), "{sent:?}");
        assert_eq!(asked(&mut edge), (0, 1));
    }
}

/// Two commits, two pulls: the first answer has not what the second commit brought.
#[test]
fn an_answer_without_the_newest_heads_does_not_make_a_document_current() {
    let mut edge = Edge::new();
    linked(&mut edge);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    edge.say(1, NOTES, first_message(&notes(1)));
    let mut first = notes(2);
    write(&mut first, "a", "1");
    let mut second = first.fork();
    write(&mut second, "a", "2");
    edge.run([feed(1, NOTES, &first)]);
    edge.run([feed(2, NOTES, &second)]);
    asked(&mut edge);
    edge.run([answer(NOTES, Some(&first))]);
    assert_eq!(asked(&mut edge), (0, 0));
    linked_again(&mut edge, 2);
    assert_eq!(asked(&mut edge), (1, 0));
    edge.run([answer(NOTES, Some(&second))]);
    assert_eq!(asked(&mut edge), (0, 1));
}

/// A document whose history is more than one message of the link carries.
#[test]
fn an_answer_that_is_a_part_is_followed_by_a_pull_of_the_rest() {
    let mut edge = Edge::new();
    linked(&mut edge);
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    edge.say(1, NOTES, first_message(&notes(1)));
    let mut whole = notes(2);
    write(&mut whole, "a", "1");
    let part = whole.fork();
    write(&mut whole, "a", "2");
    edge.run([feed(1, NOTES, &whole)]);
    asked(&mut edge);
    let Event::Link(LinkMessage::Document(first)) = answer(NOTES, Some(&part)) else { unreachable!() };
    let first = OriginDocument { heads: heads_of(&whole), ..first };
    edge.run([Event::Link(LinkMessage::Document(first.clone()))]);
    let asks = |edge: &Edge| {
        let pulls = edge.written.iter().filter_map(|effect| match effect {
            Effect::Link(LinkMessage::Pull(pull)) => Some(pull.have.clone()),
            _ => None,
        });
        pulls.collect::<Vec<_>>()
    };
    assert_eq!(asks(&edge), [heads_of(&part)]);
    assert_eq!(asked(&mut edge), (1, 0));
    // Nothing comes of it when it comes twice: there must be an end.
    edge.run([Event::Link(LinkMessage::Document(first))]);
    assert_eq!(asked(&mut edge), (0, 0));
    edge.run([answer(NOTES, Some(&whole))]);
    assert_eq!(asked(&mut edge), (0, 1));
}

/// The origin cannot read some of its documents, and says nothing to pulls of them.
#[test]
fn pulls_that_are_not_answered_hold_up_no_others() {
    let mut edge = Edge::new();
    linked(&mut edge);
    let documents: Vec<DocumentId> = (0..40).map(|n| DocumentId::from_bytes([100 + n; 16])).collect();
    // Sessions that wait for them, so that each is worth a pull.
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    for document in &documents {
        edge.say(1, *document, first_message(&Automerge::new()));
    }
    let news =
        documents.iter().map(|document| DocumentHeads { document: *document, heads: heads_of(&notes(1)) });
    edge.written.clear();
    edge.run([Event::Link(LinkMessage::Feed(Feed {
        institute: "northside.example".into(),
        revision: 1,
        tags: vec![],
        documents: news.collect(),
        members: vec![],
    }))]);
    let mut seen = BTreeSet::new();
    for _ in 0..4 {
        seen.extend(edge.written.drain(..).filter_map(|effect| match effect {
            Effect::Link(LinkMessage::Pull(pull)) => Some(pull.document),
            _ => None,
        }));
        edge.wait(PULL_ANSWER_MS);
    }
    assert_eq!(seen.len(), documents.len());
}

/// Another instance took the document for private while the origin was not asked; the feed says nothing of it.
#[test]
fn a_document_of_which_nothing_is_known_to_be_committed_is_asked_for_when_it_is_loaded() {
    let mut edge = Edge::new();
    linked(&mut edge);
    edge.written.clear();
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    let record = DocumentRecord {
        document: UNKNOWN,
        kind: Kind::Private.as_str().into(),
        subject: UNKNOWN.to_string(),
        batch: None,
        owner: "mallory".into(),
    };
    let stored = Some(Stored { record, ..stored_notes() });
    edge.say(1, UNKNOWN, first_message(&Automerge::new()));
    asked(&mut edge);
    edge.run([Event::Loaded { document: UNKNOWN, stored, refused: vec![], deleted: false }]);
    assert_eq!(asked(&mut edge), (1, 0));
    // And with the origin's word the teacher gets at it.
    edge.run([answer(UNKNOWN, Some(&notes(1)))]);
    let sent = edge.run([answer(UNKNOWN, Some(&notes(1)))]);
    assert!(
        sent.iter().any(|(to, message)| *to == 1 && matches!(message, RepoMessage::Sync { .. })),
        "{sent:?}"
    );
}

/// What another instance has logged costs what it is, and not the document.
#[test]
fn news_of_the_log_are_merged_into_the_document_in_memory() {
    let mut edge = Edge::new();
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    edge.join(2, "tom", Role::Teacher, &["b1"]);
    let (mut doc, mut state) = (notes(1), State::new());
    edge.talk(1, NOTES, &mut doc, &mut state);
    let now = edge.now;
    let effects = edge.engine.handle(now, Event::Written(vec![NOTES, UNKNOWN]));
    assert!(effects.contains(&Effect::LoadNews(NOTES)), "{effects:?}");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Load(_))), "nobody reads the other");
    let mut toms = notes(2);
    let before = toms.get_heads();
    write(&mut toms, "b", "2");
    let chunks = toms.get_changes(&before).iter().map(|change| change.raw_bytes().to_vec()).collect();
    let stored = Some(Stored { chunks, whole: false, ..stored_notes() });
    let sent = edge.run([Event::Loaded { document: NOTES, stored, refused: vec![], deleted: false }]);
    for (to, message) in sent {
        if let (1, RepoMessage::Sync { data, .. }) = (to, message) {
            doc.receive_sync_message(&mut state, Message::decode(&data).unwrap()).unwrap();
        }
    }
    edge.talk(1, NOTES, &mut doc, &mut state);
    assert_eq!(doc.get_heads(), toms.get_heads());
}
