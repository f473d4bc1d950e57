//! A client that asks for it hears what another one has of the documents that both read, in the shapes of automerge-repo 2.5.

use super::*;
use sync_protocol::engine::{
    MAX_SUBSCRIPTIONS, REMOTE_HEADS_BURST, SUBSCRIPTIONS_BURST, SUBSCRIPTIONS_PER_SECOND,
};

pub(crate) const TARAS: &str = "0b1f7c1e-6d0a-4f4e-8c59-5a3a1f8f1d11";

/// `join` as a client with a store writes it.
pub(crate) fn join_with_storage(
    edge: &mut Edge,
    session: SessionId,
    user: &str,
    storage: &str,
) -> Vec<(SessionId, RepoMessage)> {
    let bytes = wire::join_with_storage(user, storage, false);
    let claims = claims(user, Role::Teacher, &["b1"]);
    edge.run([Event::Opened { session, claims }, Event::Frame { session, bytes }])
}

pub(crate) fn subscribe(
    edge: &mut Edge,
    session: SessionId,
    add: Vec<String>,
    remove: Vec<String>,
) -> Vec<Heard> {
    let message = RepoMessage::Subscribe { sender: "x".into(), target: "y".into(), add, remove };
    heard(edge, [Event::Frame { session, bytes: message.encode() }])
}

/// Session, storage, heads in bs58check, and the time.
pub(crate) type Heard = (SessionId, String, Vec<String>, f64);

/// Runs events and reads the raw frames of remote heads, as a client would.
pub(crate) fn heard(edge: &mut Edge, events: impl IntoIterator<Item = Event>) -> Vec<Heard> {
    edge.frames.clear();
    edge.run(events);
    let heard = edge.frames.iter().filter_map(|(session, bytes)| {
        let told = wire::remote_heads(bytes)?;
        assert_eq!(told.document, NOTES);
        Some((*session, told.storage, told.heads, told.timestamp))
    });
    heard.collect()
}

pub(crate) fn sync(session: SessionId, data: Vec<u8>) -> Event {
    let (sender, target) = (String::new(), String::new());
    let message = RepoMessage::Sync { request: false, sender, target, document: NOTES, data };
    Event::Frame { session, bytes: message.encode() }
}

pub(crate) fn in_base58(doc: &Automerge) -> Vec<String> {
    doc.get_heads().iter().map(|head| bs58::encode(head.0).with_check().into_string()).collect()
}

#[test]
fn the_edge_names_its_storage_and_keeps_the_name_as_long_as_its_log() {
    let named = |log: &str| {
        let mut edge = Edge::new();
        let position = Position { log: log.into(), ..Position::default() };
        edge.engine = Engine::new("northside.example", Limits::default(), position);
        match &join_with_storage(&mut edge, 1, "tara", TARAS)[..] {
            [(1, RepoMessage::Peer { storage, .. })] => storage.clone(),
            sent => panic!("{sent:?}"),
        }
    };
    assert!(named("a").is_some_and(|id| uuid::Uuid::parse_str(&id).is_ok()));
    assert_eq!(named("a"), named("a"));
    assert_ne!(named("a"), named("b"));
    assert_eq!(named(""), None);
}

#[test]
fn who_subscribes_hears_what_another_has_of_the_documents_that_both_read() {
    let mut edge = Edge::new();
    join_with_storage(&mut edge, 1, "tara", TARAS);
    edge.join(2, "tom", Role::Teacher, &["b1"]);
    edge.join(3, "mallory", Role::Teacher, &["b2"]);
    let mut doc = notes(1);
    for session in [1, 2, 3] {
        edge.say(session, NOTES, first_message(&doc));
    }
    let known = subscribe(&mut edge, 2, vec![TARAS.into()], vec![]);
    assert_eq!(known, [(2, TARAS.to_owned(), in_base58(&doc), 1_000.0)], "what is known is told at once");
    assert_eq!(subscribe(&mut edge, 3, vec![TARAS.into()], vec![]), [], "he may not read it");

    let before = doc.get_heads();
    write(&mut doc, "a", "1");
    edge.now = 2_000;
    let change = sync(1, carrying(&doc, &doc.get_changes(&before)));
    assert_eq!(heard(&mut edge, [change]), [(2, TARAS.to_owned(), in_base58(&doc), 2_000.0)]);

    subscribe(&mut edge, 2, vec![], vec![TARAS.into()]);
    assert_eq!(heard(&mut edge, [sync(1, first_message(&doc))]), []);
}

