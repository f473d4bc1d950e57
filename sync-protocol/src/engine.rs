//! The sync engine of one institute at one edge: a state machine without I/O. Events in, effects out.
//!
//! The caller carries out effects in their order inside one transaction of the log, feeds what [`Effect::Load`] and
//! [`Effect::ReadLog`] find back as events, calls [`Engine::flush`] when it has no more events, commits, and only then
//! delivers [`Effect::Send`], [`Effect::Close`] and [`Effect::Link`]. So whatever a device is told is durable. When
//! the transaction fails, the engine is ahead of its log and must be dropped.

mod document;
mod link;

use crate::document_id::DocumentId;
use crate::gate;
use crate::kind::{Access, Kind};
use crate::link::{DocumentRecord, Hash, LinkMessage, PushItem};
use crate::repo_message::{PROTOCOL_VERSION, RepoMessage};
use crate::token::Claims;
use automerge::ReadDoc as _;
use automerge::sync::State;
use document::{Document, DocumentError, Received};
use link::LinkState;
use std::collections::{BTreeMap, BTreeSet};

pub type SessionId = u64;

/// What one engine may hold. Numbers that the caller may lower in tests.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Documents that one session may have open: a device's documents of some years.
    pub session_documents: usize,
    /// Messages that wait for one document while it is loaded; a client has one in flight for each.
    pub waiting_messages: usize,
    /// Changes of one document that wait for a dependency.
    pub held_changes: usize,
    /// Changes in the log behind a snapshot before the next one; more for a document of many changes.
    pub tail_changes: usize,
    /// How long a document that nobody reads stays in memory, in milliseconds.
    pub idle_ms: u64,
    /// How long a device waits for the origin's word on an unknown document, in milliseconds.
    pub pull_ms: u64,
    /// How long it waits, then, for another device to bring the document, in milliseconds. Clients give up on the first
    /// 'unavailable' that they hear, and a document's link may travel faster than its content.
    pub await_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            session_documents: 10_000,
            waiting_messages: 64,
            held_changes: 4_096,
            tail_changes: 256,
            idle_ms: 30_000,
            pull_ms: 5_000,
            await_ms: 1_000,
        }
    }
}

#[derive(Debug)]
pub enum Event {
    /// A device has connected; its claims are verified.
    Opened {
        session: SessionId,
        claims: Claims,
    },
    /// One binary WebSocket frame.
    Frame {
        session: SessionId,
        bytes: Vec<u8>,
    },
    Closed {
        session: SessionId,
    },
    /// The answer to [`Effect::Load`].
    Loaded {
        document: DocumentId,
        stored: Option<Stored>,
        refused: Vec<Hash>,
    },
    /// The answer to [`Effect::ReadLog`]; empty when all is pushed.
    Unpushed(Vec<PushItem>),
    /// The answer to [`Effect::ListDocuments`].
    Held(Vec<DocumentId>),
    /// Somebody else has written to the log of these documents.
    Written(Vec<DocumentId>),
    LinkUp,
    LinkDown,
    Link(LinkMessage),
    /// About once a second.
    Tick,
}

/// A document as the log has it.
#[derive(Debug, Clone)]
pub struct Stored {
    pub record: DocumentRecord,
    /// The snapshot and the changes behind it, in the order of the log.
    pub chunks: Vec<Vec<u8>>,
    /// How many of the chunks are changes behind the snapshot.
    pub tail: usize,
}

