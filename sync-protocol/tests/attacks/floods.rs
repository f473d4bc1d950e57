//! Many messages, each of them harmless: what they may cost together is bounded.

use crate::allocations::cost_of;
use crate::chunks::unsigned;
use crate::edge::Edge;
use automerge::sync::{Message, State, SyncDoc as _};
use automerge::transaction::Transactable as _;
use automerge::{Automerge, ROOT};
use sync_protocol::engine::{
    EPHEMERAL_BURST, EPHEMERAL_BYTES_BURST, EPHEMERAL_PER_SECOND, Event, Limits, SessionId,
};
use sync_protocol::kind::Kind;
use sync_protocol::repo_message::{MAX_EPHEMERAL_BYTES, RepoMessage};

fn write(doc: &mut Automerge, key: &str, value: &str) {
    let mut tx = doc.transaction();
    tx.put(ROOT, key, value).unwrap();
    tx.commit();
}

fn carrying(doc: &Automerge, chunks: Vec<Vec<u8>>) -> Vec<u8> {
    let mut message = doc.generate_sync_message(&mut State::new()).unwrap();
    message.changes = chunks.into();
    message.encode()
}

/// Changes of a megabyte each that wait for one that never comes.
#[test]
fn changes_that_wait_for_a_dependency_are_bounded_in_bytes() {
    let mut edge = Edge::new(Limits::default());
    let mut doc = edge.register(1, Kind::Notes);
    edge.join(1, "tara", "a");
    write(&mut doc, "never", "sent");
    let mut chunks = Vec::new();
    for n in 0..50_u64 {
        let before = doc.get_heads();
        // Not compressible, so that it takes on the wire what it takes in memory.
        let noise: String = (0..1_000_000_u64)
            .map(|at| char::from(b' ' + ((at + n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57) as u8 % 90))
            .collect();
        write(&mut doc, "n", &noise);
        chunks.push(doc.get_changes(&before)[0].raw_bytes().to_vec());
    }
    let ((), cost) = cost_of(|| {
        for chunk in chunks {
            edge.say(1, 1, carrying(&doc, vec![chunk]));
        }
    });
    let refused = edge.quarantined.iter().filter(|code| *code == "too-many-missing-dependencies").count();
    assert!((10..=40).contains(&refused), "{refused}");
    assert!(cost.peak < 2 * Limits::default().held_bytes, "{cost:?}");
    assert_eq!(edge.appended, 0);
}

/// The library sends a change as often as its hash is in the list.
#[test]
fn a_change_that_is_asked_for_a_thousand_times_is_sent_once() {
    let mut edge = Edge::new(Limits::default());
    let mut doc = edge.register(1, Kind::Notes);
    for n in 0..10 {
        write(&mut doc, "n", &format!("{n}{}", "x".repeat(10_000)));
    }
    edge.store(1, &doc);
    edge.join(1, "tara", "a");
    let asked = doc.get_heads()[0].0;
    let times = 20_000;
    // No heads, the same hash over and over, nothing summarised, no chunks, no flags: a client of the first version.
    let data = [&[0x42, 0], unsigned(times).as_slice(), &asked.repeat(times as usize), &[0, 0]].concat();
    let ((), cost) = cost_of(|| edge.say(1, 1, data));
    assert!(cost.peak < 8 * 1024 * 1024, "{cost:?}");
    let Some((1, RepoMessage::Sync { data, .. })) = edge.sent.last() else { panic!("{:?}", edge.sent) };
    assert_eq!(Message::decode(data).unwrap().changes.len(), 1);
}

/// Unknown documents are asked for at the origin; what is said about them meanwhile is kept.
#[test]
fn messages_that_wait_for_documents_are_bounded_in_bytes() {
    let mut edge = Edge::new(Limits::default());
    edge.run([Event::LinkUp]);
    edge.join(1, "tara", "a");
    edge.join(2, "tom", "b");
    let ((), cost) = cost_of(|| {
        for n in 0..40 {
            edge.say(1, n, vec![0x42; 4 * 1024 * 1024]);
        }
    });
    assert!(edge.closed.contains(&1) && !edge.closed.contains(&2));
    assert!(cost.peak < 2 * Limits::default().waiting_bytes, "{cost:?}");
    edge.now += 10_000;
    edge.run([Event::Tick]);
    assert!(!edge.closed.contains(&2));
}

/// The state of sync keeps the Bloom filter that came last, for each document.
#[test]
fn what_states_of_sync_keep_is_bounded_in_bytes() {
    let mut edge = Edge::new(Limits::default());
    for n in 0..40 {
        edge.register(n, Kind::Notes);
    }
    edge.join(1, "tara", "a");
    let entries = 800_000_u64;
    let filter = [unsigned(entries), vec![10, 7], vec![0; entries as usize * 10 / 8]].concat();
    let data = [&[0x42, 0, 0, 1, 0], unsigned(filter.len() as u64).as_slice(), &filter, &[0]].concat();
    let ((), cost) = cost_of(|| {
        for n in 0..40 {
            edge.say(1, n, data.clone());
        }
    });
    assert!(edge.closed.contains(&1));
    assert!(cost.peak < 4 * Limits::default().state_bytes, "{cost:?}");
    // Saying the same about one document again and again takes the place of one.
    edge.join(2, "tara", "b");
    for _ in 0..40 {
        edge.say(2, 0, data.clone());
    }
    assert!(!edge.closed.contains(&2));
}

fn presence(sender: &str, count: u64, bytes: usize) -> RepoMessage {
    RepoMessage::Ephemeral {
        sender: sender.into(),
        target: "rollcall".into(),
        document: crate::edge::id(1),
        session: "run".into(),
        count,
        data: vec![0; bytes],
    }
}

/// Three readers of one document, the first of whom speaks.
fn readers() -> Edge {
    let mut edge = Edge::new(Limits::default());
    edge.register(1, Kind::Notes);
    for (session, user, peer) in [(1, "tara", "a"), (2, "tom", "b"), (3, "tina", "c")] {
        edge.join(session, user, peer);
        edge.read(session, 1);
    }
    edge.sent.clear();
    edge
}

fn heard(edge: &mut Edge, session: SessionId) -> u64 {
    let heard = edge.sent_to(session) as u64;
    edge.sent.retain(|(to, _)| *to != session);
    heard
}

#[test]
fn presence_is_relayed_no_faster_than_its_rate_and_quiet_sessions_are_not_held_back() {
    let mut edge = readers();
    for count in 0..10_000 {
        edge.frame(1, &presence("a", count, 10));
    }
    assert_eq!((heard(&mut edge, 2), heard(&mut edge, 3)), (EPHEMERAL_BURST, EPHEMERAL_BURST));
    edge.frame(2, &presence("b", 0, 10));
    assert_eq!(heard(&mut edge, 1), 1);
    edge.now += 1_000;
    for count in 10_000..20_000 {
        edge.frame(1, &presence("a", count, 10));
    }
    assert_eq!(heard(&mut edge, 2), EPHEMERAL_PER_SECOND);
    // A clock that is set back and forth is no source of messages.
    for turn in 0..100 {
        edge.now -= 500;
        edge.frame(1, &presence("a", 30_000 + turn, 10));
        edge.now += 500;
    }
    let stolen = heard(&mut edge, 2);
    assert!(stolen <= 100 * EPHEMERAL_PER_SECOND, "{stolen}");
}

#[test]
fn large_presence_is_bounded_by_its_bytes() {
    let mut edge = readers();
    for count in 0..100 {
        edge.frame(1, &presence("a", count, MAX_EPHEMERAL_BYTES));
    }
    assert_eq!(heard(&mut edge, 2), EPHEMERAL_BYTES_BURST / MAX_EPHEMERAL_BYTES as u64);
}

#[test]
fn presence_is_heard_once_and_nobody_speaks_for_somebody_who_is_there() {
    let mut edge = readers();
    for count in [5, 5, 4, 6] {
        edge.frame(1, &presence("a", count, 1));
    }
    assert_eq!(heard(&mut edge, 2), 2, "5 and 6");
    // What a client relays for a peer of its own is heard.
    edge.frame(1, &presence("elsewhere", 1, 1));
    assert_eq!(heard(&mut edge, 2), 1);
    // Neither in the other's name nor so that the other is taken for a duplicate afterwards.
    edge.frame(3, &presence("a", 1_000, 1));
    assert_eq!(heard(&mut edge, 2), 0);
    edge.frame(1, &presence("a", 7, 1));
    assert_eq!(heard(&mut edge, 2), 1);
    // Not a reader.
    edge.join(4, "mallory", "m");
    edge.frame(4, &presence("m", 1, 1));
    assert_eq!(heard(&mut edge, 2), 0);
}

#[test]
fn a_session_that_opens_more_documents_than_its_limit_ends_and_no_other() {
    let limits = Limits { session_documents: 100, ..Limits::default() };
    let mut edge = Edge::new(limits);
    edge.join(1, "tara", "a");
    edge.join(2, "tom", "b");
    for n in 0..200 {
        edge.read(1, n);
        edge.now += 2_000;
        edge.run([Event::Tick]);
    }
    assert!(edge.closed.contains(&1) && !edge.closed.contains(&2));
}
