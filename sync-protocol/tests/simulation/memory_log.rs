//! The log as the effects describe it, in memory: cloned before a batch, so that a crash can take a batch back.

use crate::audit::{Users, audit};
use crate::rights::record_of;
use automerge::{Automerge, ChangeHash};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use sync_protocol::actor::{Binding, FOREIGN_ACTOR};
use sync_protocol::directory::{Directory, DirectoryEntry};
use sync_protocol::document_id::DocumentId;
use sync_protocol::document_limits::{DOCUMENT_FULL, KindLimits};
use sync_protocol::engine::{Author, Effect, Event, Position, Source, Stored};
use sync_protocol::kind::Access;
use sync_protocol::kind::versions::UNKNOWN_VERSION;
use sync_protocol::link::{DocumentRecord, Hash, PushItem, QuarantineItem};

#[derive(Clone)]
struct Row {
    document: DocumentId,
    hash: Hash,
    author: Author,
    bytes: Vec<u8>,
}

#[derive(Clone, Default)]
pub(crate) struct MemoryLog {
    log: String,
    epoch: u64,
    revision: u64,
    acknowledged: u64,
    records: BTreeMap<DocumentId, DocumentRecord>,
    behind: BTreeSet<DocumentId>,
    rows: BTreeMap<u64, Row>,
    next: u64,
    snapshots: BTreeMap<DocumentId, (u64, Vec<u8>)>,
    committed: BTreeMap<DocumentId, Vec<Hash>>,
    actors: BTreeMap<DocumentId, BTreeMap<Vec<u8>, Binding>>,
    directory: Option<BTreeMap<String, DirectoryEntry>>,
    /// What the origin has refused, with its codes.
    refused: BTreeMap<DocumentId, BTreeMap<Hash, String>>,
    /// Those of them that it has not taken after all, and changes of somebody without the right that were taken on a guess.
    unwanted: BTreeMap<DocumentId, BTreeSet<Hash>>,
    limits: KindLimits,
    /// Changes that were refused because their document was full.
    without_room: BTreeSet<(DocumentId, Hash)>,
    /// Versions of kinds that this edge knows.
    kind_version: u32,
    /// Migrations that it has refused because it does not know them, until the origin has them.
    unknown: Vec<QuarantineItem>,
}

impl MemoryLog {
    pub(crate) fn new(log: String, limits: KindLimits, kind_version: u32) -> Self {
        Self { log, next: 1, limits, kind_version, ..Self::default() }
    }

    pub(crate) fn position(&self) -> Position {
        Position {
            epoch: self.epoch,
            revision: self.revision,
            log: self.log.clone(),
            acknowledged: self.acknowledged,
            behind: self.behind.iter().copied().collect(),
            directory: self.directory.clone().map(|entries| entries.into_values().collect()),
        }
    }

    /// What a user may do by the directory as it is written down; all that there is before the first one came.
    pub(crate) fn access(&self, document: DocumentId, user: &str) -> Access {
        match &self.directory {
            Some(entries) => Directory::new(entries.values().cloned()).access(&record_of(document), user),
            None => Access::Write,
        }
    }

    /// The edge does not know the document and takes it for somebody's own.
    pub(crate) fn is_guess(&self, document: DocumentId) -> bool {
        self.records.get(&document).is_some_and(|record| *record != record_of(document))
    }

    pub(crate) fn is_refused(&self, document: DocumentId, hash: &Hash) -> bool {
        self.unwanted.get(&document).is_some_and(|refused| refused.contains(hash))
    }

    /// By what the edge has heard: an answer to a push that was lost on the way is in no log.
    pub(crate) fn knows_refusal(&self, document: DocumentId, hash: &Hash) -> bool {
        self.refused.get(&document).is_some_and(|refused| refused.contains_key(hash))
            && self.is_refused(document, hash)
    }

