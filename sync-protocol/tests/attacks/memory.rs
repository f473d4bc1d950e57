//! What documents take: the engine's estimate beside the allocator's count, the bound on many, and the price of one change.

use crate::allocations::{Cost, cost_of, kept_by};
use crate::edge::{Edge, id};
use automerge::sync::{Message, State, SyncDoc as _};
use automerge::transaction::Transactable as _;
use automerge::{ActorId, Automerge, ObjType, ROOT};
use sync_protocol::directory::DirectoryEntry;
use sync_protocol::engine::{Event, Limits};
use sync_protocol::kind::Kind;
use sync_protocol::link::{DirectoryPage, LinkMessage};
use sync_protocol::repo_message::RepoMessage;
use sync_protocol::token::Role;

fn edit(doc: &mut Automerge, edit: impl FnOnce(&mut automerge::transaction::Transaction<'_>)) {
    let mut tx = doc.transaction();
    edit(&mut tx);
    tx.commit();
}

fn with_changes(mut doc: Automerge, changes: u64) -> Automerge {
    for n in 0..changes {
        edit(&mut doc, |tx| tx.put(ROOT, "n", n).unwrap());
    }
    doc
}

/// A name, and how such a document is made.
type Shape<'a> = (&'static str, &'a dyn Fn(&mut Automerge));

#[test]
fn the_estimate_follows_what_the_allocator_says() {
    let noise: String = (0..300_000_u64)
        .map(|at| char::from(b'a' + (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57) as u8 % 26))
        .collect();
    let shapes: [Shape<'_>; 5] = [
        ("a first change", &|_| {}),
        ("many changes", &|doc| *doc = with_changes(doc.clone(), 5_000)),
        ("many writers", &|doc| {
            for n in 0..1_000_u32 {
                doc.set_actor(ActorId::from(n.to_be_bytes().repeat(4)));
                edit(doc, |tx| tx.put(ROOT, format!("key {n}"), "value").unwrap());
            }
        }),
        ("a long text", &|doc| {
            edit(doc, |tx| {
                let text = tx.put_object(ROOT, "long", ObjType::Text).unwrap();
                tx.splice_text(&text, 0, 0, &noise).unwrap();
            });
        }),
        ("a large value that deflates to nothing", &|doc| {
            edit(doc, |tx| tx.put(ROOT, "large", "x".repeat(1_000_000)).unwrap());
        }),
    ];
    for (n, (shape, make)) in shapes.into_iter().enumerate() {
        let n = n as u32;
        let mut edge = Edge::new(Limits::default());
        let mut doc = edge.register(n, Kind::Notes);
        make(&mut doc);
        edge.store(n, &doc);
        edge.join(1, "tara", "a");
        let ((), kept) = kept_by(|| {
            edge.read(1, n);
            edge.sent = Vec::new();
        });
        let usage = edge.engine.usage();
        assert_eq!(usage.documents, 1);
        assert!(usage.bytes * 5 > kept * 4, "{shape}: {} estimated, {kept} taken", usage.bytes);
        assert!(usage.bytes < kept * 3, "{shape}: {} estimated, {kept} taken", usage.bytes);
    }
}

const DOCUMENTS: u32 = 5_000;
const BUDGET: usize = 4 * 1024 * 1024;

/// A phone that opens all documents of its years, one after the other, and stays connected.
fn after_the_walk() -> (Edge, Cost) {
    let mut edge = Edge::new(Limits { memory_bytes: BUDGET, ..Limits::default() });
    for n in 0..DOCUMENTS {
        edge.register(n, Kind::Notes);
    }
    edge.join(1, "tara", "a");
    let ((), cost) = cost_of(|| {
        for n in 0..DOCUMENTS {
            edge.now += 1;
            edge.read(1, n);
            edge.sent.clear();
            let usage = edge.engine.usage();
            assert!(usage.bytes <= BUDGET, "{n}: {usage:?}");
        }
    });
    (edge, cost)
}

#[test]
fn five_thousand_open_documents_stay_within_the_budget() {
    let (mut edge, cost) = after_the_walk();
    let usage = edge.engine.usage();
    assert!(usage.documents < BUDGET / 8_192, "{usage:?}");
    assert_eq!(usage.documents + usage.parked, DOCUMENTS as usize);
    // Besides documents: a state of sync for each, which is what a reader costs.
    assert!(cost.peak < 4 * BUDGET, "{cost:?}");

    // Somebody else's edit of a document that was put away reaches its reader.
    edge.join(2, "tom", "b");
    let mut doc = Automerge::load(&sync_protocol::kind::genesis(Kind::Notes, id(7)).unwrap()).unwrap();
    let mut state = State::new();
    edit(&mut doc, |tx| tx.put(ROOT, "a", 1).unwrap());
    for _ in 0..5 {
        let Some(message) = doc.generate_sync_message(&mut state) else { break };
        edge.say(2, 7, message.encode());
        let answers: Vec<Vec<u8>> = edge.sent.iter().filter_map(|sent| data(sent, 2)).collect();
        for data in answers {
            doc.receive_sync_message(&mut state, Message::decode(&data).unwrap()).unwrap();
        }
        edge.sent.retain(|(to, _)| *to != 2);
    }
    assert_eq!(edge.appended, 1);
    let told = edge.sent.iter().filter_map(|sent| data(sent, 1)).next_back().expect("the reader is told");
    assert_eq!(Message::decode(&told).unwrap().heads, doc.get_heads());
}

fn data((to, message): &(u64, RepoMessage), session: u64) -> Option<Vec<u8>> {
    match message {
        RepoMessage::Sync { data, .. } if *to == session => Some(data.clone()),
        _ => None,
    }
}

/// Without loading any of them.
#[test]
fn a_right_that_is_lost_ends_the_reading_of_documents_that_were_put_away() {
    let (mut edge, _) = after_the_walk();
    let loads = edge.loads;
    let tara = DirectoryEntry {
        user: "tara".into(),
        role: Role::Teacher,
        active: true,
        batches: Vec::new(),
        guardian_of: Vec::new(),
        revocation: sync_protocol::revocation::Revocation::default(),
    };
    let (institute, entries) = ("northside.example".to_owned(), vec![tara]);
    let page = DirectoryPage { institute, page: 0, last: true, entries };
    edge.run([Event::Link(LinkMessage::Directory(page))]);
    let unavailable = |(_, message): &&(u64, RepoMessage)| matches!(message, RepoMessage::Unavailable { .. });
    assert_eq!(edge.sent.iter().filter(unavailable).count(), DOCUMENTS as usize);
    assert_eq!((edge.engine.usage().parked, edge.loads), (0, loads));
}

/// Changes that a device brings one after the other. Now and then one makes a vector of the library grow, which costs the document's
/// size, once in as many changes as the document has: the median passes that over.
const CHANGES: usize = 5;

/// A device brings a document's next change; everything is loaded and in step.
fn price_of_a_change(history: u64) -> Cost {
    let mut edge = Edge::new(Limits::default());
    let mut doc = with_changes(edge.register(1, Kind::Notes), history);
    edge.store(1, &doc);
    edge.join(1, "tara", "a");
    let mut state = State::new();
    let mut costs = Vec::new();
    exchange(&mut edge, &mut doc, &mut state);
    for n in 0..CHANGES {
        edit(&mut doc, |tx| tx.put(ROOT, "n", format!("new {n}")).unwrap());
        costs.push(exchange(&mut edge, &mut doc, &mut state));
    }
    assert_eq!(edge.appended, CHANGES);
    costs.sort_unstable_by_key(|cost| cost.total);
    costs[CHANGES / 2]
}

/// Lets a device and the edge talk until both are in step; gives what the device's first message cost the edge.
fn exchange(edge: &mut Edge, doc: &mut Automerge, state: &mut State) -> Cost {
    let mut first = None;
    while let Some(message) = doc.generate_sync_message(state) {
        let bytes = message.encode();
        let ((), cost) = cost_of(|| edge.say(1, 1, bytes));
        first.get_or_insert(cost);
        let answers: Vec<Vec<u8>> = edge.sent.iter().filter_map(|sent| data(sent, 1)).collect();
        edge.sent.clear();
        for data in answers {
            doc.receive_sync_message(state, Message::decode(&data).unwrap()).unwrap();
        }
    }
    first.expect("a device speaks first")
}

#[test]
fn a_change_costs_no_more_than_twice_as_much_in_a_document_a_hundred_times_as_old() {
    let (young, old) = (price_of_a_change(1_000), price_of_a_change(100_000));
    assert!(old.total < 2 * young.total, "{old:?} after {young:?}");
    assert!(old.peak < 2 * young.peak, "{old:?} after {young:?}");
}

fn directory_of(user: &str, role: Role) -> Event {
    let (batches, guardian_of) = (vec!["b1".into()], Vec::new());
    let entry = DirectoryEntry {
        user: user.into(),
        role,
        active: true,
        batches,
        guardian_of,
        revocation: Default::default(),
    };
    let (institute, entries) = ("northside.example".to_owned(), vec![entry]);
    Event::Link(LinkMessage::Directory(DirectoryPage { institute, page: 0, last: true, entries }))
}

/// The device takes for sent what was refused, and was never asked for it again: nothing is said about a document that is not loaded.
#[test]
fn a_right_that_appears_asks_for_what_was_refused_of_a_document_that_was_put_away() {
    let mut edge = Edge::new(Limits { memory_bytes: 1, ..Limits::default() });
    let mut doc = edge.register(1, Kind::Notes);
    edge.run([directory_of("sam", Role::Student)]);
    edge.join(1, "sam", "a");
    let mut state = State::new();
    edit(&mut doc, |tx| tx.put(ROOT, "n", 1).unwrap());
    exchange(&mut edge, &mut doc, &mut state);
    assert_eq!((edge.appended, &edge.quarantined[..]), (0, &["forbidden".to_owned()][..]));
    assert_eq!(edge.engine.usage().parked, 1);

    edge.run([directory_of("sam", Role::Teacher)]);
    let asked = edge.sent.iter().find_map(|sent| data(sent, 1)).expect("the device is asked");
    edge.sent.clear();
    doc.receive_sync_message(&mut state, Message::decode(&asked).unwrap()).unwrap();
    exchange(&mut edge, &mut doc, &mut state);
    assert_eq!(edge.appended, 1);
}
