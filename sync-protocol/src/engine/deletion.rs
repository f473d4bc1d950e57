//! Documents that the origin has deleted: their content goes, that they were deleted stays, and a device that returns with
//! an old copy does not bring them back.

use super::slots::Slot;
use super::{Effect, Engine, SessionId};
use crate::document_id::DocumentId;
use crate::kind::DELETED;
use crate::repo_message::RepoMessage;

impl Engine {
    /// The origin has deleted a document.
    pub(super) fn delete(&mut self, now: u64, document: DocumentId) {
        self.effects.push(Effect::Delete(document));
        self.deleted(now, document);
    }

    /// The document is known to be deleted: all who read it or wait for it are told.
    pub(super) fn deleted(&mut self, now: u64, document: DocumentId) {
        self.link.settled(document);
        self.dirty.remove(&document);
        let mut told: Vec<SessionId> = match self.slots.insert(document, Slot::Deleted { last_used: now }) {
            Some(Slot::Ready(doc)) => doc.readers.into_iter().collect(),
            Some(
                Slot::Loading { waiting } | Slot::Pulling { waiting, .. } | Slot::Awaited { waiting, .. },
            ) => waiting.into_iter().map(|waiting| waiting.session).collect(),
            Some(Slot::Deleted { .. }) | None => Vec::new(),
        };
        told.extend(self.parked.remove(&document).into_iter().flat_map(|parked| parked.readers));
        self.forgotten.remove(&document);
        told.extend(self.interest.get(&document).into_iter().flatten());
        told.sort_unstable();
        told.dedup();
        for id in told {
            self.tell_deleted(id, document);
        }
    }

    /// A client that does not read our messages is told that there is no such document, which is so.
    pub(super) fn tell_deleted(&mut self, id: SessionId, document: DocumentId) {
        self.replies.remove(&(document, id));
        self.note_refusal(id, document, DELETED);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.states.remove(&document);
        session.forbidden.remove(&document);
        let target = session.peer.clone().filter(|_| session.extended);
        if let Some(target) = target {
            let bytes = RepoMessage::Deleted { sender: self.peer.clone(), target, document }.encode();
            self.effects.push(Effect::Send { session: id, bytes });
        }
        self.unavailable(id, document);
    }
}
