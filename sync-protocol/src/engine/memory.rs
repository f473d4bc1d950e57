//! How much memory documents take, and which of them are put away when together they take too much.
//!
//! All of a document is in the log, so it may go whenever nobody waits for an answer about it. Its readers stay: what is known
//! of them is kept, and the document is loaded again when one of them, another edge or the origin has news.

use super::document::Document;
use super::slots::Slot;
use super::{Engine, SessionId};
use crate::document_id::DocumentId;
use crate::link::DocumentRecord;
use automerge::ReadDoc as _;
use std::collections::BTreeSet;

/// What a document takes besides its content, in bytes: measured, 11 KB in Automerge 0.12 for one of a single change, and 8 KB for
/// a text in it and its first reader.
const DOCUMENT_BYTES: usize = 18 * 1024;
/// What the library keeps of each change: measured, 180 to 290 bytes.
const CHANGE_BYTES: usize = 300;
/// And of each actor, who has sequence numbers of its own here and there: measured, 600.
const ACTOR_BYTES: usize = 700;

/// A document that is not in memory and has readers.
pub(super) struct Parked {
    pub(super) record: DocumentRecord,
    pub(super) readers: BTreeSet<SessionId>,
}

#[derive(Default)]
pub(super) struct Memory {
    /// Of all documents, when they were last counted.
    counted: usize,
    /// By how much documents have grown since.
    grown: usize,
}

/// What the engine holds, by its own estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Documents in memory.
    pub documents: usize,
    pub bytes: usize,
    /// Documents with readers that are not in memory.
    pub parked: usize,
}

impl Document {
    /// In bytes. `tests/attacks/memory.rs` compare it with what the allocator says.
    pub(super) fn weight(&self) -> usize {
        let stats = self.automerge.stats();
        let known = stats.num_changes as usize * CHANGE_BYTES + stats.num_actors as usize * ACTOR_BYTES;
        DOCUMENT_BYTES + known + self.content + self.held.bytes()
    }
}

impl Engine {
    pub fn usage(&self) -> Usage {
        let ready = |slot: &Slot| match slot {
            Slot::Ready(doc) => Some(doc.weight()),
            Slot::Loading { .. } | Slot::Pulling { .. } | Slot::Awaited { .. } | Slot::Deleted { .. } => None,
        };
        let weights: Vec<usize> = self.slots.values().filter_map(ready).collect();
        let bytes = weights.iter().sum();
        Usage { documents: weights.len(), bytes, parked: self.parked.len() }
    }

    pub(super) fn note_growth(&mut self, document: DocumentId) {
        if let Some(Slot::Ready(doc)) = self.slots.get_mut(&document) {
            let weight = doc.weight();
            self.memory.grown += weight.saturating_sub(doc.weighed);
            doc.weighed = weight;
        }
    }

    /// Whether documents take more memory than they may together. A flush puts away what it can.
    pub fn is_over_budget(&self) -> bool {
        self.memory.counted + self.memory.grown > self.limits.memory_bytes
    }

    /// Called when a batch of events is done and everybody has been answered.
    pub(super) fn evict(&mut self) {
        if !self.is_over_budget() {
            return;
        }
        let budget = self.limits.memory_bytes;
        let mut total = 0;
        let mut candidates = Vec::new();
        for (document, slot) in &self.slots {
            if let Slot::Ready(doc) = slot {
                let weight = doc.weight();
                total += weight;
                // The answer to a pull finds no document that has gone meanwhile, which is pulled again then: one stays, so that
                // this ends.
                if self.may_go(doc) && self.link.pulled_first() != Some(*document) {
                    let pulled = self.link.is_pulled(*document);
                    // With one in which changes wait these go, and come over the network once more, so it goes last.
                    candidates.push(((pulled, doc.held.bytes() > 0, doc.last_used), *document, weight));
                }
            }
        }
        if total > budget {
            candidates.sort_unstable();
            // Somewhat below, so that not every message has to look for the next.
            let enough = budget / 4 * 3;
            for (_, document, weight) in candidates {
                if total <= enough {
                    break;
                }
                self.put_away(document);
                total -= weight;
            }
        }
        self.memory = Memory { counted: total, grown: 0 };
    }

    /// A document that is not in the log yet cannot be loaded again, and a client without a connection is about to be answered.
    fn may_go(&self, doc: &Document) -> bool {
        let waits = |reader: &SessionId| self.sessions.get(reader).is_some_and(|session| session.quiet);
        match doc.record {
            Some(_) => !doc.readers.iter().any(waits),
            None => doc.readers.is_empty(),
        }
    }

    fn put_away(&mut self, document: DocumentId) {
        let Some(Slot::Ready(doc)) = self.slots.remove(&document) else { return };
        self.forget_held(document, &doc);
        if let Some(record) = doc.record
            && !doc.readers.is_empty()
        {
            self.parked.insert(document, Parked { record, readers: doc.readers });
        }
    }

    /// What waits in a document goes with it. Who has brought it takes it for received, and is asked for it when there is news of the
    /// document: before that it would only wait again, and be asked for again, for ever.
    fn forget_held(&mut self, document: DocumentId, doc: &Document) {
        let brought = |id: &SessionId| {
            let claims = self.sessions.get(id).map(|session| &session.claims);
            claims.is_some_and(|claims| doc.held.has_of(&claims.sub, &claims.dev))
        };
        let bringers: BTreeSet<SessionId> = doc.readers.iter().copied().filter(brought).collect();
        if !bringers.is_empty() {
            self.forgotten.entry(document).or_default().extend(bringers);
        }
    }

    /// The document has got something that it lacked: what was forgotten may find now what it waited for.
    pub(super) fn ask_for_forgotten(&mut self, document: DocumentId) {
        for id in self.forgotten.remove(&document).unwrap_or_default() {
            let session = self.sessions.get_mut(&id);
            if let Some(state) = session.and_then(|session| session.states.get_mut(&document)) {
                state.needs_reset = true;
                self.replies.insert((document, id));
            }
        }
    }

    /// A session has ended; on its next connection the device says again what it has.
    pub(super) fn leave_forgotten(&mut self, id: SessionId) {
        self.forgotten.retain(|_, sessions| {
            sessions.remove(&id);
            !sessions.is_empty()
        });
    }

    /// Gives a document that is in memory again its readers, with the rights that they have now.
    pub(super) fn unpark(&mut self, document: DocumentId, doc: &mut Document) {
        let Some(parked) = self.parked.remove(&document) else { return };
        for id in parked.readers {
            if self.judge(id, document, doc.record.as_ref(), &doc.creator) {
                doc.readers.insert(id);
            }
        }
    }

    /// The log has the document no more: its readers are told, and may hear of it again.
    pub(super) fn forget_parked(&mut self, document: DocumentId) {
        let Some(parked) = self.parked.remove(&document) else { return };
        for id in parked.readers {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.states.remove(&document);
            }
            self.unavailable(id, document);
        }
    }

    pub(super) fn leave_parked(&mut self, id: SessionId, document: DocumentId) {
        if let Some(parked) = self.parked.get_mut(&document) {
            parked.readers.remove(&id);
            if parked.readers.is_empty() {
                self.parked.remove(&document);
            }
        }
    }
}
