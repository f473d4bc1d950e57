//! What automerge-repo calls remote heads: a client asks to be told what another one, named by its storage, has of the documents
//! that both read. Known is what devices have said to the edge where they are connected; what else clients gossip is not
//! believed. What edges tell each other of it is in `gossip.rs`.

use super::ephemeral::Bucket;
use super::gossip::Subscription;
use super::slots::Slot;
use super::{Effect, Engine, SessionId};
use crate::document_id::DocumentId;
use crate::kind::Access;
use crate::link::MAX_REMOTE_HEADS;
use crate::repo_message::RepoMessage;
use automerge::ChangeHash;
use std::collections::BTreeSet;

/// Storages of which one session may ask to be told: a user's devices, and some of others.
pub const MAX_SUBSCRIPTIONS: usize = 64;
/// Subscriptions of one session a second, over time: clients subscribe once for each storage that they see. What comes faster is not
/// taken.
pub const SUBSCRIPTIONS_PER_SECOND: u64 = 4;
/// Subscriptions at once: all that there may be, and changed once.
pub const SUBSCRIPTIONS_BURST: u64 = 2 * MAX_SUBSCRIPTIONS as u64;
/// Messages to one session a second, over time: as many as somebody types letters. What comes faster is dropped, and the next says it too.
pub const REMOTE_HEADS_PER_SECOND: u64 = 20;
/// Messages at once: a device that connects speaks of all its documents.
pub const REMOTE_HEADS_BURST: u64 = 1_000;

/// What one session wants to hear, and may.
pub(super) struct RemoteHeads {
    /// The client's name for its storage; none when it keeps nothing.
    pub(super) storage: Option<String>,
    pub(super) subscribed: BTreeSet<String>,
    /// Each subscription costs a look at all that is known of the storage.
    subscribing: Bucket,
    rate: Bucket,
    /// The time that the last message to it named.
    last_told: u64,
}

impl RemoteHeads {
    pub(super) fn new() -> Self {
        let rate = Bucket::new(REMOTE_HEADS_BURST, REMOTE_HEADS_PER_SECOND);
        let subscribing = Bucket::new(SUBSCRIPTIONS_BURST, SUBSCRIPTIONS_PER_SECOND);
        Self { storage: None, subscribed: BTreeSet::new(), subscribing, rate, last_told: 0 }
    }

    /// The time to name in a message; none when there were too many. Clients pass over what is not later than what they have heard,
    /// so a clock that is set back must not show.
    fn next_time(&mut self, now: u64) -> Option<u64> {
        self.rate.fill(now);
        if !self.rate.holds(1) {
            return None;
        }
        self.rate.take(1);
        self.last_told = now.max(self.last_told + 1);
        Some(self.last_told)
    }
}

