//! What automerge-repo calls remote heads: a client asks to be told what another one, named by its storage, has of the documents
//! that both read. Known is what devices that are connected here have said; what else clients gossip is not believed.

use super::ephemeral::Bucket;
use super::{Engine, SessionId};
use crate::document_id::DocumentId;
use crate::engine::Effect;
use crate::engine::slots::Slot;
use crate::repo_message::RepoMessage;
use automerge::ChangeHash;
use std::collections::BTreeSet;

/// Storages of which one session may ask to be told: a user's devices, and some of others.
pub const MAX_SUBSCRIPTIONS: usize = 64;
/// Most heads that are passed on. A document has as many as devices write to it at the same time.
pub const MAX_REMOTE_HEADS: usize = 64;
/// Messages to one session a second, over time: as many as somebody types letters. What comes faster is dropped, and the next says it too.
pub const REMOTE_HEADS_PER_SECOND: u64 = 20;
/// Messages at once: a device that connects speaks of all its documents.
pub const REMOTE_HEADS_BURST: u64 = 1_000;

/// What one session wants to hear, and may.
pub(super) struct RemoteHeads {
    /// The client's name for its storage; none when it keeps nothing.
    pub(super) storage: Option<String>,
    subscribed: BTreeSet<String>,
    rate: Bucket,
}

impl RemoteHeads {
    pub(super) fn new() -> Self {
        let rate = Bucket::new(REMOTE_HEADS_BURST, REMOTE_HEADS_PER_SECOND);
        Self { storage: None, subscribed: BTreeSet::new(), rate }
    }

    fn may_hear(&mut self, now: u64) -> bool {
        self.rate.fill(now);
        let may = self.rate.holds(1);
        if may {
            self.rate.take(1);
        }
        may
    }
}

impl Engine {
    /// A client says of which storages it wants to be told. What is known of those that are new it is told at once.
    pub(super) fn subscribe(&mut self, now: u64, id: SessionId, add: Vec<String>, remove: &[String]) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let subscribed = &mut session.remote.subscribed;
        for storage in remove {
            subscribed.remove(storage);
        }
        let mut new = BTreeSet::new();
        for storage in add {
            if subscribed.len() < MAX_SUBSCRIPTIONS && subscribed.insert(storage.clone()) {
                new.insert(storage);
            }
        }
        let of_new = |session: &super::Session| {
            session.remote.storage.as_ref().is_some_and(|storage| new.contains(storage))
        };
        let known: Vec<(DocumentId, SessionId)> = self
            .sessions
            .iter()
            .filter(|(other, session)| **other != id && of_new(session))
            .flat_map(|(other, session)| session.states.keys().map(|document| (*document, *other)))
            .collect();
        for (document, other) in known {
            self.tell_remote_heads(now, document, other, id);
        }
    }

    /// A device has said what it has of a document: those who asked for it are told.
    pub(super) fn gossip(&mut self, now: u64, document: DocumentId, from: SessionId) {
        let storage = self.sessions.get(&from).and_then(|session| session.remote.storage.as_ref());
        let (Some(storage), Some(Slot::Ready(doc))) = (storage, self.slots.get(&document)) else { return };
        let wants = |id: &&SessionId| {
            self.sessions.get(id).is_some_and(|session| session.remote.subscribed.contains(storage))
        };
        let readers: Vec<SessionId> =
            doc.readers.iter().filter(|id| **id != from).filter(wants).copied().collect();
        for reader in readers {
            self.tell_remote_heads(now, document, from, reader);
        }
    }

    /// Tells one reader of a document what another has of it.
    fn tell_remote_heads(&mut self, now: u64, document: DocumentId, of: SessionId, to: SessionId) {
        let Some(other) = self.sessions.get(&of) else { return };
        let heads = other.states.get(&document).and_then(|state| state.their_heads.clone());
        let (Some(storage), Some(heads)) = (other.remote.storage.clone(), heads) else { return };
        if heads.is_empty() || heads.len() > MAX_REMOTE_HEADS {
            return;
        }
        let Some(session) = self.sessions.get_mut(&to) else { return };
        let Some(target) = session.peer.clone().filter(|_| session.states.contains_key(&document)) else {
            return;
        };
        if !session.remote.may_hear(now) {
            return;
        }
        let heads: Vec<[u8; 32]> = heads.iter().map(|ChangeHash(hash)| *hash).collect();
        let sender = self.peer.clone();
        let message = RepoMessage::RemoteHeads { sender, target, document, storage, heads, timestamp: now };
        self.effects.push(Effect::Send { session: to, bytes: message.encode() });
    }
}
