//! An actor belongs to who brought it: what that stops, and what honest devices do all the same.

use super::*;
use sync_protocol::actor::{Binding, registered};
use sync_protocol::link::{Document as Pulled, LinkMessage};

const INSTITUTE: &str = "northside.example";

/// A replica of the notes that writes under `actor`.
fn writer(actor: &ActorId) -> Automerge {
    notes(0).with_actor(actor.clone())
}

fn wrote(doc: &mut Automerge, key: &str, value: &str) -> Change {
    let before = doc.get_heads();
    write(doc, key, value);
    doc.get_changes(&before).remove(0)
}

fn codes(sent: &[(SessionId, RepoMessage)]) -> Vec<(SessionId, &str)> {
    sent.iter()
        .filter_map(|(session, message)| match message {
            RepoMessage::Refused { code, .. } => Some((*session, code.as_str())),
            _ => None,
        })
        .collect()
}

fn pulled(changes: &[&Change], actors: Vec<Binding>) -> Event {
    Event::Link(LinkMessage::Document(Pulled {
        institute: INSTITUTE.into(),
        document: NOTES,
        record: Some(stored_notes().record),
        chunks: changes.iter().map(|change| change.raw_bytes().to_vec().into()).collect(),
        heads: changes.iter().map(|change| change.hash().into()).collect(),
        actors,
        deleted: false,
    }))
}

fn binding(actor: &ActorId, user: &str) -> Binding {
    let device = format!("{user}-phone");
    Binding { actor: actor.to_bytes().to_vec().into(), user: user.into(), device, since: 1 }
}

/// Eve takes the number that Vera's next change will have. Without the binding Vera would be refused from then on.
#[test]
fn the_next_sequence_number_of_another_users_actor_cannot_be_taken() {
    for actor in [ActorId::from([7; 16]), registered("vera-phone", [1; 8])] {
        let mut edge = Edge::new();
        edge.join(1, "vera", Role::Teacher, &["b1"]);
        edge.join(2, "eve", Role::Teacher, &["b1"]);
        let (mut veras, mut state) = (writer(&actor), State::new());
        write(&mut veras, "a", "1");
        edge.talk(1, NOTES, &mut veras, &mut state);
        let mut forged = veras.fork().with_actor(actor.clone());
        let forgery = wrote(&mut forged, "a", "forged");
        let sent = edge.say(2, NOTES, carrying(&forged, &[forgery]));
        assert_eq!((codes(&sent), edge.quarantined()), (vec![(2, "foreign-actor")], vec!["foreign-actor"]));

        write(&mut veras, "a", "2");
        edge.talk(1, NOTES, &mut veras, &mut state);
        assert_eq!(edge.appended(), 2);
        let (mut other, mut state) = (Automerge::new(), State::new());
        edge.talk(2, NOTES, &mut other, &mut state);
        assert_eq!(other.get_heads(), veras.get_heads());
    }
}

#[test]
fn the_binding_is_in_the_log_and_counts_after_a_restart() {
    let mut edge = Edge::new();
    let actor = ActorId::from([7; 16]);
    edge.join(1, "vera", Role::Teacher, &["b1"]);
    let mut veras = writer(&actor);
    let first = wrote(&mut veras, "a", "1");
    edge.say(1, NOTES, carrying(&veras, std::slice::from_ref(&first)));
    let saved = edge.written.iter().find_map(|effect| match effect {
        Effect::SaveBinding { document: NOTES, binding } => Some(binding.clone()),
        _ => None,
    });
    let saved = saved.unwrap();
    assert_eq!((saved.user.as_str(), saved.device.as_str(), saved.since), ("vera", "vera-phone", 1_000));

    edge.actors = vec![saved];
    edge.restart(None);
    edge.join(2, "eve", Role::Teacher, &["b1"]);
    let sent = edge.say(2, NOTES, carrying(&veras, &[first]));
    assert_eq!(codes(&sent), [(2, "foreign-actor")]);
}

/// Tabs of one browser share a store: each brings what the other has written, under a sign-in of its own.
#[test]
fn two_devices_of_one_user_may_bring_each_others_changes() {
    let mut edge = Edge::new();
    edge.join(1, "vera", Role::Teacher, &["b1"]);
    let tab = Claims { dev: "vera-tab-2".into(), ..claims("vera", Role::Teacher, &["b1"]) };
    let join = RepoMessage::Join { sender: "tab".into(), versions: vec!["1".into()], extended: true };
    edge.run([Event::Opened { session: 2, claims: tab }, Event::Frame { session: 2, bytes: join.encode() }]);
    let mut one = writer(&ActorId::from([17; 16]));
    let mut two = writer(&ActorId::from([18; 16]));
    let by_one = [wrote(&mut one, "a", "1"), wrote(&mut one, "a", "2")];
    let by_two = [wrote(&mut two, "b", "1"), wrote(&mut two, "b", "2")];
    let mixed = |first: &Change, second: &Change| [first.clone(), second.clone()];
    edge.say(2, NOTES, carrying(&two, &mixed(&by_one[0], &by_two[0])));
    edge.say(1, NOTES, carrying(&one, &mixed(&by_one[1], &by_two[1])));
    assert_eq!((edge.appended(), edge.quarantined().len()), (4, 0));
}

