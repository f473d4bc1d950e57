//! Two edges, whose links the test carries: what devices at one have, those at the other hear.

use super::remote_heads::{Heard, TARAS, heard, in_base58, join_with_storage, subscribe, sync};
use super::*;
use sync_protocol::engine::{GOSSIP_BURST, MAX_KNOWN_HEADS, MAX_SUBSCRIPTIONS, OVERTAKEN_MS};
use sync_protocol::link::{
    Feed, MAX_REMOTE_HEADS, MAX_STORAGE_BYTES, MAX_WATCHED_STORAGES, RemoteHeads, StorageHeads, Watch,
};
use sync_protocol::revocation::Revocation;

fn gossiping() -> Event {
    Event::Link(LinkMessage::Following(Following { gossip: true, ..following() }))
}

/// An edge whose origin passes on what others say.
fn linked_edge() -> Edge {
    let mut edge = Edge::new();
    edge.run([Event::LinkUp, gossiping()]);
    edge.written.clear();
    edge
}

/// What an edge has said of storages since the last time.
fn said(edge: &mut Edge) -> Vec<LinkMessage> {
    let written = std::mem::take(&mut edge.written).into_iter();
    let said = written.filter_map(|effect| match effect {
        Effect::Link(message @ (LinkMessage::Watch(_) | LinkMessage::RemoteHeads(_))) => Some(message),
        _ => None,
    });
    said.collect()
}

/// Carries it to another edge, as an origin between them does; gives what the clients there hear.
fn carry(from: &mut Edge, to: &mut Edge) -> Vec<Heard> {
    let said = said(from);
    heard(to, said.into_iter().map(Event::Link))
}

fn watch(add: &[&str], remove: &[&str]) -> LinkMessage {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    LinkMessage::Watch(Watch {
        institute: "northside.example".into(),
        add: texts(add),
        remove: texts(remove),
    })
}

fn taras(document: DocumentId, heads: Vec<Hash>, said_at: u64) -> Event {
    let item = StorageHeads { storage: TARAS.into(), document, heads, said_at };
    let institute = "northside.example".into();
    Event::Link(LinkMessage::RemoteHeads(RemoteHeads { institute, items: vec![item] }))
}

/// Tara has opened the notes at one edge; Tom at the other.
fn two_edges() -> (Edge, Edge, Automerge) {
    let (mut there, mut here) = (linked_edge(), linked_edge());
    let doc = notes(1);
    join_with_storage(&mut there, 1, "tara", TARAS);
    there.say(1, NOTES, first_message(&doc));
    here.join(2, "tom", Role::Teacher, &["b1"]);
    here.say(2, NOTES, first_message(&doc));
    (there, here, doc)
}

fn tara_writes(there: &mut Edge, doc: &mut Automerge) {
    let before = doc.get_heads();
    write(doc, "a", &doc.stats().num_changes.to_string());
    there.run([sync(1, carrying(doc, &doc.get_changes(&before)))]);
}

#[test]
fn what_a_device_at_another_edge_has_is_heard_by_those_who_asked_and_read_the_document() {
    let (mut there, mut here, mut doc) = two_edges();
    here.join(3, "mallory", Role::Teacher, &["b2"]);
    here.say(3, NOTES, first_message(&doc));
    tara_writes(&mut there, &mut doc);
    assert_eq!(said(&mut there), [], "nobody has asked");
    said(&mut here);
    for session in [2, 3] {
        assert_eq!(subscribe(&mut here, session, vec![TARAS.into()], vec![]), []);
    }
    assert_eq!(carry(&mut here, &mut there), []);
    there.now = 7_000;
    let known = carry(&mut there, &mut here);
    assert_eq!(known, [(2, TARAS.to_owned(), in_base58(&doc), 1_000.0)], "what is known is told at once");

    here.now = 2_000;
    tara_writes(&mut there, &mut doc);
    assert_eq!(carry(&mut there, &mut here), [(2, TARAS.to_owned(), in_base58(&doc), 2_000.0)]);
    // The second who asks here hears what the first has heard.
    here.join(4, "tina", Role::Teacher, &["b1"]);
    here.say(4, NOTES, first_message(&doc));
    assert_eq!(subscribe(&mut here, 4, vec![TARAS.into()], vec![]).len(), 1);

    subscribe(&mut here, 2, vec![], vec![TARAS.into()]);
    here.run([Event::Closed { session: 3 }]);
    assert_eq!(said(&mut here), [], "somebody is left who wants to know");
    here.run([Event::Closed { session: 4 }]);
    assert_eq!(said(&mut here), [watch(&[], &[TARAS])]);
    there.run([Event::Link(watch(&[], &[TARAS]))]);
    tara_writes(&mut there, &mut doc);
    assert_eq!(said(&mut there), []);
    assert_eq!(subscribe(&mut here, 2, vec![TARAS.into()], vec![]), [], "nothing is kept for those who left");
}