/// Who brought a change, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    pub user: String,
    pub device: String,
    pub source: Source,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// To be pushed to the origin.
    Device,
    Origin,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Deliver after commit.
    Send {
        session: SessionId,
        bytes: Vec<u8>,
    },
    /// Deliver after commit.
    Close {
        session: SessionId,
        reason: String,
    },
    /// Deliver after commit, or drop while the link is down.
    Link(LinkMessage),
    /// Answer with [`Event::Loaded`].
    Load(DocumentId),
    /// Answer with [`Event::Unpushed`]: device changes with a sequence above this one, from the lowest.
    ReadLog {
        after: u64,
    },
    /// Answer with [`Event::Held`]: all documents that have a record.
    ListDocuments,
    /// Insert or replace.
    SaveRecord(DocumentRecord),
    /// Insert unless the document has a change with this hash.
    Append {
        document: DocumentId,
        hash: Hash,
        author: Author,
        bytes: Vec<u8>,
    },
    /// Replaces the document's log up to here, except for changes that are not pushed.
    Snapshot {
        document: DocumentId,
        bytes: Vec<u8>,
    },
    /// Keep a change that was not merged, for an admin to look at.
    Quarantine {
        document: DocumentId,
        hash: Hash,
        author: Author,
        bytes: Vec<u8>,
        code: String,
    },
    /// The origin refused these changes: move them to the quarantine, and forget the rest of the document but for
    /// changes that are not pushed.
    Discard {
        document: DocumentId,
        refused: Vec<(u64, String)>,
    },
    SaveCursor {
        epoch: u64,
        revision: u64,
    },
    SaveAcknowledged(u64),
    /// The origin has more of this document than the log; no effect on a document without a record.
    MarkBehind(DocumentId),
    MarkCurrent(DocumentId),
    /// For the operator's log.
    Report(String),
}

/// Where the engine stood when its log was last committed.
#[derive(Debug, Clone, Default)]
pub struct Position {
    pub epoch: u64,
    pub revision: u64,
    /// Name of the log, made at random with it.
    pub log: String,
    pub acknowledged: u64,
    pub behind: Vec<DocumentId>,
}

struct Session {
    claims: Claims,
    /// The client's name for itself; none before its join.
    peer: Option<String>,
    states: BTreeMap<DocumentId, State>,
    /// Documents that it asked for in vain: it is told when they turn up.
    interest: BTreeSet<DocumentId>,
    /// Answers are asked for with [`Engine::exchange_reply`] instead of being sent.
    quiet: bool,
}

/// A message that waits for its document.
struct Waiting {
    session: SessionId,
    data: Vec<u8>,
}

impl Waiting {
    fn has_content(&self) -> bool {
        gate::decode_sync_message(&self.data).is_ok_and(|message| !message.heads.is_empty())
    }
}

enum Slot {
    /// An [`Effect::Load`] is under way.
    Loading {
        waiting: Vec<Waiting>,
    },
    /// The origin has been asked.
    Pulling {
        waiting: Vec<Waiting>,
        since: u64,
        refused: Vec<Hash>,
    },
    /// Nobody has it so far, but the device that made it may be about to bring it: somebody may have heard of the document
    /// before its content has come.
    Awaited {
        waiting: Vec<Waiting>,
        since: u64,
        refused: Vec<Hash>,
    },
    Ready(Box<Document>),
}

/// The answer to one message of a client without a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// An Automerge sync message; none when both sides are equal.
    Synced(Option<Vec<u8>>),
    Unavailable,
    Refused(String),
}

pub struct Engine {
    institute: String,
    peer: String,
    limits: Limits,
    slots: BTreeMap<DocumentId, Slot>,
    sessions: BTreeMap<SessionId, Session>,
    interest: BTreeMap<DocumentId, BTreeSet<SessionId>>,
    /// Changed since the last flush.
    dirty: BTreeSet<DocumentId>,
    /// Sessions that are owed an answer.
    replies: BTreeSet<(DocumentId, SessionId)>,
    refusals: BTreeMap<(DocumentId, SessionId), String>,
    link: LinkState,
    effects: Vec<Effect>,
}

impl Engine {
    pub fn new(institute: &str, limits: Limits, position: Position) -> Self {
        Self {
            institute: institute.to_owned(),
            peer: format!("rollcall:{institute}"),
            limits,
            slots: BTreeMap::new(),
            sessions: BTreeMap::new(),
            interest: BTreeMap::new(),
            dirty: BTreeSet::new(),
            replies: BTreeSet::new(),
            refusals: BTreeMap::new(),
            link: LinkState::new(position),
            effects: Vec::new(),
        }
    }

    /// `now` is in milliseconds since the Unix epoch.
    pub fn handle(&mut self, now: u64, event: Event) -> Vec<Effect> {
        match event {
            Event::Opened { session, claims } => self.open(session, claims, false),
            Event::Frame { session, bytes } => self.frame(now, session, &bytes),
            Event::Closed { session } => self.closed(session),
            Event::Loaded { document, stored, refused } => self.loaded(now, document, stored, refused),
            Event::Unpushed(items) => self.push(items),
            Event::Held(documents) => self.pull_later(documents),
            Event::Written(documents) => self.written(&documents),
            Event::LinkUp => self.link_up(),
            Event::LinkDown => self.link_down(now),
            Event::Link(message) => self.link_message(now, message),
            Event::Tick => self.tick(now),
        }
        std::mem::take(&mut self.effects)
    }

