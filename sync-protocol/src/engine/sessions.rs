//! The devices that are connected, or ask once: what they say, and what they are told.

use super::document::Document;
use super::ephemeral::Presence;
use super::remote_heads::RemoteHeads;
use super::rights::FORBIDDEN;
use super::slots::{Room, Slot};
use super::{Effect, Engine, SessionId};
use crate::document_id::DocumentId;
use crate::link::Hash;
use crate::repo_message::{PROTOCOL_VERSION, RepoMessage};
use crate::token::Claims;
use automerge::sync::State;
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub(super) struct Session {
    pub(super) claims: Claims,
    /// The client's name for itself; none before its join.
    pub(super) peer: Option<String>,
    pub(super) states: BTreeMap<DocumentId, State>,
    /// Documents that it asked for in vain: it is told when they turn up.
    pub(super) interest: BTreeSet<DocumentId>,
    /// Documents of which it brought changes that it had no right to make: it takes them for sent.
    pub(super) forbidden: BTreeSet<DocumentId>,
    /// How much it has waiting for documents.
    pub(super) waiting: Room,
    /// What it said in its last message about a document, in bytes without the changes, and the sum.
    pub(super) said: BTreeMap<DocumentId, usize>,
    pub(super) said_bytes: usize,
    pub(super) presence: Presence,
    pub(super) remote: RemoteHeads,
    /// Answers are asked for with [`Engine::exchange_reply`] instead of being sent.
    pub(super) quiet: bool,
    /// The client reads the messages that are ours alone.
    pub(super) extended: bool,
}

/// The answer to one message of a client without a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// An Automerge sync message; none when both sides are equal.
    Synced(Option<Vec<u8>>),
    Unavailable,
    Refused(String),
}

impl Engine {
    /// Hands in one sync message of a client without a connection, under a session that [`Engine::open_exchange`] made.
    pub fn exchange(
        &mut self,
        now: u64,
        session: SessionId,
        document: DocumentId,
        data: Vec<u8>,
    ) -> Vec<Effect> {
        self.now = now;
        self.receive(now, session, document, data);
        std::mem::take(&mut self.effects)
    }

    pub fn open_exchange(&mut self, session: SessionId, claims: Claims) {
        self.open(session, claims, true);
    }

    /// The answer to [`Engine::exchange`], after its effects and those of a flush have been carried out. None while the
    /// document is still asked for at the origin.
    pub fn exchange_reply(&mut self, session: SessionId, document: DocumentId) -> Option<Reply> {
        if let Some(code) = self.refusals.remove(&(document, session)) {
            return Some(Reply::Refused(code));
        }
        if let Some(question) = self.questions.remove(&(document, session)) {
            return Some(Reply::Synced(Some(question)));
        }
        let state = self.sessions.get_mut(&session)?.states.get_mut(&document);
        match (self.slots.get(&document), state) {
            (Some(Slot::Loading { .. } | Slot::Pulling { .. } | Slot::Awaited { .. }), _) => None,
            (Some(Slot::Ready(doc)), Some(state)) => {
                let equal = state.their_heads.as_ref() == Some(&doc.automerge.get_heads());
                let message = doc.next_message(state);
                let silent = message.as_ref().is_none_or(|m| equal && m.changes.is_empty());
                Some(Reply::Synced(message.filter(|_| !silent).map(|m| m.encode())))
            }
            (Some(Slot::Ready(_) | Slot::Deleted { .. }) | None, _) => Some(Reply::Unavailable),
        }
    }

    pub(super) fn open(&mut self, session: SessionId, claims: Claims, quiet: bool) {
        let session_state = Session {
            claims,
            peer: None,
            states: BTreeMap::new(),
            interest: BTreeSet::new(),
            forbidden: BTreeSet::new(),
            waiting: Room::default(),
            said: BTreeMap::new(),
            said_bytes: 0,
            presence: Presence::new(),
            remote: RemoteHeads::new(),
            quiet,
            extended: false,
        };
        let active = self.rights.is_active(&session_state.claims);
        self.sessions.insert(session, session_state);
        if !active && !quiet {
            self.fail(session, "the user is deactivated");
        }
    }

