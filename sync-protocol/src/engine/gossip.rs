//! Remote heads between edges. An edge watches, through the origin, the storages to which its devices have subscribed, and says
//! what its own devices have whose storages are watched elsewhere. Whether somebody may hear of a document is decided where it is
//! told.
//!
//! Nothing of it is kept in the log or counted on: a connection begins anew, and what is lost, the device's next word says too.

use super::ephemeral::Bucket;
use super::{Effect, Engine, SessionId};
use crate::document_id::DocumentId;
use crate::link::{
    LinkMessage, MAX_REMOTE_HEADS_ITEMS, MAX_STORAGE_BYTES, MAX_WATCH_ITEMS, MAX_WATCHED_STORAGES,
    RemoteHeads, StorageHeads, Watch,
};
use automerge::ChangeHash;
use std::collections::{BTreeMap, BTreeSet};

/// Heads of a document that are kept for those who subscribe or open it later, over all storages: 16 MB when all are as many as pass.
/// More is passed on, and not kept.
pub const MAX_KNOWN_HEADS: usize = 8_192;
/// What waits to be said to the origin, as pairs of storage and document: as many documents as eight devices with a thousand each
/// have. More is not said before the device's next word.
pub const MAX_OWED_HEADS: usize = 8_192;
/// Storages watched and heads told on the link a second, over time, by one engine: what fifty devices type. More waits, and of that
/// the newest.
pub const GOSSIP_PER_SECOND: u64 = 1_000;
/// The same at once: an edge that connects anew names all that it watches.
pub const GOSSIP_BURST: u64 = MAX_WATCHED_STORAGES as u64 + 2_000;
/// How long an older word may come behind a newer one, in milliseconds: as long as a slow link delays it. After that it is no older
/// one, but of a clock that was set, or of another edge's.
pub const OVERTAKEN_MS: u64 = 10_000;

#[derive(Default)]
pub(super) struct Subscription {
    pub(super) sessions: BTreeSet<SessionId>,
    known: BTreeMap<DocumentId, Heard>,
}

struct Heard {
    heads: Vec<ChangeHash>,
    /// By the clock of the edge where the device said it.
    said_at: u64,
    /// By this one's.
    heard_at: u64,
}

impl Subscription {
    pub(super) fn known(&self) -> Vec<(DocumentId, Vec<ChangeHash>)> {
        self.known.iter().map(|(document, heard)| (*document, heard.heads.clone())).collect()
    }

    pub(super) fn known_of(&self, document: DocumentId) -> Option<Vec<ChangeHash>> {
        self.known.get(&document).map(|heard| heard.heads.clone())
    }

    /// Whether it says more than what was heard before. Of two the later counts, as long as one may have overtaken the other.
    fn is_news(&self, document: DocumentId, heads: &[ChangeHash], said_at: u64, now: u64) -> bool {
        self.known.get(&document).is_none_or(|heard| {
            let later = said_at > heard.said_at || now.abs_diff(heard.heard_at) >= OVERTAKEN_MS;
            later && heard.heads != heads
        })
    }
}

pub(super) struct Gossip {
    /// The origin passes it on, on this connection.
    open: bool,
    /// By storage.
    pub(super) subscriptions: BTreeMap<String, Subscription>,
    /// How many heads they know.
    kept: usize,
    /// Storages that the origin is, or is about to be, asked for.
    watched: BTreeSet<String>,
    /// What the origin has not been told of that: whether it is watched.
    unasked: BTreeMap<String, bool>,
    /// Storages for which other edges ask.
    wanted: BTreeSet<String>,
    /// What their devices have said and the origin has not been told, with the time.
    owed: BTreeMap<(String, DocumentId), (Vec<ChangeHash>, u64)>,
    /// Sessions by the storage that they named.
    here: BTreeMap<String, BTreeSet<SessionId>>,
    /// Of storages watched. One of its own: who subscribes to one after the other keeps nobody's heads from being told.
    watch_rate: Bucket,
    heads_rate: Bucket,
}

impl Gossip {
    pub(super) fn new() -> Self {
        Self {
            open: false,
            subscriptions: BTreeMap::new(),
            kept: 0,
            watched: BTreeSet::new(),
            unasked: BTreeMap::new(),
            wanted: BTreeSet::new(),
            owed: BTreeMap::new(),
            here: BTreeMap::new(),
            watch_rate: Bucket::new(GOSSIP_BURST, GOSSIP_PER_SECOND),
            heads_rate: Bucket::new(GOSSIP_BURST, GOSSIP_PER_SECOND),
        }
    }

    /// A connection has ended, or begun: nobody there wants or knows anything.
    pub(super) fn restart(&mut self, open: bool) {
        self.open = open;
        self.wanted.clear();
        self.owed.clear();
        self.unasked = self.watched.iter().map(|storage| (storage.clone(), true)).collect();
    }

    /// A session has named its storage, or names none any more.
    pub(super) fn moved(&mut self, id: SessionId, from: Option<&str>, to: Option<&str>) {
        if let Some(storage) = from
            && let Some(sessions) = self.here.get_mut(storage)
        {
            sessions.remove(&id);
            if sessions.is_empty() {
                self.here.remove(storage);
            }
        }
        if let Some(storage) = to {
            self.here.entry(storage.to_owned()).or_default().insert(id);
        }
    }

    /// The sessions here of a storage: one, unless several devices share it.
    pub(super) fn sessions_of(&self, storage: &str) -> Vec<SessionId> {
        self.here.get(storage).into_iter().flatten().copied().collect()
    }