    /// Ends a batch of events: tells every reader of the documents that have changed, and goes on with the link.
    pub fn flush(&mut self) -> Vec<Effect> {
        for document in std::mem::take(&mut self.dirty) {
            let Some(Slot::Ready(doc)) = self.slots.get_mut(&document) else { continue };
            let changes = doc.automerge.stats().num_changes as usize;
            if doc.tail >= self.limits.tail_changes.max(changes / 4) {
                doc.tail = 0;
                self.effects.push(Effect::Snapshot { document, bytes: doc.automerge.save() });
            }
            for session in doc.readers.clone() {
                self.replies.insert((document, session));
            }
        }
        for (document, session) in std::mem::take(&mut self.replies) {
            self.send_sync(document, session);
        }
        self.pump_link();
        std::mem::take(&mut self.effects)
    }

    /// Hands in one sync message of a client without a connection, under a session that [`Engine::open_exchange`] made.
    pub fn exchange(
        &mut self,
        now: u64,
        session: SessionId,
        document: DocumentId,
        data: Vec<u8>,
    ) -> Vec<Effect> {
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
        let state = self.sessions.get_mut(&session)?.states.get_mut(&document);
        match (self.slots.get(&document), state) {
            (Some(Slot::Loading { .. } | Slot::Pulling { .. } | Slot::Awaited { .. }), _) => None,
            (Some(Slot::Ready(doc)), Some(state)) => {
                let equal = state.their_heads.as_ref() == Some(&doc.automerge.get_heads());
                let message = doc.next_message(state);
                let silent = message.as_ref().is_none_or(|m| equal && m.changes.is_empty());
                Some(Reply::Synced(message.filter(|_| !silent).map(|m| m.encode())))
            }
            (Some(Slot::Ready(_)) | None, _) => Some(Reply::Unavailable),
        }
    }

    fn open(&mut self, session: SessionId, claims: Claims, quiet: bool) {
        let session_state =
            Session { claims, peer: None, states: BTreeMap::new(), interest: BTreeSet::new(), quiet };
        self.sessions.insert(session, session_state);
    }

    fn closed(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else { return };
        for document in session.states.keys() {
            if let Some(Slot::Ready(doc)) = self.slots.get_mut(document) {
                doc.readers.remove(&id);
            }
        }
        for document in session.interest {
            self.lose_interest(id, document);
        }
    }

    fn lose_interest(&mut self, id: SessionId, document: DocumentId) {
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

    fn frame(&mut self, now: u64, session: SessionId, bytes: &[u8]) {
        let Some(joined) = self.sessions.get(&session).map(|s| s.peer.is_some()) else { return };
        match RepoMessage::decode(bytes) {
            Err(error) => self.fail(session, &error.to_string()),
            Ok(RepoMessage::Join { sender, versions }) => self.join(session, sender, &versions),
            Ok(_) if !joined => self.fail(session, "the first message must be join"),
            Ok(RepoMessage::Sync { document, data, .. }) => self.receive(now, session, document, data),
            Ok(RepoMessage::Ephemeral { sender, document, session: run, count, data, .. }) => {
                self.relay(session, document, |target| RepoMessage::Ephemeral {
                    sender: sender.clone(),
                    target,
                    document,
                    session: run.clone(),
                    count,
                    data: data.clone(),
                });
            }
            Ok(
                RepoMessage::Peer { .. }
                | RepoMessage::Error { .. }
                | RepoMessage::Unavailable { .. }
                | RepoMessage::Other,
            ) => {}
        }
    }

    /// A client that reconnects before its old socket is gone takes its place, with fresh sync state.
    fn join(&mut self, id: SessionId, sender: String, versions: &[String]) {
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
            let bytes = RepoMessage::Peer { sender: self.peer.clone(), target: sender }.encode();
            self.effects.push(Effect::Send { session: id, bytes });
        }
    }

