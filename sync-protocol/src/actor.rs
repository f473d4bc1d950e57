//! Whose an actor id is. Two writers who use one actor and sequence number end the sync of the honest one for ever, so an
//! actor of a document belongs to the user whose device first brought it, and our own devices carry theirs in the id.

use crate::document_id::DocumentId;
use crate::kind::versions::is_own_actor;
use automerge::ActorId;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, HashSet};

/// Refuses a change under an actor that belongs to somebody else.
pub const FOREIGN_ACTOR: &str = "foreign-actor";
/// How much earlier an edge must have logged a change for its sender to be its writer after all, in milliseconds: more than
/// the clocks of edges differ, less than it takes to carry a phone from one edge to another.
pub const CLOCK_DIFFERENCE_MS: u64 = 5_000;

/// First bytes of the actor ids that name their device.
const REGISTERED: [u8; 4] = *b"rca1";
/// Bytes of the device's hash in such an id. A device that looks for another one with the same hash has 2^64 to try.
const DEVICE_BYTES: usize = 8;
/// Bytes that tell a device's actors apart.
const UNIQUE_BYTES: usize = 8;

/// An actor id that names its device: every edge knows whose it is before it has ever seen it.
pub fn registered(device: &str, unique: [u8; UNIQUE_BYTES]) -> ActorId {
    ActorId::from([&REGISTERED[..], &device_hash(device), &unique].concat())
}

fn device_hash(device: &str) -> [u8; DEVICE_BYTES] {
    let hash = Sha256::digest(["rollcall actor of ", device].concat());
    let mut start = [0; DEVICE_BYTES];
    start.copy_from_slice(&hash[..DEVICE_BYTES]);
    start
}

/// Whether the id names a device, and another one than this.
fn names_another(actor: &ActorId, device: &str) -> bool {
    let bytes = actor.to_bytes();
    let named = bytes.strip_prefix(&REGISTERED).filter(|rest| rest.len() == DEVICE_BYTES + UNIQUE_BYTES);
    named.is_some_and(|rest| rest[..DEVICE_BYTES] != device_hash(device))
}

/// Who brought an actor's first change.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Binding {
    #[n(0)]
    pub actor: ByteVec,
    #[n(1)]
    pub user: String,
    #[n(2)]
    pub device: String,
    /// When an edge logged that change, in milliseconds since the Unix epoch.
    #[n(3)]
    pub since: u64,
}

/// Somebody who brings a change, and when an edge logged it.
#[derive(Debug, Clone, Copy)]
pub struct Bringer<'a> {
    pub user: &'a str,
    pub device: &'a str,
    pub at: u64,
}

/// The actors of one document. The edge and the origin judge by the same rule.
#[derive(Debug, Clone, Default)]
pub struct Actors {
    bound: HashMap<ActorId, Binding>,
}

impl Actors {
    /// Takes a binding over, from the log or from the origin; whether it is news.
    pub fn put(&mut self, binding: Binding) -> bool {
        let before = self.bound.insert(ActorId::from(binding.actor.as_slice()), binding.clone());
        before.as_ref() != Some(&binding)
    }