#[test]
fn an_origin_that_takes_no_part_hears_nothing_of_it() {
    let (_, mut here, _) = two_edges();
    here.run([Event::LinkUp, followed()]);
    said(&mut here);
    subscribe(&mut here, 2, vec![TARAS.into()], vec![]);
    here.run([Event::Link(watch(&["x"], &[]))]);
    assert_eq!(said(&mut here), []);
}

#[test]
fn a_new_connection_begins_with_all_that_is_watched_and_nothing_that_others_wanted() {
    let (mut there, mut here, mut doc) = two_edges();
    subscribe(&mut here, 2, vec![TARAS.into()], vec![]);
    carry(&mut here, &mut there);
    said(&mut there);
    here.run([Event::LinkDown]);
    assert_eq!(said(&mut here), []);
    here.run([Event::LinkUp, gossiping()]);
    assert_eq!(said(&mut here), [watch(&[TARAS], &[])]);

    there.run([Event::LinkDown, Event::LinkUp, gossiping()]);
    tara_writes(&mut there, &mut doc);
    assert_eq!(said(&mut there), []);
    there.run([Event::Link(watch(&[TARAS], &[]))]);
    assert_eq!(carry(&mut there, &mut here).len(), 1);
}

#[test]
fn what_comes_twice_or_late_is_not_told_and_a_clock_that_was_wrong_silences_nobody() {
    let (_, mut here, doc) = two_edges();
    subscribe(&mut here, 2, vec![TARAS.into()], vec![]);
    let hash = |n: u8| vec![Hash([n; 32])];
    let mut tell = |now: u64, n: u8, said_at: u64| {
        here.now = now;
        heard(&mut here, [taras(NOTES, hash(n), said_at)]).len()
    };
    assert_eq!(tell(10_000, 1, 9_000), 1);
    assert_eq!(tell(10_100, 1, 9_000), 0, "twice");
    assert_eq!(tell(10_200, 2, 8_000), 0, "late");
    assert_eq!(tell(10_300, 3, 9_001), 1);
    // An edge with a clock of the year 2100 has said something; the device goes on elsewhere.
    assert_eq!(tell(11_000, 4, 4_102_444_800_000), 1);
    assert_eq!(tell(11_500, 5, 11_400), 0, "it may have been overtaken");
    assert_eq!(tell(11_000 + OVERTAKEN_MS, 5, 21_000), 1);
    assert_eq!(tell(22_000, 6, 21_500), 1);
    // This edge's own clock is set back, by a day.
    assert_eq!(tell(1, 7, 21_600), 1);
    assert_eq!(tell(2, 8, 1), 0);
    assert_eq!(tell(1 + OVERTAKEN_MS, 8, 1), 1);
    assert_eq!(in_base58(&doc).len(), 1);
}