    /// Tells a session what it did wrong, and closes it. Nobody else notices.
    fn fail(&mut self, id: SessionId, reason: &str) {
        let Some(session) = self.sessions.get(&id) else { return };
        let target = session.peer.clone().unwrap_or_default();
        let message = RepoMessage::Error { sender: self.peer.clone(), target, message: reason.to_owned() };
        self.effects.push(Effect::Send { session: id, bytes: message.encode() });
        self.effects.push(Effect::Close { session: id, reason: reason.to_owned() });
        self.closed(id);
    }

    fn receive(&mut self, now: u64, id: SessionId, document: DocumentId, data: Vec<u8>) {
        let Some(session) = self.sessions.get(&id) else { return };
        let open = session.states.len() + session.interest.len();
        if open >= self.limits.session_documents && !session.states.contains_key(&document) {
            let limit = self.limits.session_documents;
            return self.fail(id, &format!("session has {open} documents open, the limit is {limit}"));
        }
        let most = self.limits.waiting_messages;
        match self.slots.get_mut(&document) {
            Some(Slot::Ready(_)) => self.process(now, id, document, &data),
            Some(
                Slot::Loading { waiting } | Slot::Pulling { waiting, .. } | Slot::Awaited { waiting, .. },
            ) => {
                if waiting.iter().filter(|w| w.session == id).count() >= most {
                    return self.fail(id, &format!("more than {most} messages wait for one document"));
                }
                waiting.push(Waiting { session: id, data });
                self.settle_awaited(now, document);
            }
            None => {
                self.slots.insert(document, Slot::Loading { waiting: vec![Waiting { session: id, data }] });
                self.effects.push(Effect::Load(document));
            }
        }
    }

    /// Ends the wait for a document when the newest message brings it.
    fn settle_awaited(&mut self, now: u64, document: DocumentId) {
        match self.slots.remove(&document) {
            Some(Slot::Awaited { waiting, refused, .. })
                if waiting.last().is_some_and(Waiting::has_content) =>
            {
                self.unknown(now, document, waiting, refused);
            }
            Some(slot) => drop(self.slots.insert(document, slot)),
            None => {}
        }
    }

    /// A message for a document that is ready.
    fn process(&mut self, now: u64, id: SessionId, document: DocumentId, data: &[u8]) {
        let (Some(Slot::Ready(doc)), Some(session)) =
            (self.slots.get_mut(&document), self.sessions.get_mut(&id))
        else {
            return;
        };
        let access = doc.access(&session.claims);
        if access == Access::None {
            return self.unavailable(id, document);
        }
        let message = match gate::decode_sync_message(data) {
            Ok(message) => message,
            Err(error) => return self.refuse(id, document, error.code(), &error.to_string()),
        };
        doc.last_used = now;
        doc.readers.insert(id);
        let new_state = || if access == Access::Write { State::new() } else { State::new_read_only() };
        let state = session.states.entry(document).or_insert_with(new_state);
        let author = Author {
            user: session.claims.sub.clone(),
            device: session.claims.dev.clone(),
            source: Source::Device,
        };
        let brought = !message.changes.is_empty();
        match doc.receive(state, message, &author, &self.limits) {
            Ok(received) => self.keep(id, document, received),
            Err(DocumentError::Gate(error)) => self.refuse(id, document, error.code(), &error.to_string()),
            Err(error @ DocumentError::Broken(_)) => {
                self.drop_document(document);
                self.refuse(id, document, "invalid-change", &error.to_string());
            }
        }
        if brought && access == Access::Read {
            self.note_refusal(id, document, "forbidden");
        }
    }

    /// Kept until a client without a connection reads its answer.
    fn note_refusal(&mut self, id: SessionId, document: DocumentId, code: &str) {
        if self.sessions.get(&id).is_some_and(|s| s.quiet) {
            self.refusals.insert((document, id), code.to_owned());
        }
    }

    /// Logs what a message brought, and owes its sender an answer.
    fn keep(&mut self, id: SessionId, document: DocumentId, received: Received) {
        if !received.admitted.is_empty() {
            if let Some(Slot::Ready(doc)) = self.slots.get_mut(&document) {
                self.effects.extend(doc.claim(document).map(Effect::SaveRecord));
            }
            self.dirty.insert(document);
            self.link.unpushed = true;
        }
        for change in received.admitted {
            let (hash, author, bytes) = (change.hash.into(), change.author, change.bytes);
            self.effects.push(Effect::Append { document, hash, author, bytes });
        }
        for change in received.rejected {
            let (hash, author, bytes) = (change.hash.into(), change.author, change.bytes);
            self.note_refusal(id, document, change.code);
            self.effects.push(Effect::Quarantine { document, hash, author, bytes, code: change.code.into() });
        }
        if !received.repeated {
            self.replies.insert((document, id));
        }
    }

