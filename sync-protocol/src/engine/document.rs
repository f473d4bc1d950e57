//! One document in memory: its Automerge state, who reads it, and the admission of changes.

use super::held::Held;
use super::peer_state::note_message;
use super::rights::FORBIDDEN;
use super::{Author, Limits, SessionId, Source};
use crate::actor::{Actors, Binding};
use crate::document_id::DocumentId;
use crate::document_limits::Size;
use crate::gate::{self, Counters, GateError};
use crate::kind::versions::is_own;
use crate::kind::{Access, Kind};
use crate::link::{DocumentRecord, Hash};
use crate::rules;
use automerge::sync::{ChunkList, Message, State, SyncDoc as _};
use automerge::{Automerge, Change, ChangeHash, ReadDoc as _};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Operations that are merged at once, when more have come: the work for each batch is small beside theirs.
const MERGE_OPERATIONS: usize = 1 << 17;

/// A document that is loaded.
///
/// Invariant: a change is in `automerge` only if it is in the log, or an effect that appends it has been returned.
pub(super) struct Document {
    id: DocumentId,
    pub(super) automerge: Automerge,
    /// None until the first change of a document that a client brought.
    pub(super) record: Option<DocumentRecord>,
    /// Who brought the document, while it has no record.
    pub(super) creator: String,
    /// The record is this edge's own guess: the origin may know the document as something else.
    pub(super) unconfirmed: bool,
    pub(super) readers: BTreeSet<SessionId>,
    /// Milliseconds since the Unix epoch.
    pub(super) last_used: u64,
    /// Changes in the log behind the last snapshot.
    pub(super) tail: usize,
    counters: Counters,
    /// Bytes of the content, without compression; changes since the last loading count whole.
    pub(super) content: usize,
    /// What it took when that was last asked.
    pub(super) weighed: usize,
    pub(super) held: Held,
    pub(super) actors: Actors,
    /// Changes that the origin has refused, with its codes: never taken again.
    pub(super) refused: HashMap<ChangeHash, String>,
    /// Heads that the origin is known to have committed.
    pub(super) committed: Vec<ChangeHash>,
}

/// A change that was taken in, for the log.
pub(super) struct Admitted {
    pub(super) hash: ChangeHash,
    pub(super) author: Author,
    pub(super) bytes: Vec<u8>,
}

/// A change that was not.
pub(super) struct Rejected {
    pub(super) hash: ChangeHash,
    pub(super) author: Author,
    pub(super) bytes: Vec<u8>,
    pub(super) code: Cow<'static, str>,
}

/// The rules of the document's kind.
pub(super) type Judge<'a> =
    &'a dyn Fn(&Automerge, &DocumentRecord, &Change, &Author) -> Result<(), &'static str>;