/// Eve has read Vera's change at another edge, and brings it here before the link does. It cannot be known to be Vera's, so it
/// waits for the origin, and with it what Eve wrote upon it. Nothing is lost, and nobody has to do anything.
#[test]
fn what_is_carried_from_another_edge_waits_for_the_origins_word() {
    for actor in [ActorId::from([7; 16]), registered("vera-phone", [1; 8])] {
        let mut edge = Edge::new();
        edge.actors = vec![binding(&actor, "vera")];
        linked(&mut edge);
        edge.join(2, "eve", Role::Teacher, &["b1"]);
        let mut doc = writer(&actor);
        let veras = wrote(&mut doc, "a", "1");
        let mut doc = doc.fork().with_actor(ActorId::from([9]));
        let eves = wrote(&mut doc, "b", "upon it");
        let sent = edge.say(2, NOTES, carrying(&doc, &[veras.clone(), eves.clone()]));
        assert_eq!((codes(&sent), edge.appended()), (vec![(2, "foreign-actor")], 0));
        edge.talk(2, NOTES, &mut doc, &mut State::new());

        let sent = edge.run([pulled(&[&veras], vec![binding(&actor, "vera")])]);
        assert_eq!(edge.appended(), 2);
        let told = sent.iter().any(|(session, message)| match message {
            RepoMessage::Sync { data, .. } => {
                *session == 2 && Message::decode(data).unwrap().heads == [eves.hash()]
            }
            _ => false,
        });
        assert!(told, "{sent:?}");
    }
}

/// The first that this edge sees of an unmodified client's actor is what somebody else carries here: it takes that one for
/// its writer, until the origin knows better.
#[test]
fn the_origins_word_on_a_binding_counts() {
    let mut edge = Edge::new();
    linked(&mut edge);
    edge.join(1, "vera", Role::Teacher, &["b1"]);
    edge.join(2, "eve", Role::Teacher, &["b1"]);
    let actor = ActorId::from([7; 16]);
    let mut doc = writer(&actor);
    let first = wrote(&mut doc, "a", "1");
    let second = wrote(&mut doc, "a", "2");
    let third = wrote(&mut doc, "a", "3");
    edge.say(2, NOTES, carrying(&doc, std::slice::from_ref(&first)));
    let sent = edge.say(1, NOTES, carrying(&doc, std::slice::from_ref(&second)));
    assert_eq!(codes(&sent), [(1, "foreign-actor")]);

    edge.run([pulled(&[&first], vec![binding(&actor, "vera")])]);
    let sent = edge.say(2, NOTES, carrying(&doc, std::slice::from_ref(&second)));
    assert_eq!(codes(&sent), [(2, "foreign-actor")]);
    let sent = edge.say(1, NOTES, carrying(&doc, &[second, third]));
    assert_eq!((codes(&sent), edge.appended()), (vec![], 3));
}

/// A device that was set back to a backup goes on under its old actor: what it says anew has old numbers, and that alone is
/// refused.
#[test]
fn a_restored_device_keeps_its_actor() {
    let mut edge = Edge::new();
    edge.join(1, "vera", Role::Teacher, &["b1"]);
    let actor = registered("vera-phone", [1; 8]);
    let mut doc = writer(&actor);
    let first = wrote(&mut doc, "a", "1");
    let mut backup = doc.fork().with_actor(actor);
    let second = wrote(&mut doc, "a", "2");
    edge.say(1, NOTES, carrying(&doc, &[first, second]));
    let again = wrote(&mut backup, "a", "other");
    let sent = edge.say(1, NOTES, carrying(&backup, &[again]));
    assert_eq!((codes(&sent), edge.appended()), (vec![(1, "sequence-reused")], 2));
}

/// Another carries the change too, and neither can go in yet. Vera's was refused in the name of who only carried it, and she took it
/// for received.
#[test]
fn a_change_that_waits_is_its_authors_whoever_else_brings_it() {
    let actor = registered("vera-phone", [1; 8]);
    for order in [[1, 2], [2, 1]] {
        let mut edge = Edge::new();
        edge.join(1, "vera", Role::Teacher, &["b1"]);
        edge.join(2, "tom", Role::Teacher, &["b1"]);
        let mut veras = writer(&actor);
        let (first, second) = (wrote(&mut veras, "a", "1"), wrote(&mut veras, "a", "2"));
        for session in order {
            edge.say(session, NOTES, carrying(&veras, std::slice::from_ref(&second)));
        }
        edge.say(1, NOTES, carrying(&veras, &[first]));
        assert_eq!((edge.appended(), edge.quarantined()), (2, vec![]), "{order:?}");
    }
}
