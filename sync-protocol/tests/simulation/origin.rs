//! A model of the origin: it never crashes here, and says on the link what the contract says.

use automerge::{Automerge, Change, ChangeHash};
use std::collections::{BTreeMap, BTreeSet};
use sync_protocol::actor::Binding;
use sync_protocol::document_id::DocumentId;
use sync_protocol::link::{
    Document, DocumentHeads, DocumentRecord, Feed, Following, Hash, LinkMessage, Pushed,
};

pub(crate) struct Origin {
    documents: BTreeMap<DocumentId, (DocumentRecord, Automerge)>,
    actors: BTreeMap<DocumentId, BTreeMap<Vec<u8>, Binding>>,
    feed: Vec<Feed>,
    /// Highest committed sequence of each edge's log.
    acknowledged: BTreeMap<usize, u64>,
}

impl Origin {
    pub(crate) fn new() -> Self {
        Self {
            documents: BTreeMap::new(),
            actors: BTreeMap::new(),
            feed: Vec::new(),
            acknowledged: BTreeMap::new(),
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
            LinkMessage::Follow(follow) => {
                let reset = follow.epoch != 1;
                let revision = if reset { self.feed.len() as u64 } else { follow.revision };
                *cursor = Some(revision);
                let acknowledged = self.acknowledged.get(&edge).copied().unwrap_or(0);
                let (institute, log) = (follow.institute, follow.log);
                vec![LinkMessage::Following(Following {
                    institute,
                    epoch: 1,
                    revision,
                    log,
                    acknowledged,
                    reset,
                })]
            }
            LinkMessage::Push(push) => {
                let mut changed = BTreeSet::new();
                let mut last = 0;
                for item in push.items {
                    last = item.sequence;
                    let change = Change::from_bytes(item.bytes.into()).unwrap();
                    let (_, doc) = self.documents.get_mut(&item.document).expect("all sheets are registered");
                    let missing = change.deps().iter().any(|dep| doc.get_change_meta_by_hash(dep).is_none());
                    assert!(!missing, "an edge pushed a change before what it depends on");
                    let actor = change.actor_id().to_bytes().to_vec();
                    doc.apply_changes([change]).unwrap();
                    let (user, device, since) = (item.user, item.device, item.logged_at);
                    let binding = Binding { actor: actor.clone().into(), user, device, since };
                    self.actors.entry(item.document).or_default().entry(actor).or_insert(binding);
                    changed.insert(item.document);
                }
                let acknowledged = self.acknowledged.entry(edge).or_default();
                *acknowledged = last.max(*acknowledged);
                let acknowledged = *acknowledged;
                self.commit(&push.institute, changed);
                let (institute, log) = (push.institute, push.log);
                vec![LinkMessage::Pushed(Pushed { institute, log, acknowledged, refused: Vec::new() })]
            }
            LinkMessage::Pull(pull) => {
                let (record, doc) = &self.documents[&pull.document];
                let known: Vec<ChangeHash> = pull
                    .have
                    .iter()
                    .map(|hash| (*hash).into())
                    .filter(|hash| doc.get_change_meta_by_hash(hash).is_some())
                    .collect();
                let chunks =
                    doc.get_changes(&known).into_iter().map(|c| c.raw_bytes().to_vec().into()).collect();
                let heads = doc.get_heads().into_iter().map(Hash::from).collect();
                let (institute, document, record) = (pull.institute, pull.document, Some(record.clone()));
                let actors =
                    self.actors.get(&document).into_iter().flat_map(|actors| actors.values().cloned());
                let actors = actors.collect();
                let deleted = false;
                vec![LinkMessage::Document(Document {
                    institute,
                    document,
                    record,
                    chunks,
                    heads,
                    actors,
                    deleted,
                })]
            }
            other => panic!("an edge does not send {other:?}"),
        }
    }

    fn commit(&mut self, institute: &str, changed: BTreeSet<DocumentId>) {
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
            members: Vec::new(),
        });
    }

    pub(crate) fn heads(&self, document: DocumentId) -> Vec<ChangeHash> {
        self.documents[&document].1.get_heads()
    }

    pub(crate) fn hashes(&self, document: DocumentId) -> BTreeSet<ChangeHash> {
        self.documents[&document].1.get_changes(&[]).into_iter().map(|change| change.hash()).collect()
    }
}