    /// True for the first session here that subscribes to the storage.
    pub(super) fn subscribe(&mut self, storage: &str, id: SessionId) -> bool {
        let subscription = self.subscriptions.entry(storage.to_owned()).or_default();
        subscription.sessions.insert(id);
        let first = subscription.sessions.len() == 1;
        if first && storage.len() <= MAX_STORAGE_BYTES && self.watched.len() < MAX_WATCHED_STORAGES {
            self.watched.insert(storage.to_owned());
            self.unasked.insert(storage.to_owned(), true);
        }
        first
    }

    pub(super) fn unsubscribe(&mut self, storage: &str, id: SessionId) {
        let Some(subscription) = self.subscriptions.get_mut(storage) else { return };
        subscription.sessions.remove(&id);
        if subscription.sessions.is_empty() {
            self.kept -= subscription.known.len();
            self.subscriptions.remove(storage);
            if self.watched.remove(storage) {
                self.unasked.insert(storage.to_owned(), false);
            }
        }
    }

    /// Whether anybody, here or elsewhere, wants to hear of the storage.
    pub(super) fn is_of_interest(&self, storage: &str) -> bool {
        self.wanted.contains(storage) || self.subscriptions.contains_key(storage)
    }

    /// Keeps what a storage has of a document while somebody here wants to know.
    pub(super) fn note(
        &mut self,
        storage: &str,
        document: DocumentId,
        heads: &[ChangeHash],
        said_at: u64,
        now: u64,
    ) {
        let Some(subscription) = self.subscriptions.get_mut(storage) else { return };
        if !subscription.known.contains_key(&document) {
            if self.kept >= MAX_KNOWN_HEADS {
                return;
            }
            self.kept += 1;
        }
        let heard = Heard { heads: heads.to_vec(), said_at, heard_at: now };
        subscription.known.insert(document, heard);
    }

    /// Puts down what is to be told to those elsewhere who want to hear it.
    pub(super) fn owe(&mut self, storage: &str, document: DocumentId, heads: &[ChangeHash], now: u64) {
        let key = (storage.to_owned(), document);
        let room = self.owed.len() < MAX_OWED_HEADS || self.owed.contains_key(&key);
        if room && self.wanted.contains(storage) {
            self.owed.insert(key, (heads.to_vec(), now));
        }
    }

    pub(super) fn tick(&mut self, now: u64) {
        self.watch_rate.fill(now);
        self.heads_rate.fill(now);
    }

    /// The next change of what is watched; none when there is none, or no room for it now.
    fn next_watch(&mut self, institute: &str) -> Option<Watch> {
        let count = self.watch_rate.take_up_to(self.unasked.len().min(MAX_WATCH_ITEMS));
        let mut watch = Watch { institute: institute.to_owned(), ..Watch::default() };
        for _ in 0..count {
            let Some((storage, watched)) = self.unasked.pop_first() else { break };
            if watched { watch.add.push(storage) } else { watch.remove.push(storage) }
        }
        (count > 0).then_some(watch)
    }

    fn next_heads(&mut self, institute: &str) -> Option<RemoteHeads> {
        let wanted = &self.wanted;
        self.owed.retain(|(storage, _), _| wanted.contains(storage));
        let count = self.heads_rate.take_up_to(self.owed.len().min(MAX_REMOTE_HEADS_ITEMS));
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            let Some(((storage, document), (heads, said_at))) = self.owed.pop_first() else { break };
            let heads = heads.into_iter().map(Into::into).collect();
            items.push(StorageHeads { storage, document, heads, said_at });
        }
        (count > 0).then(|| RemoteHeads { institute: institute.to_owned(), items })
    }
}

impl Engine {
    /// Other edges want to hear of these storages, or no longer do.
    pub(super) fn watched_elsewhere(&mut self, now: u64, watch: Watch) {
        let gossip = &mut self.gossip;
        for storage in &watch.remove {
            gossip.wanted.remove(storage);
        }
        let mut asked = BTreeSet::new();
        for storage in watch.add {
            let room = gossip.wanted.len() < MAX_WATCHED_STORAGES || gossip.wanted.contains(&storage);
            if gossip.open && room && storage.len() <= MAX_STORAGE_BYTES {
                gossip.wanted.insert(storage.clone());
                asked.insert(storage);
            }
        }
        for storage in asked {
            for id in self.gossip.sessions_of(&storage) {
                for (document, heads) in self.said_by(id) {
                    self.gossip.owe(&storage, document, &heads, now);
                }
            }
        }
    }

    /// What devices at other edges have: those here who asked for it are told.
    pub(super) fn remote_heads(&mut self, now: u64, told: RemoteHeads) {
        for item in told.items {
            if !item.is_bounded() {
                continue;
            }
            let heads: Vec<ChangeHash> = item.heads.iter().map(|head| (*head).into()).collect();
            let (storage, document) = (item.storage, item.document);
            let subscription = self.gossip.subscriptions.get(&storage);
            if subscription.is_some_and(|known| known.is_news(document, &heads, item.said_at, now)) {
                self.gossip.note(&storage, document, &heads, item.said_at, now);
                self.tell_subscribers(now, &storage, document, &heads, None);
            }
        }
    }

    /// Says to the origin what waits to be said. Called when a batch of events is done.
    pub(super) fn pump_gossip(&mut self) {
        if !self.gossip.open {
            return;
        }
        while let Some(watch) = self.gossip.next_watch(&self.institute) {
            self.effects.push(Effect::Link(LinkMessage::Watch(watch)));
        }
        while let Some(heads) = self.gossip.next_heads(&self.institute) {
            self.effects.push(Effect::Link(LinkMessage::RemoteHeads(heads)));
        }
    }
}