    /// Nothing of a message was kept: a connected client is told and closed, any other reads it in its answer.
    fn refuse(&mut self, id: SessionId, document: DocumentId, code: &str, reason: &str) {
        if self.sessions.get(&id).is_some_and(|s| s.quiet) {
            self.note_refusal(id, document, code);
        } else {
            self.fail(id, &format!("{document}: {reason}"));
        }
    }

    /// Forgets the memory of a document whose log is the truth. Its readers start over.
    fn drop_document(&mut self, document: DocumentId) {
        if let Some(Slot::Ready(doc)) = self.slots.remove(&document) {
            for reader in doc.readers {
                self.fail(reader, "a document had to be loaded again");
            }
        }
        self.dirty.remove(&document);
    }

    /// Not final: the session hears again when the document, or the right to it, turns up.
    fn unavailable(&mut self, id: SessionId, document: DocumentId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.interest.insert(document);
        self.interest.entry(document).or_default().insert(id);
        if let Some(target) = session.peer.clone() {
            let message = RepoMessage::Unavailable { sender: self.peer.clone(), target, document };
            self.effects.push(Effect::Send { session: id, bytes: message.encode() });
        }
    }

    fn loaded(&mut self, now: u64, document: DocumentId, stored: Option<Stored>, refused: Vec<Hash>) {
        let slot = self.slots.remove(&document);
        let (waiting, ready) = match slot {
            Some(Slot::Ready(doc)) => (Vec::new(), Some(doc)),
            Some(
                Slot::Loading { waiting } | Slot::Pulling { waiting, .. } | Slot::Awaited { waiting, .. },
            ) => (waiting, None),
            None => (Vec::new(), None),
        };
        let Some(stored) = stored else {
            return match ready {
                Some(doc) => drop(self.slots.insert(document, Slot::Ready(doc))),
                None => self.not_in_log(now, document, waiting, refused),
            };
        };
        let mut doc = ready.unwrap_or_else(|| Box::new(Document::new(None, "", now)));
        doc.unconfirmed = stored.record.kind == Kind::Private.as_str();
        doc.record = Some(stored.record);
        doc.tail = stored.tail;
        doc.refused = refused.into_iter().map(Into::into).collect();
        if let Err(error) = doc.load(&stored.chunks) {
            self.effects.push(Effect::Report(format!("document {document} in the log is broken: {error}")));
            for reader in doc.readers.into_iter().chain(waiting.into_iter().map(|w| w.session)) {
                self.fail(reader, "a document in the edge's log is broken");
            }
            return;
        }
        self.make_ready(now, document, doc, waiting);
    }

    /// Lets those in who wait for a document or were told that there is none.
    fn make_ready(&mut self, now: u64, document: DocumentId, mut doc: Box<Document>, waiting: Vec<Waiting>) {
        for id in self.interest.get(&document).cloned().unwrap_or_default() {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let state = match doc.access(&session.claims) {
                // It may get the right when the origin says what the document is.
                Access::None => continue,
                Access::Read => State::new_read_only(),
                // What it sent in vain it takes for sent: without a reset it would never send it again.
                Access::Write => State { needs_reset: true, ..State::new() },
            };
            session.states.entry(document).or_insert(state);
            doc.readers.insert(id);
            self.lose_interest(id, document);
        }
        self.slots.insert(document, Slot::Ready(doc));
        self.dirty.insert(document);
        for Waiting { session, data } in waiting {
            self.process(now, session, document, &data);
        }
    }

    /// The log has no such document: ask the origin, or decide without it.
    fn not_in_log(&mut self, now: u64, document: DocumentId, waiting: Vec<Waiting>, refused: Vec<Hash>) {
        let wanted = !waiting.is_empty() || self.interest.contains_key(&document);
        if wanted && self.link.is_up() {
            self.pull(document, Vec::new());
            self.slots.insert(document, Slot::Pulling { waiting, since: now, refused });
        } else {
            self.link.settled(document);
            self.unknown(now, document, waiting, refused);
        }
    }