impl Engine {
    /// A client says of which storages it wants to be told. What is known of those that are new it is told at once.
    pub(super) fn subscribe(&mut self, now: u64, id: SessionId, add: Vec<String>, remove: &[String]) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.remote.subscribing.fill(now);
        }
        for storage in remove {
            let subscribed = self.sessions.get_mut(&id).map(|session| &mut session.remote.subscribed);
            if subscribed.is_some_and(|subscribed| subscribed.remove(storage)) {
                self.gossip.unsubscribe(storage, id);
            }
        }
        for storage in add {
            let Some(session) = self.sessions.get_mut(&id) else { return };
            let remote = &mut session.remote;
            let room = remote.subscribed.len() < MAX_SUBSCRIPTIONS && !remote.subscribed.contains(&storage);
            if room && remote.subscribing.take_up_to(1) == 1 {
                remote.subscribed.insert(storage.clone());
                self.subscribe_to(now, id, storage);
            }
        }
    }

    fn subscribe_to(&mut self, now: u64, id: SessionId, storage: String) {
        if self.gossip.subscribe(&storage, id) {
            let here = self.gossip.sessions_of(&storage).into_iter().filter(|other| *other != id);
            let said: Vec<_> = here.flat_map(|other| self.said_by(other)).collect();
            for (document, heads) in said {
                self.gossip.note(&storage, document, &heads, now, now);
            }
        }
        let known = self.gossip.subscriptions.get(&storage).map(Subscription::known).unwrap_or_default();
        for (document, heads) in known {
            self.tell_remote_heads(now, document, &storage, &heads, id);
        }
    }

    /// What a device that is connected here has said of its documents.
    pub(super) fn said_by(&self, id: SessionId) -> Vec<(DocumentId, Vec<ChangeHash>)> {
        let states = self.sessions.get(&id).into_iter().flat_map(|session| &session.states);
        let said = states.filter_map(|(document, state)| Some((*document, state.their_heads.clone()?)));
        said.filter(|(_, heads)| (1..=MAX_REMOTE_HEADS).contains(&heads.len())).collect()
    }

    /// A device has said what it has of a document: those who asked for it are told.
    pub(super) fn gossip(&mut self, now: u64, document: DocumentId, from: SessionId) {
        let Some(session) = self.sessions.get(&from) else { return };
        let Some(storage) =
            session.remote.storage.as_ref().filter(|storage| self.gossip.is_of_interest(storage))
        else {
            return;
        };
        let heads = session.states.get(&document).and_then(|state| state.their_heads.clone());
        let Some(heads) = heads.filter(|heads| (1..=MAX_REMOTE_HEADS).contains(&heads.len())) else { return };
        let storage = storage.clone();
        self.gossip.owe(&storage, document, &heads, now);
        self.gossip.note(&storage, document, &heads, now, now);
        self.tell_subscribers(now, &storage, document, &heads, Some(from));
    }

    pub(super) fn tell_subscribers(
        &mut self,
        now: u64,
        storage: &str,
        document: DocumentId,
        heads: &[ChangeHash],
        except: Option<SessionId>,
    ) {
        let sessions = self.gossip.subscriptions.get(storage).map(|subscription| &subscription.sessions);
        for id in sessions.cloned().unwrap_or_default() {
            if Some(id) != except {
                self.tell_remote_heads(now, document, storage, heads, id);
            }
        }
    }

    /// A session has opened a document: it is told what the storages have of it to which it has subscribed.
    pub(super) fn tell_what_remotes_have(&mut self, now: u64, id: SessionId, document: DocumentId) {
        let Some(session) = self.sessions.get(&id) else { return };
        let known = session.remote.subscribed.iter().filter_map(|storage| {
            let subscription = self.gossip.subscriptions.get(storage)?;
            Some((storage.clone(), subscription.known_of(document)?))
        });
        let known: Vec<(String, Vec<ChangeHash>)> = known.collect();
        for (storage, heads) in known {
            self.tell_remote_heads(now, document, &storage, &heads, id);
        }
    }

    /// Tells one reader of a document what a storage has of it.
    fn tell_remote_heads(
        &mut self,
        now: u64,
        document: DocumentId,
        storage: &str,
        heads: &[ChangeHash],
        to: SessionId,
    ) {
        if !self.reads(to, document) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&to) else { return };
        let Some(target) = session.peer.clone() else { return };
        let Some(timestamp) = session.remote.next_time(now) else { return };
        let (sender, storage) = (self.peer.clone(), storage.to_owned());
        let heads = heads.iter().map(|ChangeHash(hash)| *hash).collect();
        let message = RepoMessage::RemoteHeads { sender, target, document, storage, heads, timestamp };
        self.effects.push(Effect::Send { session: to, bytes: message.encode() });
    }

    /// Whether a session has the document open, and the right to it, now.
    fn reads(&self, id: SessionId, document: DocumentId) -> bool {
        let Some(session) = self.sessions.get(&id).filter(|session| session.states.contains_key(&document))
        else {
            return false;
        };
        let access = match (self.slots.get(&document), self.parked.get(&document)) {
            (Some(Slot::Ready(doc)), _) => self.rights.access(doc, &session.claims),
            (_, Some(parked)) => self.rights.access_to(Some(&parked.record), "", &session.claims),
            (
                Some(
                    Slot::Loading { .. } | Slot::Pulling { .. } | Slot::Awaited { .. } | Slot::Deleted { .. },
                )
                | None,
                None,
            ) => Access::None,
        };
        access > Access::None
    }
}