#[test]
fn subscriptions_are_few_and_what_comes_too_fast_is_dropped() {
    let mut edge = Edge::new();
    join_with_storage(&mut edge, 1, "tara", TARAS);
    edge.join(2, "tom", Role::Teacher, &["b1"]);
    let doc = notes(1);
    for session in [1, 2] {
        edge.say(session, NOTES, first_message(&doc));
    }
    let others = (0..MAX_SUBSCRIPTIONS).map(|n| n.to_string()).collect();
    subscribe(&mut edge, 2, others, vec![]);
    assert_eq!(subscribe(&mut edge, 2, vec![TARAS.into()], vec![]), []);
    assert_eq!(subscribe(&mut edge, 2, vec![TARAS.into()], vec!["0".into()]).len(), 1);
    let all = (0..2 * REMOTE_HEADS_BURST).map(|_| sync(1, first_message(&doc)));
    let told = heard(&mut edge, all).len() as u64;
    assert_eq!(told, REMOTE_HEADS_BURST - 1);
}

/// Clients pass over what is not later than what they have heard: an edge whose clock is set back would tell them nothing for so long.
#[test]
fn the_time_that_is_told_does_not_go_back_with_the_clock() {
    let mut edge = Edge::new();
    join_with_storage(&mut edge, 1, "tara", TARAS);
    edge.join(2, "tom", Role::Teacher, &["b1"]);
    let mut doc = notes(1);
    for session in [1, 2] {
        edge.say(session, NOTES, first_message(&doc));
    }
    subscribe(&mut edge, 2, vec![TARAS.into()], vec![]);
    let mut told = Vec::new();
    for now in [5_000, 5_000, 90_000, 10] {
        edge.now = now;
        let before = doc.get_heads();
        write(&mut doc, "a", &now.to_string());
        let change = sync(1, carrying(&doc, &doc.get_changes(&before)));
        told.extend(heard(&mut edge, [change]).into_iter().map(|(.., at)| at));
    }
    assert_eq!(told, [5_000.0, 5_001.0, 90_000.0, 90_001.0]);
}

/// Who opens a document after subscribing hears what is known of it, and not only what comes.
#[test]
fn who_opens_a_document_hears_what_is_known_of_it() {
    let mut edge = Edge::new();
    join_with_storage(&mut edge, 1, "tara", TARAS);
    edge.join(2, "tom", Role::Teacher, &["b1"]);
    let doc = notes(1);
    edge.say(1, NOTES, first_message(&doc));
    assert_eq!(subscribe(&mut edge, 2, vec![TARAS.into()], vec![]), []);
    let told = heard(&mut edge, [sync(2, first_message(&doc))]);
    assert_eq!(told, [(2, TARAS.to_owned(), in_base58(&doc), 1_000.0)]);
}

/// Each subscription is answered with all that is known: who gives it up and takes it again without end is answered no more than a
/// client that has a reason.
#[test]
fn subscribing_again_and_again_is_answered_so_often_and_then_when_time_has_passed() {
    let mut edge = Edge::new();
    join_with_storage(&mut edge, 1, "tara", TARAS);
    join_with_storage(&mut edge, 2, "tom", "toms");
    edge.run([sync(1, first_message(&notes(1))), sync(2, first_message(&notes(1)))]);
    let again = |edge: &mut Edge| subscribe(edge, 2, vec![TARAS.into()], vec![TARAS.into()]).len();
    let answered: usize = (0..SUBSCRIPTIONS_BURST + 50).map(|_| again(&mut edge)).sum();
    assert_eq!(answered, SUBSCRIPTIONS_BURST as usize);
    edge.now += 1_000;
    let answered: usize = (0..50).map(|_| again(&mut edge)).sum();
    assert_eq!(answered, SUBSCRIPTIONS_PER_SECOND as usize);
}