    pub(crate) fn carry_out(
        &mut self,
        effects: Vec<Effect>,
        users: &Users,
        events: &mut VecDeque<Event>,
        outgoing: &mut Vec<Effect>,
    ) {
        for effect in effects {
            audit(&effect, self, users);
            match effect {
                Effect::Send { .. } | Effect::Close { .. } | Effect::Link(_) => outgoing.push(effect),
                Effect::Load(document) | Effect::LoadNews(document) => {
                    let stored = self.load(document);
                    let refused =
                        self.refused.get(&document).cloned().unwrap_or_default().into_iter().collect();
                    let deleted = false;
                    events.push_front(Event::Loaded { document, stored, refused, deleted });
                }
                Effect::ReadLog { after } => events.push_back(Event::Unpushed(self.unpushed(after))),
                Effect::ListDocuments => {
                    events.push_back(Event::Held(self.records.keys().copied().collect()))
                }
                Effect::SaveRecord(record) => drop(self.records.insert(record.document, record)),
                Effect::Append { document, hash, author, bytes } => {
                    self.append(document, hash, author, bytes)
                }
                Effect::Snapshot { document, bytes } => self.snapshot(document, bytes),
                Effect::SaveCursor { epoch, revision } => (self.epoch, self.revision) = (epoch, revision),
                Effect::SaveDirectory { entries, whole } => self.save_directory(entries, whole),
                Effect::SaveAcknowledged(sequence) => self.acknowledge(sequence),
                Effect::SaveCommitted { document, heads } => drop(self.committed.insert(document, heads)),
                Effect::MarkBehind(document) if self.records.contains_key(&document) => {
                    self.behind.insert(document);
                }
                Effect::MarkBehind(_) => {}
                Effect::MarkCurrent(document) => drop(self.behind.remove(&document)),
                Effect::SaveBinding { document, binding } => {
                    self.actors.entry(document).or_default().insert(binding.actor.to_vec(), binding);
                }
                // A device brings it again with each connection: once is enough to look.
                Effect::Quarantine { document, hash, code, .. }
                    if code == DOCUMENT_FULL && self.without_room.insert((document, hash)) =>
                {
                    let (holds, limits) = (self.hashes(document).len() as u64, &self.limits);
                    let most = limits.of_document(self.records.get(&document)).changes;
                    assert!(holds >= most, "{document} was called full at {holds} changes of {most}");
                }
                Effect::Quarantine { code, .. } if code == DOCUMENT_FULL => {}
                Effect::ReadQuarantine => events.push_back(Event::Untold(self.unknown.clone())),
                Effect::SaveTold(told) => self.unknown.retain(|item| item.sequence > told),
                Effect::Quarantine { document, author, bytes, code, .. } if code == UNKNOWN_VERSION => {
                    assert!(self.kind_version == 1, "a migration that is known was refused");
                    self.keep_unknown(document, author, bytes);
                }
                // Who brought it may not write, or carried another's change here before the link did, which brings it.
                Effect::Quarantine { document, hash, code, .. } => {
                    let known = [FOREIGN_ACTOR, "forbidden"].contains(&code.as_str());
                    assert!(
                        known || self.is_refused(document, &hash),
                        "an honest change was refused: {code}"
                    );
                }
                Effect::Discard { document, refused } => self.discard(document, refused),
                Effect::Report(report) => {
                    assert!(report.starts_with("the origin refused changes"), "{report}");
                }
                Effect::Delete(document) => panic!("{document} was deleted"),
            }
        }
    }

    pub(crate) fn had_no_room_for(&self, document: DocumentId, hash: &ChangeHash) -> bool {
        self.without_room.contains(&(document, Hash::from(*hash)))
    }

    pub(crate) fn changes_without_room(&self) -> usize {
        self.without_room.len()
    }

    fn keep_unknown(&mut self, document: DocumentId, author: Author, bytes: Vec<u8>) {
        let Author { user, device, at: refused_at, .. } = author;
        let (sequence, code) = (self.next, UNKNOWN_VERSION.into());
        self.next += 1;
        let bytes = bytes.into();
        self.unknown.push(QuarantineItem { sequence, document, user, device, code, refused_at, bytes });
    }

    fn discard(&mut self, document: DocumentId, refused: Vec<(u64, String)>) {
        for (sequence, code) in refused {
            if let Some(row) = self.rows.remove(&sequence) {
                self.refused.entry(document).or_default().insert(row.hash, code);
                self.unwanted.entry(document).or_default().insert(row.hash);
            }
        }
        self.snapshots.remove(&document);
        self.records.remove(&document);
        self.committed.remove(&document);
        self.actors.remove(&document);
        let acknowledged = self.acknowledged;
        self.rows.retain(|sequence, row| {
            row.document != document || (row.author.source == Source::Device && *sequence > acknowledged)
        });
    }

