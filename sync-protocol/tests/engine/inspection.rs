//! What operators see of a document: heads here, at each reader and at the origin, and how far apart they are.

use super::*;
use std::convert::Infallible;
use sync_protocol::engine::{Inspection, MAX_READERS, Reader};

fn inspect(edge: &Edge, document: DocumentId, stored: Option<Stored>) -> Option<Inspection> {
    let found: Result<_, Infallible> = edge.engine.inspect(document, || Ok(stored));
    let Ok(found) = found;
    found
}

fn heads_of(doc: &Automerge) -> Vec<Hash> {
    doc.get_heads().into_iter().map(Hash::from).collect()
}

fn reader(session: SessionId, user: &str, heads: Vec<Hash>, lacking: Option<u64>) -> Reader {
    let (user, device) = (user.to_owned(), format!("{user}-phone"));
    Reader { session, user, device, heads: Some(heads), lacking_changes: lacking }
}

#[test]
fn each_reader_is_listed_with_its_heads_and_what_it_lacks() {
    let mut edge = Edge::new();
    edge.committed = heads_of(&notes(1));
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    edge.join(2, "tom", Role::Teacher, &["b1"]);
    let (mut tara, mut state) = (notes(1), State::new());
    let behind = notes(2);
    edge.talk(1, NOTES, &mut tara, &mut state);
    edge.talk(2, NOTES, &mut behind.clone(), &mut State::new());
    write(&mut tara, "a", "1");
    write(&mut tara, "a", "2");
    edge.talk(1, NOTES, &mut tara, &mut state);

    let found = inspect(&edge, NOTES, None).unwrap();
    assert_eq!(found.heads, heads_of(&tara));
    assert_eq!((found.changes, found.held_changes, found.fault), (3, 0, None));
    assert_eq!((found.committed, found.uncommitted_changes), (heads_of(&behind), 2));
    let here = reader(1, "tara", heads_of(&tara), Some(0));
    assert_eq!(found.readers, [here, reader(2, "tom", heads_of(&behind), Some(2))]);
    assert_eq!(found.reader_count, 2);

    edge.run([Event::Closed { session: 2 }]);
    assert_eq!(inspect(&edge, NOTES, None).unwrap().reader_count, 1);
}

#[test]
fn what_waits_for_a_dependency_and_what_a_reader_has_beyond_us_is_said() {
    let mut edge = Edge::new();
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    let mut doc = notes(1);
    write(&mut doc, "a", "1");
    write(&mut doc, "a", "2");
    let last = doc.get_changes(&[]).pop().unwrap();
    edge.say(1, NOTES, carrying(&doc, &[last]));
    let found = inspect(&edge, NOTES, None).unwrap();
    assert_eq!((found.changes, found.held_changes), (1, 1));
    assert_eq!(found.readers, [reader(1, "tara", heads_of(&doc), None)]);
}

#[test]
fn a_document_that_is_not_in_memory_is_loaded_for_the_answer_alone() {
    let edge = Edge::new();
    assert_eq!(inspect(&edge, NOTES, None), None);
    let found = inspect(&edge, NOTES, Some(stored_notes())).unwrap();
    assert_eq!((found.heads, found.changes, found.reader_count), (heads_of(&notes(1)), 1, 0));
    assert_eq!(edge.engine.usage().documents, 0, "it is not kept");
    let broken = Stored { chunks: vec![b"no document".to_vec()], ..stored_notes() };
    let found = inspect(&edge, NOTES, Some(broken)).unwrap();
    assert!(found.fault.is_some() && found.heads.is_empty(), "{found:?}");
}

#[test]
fn no_more_readers_are_listed_than_an_operator_reads() {
    let mut edge = Edge::new();
    let sessions = MAX_READERS as SessionId + 5;
    for session in 1..=sessions {
        edge.join(session, &format!("tara-{session}"), Role::Teacher, &["b1"]);
        edge.talk(session, NOTES, &mut notes(1), &mut State::new());
    }
    let found = inspect(&edge, NOTES, None).unwrap();
    assert_eq!((found.readers.len(), found.reader_count), (MAX_READERS, sessions));
}