#[derive(Default)]
pub(super) struct Received {
    pub(super) admitted: Vec<Admitted>,
    pub(super) rejected: Vec<Rejected>,
    /// Actors that are new to the document.
    pub(super) bound: Vec<Binding>,
    /// The message says what the one before it said, and so would the answer.
    pub(super) repeated: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum DocumentError {
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The Automerge document may hold half of a change: it must be dropped and loaded again.
    #[error("the Automerge library refused a change: {0}")]
    Broken(#[from] automerge::AutomergeError),
}

/// The changes that a message carries.
pub(super) fn changes_of(message: &Message) -> Result<Vec<Change>, GateError> {
    let mut changes = Vec::new();
    for chunk in message.changes.iter() {
        changes.extend(gate::changes_in(chunk)?);
    }
    Ok(changes)
}

impl Document {
    pub(super) fn new(id: DocumentId, creator: &str, now: u64) -> Self {
        Self {
            id,
            automerge: Automerge::new(),
            record: None,
            creator: creator.to_owned(),
            unconfirmed: false,
            readers: BTreeSet::new(),
            last_used: now,
            tail: 0,
            counters: Counters::default(),
            content: 0,
            weighed: 0,
            held: Held::default(),
            actors: Actors::default(),
            refused: HashMap::new(),
            committed: Vec::new(),
        }
    }

    /// Takes note of what the log knows to be refused by the origin.
    pub(super) fn refuse(&mut self, refused: Vec<(Hash, String)>) {
        self.refused = refused.into_iter().map(|(hash, code)| (hash.into(), code)).collect();
    }

    /// The same again, for a slot that waits.
    pub(super) fn into_refused(self) -> Vec<(Hash, String)> {
        self.refused.into_iter().map(|(hash, code)| (hash.into(), code)).collect()
    }

    /// Takes in chunks of our own log or the origin's store, which were gated when they first came; so many of them are changes
    /// behind a snapshot. Costs the whole document.
    pub(super) fn load(&mut self, chunks: &[Vec<u8>], tail: usize) -> Result<(), DocumentError> {
        self.merge(chunks)?;
        self.content = self.automerge.save_nocompress().len();
        self.tail = tail;
        Ok(())
    }

    /// Takes in changes of our own log that another instance has written. Costs them.
    pub(super) fn load_news(&mut self, changes: &[Vec<u8>]) -> Result<(), DocumentError> {
        self.merge(changes)?;
        self.content += changes.iter().map(Vec::len).sum::<usize>();
        self.tail += changes.len();
        Ok(())
    }

    fn merge(&mut self, chunks: &[Vec<u8>]) -> Result<(), DocumentError> {
        let bytes = chunks.concat();
        let before = self.automerge.get_heads();
        if self.automerge.is_empty() {
            self.automerge = Automerge::load(&bytes)?;
        } else {
            self.automerge.load_incremental(&bytes)?;
        }
        self.counters.read(&self.automerge, &before);
        Ok(())
    }

    pub(super) fn knows(&self, hash: &ChangeHash) -> bool {
        self.automerge.get_change_meta_by_hash(hash).is_some()
    }

    /// The record of a document that a client brought, once it has content.
    pub(super) fn claim(&mut self, document: DocumentId) -> Option<DocumentRecord> {
        if self.record.is_some() {
            return None;
        }
        let record = DocumentRecord {
            document,
            kind: Kind::Private.as_str().into(),
            subject: document.to_string(),
            batch: None,
            owner: self.creator.clone(),
        };
        self.record = Some(record.clone());
        self.unconfirmed = true;
        Some(record)
    }

    /// The next message for a peer; none when there is nothing to say.
    pub(super) fn next_message(&self, state: &mut State) -> Option<Message> {
        let mut message = self.automerge.generate_sync_message(state)?;
        if message.heads.is_empty() {
            // Of a peer that is not known to understand a reset the library asks for one by naming no heads, and takes ours for
            // said all the same: a peer that has what we have would never hear that we have it.
            state.last_sent_heads.clear();
        }
        if message.need.iter().any(|hash| self.held.contains(hash)) {
            message.need = self.missing_for(&message.need);
        }
        Some(message)
    }

    /// What to ask for in order to reach `wanted`: for a change that is held back, what it waits for.
    ///
    /// The library does not know what is held back here; it would ask again for a change that the peer has sent.
    fn missing_for(&self, wanted: &[ChangeHash]) -> Vec<ChangeHash> {
        let mut missing = BTreeSet::new();
        let mut seen = HashSet::new();
        let mut next = wanted.to_vec();
        while let Some(hash) = next.pop() {
            match self.held.get(&hash) {
                Some(change) if seen.insert(hash) => next.extend_from_slice(change.deps()),
                Some(_) => {}
                None if self.knows(&hash) => {}
                None => drop(missing.insert(hash)),
            }
        }
        missing.into_iter().collect()
    }

    /// Takes in a peer's message. The changes of a peer that may not write are refused.
    pub(super) fn receive(
        &mut self,
        state: &mut State,
        mut message: Message,
        (author, access): (&Author, Access),
        limits: &Limits,
        judge: Judge<'_>,
    ) -> Result<Received, DocumentError> {
        let changes = changes_of(&message)?;
        let brought = !changes.is_empty();
        // A peer that is asked for a change which it takes for sent (one that was refused, say) asks back, for ever.
        let repeated = !brought
            && state.have_responded
            && state.their_heads.as_ref() == Some(&message.heads)
            && state.their_need.as_ref() == Some(&message.need)
            && state.their_have.as_ref() == Some(&message.have)
            && state.last_sent_heads == self.automerge.get_heads();
        let changes = changes.into_iter().map(|change| (change, author.clone())).collect();
        let mut received = match access {
            Access::Write => self.admit(changes, limits, judge)?,
            Access::Read | Access::None => Received { rejected: self.forbid(changes), ..Received::default() },
        };
        received.repeated = repeated;
        message.changes = ChunkList::empty();
        note_message(&self.automerge, state, message);
        Ok(received)
    }

    /// What is news of the changes of somebody who may not write: all of it is refused.
    pub(super) fn forbid(&self, changes: Vec<(Change, Author)>) -> Vec<Rejected> {
        let news = changes.into_iter().filter(|(change, _)| !self.knows(&change.hash()));
        let refuse = |(change, author): (Change, Author)| Rejected {
            hash: change.hash(),
            author,
            bytes: change.raw_bytes().to_vec(),
            code: FORBIDDEN.into(),
        };
        news.map(refuse).collect()
    }

    /// What a change depends on that is neither here nor admitted just now.
    fn missing(&self, change: &Change, admitted: &HashSet<ChangeHash>) -> Vec<ChangeHash> {
        let there = |dep: &ChangeHash| admitted.contains(dep) || self.knows(dep);
        change.deps().iter().filter(|dep| !there(dep)).copied().collect()
    }

    /// Admits the changes whose dependencies are known, in causal order; holds the others back.
    fn admit(
        &mut self,
        changes: Vec<(Change, Author)>,
        limits: &Limits,
        judge: Judge<'_>,
    ) -> Result<Received, DocumentError> {
        let mut received = Received::default();
        // Rules look at the document as it is with all changes before.
        let one_by_one = self.record.as_ref().is_some_and(rules::has_rules);
        let mut admitted = HashSet::new();
        let (mut batch, mut operations) = (Vec::new(), 0);
        let mut waiting = self.held.by_dependency();
        let mut ready: Vec<(Change, Author)> = changes.into_iter().rev().collect();
        // What they waited for may have come from the origin, or from another instance by the log.
        let automerge = &self.automerge;
        let known = |dep: &ChangeHash| automerge.get_change_meta_by_hash(dep).is_some();
        ready.extend(self.held.take_complete(|change| change.deps().iter().all(known)));
        while let Some((change, author)) = ready.pop() {
            let hash = change.hash();
            if admitted.contains(&hash) || self.knows(&hash) {
                continue;
            }
            let missing = self.missing(&change, &admitted);
            let fault = match missing.is_empty() {
                true => self
                    .fault(&change, &hash, &author, (batch.len(), limits))
                    .or_else(|| self.judged(&change, &author, judge)),
                false => self.cannot_wait(&change, batch.len(), limits),
            };
            if let Some(code) = fault {
                let bytes = change.raw_bytes().to_vec();
                received.rejected.push(Rejected { hash, author, bytes, code });
                continue;
            }
            if !missing.is_empty() {
                for dep in missing {
                    waiting.entry(dep).or_default().push(hash);
                }
                // Who only carries it must not stand for its author, who would not be told, nor asked, when it is refused.
                let owns =
                    |before: &Author| self.actors.check(self.id, change.actor_id(), before.bringer()).is_ok();
                if !self.held.author(&hash).is_some_and(owns) {
                    self.held.put(hash, change, author);
                }
                continue;
            }
            self.counters.admit(&change);
            self.content += change.raw_bytes().len();
            received.bound.extend(self.actors.bind(self.id, change.actor_id(), author.bringer()));
            admitted.insert(hash);
            for dependent in waiting.remove(&hash).unwrap_or_default() {
                ready.extend(self.held.take(&dependent));
            }
            received.admitted.push(Admitted { hash, author, bytes: change.raw_bytes().to_vec() });
            operations += change.len();
            batch.push(change);
            // What the library takes in order to merge follows the operations, and is free again afterwards.
            if one_by_one || operations >= MERGE_OPERATIONS {
                self.automerge.apply_changes(std::mem::take(&mut batch))?;
                operations = 0;
            }
        }
        self.tail += received.admitted.len();
        if !batch.is_empty() {
            self.automerge.apply_changes(batch)?;
        }
        Ok(received)
    }

    /// Admits what was held back for something that has come another way.
    pub(super) fn release(&mut self, limits: &Limits, judge: Judge<'_>) -> Result<Received, DocumentError> {
        if self.held.is_empty() { Ok(Received::default()) } else { self.admit(Vec::new(), limits, judge) }
    }

    /// What the rules of the document's kind say against a change.
    fn judged(&self, change: &Change, author: &Author, judge: Judge<'_>) -> Option<Cow<'static, str>> {
        judge(&self.automerge, self.record.as_ref()?, change, author).err().map(Cow::Borrowed)
    }

    /// What speaks against a change whose dependencies are known. So many changes were admitted and are not merged yet.
    fn fault(
        &mut self,
        change: &Change,
        hash: &ChangeHash,
        author: &Author,
        (unmerged, limits): (usize, &Limits),
    ) -> Option<Cow<'static, str>> {
        if let Some(code) = self.refused.get(hash) {
            return Some(Cow::Owned(code.clone()));
        }
        let owned = self.actors.check(self.id, change.actor_id(), author.bringer());
        let sound = owned.and_then(|()| self.counters.check(&self.automerge, change));
        sound.and_then(|()| self.check_size(change, unmerged, limits)).err().map(Cow::Borrowed)
    }

    /// What speaks against a change whose dependencies are not known. For one that has no room in the document there is nothing to
    /// wait for, and its device is to hear so: whoever writes on in a full document brings one change upon the other.
    fn cannot_wait(&self, change: &Change, unmerged: usize, limits: &Limits) -> Option<Cow<'static, str>> {
        match self.check_size(change, unmerged, limits) {
            Err(code) => Some(code.into()),
            Ok(()) if !self.held.has_room(change, limits) => Some("too-many-missing-dependencies".into()),
            Ok(()) => None,
        }
    }

    /// How much the document holds, with what was admitted and is not merged yet.
    pub(super) fn size(&self, unmerged: usize) -> Size {
        Size { changes: self.automerge.stats().num_changes + unmerged as u64, bytes: self.content }
    }

    /// What the kind itself changes has room in any document: there is little of it, and what others write stands on it.
    fn check_size(&self, change: &Change, unmerged: usize, limits: &Limits) -> Result<(), &'static str> {
        let kind = self.record.as_ref().and_then(|record| record.kind.parse().ok());
        if kind.is_some_and(|kind| is_own(kind, self.id, change, limits.kind_version)) {
            return Ok(());
        }
        limits
            .documents
            .of_document(self.record.as_ref())
            .check(self.size(unmerged), change.raw_bytes().len())
    }

    /// Takes in what the origin has; returns what is new, for the log.
    pub(super) fn merge_from_origin(&mut self, chunks: &[Vec<u8>]) -> Result<Vec<Admitted>, DocumentError> {
        let before = self.automerge.get_heads();
        match before.is_empty() {
            true => self.load(chunks, 0)?,
            false => self.merge(chunks)?,
        }
        let author = Author { user: String::new(), device: String::new(), source: Source::Origin, at: 0 };
        let new: Vec<Admitted> = self
            .automerge
            .get_changes(&before)
            .into_iter()
            .map(|c| Admitted { hash: c.hash(), author: author.clone(), bytes: c.raw_bytes().to_vec() })
            .collect();
        self.tail += new.len();
        if !before.is_empty() {
            self.content += new.iter().map(|change| change.bytes.len()).sum::<usize>();
        }
        Ok(new)
    }
}
