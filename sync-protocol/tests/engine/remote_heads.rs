//! A client that asks for it hears what another one has of the documents that both read, in the shapes of automerge-repo 2.5.

use super::*;
use minicbor::{Decoder, Encoder};
use sync_protocol::engine::{MAX_SUBSCRIPTIONS, REMOTE_HEADS_BURST};

const TARAS: &str = "0b1f7c1e-6d0a-4f4e-8c59-5a3a1f8f1d11";

/// `join` as a client with a store writes it.
fn join_with_storage(
    edge: &mut Edge,
    session: SessionId,
    user: &str,
    storage: &str,
) -> Vec<(SessionId, RepoMessage)> {
    let mut bytes = Vec::new();
    let mut e = Encoder::new(&mut bytes);
    e.map(4).unwrap().str("type").unwrap().str("join").unwrap().str("senderId").unwrap().str(user).unwrap();
    e.str("peerMetadata").unwrap().map(2).unwrap();
    e.str("storageId").unwrap().str(storage).unwrap().str("isEphemeral").unwrap().bool(false).unwrap();
    e.str("supportedProtocolVersions").unwrap().array(1).unwrap().str("1").unwrap();
    let claims = claims(user, Role::Teacher, &["b1"]);
    edge.run([Event::Opened { session, claims }, Event::Frame { session, bytes }])
}

fn subscribe(edge: &mut Edge, session: SessionId, add: Vec<String>, remove: Vec<String>) -> Vec<Heard> {
    let message = RepoMessage::Subscribe { sender: "x".into(), target: "y".into(), add, remove };
    heard(edge, [Event::Frame { session, bytes: message.encode() }])
}

/// Session, storage, heads in bs58check, and the time.
type Heard = (SessionId, String, Vec<String>, f64);

/// Runs events and reads the raw frames of remote heads, as a client would.
fn heard(edge: &mut Edge, events: impl IntoIterator<Item = Event>) -> Vec<Heard> {
    let mut heard = Vec::new();
    for event in events {
        let mut effects = edge.engine.handle(edge.now, event);
        effects.extend(edge.engine.flush());
        for effect in effects {
            let Effect::Send { session, bytes } = effect else { continue };
            heard.extend(remote_heads(&bytes).map(|(storage, heads, at)| (session, storage, heads, at)));
        }
    }
    heard
}

fn remote_heads(bytes: &[u8]) -> Option<(String, Vec<String>, f64)> {
    let mut d = Decoder::new(bytes);
    d.map().unwrap();
    d.str().unwrap();
    if d.str().unwrap() != "remote-heads-changed" {
        return None;
    }
    for field in ["senderId", "targetId", "documentId"] {
        assert_eq!(d.str().unwrap(), field);
        let value = d.str().unwrap();
        assert!(field != "documentId" || value == NOTES.to_string());
    }
    assert_eq!((d.str().unwrap(), d.map().unwrap()), ("newHeads", Some(1)));
    let storage = d.str().unwrap().to_owned();
    assert_eq!((d.map().unwrap(), d.str().unwrap()), (Some(2), "heads"));
    let count = d.array().unwrap().unwrap();
    let heads = (0..count).map(|_| d.str().unwrap().to_owned()).collect();
    assert_eq!(d.str().unwrap(), "timestamp");
    Some((storage, heads, d.f64().unwrap()))
}

fn sync(session: SessionId, data: Vec<u8>) -> Event {
    let (sender, target) = (String::new(), String::new());
    let message = RepoMessage::Sync { request: false, sender, target, document: NOTES, data };
    Event::Frame { session, bytes: message.encode() }
}

fn in_base58(doc: &Automerge) -> Vec<String> {
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
