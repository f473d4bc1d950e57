//! A model of the origin: it never crashes here, and says on the link what the contract says.

use automerge::{Automerge, Change, ChangeHash, ReadDoc as _};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use sync_protocol::actor::Binding;
use sync_protocol::directory::{Directory, DirectoryEntry};
use sync_protocol::document_id::DocumentId;
use sync_protocol::document_limits::{KindLimits, Size};
use sync_protocol::kind::{Access, Kind, versions};
use sync_protocol::link::{
    DirectoryPage, Document, DocumentHeads, DocumentRecord, Feed, Follow, Following, Hash, LinkMessage, Pull,
    Push, PushItem, Pushed, Quarantine, Quarantined, Refused, RemoteHeads, Watch,
};

/// Users in one page, so that a directory is of several.
const PAGE: usize = 3;

pub(crate) struct Origin {
    directory: Directory,
    /// All that was ever refused. It may have been taken later.
    refused: BTreeSet<ChangeHash>,
    limits: KindLimits,
    /// Changes that were refused because their document was full.
    without_room: BTreeSet<ChangeHash>,
    documents: BTreeMap<DocumentId, (DocumentRecord, Automerge)>,
    actors: BTreeMap<DocumentId, BTreeMap<Vec<u8>, Binding>>,
    feed: Vec<Feed>,
    /// Highest committed sequence of each edge's log.
    acknowledged: BTreeMap<usize, u64>,
    /// Storages that each edge watches, and what waits to be said to it of others'.
    watched: BTreeMap<usize, BTreeSet<String>>,
    gossip: BTreeMap<usize, VecDeque<LinkMessage>>,
}

impl Origin {
    pub(crate) fn new(entries: impl IntoIterator<Item = DirectoryEntry>, limits: KindLimits) -> Self {
        Self {
            directory: Directory::new(entries),
            refused: BTreeSet::new(),
            limits,
            without_room: BTreeSet::new(),
            documents: BTreeMap::new(),
            actors: BTreeMap::new(),
            feed: Vec::new(),
            acknowledged: BTreeMap::new(),
            watched: BTreeMap::new(),
            gossip: BTreeMap::new(),
        }
    }

    pub(crate) fn register(&mut self, record: DocumentRecord, genesis: &[u8]) {
        let doc = Automerge::load(genesis).unwrap();
        self.documents.insert(record.document, (record, doc));
    }

    pub(crate) fn feed_after(&self, revision: u64) -> Option<Feed> {
        self.feed.get(revision as usize).cloned()
    }

    pub(crate) fn handle(
        &mut self,
        edge: usize,
        message: LinkMessage,
        cursor: &mut Option<u64>,
    ) -> Vec<LinkMessage> {
        match message {
            LinkMessage::Follow(follow) => self.follow(edge, follow, cursor),
            LinkMessage::Push(push) => vec![self.push(edge, push)],
            LinkMessage::Pull(pull) => vec![self.pull(pull)],
            LinkMessage::Quarantine(refused) => vec![self.judge_again(refused)],
            LinkMessage::Watch(watch) => {
                self.watch(edge, watch);
                Vec::new()
            }
            LinkMessage::RemoteHeads(told) => {
                self.pass_on(edge, told);
                Vec::new()
            }
            other => panic!("an edge does not send {other:?}"),
        }
    }

    /// Tells all other edges what one wants to hear, and that one, when it has just come, what they want.
    fn watch(&mut self, edge: usize, watch: Watch) {
        let own = self.watched.entry(edge).or_default();
        own.retain(|storage| !watch.remove.contains(storage));
        own.extend(watch.add.iter().cloned());
        let wanted_by_others = |other: usize, storage: &String| {
            self.watched.iter().any(|(edge, watched)| *edge != other && watched.contains(storage))
        };
        let told = self.watched.keys().filter(|other| **other != edge).map(|other| {
            let remove = watch.remove.iter().filter(|storage| !wanted_by_others(*other, storage));
            (*other, Watch { remove: remove.cloned().collect(), ..watch.clone() })
        });
        for (other, watch) in told.collect::<Vec<_>>() {
            self.gossip.entry(other).or_default().push_back(LinkMessage::Watch(watch));
        }
    }