    /// Nobody has the document: whoever brings content founds it, the others wait a little for somebody to do so.
    fn unknown(&mut self, now: u64, document: DocumentId, waiting: Vec<Waiting>, refused: Vec<Hash>) {
        let founder = waiting.iter().find(|w| w.has_content()).and_then(|w| self.sessions.get(&w.session));
        if let Some(claims) = founder.map(|s| s.claims.clone()) {
            let mut doc = Box::new(Document::new(None, &claims.sub, now));
            doc.refused = refused.into_iter().map(Into::into).collect();
            return self.make_ready(now, document, doc, waiting);
        }
        let mut patient = Vec::new();
        for waiting in waiting {
            match gate::decode_sync_message(&waiting.data) {
                Err(error) => self.refuse(waiting.session, document, error.code(), &error.to_string()),
                Ok(_) if self.sessions.get(&waiting.session).is_none_or(|s| s.quiet) => {}
                Ok(_) => patient.push(waiting),
            }
        }
        if !patient.is_empty() {
            self.slots.insert(document, Slot::Awaited { waiting: patient, since: now, refused });
        }
    }

    /// Nobody brought it: those who waited are told that there is no such document.
    fn give_up_waiting(&mut self, document: DocumentId) {
        if let Some(Slot::Awaited { waiting, .. }) = self.slots.remove(&document) {
            for Waiting { session, .. } in waiting {
                self.unavailable(session, document);
            }
        }
    }

    fn written(&mut self, documents: &[DocumentId]) {
        self.link.unpushed = true;
        for document in documents {
            if self.slots.contains_key(document) || self.interest.contains_key(document) {
                self.effects.push(Effect::Load(*document));
            }
        }
    }

    fn relay(&mut self, from: SessionId, document: DocumentId, message: impl Fn(String) -> RepoMessage) {
        let Some(Slot::Ready(doc)) = self.slots.get(&document) else { return };
        if !doc.readers.contains(&from) {
            return;
        }
        for reader in doc.readers.iter().filter(|reader| **reader != from) {
            if let Some(target) = self.sessions.get(reader).and_then(|s| s.peer.clone()) {
                self.effects.push(Effect::Send { session: *reader, bytes: message(target).encode() });
            }
        }
    }

    fn send_sync(&mut self, document: DocumentId, id: SessionId) {
        let (Some(Slot::Ready(doc)), Some(session)) = (self.slots.get(&document), self.sessions.get_mut(&id))
        else {
            return;
        };
        let (Some(target), Some(state)) = (session.peer.clone(), session.states.get_mut(&document)) else {
            return;
        };
        if let Some(message) = doc.next_message(state) {
            let data = message.encode();
            let sender = self.peer.clone();
            let bytes = RepoMessage::Sync { request: false, sender, target, document, data }.encode();
            self.effects.push(Effect::Send { session: id, bytes });
        }
    }

    fn tick(&mut self, now: u64) {
        let idle_ms = self.limits.idle_ms;
        let idle = |doc: &Document| doc.readers.is_empty() && doc.last_used + idle_ms <= now;
        self.slots.retain(|_, slot| !matches!(slot, Slot::Ready(doc) if idle(doc)));
        let (pull_ms, await_ms) = (self.limits.pull_ms, self.limits.await_ms);
        let mut late = Vec::new();
        for (document, slot) in &self.slots {
            match slot {
                Slot::Pulling { since, .. } if since + pull_ms <= now => late.push((*document, true)),
                Slot::Awaited { since, .. } if since + await_ms <= now => late.push((*document, false)),
                Slot::Pulling { .. } | Slot::Awaited { .. } | Slot::Loading { .. } | Slot::Ready(_) => {}
            }
        }
        for (document, pulling) in late {
            match pulling {
                true => self.give_up_pulling(now, document),
                false => self.give_up_waiting(document),
            }
        }
    }

    fn give_up_pulling(&mut self, now: u64, document: DocumentId) {
        if let Some(Slot::Pulling { waiting, refused, .. }) = self.slots.remove(&document) {
            self.unknown(now, document, waiting, refused);
        }
    }
}
