//! The log as the effects describe it, in memory, with what holds of every log.

use automerge::{Automerge, Change};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use sync_protocol::actor::Binding;
use sync_protocol::directory::DirectoryEntry;
use sync_protocol::document_id::DocumentId;
use sync_protocol::engine::{Author, Effect, Event, Position, Source, Stored};
use sync_protocol::link::{DocumentRecord, Hash, PushItem, QuarantineItem};

#[derive(Clone)]
struct Row {
    sequence: u64,
    hash: Hash,
    author: Author,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Entry {
    record: Option<DocumentRecord>,
    /// Empty for none.
    snapshot: Vec<u8>,
    upto: u64,
    rows: Vec<Row>,
    refused: Vec<(Hash, String)>,
    committed: Vec<Hash>,
    actors: BTreeMap<Vec<u8>, Binding>,
    /// The origin has refused a change: what depends on it is still here until the origin has refused that too.
    discarded: bool,
}

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) name: String,
    documents: BTreeMap<DocumentId, Entry>,
    next: u64,
    epoch: u64,
    revision: u64,
    acknowledged: u64,
    behind: BTreeSet<DocumentId>,
    directory: Option<BTreeMap<String, DirectoryEntry>>,
    deleted: BTreeSet<DocumentId>,
    quarantine: Vec<QuarantineItem>,
    told: u64,
}

impl Log {
    pub(crate) fn store(&mut self, record: DocumentRecord, snapshot: Vec<u8>) {
        let document = record.document;
        let entry = Entry { record: Some(record), snapshot, ..Entry::default() };
        self.documents.insert(document, entry);
    }

    pub(crate) fn position(&self) -> Position {
        Position {
            epoch: self.epoch,
            revision: self.revision,
            log: self.name.clone(),
            acknowledged: self.acknowledged,
            behind: self.behind.iter().copied().collect(),
            directory: self.directory.clone().map(|entries| entries.into_values().collect()),
        }
    }

    pub(crate) fn highest(&self) -> u64 {
        self.next
    }

    /// A change that was not pushed yet, if there is one: what an origin may refuse.
    pub(crate) fn some_sequence(&self, n: usize) -> Option<(u64, DocumentId)> {
        let rows =
            self.documents.iter().flat_map(|(id, entry)| entry.rows.iter().map(|row| (row.sequence, *id)));
        let rows: Vec<(u64, DocumentId)> =
            rows.filter(|(sequence, _)| *sequence > self.acknowledged).collect();
        (!rows.is_empty()).then(|| rows[n % rows.len()])
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each effect")]
    pub(crate) fn carry_out(&mut self, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::Load(document) | Effect::LoadNews(document) => events.push_front(self.load(document)),
            Effect::ReadLog { after } => events.push_back(Event::Unpushed(self.unpushed(after))),
            Effect::ListDocuments => {
                let held = self.documents.iter().filter(|(_, entry)| entry.record.is_some());
                events.push_back(Event::Held(held.map(|(id, _)| *id).collect()));
            }
            Effect::SaveRecord(record) => {
                let entry = self.documents.entry(record.document).or_default();
                entry.record = Some(record);
            }
            Effect::Append { document, hash, author, bytes } => self.append(document, hash, author, bytes),
            Effect::Snapshot { document, bytes } => self.snapshot(document, bytes),
            Effect::Quarantine { document, author, bytes, code, .. } => {
                let sequence = self.quarantine.len() as u64 + 1;
                let (user, device, bytes) = (author.user, author.device, bytes.into());
                let refused_at = author.at;
                self.quarantine.push(QuarantineItem {
                    sequence,
                    document,
                    user,
                    device,
                    code,
                    refused_at,
                    bytes,
                });
            }
            Effect::ReadQuarantine => {
                let untold = self.quarantine.iter().filter(|item| item.sequence > self.told);
                events.push_back(Event::Untold(untold.take(3).cloned().collect()));
            }
            Effect::SaveTold(sequence) => self.told = sequence.max(self.told),
            Effect::SaveCommitted { document, heads } => {
                self.documents.entry(document).or_default().committed = heads;
            }
            Effect::SaveBinding { document, binding } => {
                let actors = &mut self.documents.entry(document).or_default().actors;
                actors.insert(binding.actor.to_vec(), binding);
            }
            Effect::Delete(document) => {
                self.documents.remove(&document);
                self.deleted.insert(document);
            }
            Effect::Report(_) => {}
            Effect::Discard { document, refused } => self.discard(document, &refused),
            Effect::SaveCursor { epoch, revision } => (self.epoch, self.revision) = (epoch, revision),
            Effect::SaveAcknowledged(sequence) => self.acknowledged = sequence,
            Effect::SaveDirectory { entries, whole } => {
                let directory = self.directory.get_or_insert_default();
                if whole {
                    directory.clear();
                }
                directory.extend(entries.into_iter().map(|entry| (entry.user.clone(), entry)));
            }
            Effect::MarkBehind(document) => {
                if self.documents.get(&document).is_some_and(|entry| entry.record.is_some()) {
                    self.behind.insert(document);
                }
            }
            Effect::MarkCurrent(document) => drop(self.behind.remove(&document)),
            Effect::Send { .. } | Effect::Close { .. } | Effect::Link(_) => panic!("not for the log"),
        }
    }

