//! One document in memory: the Automerge replica and what the server is known to have of it.

use crate::error::DeviceError;
use crate::receipt::Receipt;
use crate::store::StoredDocument;
use automerge::sync::{Message, MessageVersion, State as SyncState, SyncDoc as _};
use automerge::{ActorId, Automerge, Change, ChangeHash};
use std::collections::{BTreeMap, HashSet};
use sync_protocol::batch::Priority;
use sync_protocol::parts::first_part;

pub(crate) struct Replica {
    pub(crate) doc: Automerge,
    pub(crate) priority: Priority,
    /// Heads that the server has said it has, as far as this replica has them too.
    pub(crate) server_heads: Vec<ChangeHash>,
    /// Heads that the origin has, as the edge last said. Some may be of changes that are still on their way here.
    pub(crate) committed_heads: Vec<ChangeHash>,
    /// The server said that it lacks the document, or that this user may not have it.
    pub(crate) unavailable: bool,
    /// Changes that the server did not take, and why.
    pub(crate) refused: BTreeMap<ChangeHash, String>,
    /// The document is in the store. One that is only looked for is not, until something of it arrives.
    pub(crate) stored: bool,
}

impl Replica {
    pub(crate) fn load(stored: StoredDocument) -> Result<Self, DeviceError> {
        let mut doc = Automerge::load(&stored.snapshot)?;
        doc.load_incremental(&stored.increments)?;
        doc.set_actor(stored.actor);
        let server_heads = stored.server_heads.into_iter().filter(|hash| has(&doc, hash)).collect();
        Ok(Self {
            doc,
            priority: stored.priority,
            server_heads,
            committed_heads: stored.committed_heads,
            unavailable: false,
            refused: stored.refused,
            stored: true,
        })
    }

    /// A document of which nothing is known yet.
    pub(crate) fn wanted(actor: ActorId, priority: Priority) -> Self {
        let doc = Automerge::new().with_actor(actor);
        Self {
            doc,
            priority,
            server_heads: Vec::new(),
            committed_heads: Vec::new(),
            unavailable: false,
            refused: BTreeMap::new(),
            stored: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.doc.get_heads().is_empty()
    }

    /// A sync state for a new connection. Both sides have the ancestors of `server_heads`, so these are not offered
    /// again; a server that lost them asks for a reset, as Automerge's protocol provides.
    pub(crate) fn sync_state(&self) -> SyncState {
        let mut state = SyncState::new();
        state.shared_heads.clone_from(&self.server_heads);
        state
    }

    /// The next message to a server, with changes of at most `most` bytes as far as one change alone has no more.
    pub(crate) fn generate(&self, state: &mut SyncState, most: usize) -> Option<Vec<u8>> {
        let message = self.doc.generate_sync_message(state)?;
        let brings: usize = message.changes.iter().map(<[u8]>::len).sum();
        let message = if brings > most { self.first_part(state, message, most) } else { message };
        Some(message.encode())
    }

    /// The library puts all that the peer lacks into one message, or the whole document, which a server does not take beyond its
    /// limits. This is the first part of it; the server's answer asks for the next.
    fn first_part(&self, state: &mut SyncState, message: Message, most: usize) -> Message {
        let theirs = state.their_heads.iter().flatten().chain(&state.shared_heads);
        let theirs: Vec<ChangeHash> = theirs.filter(|hash| has(&self.doc, hash)).copied().collect();
        let lacking = self.doc.get_changes(&theirs);
        for change in &lacking {
            state.sent_hashes.remove(&change.hash());
        }
        let part = &lacking[..first_part(&lacking, most)];
        state.sent_hashes.extend(part.iter().map(Change::hash));
        let chunks: Vec<Vec<u8>> = part.iter().map(|change| change.raw_bytes().to_vec()).collect();
        Message { changes: chunks.into(), version: MessageVersion::V1, ..message }
    }

    /// Applies a sync message and gives the encoded changes that it brought, to be stored before anything is answered.
    pub(crate) fn receive(
        &mut self,
        state: &mut SyncState,
        message: Message,
    ) -> Result<Option<Vec<u8>>, DeviceError> {
        // It speaks of the document: it has it.
        self.unavailable = false;
        let before = self.doc.get_heads();
        let said = message.heads.clone();
        self.doc.receive_sync_message(state, message)?;
        self.server_has(&said);
        let moved = self.doc.get_heads() != before;
        Ok(moved.then(|| self.doc.save_after(&before)))
    }

    /// Notes the heads that the server named. Some may be of changes that are still on their way here; what was known
    /// before then stays, since a server does not forget what it has said.
    pub(crate) fn server_has(&mut self, said: &[ChangeHash]) {
        let known: Vec<ChangeHash> = said.iter().filter(|hash| has(&self.doc, hash)).copied().collect();
        if known.len() < said.len() {
            let old = std::mem::take(&mut self.server_heads);
            self.server_heads = known;
            self.server_heads.extend(old);
            self.server_heads.sort_unstable();
            self.server_heads.dedup();
        } else {
            self.server_heads = known;
        }
    }

    /// Forgets the refusals of changes that the server or the origin has after all: an admin may have accepted one, or it
    /// came to them another way. Gives their hashes.
    pub(crate) fn forget_accepted(&mut self) -> Vec<ChangeHash> {
        if self.refused.is_empty() {
            return Vec::new();
        }
        let (edge, origin) = (self.lacking(&self.server_heads), self.lacking(&self.committed_heads));
        let lacks = |hash: &ChangeHash| edge.contains(hash) && origin.contains(hash);
        let accepted: Vec<ChangeHash> =
            self.refused.keys().filter(|hash| has(&self.doc, hash) && !lacks(hash)).copied().collect();
        for hash in &accepted {
            self.refused.remove(hash);
        }
        accepted
    }

    /// A change that somebody else made: this device only carried it, and what becomes of it is not its matter.
    pub(crate) fn is_anothers(&self, change: &ChangeHash) -> bool {
        let meta = self.doc.get_change_meta_by_hash(change);
        meta.is_some_and(|change| change.actor.as_ref() != self.doc.get_actor())
    }

    /// How far a change has come; none for one that is not here.
    pub(crate) fn receipt(&self, change: &ChangeHash) -> Option<Receipt> {
        if !has(&self.doc, change) {
            return None;
        }
        if let Some(code) = self.refused.get(change) {
            return Some(Receipt::Refused(code.clone()));
        }
        let is_in = |heads| !self.lacking(heads).contains(change);
        Some(if is_in(&self.committed_heads) {
            Receipt::AtOrigin
        } else if is_in(&self.server_heads) {
            Receipt::AtEdge
        } else {
            Receipt::Local
        })
    }

    /// The changes that are here and that somebody with `heads` is not known to have.
    fn lacking(&self, heads: &[ChangeHash]) -> HashSet<ChangeHash> {
        let known: Vec<ChangeHash> = heads.iter().filter(|hash| has(&self.doc, hash)).copied().collect();
        self.doc.get_changes_meta(&known).into_iter().map(|change| change.hash).collect()
    }

    /// Every change that is here is among the ancestors of heads that the origin has.
    pub(crate) fn is_committed(&self) -> bool {
        self.doc.get_heads() == self.committed_heads || self.lacking(&self.committed_heads).is_empty()
    }

    /// Every change that is here is among the ancestors of heads that the server has.
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.doc.get_heads() == self.server_heads || self.doc.get_changes_meta(&self.server_heads).is_empty()
    }
}