    pub(super) fn closed(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else { return };
        for document in session.states.keys() {
            if let Some(Slot::Ready(doc)) = self.slots.get_mut(document) {
                doc.readers.remove(&id);
            }
            self.leave_parked(id, *document);
        }
        for document in session.interest {
            self.lose_interest(id, document);
        }
        self.leave_forgotten(id);
        self.forget_heard(id, &session.claims.sub);
        self.gossip.moved(id, session.remote.storage.as_deref(), None);
        for storage in session.remote.subscribed {
            self.gossip.unsubscribe(&storage, id);
        }
    }

    pub(super) fn lose_interest(&mut self, id: SessionId, document: DocumentId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.interest.remove(&document);
        }
        if let Some(sessions) = self.interest.get_mut(&document) {
            sessions.remove(&id);
            if sessions.is_empty() {
                self.interest.remove(&document);
            }
        }
    }

    pub(super) fn frame(&mut self, now: u64, session: SessionId, bytes: &[u8]) {
        let Some(joined) = self.sessions.get(&session).map(|s| s.peer.is_some()) else { return };
        match RepoMessage::decode(bytes) {
            Err(error) => self.fail(session, &error.to_string()),
            Ok(RepoMessage::Join { sender, versions, extended }) => {
                self.set_storage(session, RepoMessage::storage_id(bytes));
                self.join(session, sender, &versions, extended);
            }
            Ok(_) if !joined => self.fail(session, "the first message must be join"),
            Ok(RepoMessage::Sync { document, data, .. }) => self.receive(now, session, document, data),
            Ok(RepoMessage::Subscribe { add, remove, .. }) => self.subscribe(now, session, add, &remove),
            Ok(message @ RepoMessage::Ephemeral { .. }) => self.relay(now, session, message),
            Ok(
                RepoMessage::Peer { .. }
                | RepoMessage::Error { .. }
                | RepoMessage::Unavailable { .. }
                | RepoMessage::Refused { .. }
                | RepoMessage::Committed { .. }
                | RepoMessage::Deleted { .. }
                | RepoMessage::RemoteHeads { .. }
                | RepoMessage::Other,
            ) => {}
        }
    }

    fn set_storage(&mut self, id: SessionId, storage: Option<String>) {
        if let Some(session) = self.sessions.get_mut(&id) {
            self.gossip.moved(id, session.remote.storage.as_deref(), storage.as_deref());
            session.remote.storage = storage;
        }
    }

    /// A client that reconnects before its old socket is gone takes its place, with fresh sync state.
    pub(super) fn join(&mut self, id: SessionId, sender: String, versions: &[String], extended: bool) {
        if !versions.iter().any(|version| version == PROTOCOL_VERSION) {
            return self.fail(id, "this server speaks protocol version 1 only");
        }
        let Some(user) = self.sessions.get(&id).map(|s| s.claims.sub.clone()) else { return };
        let is_same = |s: &Session| s.peer.as_ref() == Some(&sender) && s.claims.sub == user;
        let replaced: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(other, s)| **other != id && is_same(s))
            .map(|(other, _)| *other)
            .collect();
        for old in replaced {
            self.closed(old);
            self.effects
                .push(Effect::Close { session: old, reason: "the same peer has connected again".into() });
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.peer = Some(sender.clone());
            session.extended = extended;
            let storage = self.storage.clone();
            let bytes = RepoMessage::Peer { sender: self.peer.clone(), target: sender, storage }.encode();
            self.effects.push(Effect::Send { session: id, bytes });
        }
    }

    /// Tells a session what it did wrong, and closes it. Nobody else notices.
    pub(super) fn fail(&mut self, id: SessionId, reason: &str) {
        let Some(session) = self.sessions.get(&id) else { return };
        let target = session.peer.clone().unwrap_or_default();
        let message = RepoMessage::Error { sender: self.peer.clone(), target, message: reason.to_owned() };
        self.effects.push(Effect::Send { session: id, bytes: message.encode() });
        self.effects.push(Effect::Close { session: id, reason: reason.to_owned() });
        self.closed(id);
    }

    /// Tells who brought a change that it was not taken, and why.
    pub(super) fn tell_refusal(&mut self, id: SessionId, document: DocumentId, hash: Hash, code: &str) {
        self.note_refusal(id, document, code);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if code == FORBIDDEN {
            session.forbidden.insert(document);
        }
        if session.quiet {
            self.refused_changes.entry((document, id)).or_default().push((hash, code.to_owned()));
        } else if session.extended
            && let Some(target) = session.peer.clone()
        {
            let (sender, code) = (self.peer.clone(), code.to_owned());
            let bytes = RepoMessage::Refused { sender, target, document, hash, code }.encode();
            self.effects.push(Effect::Send { session: id, bytes });
        }
    }

    /// The changes that were refused of what a client without a connection handed in, with their codes.
    pub fn exchange_refusals(&mut self, session: SessionId, document: DocumentId) -> Vec<(Hash, String)> {
        self.refused_changes.remove(&(document, session)).unwrap_or_default()
    }

    /// Kept until a client without a connection reads its answer.
    pub(super) fn note_refusal(&mut self, id: SessionId, document: DocumentId, code: &str) {
        if self.sessions.get(&id).is_some_and(|s| s.quiet) {
            self.refusals.insert((document, id), code.to_owned());
        }
    }

    /// Nothing of a message was kept: a connected client is told and closed, any other reads it in its answer.
    pub(super) fn refuse(&mut self, id: SessionId, document: DocumentId, code: &str, reason: &str) {
        if self.sessions.get(&id).is_some_and(|s| s.quiet) {
            self.note_refusal(id, document, code);
        } else {
            self.fail(id, &format!("{document}: {reason}"));
        }
    }

    /// The session hears of the document when it, or the right to it, turns up.
    pub(super) fn take_interest(&mut self, id: SessionId, document: DocumentId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.interest.insert(document);
        self.interest.entry(document).or_default().insert(id);
    }

    /// Not final: the session hears again when the document, or the right to it, turns up.
    pub(super) fn unavailable(&mut self, id: SessionId, document: DocumentId) {
        self.take_interest(id, document);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Some(target) = session.peer.clone() {
            let message = RepoMessage::Unavailable { sender: self.peer.clone(), target, document };
            self.effects.push(Effect::Send { session: id, bytes: message.encode() });
        }
    }

    /// With `answers` when many readers are told of the document at once.
    pub(super) fn send_sync(&mut self, document: DocumentId, id: SessionId, answers: Option<&mut Answers>) {
        let (Some(Slot::Ready(doc)), Some(session)) = (self.slots.get(&document), self.sessions.get_mut(&id))
        else {
            return;
        };
        let (Some(target), Some(state)) = (session.peer.clone(), session.states.get_mut(&document)) else {
            return;
        };
        let data = match answers {
            Some(answers) => answers.next(document, doc, state),
            None => doc.next_message(state).map(automerge::sync::Message::encode),
        };
        if let Some(data) = data {
            let sender = self.peer.clone();
            let bytes = RepoMessage::Sync { request: false, sender, target, document, data }.encode();
            self.effects.push(Effect::Send { session: id, bytes });
        }
    }
}

/// What a document has to say to a reader follows from the state of sync with it alone, and most readers of a document are in
/// the same: it is made once for all of them.
#[derive(Default)]
pub(super) struct Answers {
    document: Option<DocumentId>,
    /// By the state before: the state after, and the encoded message if there is one.
    by_state: HashMap<State, (State, Option<Vec<u8>>)>,
}

impl Answers {
    /// The next message to a reader; calls for one document must come in a row, and the document must not change between them.
    fn next(&mut self, document: DocumentId, doc: &Document, state: &mut State) -> Option<Vec<u8>> {
        if self.document.replace(document) != Some(document) {
            self.by_state.clear();
        }
        if let Some((after, data)) = self.by_state.get(state) {
            state.clone_from(after);
            return data.clone();
        }
        let before = state.clone();
        let data = doc.next_message(state).map(automerge::sync::Message::encode);
        self.by_state.insert(before, (state.clone(), data.clone()));
        data
    }
}