    fn load(&self, document: DocumentId) -> Event {
        let entry = self.documents.get(&document);
        let stored = entry.and_then(|entry| {
            let record = entry.record.clone()?;
            let snapshot = Some(entry.snapshot.clone()).filter(|bytes| !bytes.is_empty());
            let tail: Vec<&Row> = entry.rows.iter().filter(|row| row.sequence > entry.upto).collect();
            let chunks = snapshot.into_iter().chain(tail.iter().map(|row| row.bytes.clone())).collect();
            let (committed, actors) = (entry.committed.clone(), entry.actors.values().cloned().collect());
            Some(Stored { record, chunks, tail: tail.len(), whole: true, committed, actors })
        });
        let refused = entry.map(|entry| entry.refused.clone()).unwrap_or_default();
        let deleted = stored.is_none() && self.deleted.contains(&document);
        Event::Loaded { document, stored, refused, deleted }
    }

    fn append(&mut self, document: DocumentId, hash: Hash, author: Author, bytes: Vec<u8>) {
        let entry = self.documents.get_mut(&document).expect("a change comes after its document's record");
        assert!(entry.record.is_some(), "a change comes after its document's record");
        let change = Change::from_bytes(bytes.clone()).expect("a change in the log is well formed");
        assert_eq!(Hash::from(change.hash()), hash);
        if !entry.rows.iter().any(|row| row.hash == hash) {
            self.next += 1;
            entry.rows.push(Row { sequence: self.next, hash, author, bytes });
        }
    }

    fn snapshot(&mut self, document: DocumentId, bytes: Vec<u8>) {
        let entry = self.documents.entry(document).or_default();
        entry.snapshot = bytes;
        entry.upto = self.next;
        let acknowledged = self.acknowledged;
        entry.rows.retain(|row| row.author.source == Source::Device && row.sequence > acknowledged);
    }

    fn discard(&mut self, document: DocumentId, refused: &[(u64, String)]) {
        let acknowledged = self.acknowledged;
        let Some(entry) = self.documents.get_mut(&document) else { return };
        let is_refused = |row: &Row| refused.iter().any(|(sequence, _)| *sequence == row.sequence);
        let hashes =
            entry.rows.iter().filter(|row| is_refused(row)).map(|row| (row.hash, "refused".to_owned()));
        entry.refused.extend(hashes);
        entry.rows.retain(|row| {
            !is_refused(row) && row.author.source == Source::Device && row.sequence > acknowledged
        });
        (entry.snapshot, entry.upto) = (Vec::new(), 0);
        (entry.record, entry.discarded) = (None, true);
    }

    fn unpushed(&self, after: u64) -> Vec<PushItem> {
        let mut items: Vec<PushItem> = self
            .documents
            .iter()
            .flat_map(|(document, entry)| entry.rows.iter().map(|row| (*document, row)))
            .filter(|(_, row)| row.author.source == Source::Device && row.sequence > after)
            .map(|(document, row)| PushItem {
                sequence: row.sequence,
                document,
                user: row.author.user.clone(),
                device: row.author.device.clone(),
                bytes: row.bytes.clone().into(),
                logged_at: row.author.at,
            })
            .collect();
        items.sort_by_key(|item| item.sequence);
        items.truncate(3);
        items
    }

    /// What is in the log can be loaded, whatever was done to it.
    pub(crate) fn check(&self) {
        for (document, entry) in self.documents.iter().filter(|(_, entry)| !entry.discarded) {
            let tail = entry.rows.iter().filter(|row| row.sequence > entry.upto).map(|row| row.bytes.clone());
            let bytes = [entry.snapshot.clone()].into_iter().chain(tail).flatten().collect::<Vec<u8>>();
            let loaded = Automerge::load(&bytes);
            assert!(bytes.is_empty() || loaded.is_ok(), "{document} in the log is broken: {loaded:?}");
        }
    }
}