fn has(doc: &Automerge, hash: &ChangeHash) -> bool {
    doc.get_change_meta_by_hash(hash).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use automerge::ROOT;
    use automerge::transaction::Transactable as _;

    fn put(doc: &mut Automerge, key: &str) {
        let mut tx = doc.transaction();
        tx.put(ROOT, key, 1).unwrap();
        tx.commit();
    }

    #[test]
    fn heads_that_are_ahead_of_us_do_not_hide_what_the_server_is_known_to_have() {
        let mut replica = Replica::wanted(ActorId::random(), Priority::Normal);
        put(&mut replica.doc, "a");
        assert!(!replica.is_acknowledged());
        let first = replica.doc.get_heads();
        replica.server_has(&first);
        assert!(replica.is_acknowledged());
        let mut ahead = replica.doc.fork();
        put(&mut ahead, "b");
        replica.server_has(&ahead.get_heads());
        assert!(replica.is_acknowledged(), "the server still has what it had");
        replica.server_has(&[]);
        assert!(!replica.is_acknowledged(), "a server that lost everything has acknowledged nothing");
    }

    /// A server that takes messages of so many bytes, and what it has then.
    fn bring_in_parts(replica: &Replica, server: &mut Automerge, most: usize) -> usize {
        let (mut ours, mut theirs) = (replica.sync_state(), SyncState::new());
        for messages in 1..100 {
            let Some(data) = replica.generate(&mut ours, most) else { return messages - 1 };
            assert!(data.len() <= most + 1_000, "{} bytes", data.len());
            server.receive_sync_message(&mut theirs, Message::decode(&data).unwrap()).unwrap();
            if let Some(answer) = server.generate_sync_message(&mut theirs) {
                let mut doc = replica.doc.fork();
                doc.receive_sync_message(&mut ours, answer).unwrap();
                assert_eq!(doc.get_heads(), replica.doc.get_heads(), "the server has nothing of its own");
            }
        }
        panic!("they talk for ever");
    }

    #[test]
    fn what_is_too_much_for_one_message_goes_in_several() {
        const PARTS: usize = 5;
        const PART: usize = 10_000;
        let mut replica = Replica::wanted(ActorId::random(), Priority::Normal);
        for n in 0..PARTS {
            // Random, so that a saved document is not less.
            let pasted: Vec<u8> = (0..PART / 16).flat_map(|_| *uuid::Uuid::new_v4().as_bytes()).collect();
            let mut tx = replica.doc.transaction();
            tx.put(ROOT, format!("part {n}"), pasted).unwrap();
            tx.commit();
        }
        let mut server = Automerge::new();
        let messages = bring_in_parts(&replica, &mut server, PART + 1_000);
        assert_eq!(server.get_heads(), replica.doc.get_heads());
        assert!((PARTS..=PARTS + 3).contains(&messages), "{messages}");
        // A change of its own that is larger than a part goes alone, and what fits goes at once.
        let mut server = Automerge::new();
        assert!(bring_in_parts(&replica, &mut server, PARTS * (PART + 1_000)) <= 3);
        assert_eq!(server.get_heads(), replica.doc.get_heads());
    }
}
