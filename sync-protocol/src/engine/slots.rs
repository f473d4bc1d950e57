//! Where each document stands: being loaded, asked for at the origin, waited for, or ready.

use super::document::{Admitted, Document, DocumentError, Received, changes_of};
use super::{Author, Effect, Engine, SessionId, Stored};
use crate::actor::Binding;
use crate::document_id::DocumentId;
use crate::gate;
use crate::kind::{Access, Kind};
use crate::link::Hash;
use crate::repo_message::RepoMessage;
use automerge::Automerge;
use automerge::sync::{ChunkList, Message, State, SyncDoc as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of one session that wait. Shared with what waits, so that it is right wherever that ends.
#[derive(Default)]
pub(super) struct Room(Arc<AtomicUsize>);

impl Room {
    fn taken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> Place {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Place { bytes, room: Arc::clone(&self.0) }
    }
}

pub(super) struct Place {
    bytes: usize,
    room: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A message that waits for its document.
pub(super) struct Waiting {
    pub(super) session: SessionId,
    pub(super) data: Vec<u8>,
    #[expect(dead_code, reason = "held until the wait is over")]
    place: Place,
}

impl Waiting {
    pub(super) fn has_content(&self) -> bool {
        gate::decode_sync_message(&self.data).is_ok_and(|message| !message.heads.is_empty())
    }
}

pub(super) enum Slot {
    /// An [`Effect::Load`] is under way.
    Loading {
        waiting: Vec<Waiting>,
    },
    /// The origin has been asked.
    Pulling {
        waiting: Vec<Waiting>,
        since: u64,
        refused: Vec<(Hash, String)>,
    },
    /// Nobody has it so far, but the device that made it may be about to bring it: somebody may have heard of the document
    /// before its content has come.
    Awaited {
        waiting: Vec<Waiting>,
        since: u64,
        refused: Vec<(Hash, String)>,
    },
    Ready(Box<Document>),
    Deleted {
        last_used: u64,
    },
}

impl Engine {
    pub(super) fn receive(&mut self, now: u64, id: SessionId, document: DocumentId, data: Vec<u8>) {
        let Some(session) = self.sessions.get(&id) else { return };
        let open = session.states.len() + session.interest.len();
        if open >= self.limits.session_documents && !session.states.contains_key(&document) {
            let limit = self.limits.session_documents;
            return self.fail(id, &format!("session has {open} documents open, the limit is {limit}"));
        }
        let (most, most_bytes) = (self.limits.waiting_messages, self.limits.waiting_bytes);
        let waits = session.waiting.taken() + data.len();
        if waits > most_bytes && !matches!(self.slots.get(&document), Some(Slot::Ready(_))) {
            return self.fail(id, &format!("{waits} bytes wait for documents, the limit is {most_bytes}"));
        }
        let place = session.waiting.take(data.len());
        match self.slots.get_mut(&document) {
            Some(Slot::Ready(_)) => self.process(now, id, document, &data),
            Some(Slot::Deleted { last_used }) => {
                *last_used = now;
                self.tell_deleted(id, document);
            }
            Some(
                Slot::Loading { waiting } | Slot::Pulling { waiting, .. } | Slot::Awaited { waiting, .. },
            ) => {
                if waiting.iter().filter(|w| w.session == id).count() >= most {
                    return self.fail(id, &format!("more than {most} messages wait for one document"));
                }
                waiting.push(Waiting { session: id, data, place });
                self.settle_awaited(now, document);
            }
            None => {
                self.slots
                    .insert(document, Slot::Loading { waiting: vec![Waiting { session: id, data, place }] });
                self.effects.push(Effect::Load(document));
            }
        }
    }

    /// Ends the wait for a document when the newest message brings it.
    pub(super) fn settle_awaited(&mut self, now: u64, document: DocumentId) {
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
    pub(super) fn process(&mut self, now: u64, id: SessionId, document: DocumentId, data: &[u8]) {
        let (Some(Slot::Ready(doc)), Some(session)) =
            (self.slots.get_mut(&document), self.sessions.get_mut(&id))
        else {
            return;
        };
        let access = self.rights.access(doc, &session.claims);
        let message = match gate::decode_sync_message(data) {
            Ok(message) => message,
            Err(error) => return self.refuse(id, document, error.code(), &error.to_string()),
        };
        if access == Access::None {
            return self.turn_away(now, id, document, message);
        }
        let changes: usize = message.changes.iter().map(<[u8]>::len).sum();
        let said = data.len().saturating_sub(changes);
        session.said_bytes = session.said_bytes - session.said.insert(document, said).unwrap_or(0) + said;
        if session.said_bytes > self.limits.state_bytes {
            let (said, limit) = (session.said_bytes, self.limits.state_bytes);
            return self.fail(id, &format!("states of sync take {said} bytes, the limit is {limit}"));
        }
        doc.last_used = now;
        doc.readers.insert(id);
        let new_state = session.state(access);
        let opened = !session.states.contains_key(&document);
        if opened {
            self.receipts.insert((document, id));
        }
        let state = session.states.entry(document).or_insert(new_state);
        let author = Author::of(&session.claims, now);
        let received = {
            let judge = self.rights.judge(Some(&session.claims));
            doc.receive(state, message, (&author, access), &self.limits, &judge)
        };
        self.note_growth(document);
        match received {
            Ok(received) => {
                self.keep(id, document, received);
                self.gossip(now, document, id);
                if opened {
                    self.tell_what_remotes_have(now, id, document);
                }
            }
            Err(DocumentError::Gate(error)) => self.refuse(id, document, error.code(), &error.to_string()),
            Err(error @ DocumentError::Broken(_)) => {
                self.drop_document(document);
                self.refuse(id, document, "invalid-change", &error.to_string());
            }
        }
    }

    /// A message of somebody who may not reach the document. It is unavailable; what changes of his it brings are refused, and
    /// a client that can be told so is asked for them once.
    fn turn_away(&mut self, now: u64, id: SessionId, document: DocumentId, mut message: Message) {
        let (Some(Slot::Ready(doc)), Some(session)) = (self.slots.get(&document), self.sessions.get(&id))
        else {
            return;
        };
        if doc.unconfirmed || doc.record.is_none() {
            // Only this edge takes it for private: the origin may know it as something that the user may write.
            return self.unavailable(id, document);
        }
        let changes = match changes_of(&message) {
            Ok(changes) => changes,
            Err(error) => return self.refuse(id, document, error.code(), &error.to_string()),
        };
        let is_news = changes.is_empty() && !message.heads.iter().all(|head| doc.knows(head));
        let ask = is_news && !session.tells_readers() && !session.interest.contains(&document);
        let author = Author::of(&session.claims, now);
        let rejected = doc.forbid(changes.into_iter().map(|change| (change, author.clone())).collect());
        if ask {
            message.changes = ChunkList::empty();
            self.ask_for_everything(id, document, message);
        }
        self.set_aside(id, document, rejected);
        self.unavailable(id, document);
    }

    /// Answers as somebody who has nothing of the document: the peer sends all that it has.
    fn ask_for_everything(&mut self, id: SessionId, document: DocumentId, message: Message) {
        let (mut nothing, mut state) = (Automerge::new(), State::new());
        if nothing.receive_sync_message(&mut state, message).is_err() {
            return;
        }
        let Some(data) = nothing.generate_sync_message(&mut state).map(Message::encode) else { return };
        let Some(session) = self.sessions.get(&id) else { return };
        if session.quiet {
            self.questions.insert((document, id), data);
        } else if let Some(target) = session.peer.clone() {
            let sender = self.peer.clone();
            let bytes = RepoMessage::Sync { request: false, sender, target, document, data }.encode();
            self.effects.push(Effect::Send { session: id, bytes });
        }
    }

    /// Logs what a message brought, and owes its sender an answer.
    pub(super) fn keep(&mut self, id: SessionId, document: DocumentId, received: Received) {
        self.log_admitted(document, received.admitted, received.bound);
        self.set_aside(id, document, received.rejected);
        if !received.repeated {
            self.replies.insert((document, id));
        }
    }

    /// Logs what was taken in.
    pub(super) fn log_admitted(
        &mut self,
        document: DocumentId,
        admitted: Vec<Admitted>,
        bound: Vec<Binding>,
    ) {
        if !admitted.is_empty() {
            let guess = match self.slots.get_mut(&document) {
                Some(Slot::Ready(doc)) => doc.claim(document),
                Some(
                    Slot::Loading { .. } | Slot::Pulling { .. } | Slot::Awaited { .. } | Slot::Deleted { .. },
                )
                | None => None,
            };
            if let Some(record) = guess {
                self.effects.push(Effect::SaveRecord(record));
                // The origin is asked, also when it could not be before. It may have the document, with all that devices bring
                // here, as another kind: of what is no news to it the feed says nothing, and the guess would stand for ever.
                self.pull_later(vec![document]);
            }
            self.dirty.insert(document);
            self.link.unpushed = true;
            self.ask_for_forgotten(document);
        }
        for binding in bound {
            self.effects.push(Effect::SaveBinding { document, binding });
        }
        for change in admitted {
            let (hash, author, bytes) = (change.hash.into(), change.author, change.bytes);
            self.effects.push(Effect::Append { document, hash, author, bytes });
        }
    }

    /// Forgets the memory of a document whose log is the truth. Its readers start over.
    pub(super) fn drop_document(&mut self, document: DocumentId) {
        if let Some(Slot::Ready(doc)) = self.slots.remove(&document) {
            for reader in doc.readers {
                self.fail(reader, "a document had to be loaded again");
            }
        }
        self.dirty.remove(&document);
    }

    pub(super) fn loaded(
        &mut self,
        now: u64,
        document: DocumentId,
        stored: Option<Stored>,
        refused: Vec<(Hash, String)>,
    ) {
        let slot = self.slots.remove(&document);
        let (waiting, ready) = match slot {
            Some(Slot::Ready(doc)) => (Vec::new(), Some(doc)),
            Some(
                Slot::Loading { waiting } | Slot::Pulling { waiting, .. } | Slot::Awaited { waiting, .. },
            ) => (waiting, None),
            Some(Slot::Deleted { .. }) | None => (Vec::new(), None),
        };
        let Some(stored) = stored else {
            return match ready {
                Some(doc) => drop(self.slots.insert(document, Slot::Ready(doc))),
                None => self.not_in_log(now, document, waiting, refused),
            };
        };
        let mut doc = ready.unwrap_or_else(|| Box::new(Document::new(document, "", now)));
        doc.unconfirmed = stored.record.kind == Kind::Private.as_str();
        doc.record = Some(stored.record);
        doc.refuse(refused);
        let loaded = match stored.whole {
            true => doc.load(&stored.chunks, stored.tail),
            false => doc.load_news(&stored.chunks),
        };
        if let Err(error) = loaded {
            self.effects.push(Effect::Report(format!("document {document} in the log is broken: {error}")));
            for reader in doc.readers.into_iter().chain(waiting.into_iter().map(|w| w.session)) {
                self.fail(reader, "a document in the edge's log is broken");
            }
            return;
        }
        doc.restore_committed(&stored.committed);
        for binding in stored.actors {
            doc.actors.put(binding);
        }
        // A registration has put its first change here; the origin may have had more of it before this edge followed. Or somebody's
        // copy was taken for a private document while the origin was not asked, or would not say.
        if stored.committed.is_empty() {
            self.pull_later(vec![document]);
        }
        self.make_ready(now, document, doc, waiting);
    }

    /// Lets those in who wait for a document or were told that there is none.
    pub(super) fn make_ready(
        &mut self,
        now: u64,
        document: DocumentId,
        mut doc: Box<Document>,
        waiting: Vec<Waiting>,
    ) {
        self.unpark(document, &mut doc);
        let mut opened = Vec::new();
        for id in self.interest.get(&document).cloned().unwrap_or_default() {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let access = self.rights.access(&doc, &session.claims);
            let Some(state) = session.late_state(access) else { continue };
            session.states.entry(document).or_insert(state);
            doc.readers.insert(id);
            self.receipts.insert((document, id));
            self.lose_interest(id, document);
            opened.push(id);
        }
        self.slots.insert(document, Slot::Ready(doc));
        self.note_growth(document);
        self.dirty.insert(document);
        for id in opened {
            self.tell_what_remotes_have(now, id, document);
        }
        for Waiting { session, data, .. } in waiting {
            self.process(now, session, document, &data);
        }
    }

    /// The log has no such document: ask the origin, or decide without it.
    pub(super) fn not_in_log(
        &mut self,
        now: u64,
        document: DocumentId,
        waiting: Vec<Waiting>,
        refused: Vec<(Hash, String)>,
    ) {
        self.forget_parked(document);
        let wanted = !waiting.is_empty() || self.interest.contains_key(&document);
        if wanted && self.link.is_up() {
            self.ask_for(document);
            self.slots.insert(document, Slot::Pulling { waiting, since: now, refused });
        } else {
            self.link.settled(document);
            self.unknown(now, document, waiting, refused);
        }
    }

    /// Nobody has the document: whoever brings content founds it, the others wait a little for somebody to do so.
    pub(super) fn unknown(
        &mut self,
        now: u64,
        document: DocumentId,
        waiting: Vec<Waiting>,
        refused: Vec<(Hash, String)>,
    ) {
        // Some of those who waited may be gone.
        let mut founders = waiting.iter().filter(|w| w.has_content());
        let founder = founders.find_map(|w| {
            let session = self.sessions.get(&w.session)?;
            (!self.rights.is_guardian(&session.claims)).then(|| session.claims.clone())
        });
        if let Some(claims) = founder {
            let mut doc = Box::new(Document::new(document, &claims.sub, now));
            doc.refuse(refused);
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
    pub(super) fn give_up_waiting(&mut self, document: DocumentId) {
        if let Some(Slot::Awaited { waiting, .. }) = self.slots.remove(&document) {
            for Waiting { session, .. } in waiting {
                self.unavailable(session, document);
            }
        }
    }

    pub(super) fn written(&mut self, documents: &[DocumentId]) {
        self.link.unpushed = true;
        for document in documents {
            let read = self.parked.contains_key(document) || self.interest.contains_key(document);
            let effect = match self.slots.get(document) {
                Some(Slot::Ready(_)) => Effect::LoadNews(*document),
                Some(_) => Effect::Load(*document),
                None if read => Effect::Load(*document),
                None => continue,
            };
            self.ask_for_forgotten(*document);
            self.effects.push(effect);
        }
    }

    pub(super) fn tick(&mut self, now: u64) {
        self.gossip.tick(now);
        self.link.give_up_late_pulls(now);
        // Another instance may have refused something: that leaves no trace among the changes.
        self.telling.untold = true;
        let idle_ms = self.limits.idle_ms;
        // A clock that was set back must not make anybody wait for what it counted before.
        let past = |since: u64, ms: u64| now.abs_diff(since) >= ms;
        let idle = |doc: &Document| doc.readers.is_empty() && past(doc.last_used, idle_ms);
        self.slots.retain(|_, slot| match slot {
            Slot::Ready(doc) => !idle(doc),
            Slot::Deleted { last_used } => !past(*last_used, idle_ms),
            Slot::Loading { .. } | Slot::Pulling { .. } | Slot::Awaited { .. } => true,
        });
        let (pull_ms, await_ms) = (self.limits.pull_ms, self.limits.await_ms);
        let mut late = Vec::new();
        for (document, slot) in &self.slots {
            match slot {
                Slot::Pulling { since, .. } if past(*since, pull_ms) => late.push((*document, true)),
                Slot::Awaited { since, .. } if past(*since, await_ms) => late.push((*document, false)),
                Slot::Pulling { .. }
                | Slot::Awaited { .. }
                | Slot::Loading { .. }
                | Slot::Ready(_)
                | Slot::Deleted { .. } => {}
            }
        }
        for (document, pulling) in late {
            match pulling {
                true => self.give_up_pulling(now, document),
                false => self.give_up_waiting(document),
            }
        }
    }

    pub(super) fn give_up_pulling(&mut self, now: u64, document: DocumentId) {
        if let Some(Slot::Pulling { waiting, refused, .. }) = self.slots.remove(&document) {
            self.unknown(now, document, waiting, refused);
        }
    }
}
