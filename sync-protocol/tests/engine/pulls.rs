//! Answers to pulls that come when the feed has said more already: they are no reason to believe that nothing is lacking.

use super::*;
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
