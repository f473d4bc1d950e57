//! Receipts: what of a document the origin has committed, for devices that tell *durable at the edge* and *committed at the
//! origin* apart.
//!
//! The feed and the answers to pulls name the origin's heads, and what depends on nothing that the origin lacks is committed
//! with them. So nobody counts changes: a few heads say it of all.

use super::document::Document;
use super::slots::Slot;
use super::{Effect, Engine, SessionId};
use crate::document_id::DocumentId;
use crate::link::Hash;
use crate::repo_message::RepoMessage;
use automerge::ChangeHash;
use std::collections::HashSet;

impl Document {
    /// Takes in heads that the origin has; true when they say more than was known.
    ///
    /// Heads that are not here yet say nothing: the document is about to be pulled, and the answer names them again.
    fn note_committed(&mut self, heads: &[Hash]) -> bool {
        let heads: Vec<ChangeHash> = heads.iter().map(|head| (*head).into()).collect();
        if heads.is_empty() || !heads.iter().all(|head| self.knows(head)) || !self.is_ahead(&heads) {
            return false;
        }
        self.committed = heads;
        true
    }

    /// Goes on from what the log says.
    pub(super) fn restore_committed(&mut self, heads: &[Hash]) {
        let heads = heads.iter().map(|head| (*head).into());
        self.committed = heads.filter(|head| self.knows(head)).collect();
    }

    /// Whether `heads` are ahead of what is known to be committed. The origin's copy only grows, so of two answers of it
    /// one covers the other, whatever order they come in.
    fn is_ahead(&self, heads: &[ChangeHash]) -> bool {
        if self.committed.is_empty() {
            return true;
        }
        let news = self.automerge.get_changes_meta(&self.committed);
        let news: HashSet<ChangeHash> = news.into_iter().map(|change| change.hash).collect();
        heads.iter().any(|head| news.contains(head))
    }
}

impl Engine {
    pub(super) fn committed(&mut self, document: DocumentId, heads: &[Hash]) {
        let Some(Slot::Ready(doc)) = self.slots.get_mut(&document) else { return };
        if doc.note_committed(heads) {
            self.effects.push(Effect::SaveCommitted { document, heads: heads.to_vec() });
            self.receipts.extend(doc.readers.iter().map(|reader| (document, *reader)));
        }
    }

    pub(super) fn send_receipts(&mut self) {
        for (document, id) in std::mem::take(&mut self.receipts) {
            let heads = self.committed_for(document, id);
            let Some(session) = self.sessions.get(&id).filter(|session| session.extended) else { continue };
            if let (Some(target), false) = (session.peer.clone(), heads.is_empty()) {
                let sender = self.peer.clone();
                let bytes = RepoMessage::Committed { sender, target, document, heads }.encode();
                self.effects.push(Effect::Send { session: id, bytes });
            }
        }
    }

    /// What the origin has of a document that the session reads.
    fn committed_for(&self, document: DocumentId, id: SessionId) -> Vec<Hash> {
        let reads = self.sessions.get(&id).is_some_and(|session| session.states.contains_key(&document));
        match self.slots.get(&document) {
            Some(Slot::Ready(doc)) if reads => doc.committed.iter().map(|head| Hash::from(*head)).collect(),
            Some(
                Slot::Ready(_)
                | Slot::Loading { .. }
                | Slot::Pulling { .. }
                | Slot::Awaited { .. }
                | Slot::Deleted { .. },
            )
            | None => Vec::new(),
        }
    }

    /// The same for a client without a connection.
    pub fn exchange_committed(&self, session: SessionId, document: DocumentId) -> Vec<Hash> {
        self.committed_for(document, session)
    }
}
