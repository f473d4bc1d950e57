//! What operators ask about one document: which of its changes are where. Nothing changes by being asked.

use super::document::Document;
use super::sessions::Session;
use super::slots::Slot;
use super::{Engine, SessionId, Stored};
use crate::document_id::DocumentId;
use crate::link::Hash;
use automerge::{ChangeHash, ReadDoc as _};
use std::collections::BTreeMap;

/// Readers that are listed of one document: an operator looks at a class of devices, and a document of the whole institute has
/// thousands.
pub const MAX_READERS: usize = 100;

/// Changes that may be gone through in order to count what readers lack, over all of them: a fraction of a second.
const COUNTED_CHANGES: usize = 1_000_000;

/// A document, loaded.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Why it cannot be loaded; nothing is known of its changes then.
    pub fault: Option<String>,
    pub heads: Vec<Hash>,
    pub changes: u64,
    /// Most changes that devices may bring it to.
    pub most_changes: u64,
    /// Its change data without compression, as the limit counts it.
    pub content_bytes: u64,
    /// Most of that.
    pub most_content_bytes: u64,
    /// Changes that wait for one that they depend on.
    pub held_changes: u64,
    /// Heads that the origin is known to have committed.
    pub committed: Vec<Hash>,
    pub uncommitted_changes: u64,
    /// The first [`MAX_READERS`].
    pub readers: Vec<Reader>,
    pub reader_count: u64,
}

/// A session that reads a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    pub session: SessionId,
    pub user: String,
    pub device: String,
    /// What it last said that it has.
    pub heads: Option<Vec<Hash>>,
    /// Changes that it has not; none when it has some that are not here, or when counting would take too long.
    pub lacking_changes: Option<u64>,
}

impl Engine {
    /// `load` is asked for what the log has when the document is not in memory. None when neither has it.
    pub fn inspect<E>(
        &self,
        document: DocumentId,
        load: impl FnOnce() -> Result<Option<Stored>, E>,
    ) -> Result<Option<Inspection>, E> {
        if let Some(Slot::Ready(doc)) = self.slots.get(&document) {
            return Ok(Some(self.inspected(document, doc)));
        }
        let Some(stored) = load()? else { return Ok(None) };
        let mut doc = Document::new(document, "", 0);
        if let Err(error) = doc.load(&stored.chunks, stored.tail) {
            let fault = Some(error.to_string());
            return Ok(Some(Inspection { fault, ..Inspection::default() }));
        }
        doc.record = Some(stored.record);
        doc.restore_committed(&stored.committed);
        Ok(Some(self.inspected(document, &doc)))
    }

    fn inspected(&self, document: DocumentId, doc: &Document) -> Inspection {
        let readers = || self.sessions.iter().filter(|(_, session)| session.states.contains_key(&document));
        let mut lacking = Lacking::of(doc);
        let (size, limits) = (doc.size(0), self.limits.documents.of_document(doc.record.as_ref()));
        Inspection {
            fault: None,
            heads: hashes(&doc.automerge.get_heads()),
            changes: size.changes,
            most_changes: limits.changes,
            content_bytes: size.bytes as u64,
            most_content_bytes: limits.bytes,
            held_changes: doc.held.len() as u64,
            committed: hashes(&doc.committed),
            uncommitted_changes: doc.automerge.get_changes_meta(&doc.committed).len() as u64,
            readers: readers()
                .take(MAX_READERS)
                .map(|(id, session)| reader(*id, session, document, &mut lacking))
                .collect(),
            reader_count: readers().count() as u64,
        }
    }
}

fn reader(session: SessionId, of: &Session, document: DocumentId, lacking: &mut Lacking<'_>) -> Reader {
    let heads = of.states.get(&document).and_then(|state| state.their_heads.as_ref());
    Reader {
        session,
        user: of.claims.sub.clone(),
        device: of.claims.dev.clone(),
        heads: heads.map(|heads| hashes(heads)),
        lacking_changes: heads.and_then(|heads| lacking.behind(heads)),
    }
}

fn hashes(heads: &[ChangeHash]) -> Vec<Hash> {
    heads.iter().map(|head| Hash::from(*head)).collect()
}

/// Counts what readers lack. Most of them have the same.
struct Lacking<'a> {
    doc: &'a Document,
    counted: BTreeMap<Vec<ChangeHash>, u64>,
    /// How often it may be counted.
    left: usize,
}

impl<'a> Lacking<'a> {
    fn of(doc: &'a Document) -> Self {
        let changes = usize::try_from(doc.automerge.stats().num_changes).unwrap_or(usize::MAX);
        let own = doc.automerge.get_heads();
        Self { doc, counted: BTreeMap::from([(own, 0)]), left: COUNTED_CHANGES / changes.max(1) }
    }

    fn behind(&mut self, heads: &[ChangeHash]) -> Option<u64> {
        if let Some(counted) = self.counted.get(heads) {
            return Some(*counted);
        }
        if self.left == 0 || !heads.iter().all(|head| self.doc.knows(head)) {
            return None;
        }
        self.left -= 1;
        let count = self.doc.automerge.get_changes_meta(heads).len() as u64;
        self.counted.insert(heads.to_vec(), count);
        Some(count)
    }
}