    fn pass_on(&mut self, edge: usize, told: RemoteHeads) {
        for (other, watched) in self.watched.iter().filter(|(other, _)| **other != edge) {
            let items = told.items.iter().filter(|item| watched.contains(&item.storage)).cloned().collect();
            let told = RemoteHeads { institute: told.institute.clone(), items };
            self.gossip.entry(*other).or_default().push_back(LinkMessage::RemoteHeads(told));
        }
    }

    /// What others gossip, for an edge.
    pub(crate) fn gossip_for(&mut self, edge: usize) -> Option<LinkMessage> {
        self.gossip.entry(edge).or_default().pop_front()
    }

    fn begin_gossip(&mut self, edge: usize, institute: &str) {
        self.watched.insert(edge, BTreeSet::new());
        let others = self.watched.values().flatten().cloned().collect();
        let watch = Watch { institute: institute.to_owned(), add: others, remove: Vec::new() };
        self.gossip.insert(edge, VecDeque::from([LinkMessage::Watch(watch)]));
    }

    fn follow(&mut self, edge: usize, follow: Follow, cursor: &mut Option<u64>) -> Vec<LinkMessage> {
        let reset = follow.epoch != 1;
        let revision = if reset { self.feed.len() as u64 } else { follow.revision };
        *cursor = Some(revision);
        let acknowledged = self.acknowledged.get(&edge).copied().unwrap_or(0);
        let (institute, log) = (follow.institute, follow.log);
        self.begin_gossip(edge, &institute);
        let directory = if reset || !follow.directory { self.pages(&institute) } else { Vec::new() };
        let following = Following { institute, epoch: 1, revision, log, acknowledged, reset, gossip: true };
        [LinkMessage::Following(following)].into_iter().chain(directory).collect()
    }

    fn pages(&self, institute: &str) -> Vec<LinkMessage> {
        let entries: Vec<DirectoryEntry> =
            self.directory.users().filter_map(|user| self.directory.get(user)).cloned().collect();
        let pages = entries.len().div_ceil(PAGE);
        let page = |(n, entries): (usize, &[DirectoryEntry])| {
            LinkMessage::Directory(DirectoryPage {
                institute: institute.to_owned(),
                page: n as u32,
                last: n + 1 == pages,
                entries: entries.to_vec(),
            })
        };
        entries.chunks(PAGE).enumerate().map(page).collect()
    }

    fn push(&mut self, edge: usize, push: Push) -> LinkMessage {
        let last = push.items.iter().map(|item| item.sequence).max().unwrap_or(0);
        let refused = self.take(&push.institute, push.items);
        let acknowledged = self.acknowledged.entry(edge).or_default();
        *acknowledged = last.max(*acknowledged);
        let acknowledged = *acknowledged;
        LinkMessage::Pushed(Pushed { institute: push.institute, log: push.log, acknowledged, refused })
    }

    /// An edge of yesterday has refused what it did not know; what is refused here too, its device offers again.
    fn judge_again(&mut self, told: Quarantine) -> LinkMessage {
        let acknowledged = told.items.iter().map(|item| item.sequence).max().unwrap_or(0);
        let items = told.items.into_iter().map(|item| PushItem {
            sequence: item.sequence,
            document: item.document,
            user: item.user,
            device: item.device,
            bytes: item.bytes,
            logged_at: item.refused_at,
        });
        let refused = self.take(&told.institute, items.collect());
        assert!(refused.is_empty(), "an honest migration was refused: {refused:?}");
        LinkMessage::Quarantined(Quarantined { institute: told.institute, log: told.log, acknowledged })
    }