    /// The bindings of these actors.
    pub fn of<'a>(&self, actors: impl Iterator<Item = &'a ActorId>) -> Vec<Binding> {
        let actors: HashSet<&ActorId> = actors.collect();
        actors.into_iter().filter_map(|actor| self.bound.get(actor)).cloned().collect()
    }

    pub fn all(self) -> Vec<Binding> {
        self.bound.into_values().collect()
    }

    /// Whether `by` may write under `actor`: the code of the refusal if not.
    ///
    /// Another device of the same user may: tabs of a browser share a store, and nobody else is harmed.
    pub fn check(&self, document: DocumentId, actor: &ActorId, by: Bringer<'_>) -> Result<(), &'static str> {
        // What every replica makes of a registered document.
        if is_own_actor(document, actor) {
            return Ok(());
        }
        let foreign = self.bound.get(actor).is_some_and(|bound| bound.user != by.user);
        if foreign || names_another(actor, by.device) { Err(FOREIGN_ACTOR) } else { Ok(()) }
    }

    /// Binds an actor to who brings it, when it is new; gives the binding to write down.
    pub fn bind(&mut self, document: DocumentId, actor: &ActorId, by: Bringer<'_>) -> Option<Binding> {
        if self.bound.contains_key(actor) || is_own_actor(document, actor) {
            return None;
        }
        Some(self.set(actor, by))
    }

    /// Hears that `by` brought a change of this actor that was already there. Who is found to have brought it before the one
    /// to whom the actor is bound is its writer: the other has read it, and carried it to another edge.
    pub fn hear_again(&mut self, actor: &ActorId, by: Bringer<'_>) -> Option<Binding> {
        let bound = self.bound.get(actor)?;
        let earlier = by.at != 0 && by.at.saturating_add(CLOCK_DIFFERENCE_MS) < bound.since;
        (bound.user != by.user && earlier && !names_another(actor, by.device)).then(|| self.set(actor, by))
    }

    fn set(&mut self, actor: &ActorId, by: Bringer<'_>) -> Binding {
        let binding = Binding {
            actor: actor.to_bytes().to_vec().into(),
            user: by.user.to_owned(),
            device: by.device.to_owned(),
            since: by.at,
        };
        self.bound.insert(actor.clone(), binding.clone());
        binding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: DocumentId = DocumentId::from_bytes([8; 16]);

    fn by<'a>(user: &'a str, device: &'a str, at: u64) -> Bringer<'a> {
        Bringer { user, device, at }
    }

    #[test]
    fn an_actor_is_its_first_users_on_any_of_his_devices() {
        let mut actors = Actors::default();
        let actor = ActorId::from([7; 16]);
        assert_eq!(actors.check(DOCUMENT, &actor, by("eve", "x", 1)), Ok(()));
        let bound = actors.bind(DOCUMENT, &actor, by("vera", "phone", 10)).unwrap();
        assert_eq!((bound.user.as_str(), bound.device.as_str(), bound.since), ("vera", "phone", 10));
        assert_eq!(actors.bind(DOCUMENT, &actor, by("eve", "x", 11)), None);
        assert_eq!(actors.check(DOCUMENT, &actor, by("eve", "x", 11)), Err(FOREIGN_ACTOR));
        assert_eq!(actors.check(DOCUMENT, &actor, by("vera", "tab-2", 11)), Ok(()));
        let mut again = Actors::default();
        again.put(bound);
        assert_eq!(again.check(DOCUMENT, &actor, by("eve", "x", 11)), Err(FOREIGN_ACTOR));
    }

    #[test]
    fn an_id_that_names_its_device_is_nobody_elses_from_the_start() {
        let actor = registered("phone-1", [1; 8]);
        let actors = Actors::default();
        assert_eq!(actors.check(DOCUMENT, &actor, by("vera", "phone-1", 1)), Ok(()));
        assert_eq!(actors.check(DOCUMENT, &actor, by("vera", "phone-2", 1)), Err(FOREIGN_ACTOR));
        assert_ne!(actor, registered("phone-1", [2; 8]));
        // Others' ids may begin alike.
        let short = ActorId::from(b"rca1".as_slice());
        assert_eq!(actors.check(DOCUMENT, &short, by("vera", "phone-2", 1)), Ok(()));
    }

    #[test]
    fn the_first_change_of_a_registered_document_is_everybodys() {
        let mut actors = Actors::default();
        let genesis = ActorId::from(DOCUMENT.as_bytes().as_slice());
        assert_eq!(actors.bind(DOCUMENT, &genesis, by("eve", "x", 1)), None);
        assert_eq!(actors.check(DOCUMENT, &genesis, by("vera", "phone", 2)), Ok(()));
    }

    #[test]
    fn an_earlier_copy_at_another_edge_moves_the_binding_and_a_near_or_later_one_does_not() {
        let mut actors = Actors::default();
        let actor = ActorId::from([7; 16]);
        actors.bind(DOCUMENT, &actor, by("reader", "tablet", 100_000));
        assert_eq!(
            actors.hear_again(&actor, by("vera", "phone", 99_000)),
            None,
            "clocks differ by that much"
        );
        assert_eq!(actors.hear_again(&actor, by("vera", "phone", 0)), None, "an edge that says no time");
        assert_eq!(actors.hear_again(&actor, by("vera", "phone", 60_000)).unwrap().user, "vera");
        assert_eq!(actors.check(DOCUMENT, &actor, by("reader", "tablet", 100_001)), Err(FOREIGN_ACTOR));
        assert_eq!(actors.hear_again(&actor, by("reader", "tablet", 100_000)), None);
    }
}