    fn save_directory(&mut self, entries: Vec<DirectoryEntry>, whole: bool) {
        let directory = self.directory.get_or_insert_default();
        if whole {
            directory.clear();
        }
        directory.extend(entries.into_iter().map(|entry| (entry.user.clone(), entry)));
    }

    /// Hashes of the changes that a start would find.
    pub(crate) fn hashes(&self, document: DocumentId) -> BTreeSet<ChangeHash> {
        let Some(stored) = self.load(document) else { return BTreeSet::new() };
        let doc = Automerge::load(&stored.chunks.concat()).unwrap();
        doc.get_changes(&[]).into_iter().map(|change| change.hash()).collect()
    }

    fn load(&self, document: DocumentId) -> Option<Stored> {
        let record = self.records.get(&document)?.clone();
        let (upto, mut chunks) = match self.snapshots.get(&document) {
            Some((upto, bytes)) => (*upto, vec![bytes.clone()]),
            None => (0, Vec::new()),
        };
        let tail: Vec<Vec<u8>> = self
            .rows
            .range(upto + 1..)
            .filter(|(_, row)| row.document == document)
            .map(|(_, row)| row.bytes.clone())
            .collect();
        let stored_tail = tail.len();
        chunks.extend(tail);
        let committed = self.committed.get(&document).cloned().unwrap_or_default();
        let actors =
            self.actors.get(&document).into_iter().flat_map(|actors| actors.values().cloned()).collect();
        Some(Stored { record, chunks, tail: stored_tail, whole: true, committed, actors })
    }

    fn append(&mut self, document: DocumentId, hash: Hash, author: Author, bytes: Vec<u8>) {
        if self.is_guess(document) && self.access(document, &author.user) != Access::Write {
            self.unwanted.entry(document).or_default().insert(hash);
        } else if let Some(unwanted) = self.unwanted.get_mut(&document) {
            // The origin has it, or somebody with the right has brought again what was taken on a guess before.
            unwanted.remove(&hash);
        }
        // One that was kept over a discard for the push alone is behind no snapshot.
        let upto = self.snapshots.get(&document).map_or(0, |(upto, _)| *upto);
        self.rows.retain(|at, row| *at > upto || row.document != document || row.hash != hash);
        if !self.rows.values().any(|row| row.document == document && row.hash == hash) {
            self.rows.insert(self.next, Row { document, hash, author, bytes });
            self.next += 1;
        }
    }

    fn snapshot(&mut self, document: DocumentId, bytes: Vec<u8>) {
        if let Some(unwanted) = self.unwanted.get_mut(&document).filter(|unwanted| !unwanted.is_empty()) {
            let doc = Automerge::load(&bytes).unwrap();
            unwanted.retain(|hash| doc.get_change_meta_by_hash(&(*hash).into()).is_none());
        }
        let upto = self.next - 1;
        self.snapshots.insert(document, (upto, bytes));
        let acknowledged = self.acknowledged;
        self.rows.retain(|sequence, row| {
            row.document != document || (row.author.source == Source::Device && *sequence > acknowledged)
        });
    }

    fn acknowledge(&mut self, acknowledged: u64) {
        self.acknowledged = acknowledged;
        let snapshots = &self.snapshots;
        self.rows.retain(|sequence, row| {
            let covered = snapshots.get(&row.document).is_some_and(|(upto, _)| sequence <= upto);
            !(covered && *sequence <= acknowledged)
        });
    }

    fn unpushed(&self, after: u64) -> Vec<PushItem> {
        let device = |(_, row): &(&u64, &Row)| row.author.source == Source::Device;
        self.rows
            .range(after + 1..)
            .filter(device)
            .take(3)
            .map(|(sequence, row)| PushItem {
                sequence: *sequence,
                document: row.document,
                user: row.author.user.clone(),
                device: row.author.device.clone(),
                bytes: row.bytes.clone().into(),
                logged_at: row.author.at,
            })
            .collect()
    }
}