    /// Judges by the rights of now, which may be fewer than those that the edge knew. What the kind itself changes is taken
    /// from anybody.
    fn take(&mut self, institute: &str, items: Vec<PushItem>) -> Vec<Refused> {
        let (mut changed, mut refused) = (BTreeSet::new(), Vec::new());
        for item in items {
            let document = item.document;
            let change = Change::from_bytes(item.bytes.into()).unwrap();
            let hash = change.hash();
            let (record, doc) = self.documents.get_mut(&document).expect("all sheets are registered");
            if doc.get_change_meta_by_hash(&hash).is_some() {
                continue;
            }
            let size = Size { changes: doc.stats().num_changes, bytes: 0 };
            let own = versions::is_own(record.kind.parse().unwrap(), document, &change, u32::MAX);
            let code = if !own && self.directory.access(record, &item.user) != Access::Write {
                Some("forbidden")
            } else if change.deps().iter().any(|dep| doc.get_change_meta_by_hash(dep).is_none()) {
                let waits = change.deps().iter().any(|dep| self.refused.contains(dep));
                assert!(waits, "an edge pushed a change before what it depends on");
                Some("missing-dependency")
            } else if own {
                None
            } else {
                let room = self.limits.of_document(Some(record)).check(size, change.raw_bytes().len());
                self.without_room.extend(room.is_err().then_some(hash));
                room.err()
            };
            if let Some(code) = code {
                self.refused.insert(hash);
                refused.push(Refused { sequence: item.sequence, document, code: code.into() });
                continue;
            }
            let actor = change.actor_id().to_bytes().to_vec();
            doc.apply_changes([change]).unwrap();
            if !own {
                let (user, device, since) = (item.user, item.device, item.logged_at);
                let binding = Binding { actor: actor.clone().into(), user, device, since };
                self.actors.entry(document).or_default().entry(actor).or_insert(binding);
            }
            changed.insert(document);
        }
        for document in &changed {
            self.migrate(*document);
        }
        self.commit(institute, changed, Vec::new());
        refused
    }

    /// Brings a document to the newest version, as the first who writes it does.
    fn migrate(&mut self, document: DocumentId) {
        let (record, doc) = self.documents.get_mut(&document).unwrap();
        let kind: Kind = record.kind.parse().unwrap();
        doc.apply_changes(versions::migrate(doc, kind, document)).unwrap();
    }

    /// The document as it is.
    pub(crate) fn document(&self, document: DocumentId) -> &Automerge {
        &self.documents[&document].1
    }

    fn pull(&self, pull: Pull) -> LinkMessage {
        let document = pull.document;
        let (record, doc) = &self.documents[&document];
        let have = pull.have.iter().map(|hash| ChangeHash::from(*hash));
        let known: Vec<ChangeHash> =
            have.filter(|hash| doc.get_change_meta_by_hash(hash).is_some()).collect();
        let changes = doc.get_changes(&known).into_iter();
        let actors = self.actors.get(&document).into_iter().flat_map(|actors| actors.values().cloned());
        LinkMessage::Document(Document {
            institute: pull.institute,
            document,
            record: Some(record.clone()),
            chunks: changes.map(|change| change.raw_bytes().to_vec().into()).collect(),
            heads: doc.get_heads().into_iter().map(Hash::from).collect(),
            actors: actors.collect(),
            deleted: false,
        })
    }

    pub(crate) fn change_rights(&mut self, institute: &str, entry: DirectoryEntry) {
        self.directory.put(entry.clone());
        self.commit(institute, BTreeSet::new(), vec![entry]);
    }

    pub(crate) fn access(&self, document: DocumentId, user: &str) -> Access {
        self.directory.access(&self.documents[&document].0, user)
    }

    pub(crate) fn is_active(&self, user: &str) -> bool {
        self.directory.get(user).is_some_and(|entry| entry.active)
    }

    pub(crate) fn was_refused(&self, hash: &ChangeHash) -> bool {
        self.refused.contains(hash)
    }

    pub(crate) fn had_no_room_for(&self, hash: &ChangeHash) -> bool {
        self.without_room.contains(hash)
    }

    pub(crate) fn changes_without_room(&self) -> usize {
        self.without_room.len()
    }

    fn commit(&mut self, institute: &str, changed: BTreeSet<DocumentId>, members: Vec<DirectoryEntry>) {
        let documents = changed
            .into_iter()
            .map(|document| DocumentHeads {
                document,
                heads: self.documents[&document].1.get_heads().into_iter().map(Hash::from).collect(),
            })
            .collect();
        let revision = self.feed.len() as u64 + 1;
        self.feed.push(Feed {
            institute: institute.to_owned(),
            revision,
            tags: Vec::new(),
            documents,
            members,
        });
    }

    pub(crate) fn heads(&self, document: DocumentId) -> Vec<ChangeHash> {
        self.documents[&document].1.get_heads()
    }

    pub(crate) fn hashes(&self, document: DocumentId) -> BTreeSet<ChangeHash> {
        self.documents[&document].1.get_changes(&[]).into_iter().map(|change| change.hash()).collect()
    }
}