#[test]
fn who_loses_the_right_to_a_document_hears_no_more_of_it() {
    let mut here = Edge::new();
    let entry = |batches: &[&str]| DirectoryEntry {
        user: "tom".into(),
        role: Role::Teacher,
        active: true,
        batches: batches.iter().map(|batch| (*batch).to_owned()).collect(),
        guardian_of: Vec::new(),
        revocation: Revocation::default(),
    };
    here.restart(Some(vec![entry(&["b1"])]));
    here.run([Event::LinkUp, gossiping()]);
    here.join(2, "tom", Role::Teacher, &["b1"]);
    here.say(2, NOTES, first_message(&notes(1)));
    subscribe(&mut here, 2, vec![TARAS.into()], vec![]);
    assert_eq!(heard(&mut here, [taras(NOTES, vec![Hash([1; 32])], 1)]).len(), 1);
    let feed = |revision, batches| {
        let (institute, members) = ("northside.example".into(), vec![entry(batches)]);
        Event::Link(LinkMessage::Feed(Feed { institute, revision, tags: vec![], documents: vec![], members }))
    };
    here.run([feed(1, &[])]);
    assert_eq!(heard(&mut here, [taras(NOTES, vec![Hash([2; 32])], 2)]), []);
    // With the right comes what was said meanwhile.
    assert_eq!(heard(&mut here, [feed(2, &["b1"])]).len(), 1);
}

#[test]
fn what_is_watched_told_and_kept_is_bounded() {
    let (mut there, mut here, _) = two_edges();
    let long = "s".repeat(MAX_STORAGE_BYTES + 1);
    subscribe(&mut here, 2, vec![long.clone()], vec![]);
    assert_eq!(said(&mut here), []);
    for session in 0..=(MAX_WATCHED_STORAGES / MAX_SUBSCRIPTIONS) as SessionId {
        let id = 100 + session;
        here.join(id, &format!("user-{session}"), Role::Teacher, &["b1"]);
        let storages = (0..MAX_SUBSCRIPTIONS).map(|n| format!("{session}-{n}")).collect();
        subscribe(&mut here, id, storages, vec![]);
    }
    let watched = |message: &LinkMessage| match message {
        LinkMessage::Watch(watch) => watch.add.len(),
        _ => 0,
    };
    assert_eq!(said(&mut here).iter().map(watched).sum::<usize>(), MAX_WATCHED_STORAGES);

    // Another edge, or an origin, that says more than is due.
    let storages = (0..=MAX_WATCHED_STORAGES).map(|n| n.to_string()).chain([long, TARAS.into()]);
    let (institute, add) = ("northside.example".into(), storages.collect());
    there.run([Event::Link(LinkMessage::Watch(Watch { institute, add, remove: vec![] }))]);
    assert_eq!(said(&mut there), [], "the last one has no room");
    subscribe(&mut there, 1, vec!["x".into()], vec![]);
    let item = |document: DocumentId, heads| StorageHeads {
        storage: "x".into(),
        document,
        heads: vec![Hash([1; 32]); heads],
        said_at: 1,
    };
    let told = |items| {
        let institute = "northside.example".into();
        Event::Link(LinkMessage::RemoteHeads(RemoteHeads { institute, items }))
    };
    for heads in [0, MAX_REMOTE_HEADS + 1] {
        assert_eq!(heard(&mut there, [told(vec![item(NOTES, heads)])]), []);
    }
    let of = |n: usize| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        DocumentId::from_bytes(bytes)
    };
    there.run([told((0..MAX_KNOWN_HEADS).map(|n| item(of(n), 1)).collect())]);
    assert_eq!(heard(&mut there, [told(vec![item(NOTES, 1)])]).len(), 1, "told, and not kept");
    assert_eq!(heard(&mut there, [told(vec![item(NOTES, 1)])]).len(), 1);
}

#[test]
fn what_a_device_says_too_fast_waits_and_its_newest_word_goes() {
    let (mut there, _, mut doc) = two_edges();
    there.run([Event::Link(watch(&[TARAS], &[]))]);
    said(&mut there);
    for n in 0..=GOSSIP_BURST {
        there.run([sync(1, first_message(&doc))]);
        if n % 1_000 == 0 {
            tara_writes(&mut there, &mut doc);
        }
    }
    said(&mut there);
    tara_writes(&mut there, &mut doc);
    assert_eq!(said(&mut there), []);
    there.wait(1_000);
    let told = said(&mut there);
    let [LinkMessage::RemoteHeads(RemoteHeads { items, .. })] = &told[..] else { panic!("{told:?}") };
    let newest: Vec<Hash> = doc.get_heads().into_iter().map(Hash::from).collect();
    assert!(items.len() == 1 && items[0].heads == newest, "{items:?}");
}
