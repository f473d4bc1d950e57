//! The gossip of remote heads: which edges watch which storages, and what is on its way to them.
//!
//! Nothing of it is stored, and nobody counts on it: each connection begins anew. The other processes of this origin are one more
//! edge to it, which [`super::others`] serves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use sync_protocol::document_id::DocumentId;
use sync_protocol::link::{
    Hash, LinkMessage, MAX_STORAGE_BYTES, MAX_WATCHED_STORAGES, RemoteHeads, StorageHeads, Watch,
};
use tokio::sync::Notify;

/// Heads that may wait for one edge, as pairs of storage and document: 2 MB at one head each. More is dropped until it has taken some,
/// and a device's next word says it too.
const MAX_WAITING_HEADS: usize = 8_192;
/// Bytes of one message to an edge, about: the link has room for others in between.
const MESSAGE_BYTES: usize = 64 * 1024;
/// Bytes of an item of a message besides its storage and heads, at most; and of a head.
const ITEM_BYTES: usize = 48;
const HEAD_BYTES: usize = 34;
/// The listener that stands for the other processes.
const OTHERS: ListenerId = 0;

type ListenerId = u64;

/// All edges that are connected to this process; clones share it.
#[derive(Clone, Default)]
pub(super) struct Gossip(Arc<Mutex<Hub>>);

#[derive(Default)]
struct Hub {
    last: ListenerId,
    institutes: HashMap<String, Listeners>,
    /// Woken when something waits for the other processes; none where there cannot be any.
    others: Option<Arc<Notify>>,
}

#[derive(Default)]
struct Listeners {
    by_id: BTreeMap<ListenerId, Listener>,
    /// Who watches each storage.
    watchers: BTreeMap<String, BTreeSet<ListenerId>>,
}

#[derive(Default)]
struct Listener {
    watched: BTreeSet<String>,
    waiting: Waiting,
    wake: Arc<Notify>,
}

/// What one listener has not been told yet: of each thing the newest.
#[derive(Default)]
struct Waiting {
    /// Whether somebody else watches the storage.
    watch: BTreeMap<String, bool>,
    heads: BTreeMap<(String, DocumentId), (Vec<Hash>, u64)>,
}

/// An edge that takes part, for as long as it lives.
pub(super) struct Listening {
    gossip: Gossip,
    institute: String,
    id: ListenerId,
    wake: Arc<Notify>,
}

impl Gossip {
    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An edge joins; it is told at once what the others watch.
    pub(super) fn join(&self, institute: &str) -> Listening {
        let mut hub = self.hub();
        hub.last += 1;
        let (id, others) = (hub.last, hub.others.clone());
        let listeners = hub.institutes.entry(institute.to_owned()).or_default();
        listeners.have_others(others);
        let wake = Arc::new(Notify::new());
        listeners.by_id.insert(id, Listener { wake: wake.clone(), ..Listener::default() });
        listeners.tell_again(id);
        Listening { gossip: self.clone(), institute: institute.to_owned(), id, wake }
    }

    /// From now on there are other processes: `wake` is notified when [`Gossip::next_for_others`] has something.
    pub(super) fn connect_others(&self, wake: Arc<Notify>) {
        let mut hub = self.hub();
        for listeners in hub.institutes.values_mut() {
            listeners.have_others(Some(wake.clone()));
            listeners.tell_again(OTHERS);
        }
        hub.others = Some(wake);
    }

    /// The next message for the other processes, of about so many bytes at most.
    pub(super) fn next_for_others(&self, bytes: usize) -> Option<LinkMessage> {
        let mut hub = self.hub();
        hub.institutes.iter_mut().find_map(|(institute, listeners)| {
            listeners.by_id.get_mut(&OTHERS)?.waiting.next(institute, bytes)
        })
    }

    /// All that the edges of this process watch.
    pub(super) fn watched_here(&self) -> Vec<(String, String)> {
        let hub = self.hub();
        let watched = hub.institutes.iter().flat_map(|(institute, listeners)| {
            let here =
                listeners.watchers.iter().filter(|(_, watchers)| watchers.iter().any(|id| *id != OTHERS));
            here.map(|(storage, _)| (institute.clone(), storage.clone()))
        });
        watched.collect()
    }

    /// What the other processes watch, or no longer do.
    pub(super) fn others_watch(&self, watch: Watch) {
        let (mut hub, institute) = (self.hub(), watch.institute.clone());
        let others = hub.others.clone();
        // Also where no edge is yet: one that comes is told.
        let listeners = hub.institutes.entry(institute.clone()).or_default();
        listeners.have_others(others);
        listeners.change(OTHERS, watch);
        hub.forget_if_empty(&institute);
    }

    /// What devices at edges of other processes have.
    pub(super) fn others_say(&self, told: RemoteHeads) {
        self.say(OTHERS, told);
    }

    fn watch(&self, id: ListenerId, watch: Watch) {
        if let Some(listeners) = self.hub().institutes.get_mut(&watch.institute) {
            listeners.change(id, watch);
        }
    }

    fn say(&self, from: ListenerId, told: RemoteHeads) {
        if let Some(listeners) = self.hub().institutes.get_mut(&told.institute) {
            for item in told.items.into_iter().filter(StorageHeads::is_bounded) {
                listeners.say(from, &item);
            }
        }
    }
}

impl Listening {
    /// The edge watches these storages, or no longer does.
    pub(super) fn watch(&self, watch: Watch) {
        self.gossip.watch(self.id, watch);
    }

    /// What devices at the edge have.
    pub(super) fn say(&self, told: RemoteHeads) {
        self.gossip.say(self.id, told);
    }

    /// The edge has forgotten what others watch.
    pub(super) fn tell_again(&self) {
        if let Some(listeners) = self.gossip.hub().institutes.get_mut(&self.institute) {
            listeners.tell_again(self.id);
        }
    }

    /// The next message for the edge, when there is one.
    pub(super) async fn next(&self) -> LinkMessage {
        loop {
            if let Some(message) = self.take() {
                return message;
            }
            self.wake.notified().await;
        }
    }

    fn take(&self) -> Option<LinkMessage> {
        let mut hub = self.gossip.hub();
        let listeners = hub.institutes.get_mut(&self.institute)?;
        listeners.by_id.get_mut(&self.id)?.waiting.next(&self.institute, MESSAGE_BYTES)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut hub = self.gossip.hub();
        let Some(listeners) = hub.institutes.get_mut(&self.institute) else { return };
        let watched = listeners.by_id.get(&self.id).map(|listener| listener.watched.clone());
        for storage in watched.unwrap_or_default() {
            listeners.unwatch(self.id, &storage);
        }
        listeners.by_id.remove(&self.id);
        hub.forget_if_empty(&self.institute);
    }
}

impl Hub {
    /// Without edges here there is only what others watch; what they still are to be told, they forget in a while.
    fn forget_if_empty(&mut self, institute: &str) {
        let empty = |listeners: &Listeners| {
            listeners.watchers.is_empty() && listeners.by_id.keys().all(|id| *id == OTHERS)
        };
        if self.institutes.get(institute).is_some_and(empty) {
            self.institutes.remove(institute);
        }
    }
}

impl Listeners {
    /// The other processes listen too, if there are any.
    fn have_others(&mut self, wake: Option<Arc<Notify>>) {
        if let Some(wake) = wake {
            self.by_id.entry(OTHERS).or_insert_with(|| Listener { wake, ..Listener::default() });
        }
    }

    fn change(&mut self, id: ListenerId, watch: Watch) {
        for storage in watch.remove {
            self.unwatch(id, &storage);
        }
        for storage in watch.add {
            self.watch(id, storage);
        }
    }

    fn watch(&mut self, id: ListenerId, storage: String) {
        let Some(listener) = self.by_id.get_mut(&id) else { return };
        // What is remembered of other processes has its own limit.
        let room = id == OTHERS
            || listener.watched.len() < MAX_WATCHED_STORAGES
            || listener.watched.contains(&storage);
        if !room || storage.len() > MAX_STORAGE_BYTES {
            return;
        }
        listener.watched.insert(storage.clone());
        self.watchers.entry(storage.clone()).or_default().insert(id);
        // Also those who know that it is watched: they say again what they know, for whoever has come.
        for (_, other) in self.by_id.iter_mut().filter(|(other, _)| **other != id) {
            other.tell_watch(&storage, true);
        }
    }

    fn unwatch(&mut self, id: ListenerId, storage: &str) {
        let listener = self.by_id.get_mut(&id);
        if !listener.is_some_and(|listener| listener.watched.remove(storage)) {
            return;
        }
        let Some(watchers) = self.watchers.get_mut(storage) else { return };
        watchers.remove(&id);
        for (other, listener) in self.by_id.iter_mut().filter(|(other, _)| **other != id) {
            if watchers.iter().all(|watcher| watcher == other) {
                listener.tell_watch(storage, false);
            }
        }
        if watchers.is_empty() {
            self.watchers.remove(storage);
        }
    }

    fn say(&mut self, from: ListenerId, item: &StorageHeads) {
        for id in self.watchers.get(&item.storage).into_iter().flatten().filter(|id| **id != from) {
            if let Some(listener) = self.by_id.get_mut(id) {
                listener.tell_heads(item);
            }
        }
    }

    /// Tells all that others watch.
    fn tell_again(&mut self, id: ListenerId) {
        let Some(listener) = self.by_id.get_mut(&id) else { return };
        for (storage, watchers) in &self.watchers {
            if watchers.iter().any(|watcher| *watcher != id) {
                listener.tell_watch(storage, true);
            }
        }
    }
}

impl Listener {
    fn tell_watch(&mut self, storage: &str, watched: bool) {
        self.waiting.watch.insert(storage.to_owned(), watched);
        self.wake.notify_one();
    }

    fn tell_heads(&mut self, item: &StorageHeads) {
        let key = (item.storage.clone(), item.document);
        let before = self.waiting.heads.get(&key).map(|(_, said_at)| *said_at);
        let room = before.is_some() || self.waiting.heads.len() < MAX_WAITING_HEADS;
        if room && before.is_none_or(|before| item.said_at >= before) {
            self.waiting.heads.insert(key, (item.heads.clone(), item.said_at));
            self.wake.notify_one();
        }
    }
}

impl Waiting {
    /// A message of about so many bytes at most, if anything waits.
    fn next(&mut self, institute: &str, bytes: usize) -> Option<LinkMessage> {
        let institute = institute.to_owned();
        let mut room = bytes;
        if !self.watch.is_empty() {
            let mut watch = Watch { institute, ..Watch::default() };
            while let Some(entry) = self.watch.first_entry()
                && let Some(left) = room.checked_sub(entry.key().len() + ITEM_BYTES)
            {
                let (storage, watched) = entry.remove_entry();
                if watched {
                    watch.add.push(storage)
                } else {
                    watch.remove.push(storage)
                }
                room = left;
            }
            return Some(LinkMessage::Watch(watch));
        }
        let mut items = Vec::new();
        while let Some(entry) = self.heads.first_entry()
            && let Some(left) =
                room.checked_sub(entry.key().0.len() + entry.get().0.len() * HEAD_BYTES + ITEM_BYTES)
        {
            let ((storage, document), (heads, said_at)) = entry.remove_entry();
            items.push(StorageHeads { storage, document, heads, said_at });
            room = left;
        }
        (!items.is_empty()).then_some(LinkMessage::RemoteHeads(RemoteHeads { institute, items }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "northside.example";

    fn watch(add: &[&str], remove: &[&str]) -> Watch {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Watch { institute: HERE.into(), add: texts(add), remove: texts(remove) }
    }

    fn heads(storage: &str, head: u8, said_at: u64) -> RemoteHeads {
        let (document, heads) = (DocumentId::from_bytes([1; 16]), vec![Hash([head; 32])]);
        let item = StorageHeads { storage: storage.into(), document, heads, said_at };
        RemoteHeads { institute: HERE.into(), items: vec![item] }
    }

    #[test]
    fn who_watches_hears_of_it_from_the_others_and_nobody_else_does() {
        let gossip = Gossip::default();
        let (a, b, c) = (gossip.join(HERE), gossip.join(HERE), gossip.join(HERE));
        let elsewhere = gossip.join("riverside.example");
        a.watch(watch(&["s"], &[]));
        for other in [&b, &c] {
            assert_eq!(other.take(), Some(LinkMessage::Watch(watch(&["s"], &[]))));
        }
        b.say(heads("s", 1, 1));
        b.say(heads("t", 1, 1));
        assert_eq!(a.take(), Some(LinkMessage::RemoteHeads(heads("s", 1, 1))));
        assert!([&a, &b, &c, &elsewhere].iter().all(|edge| edge.take().is_none()));

        // Whoever comes later is asked too, and a second who watches lets the first be asked as well.
        let d = gossip.join(HERE);
        assert_eq!(d.take(), Some(LinkMessage::Watch(watch(&["s"], &[]))));
        b.watch(watch(&["s"], &[]));
        for other in [&a, &c, &d] {
            assert_eq!(other.take(), Some(LinkMessage::Watch(watch(&["s"], &[]))));
        }
        // With the first gone, the second is left, and nobody asks it for what it alone watches.
        drop(a);
        assert_eq!(b.take(), Some(LinkMessage::Watch(watch(&[], &["s"]))));
        assert_eq!(c.take(), None);
        b.watch(watch(&[], &["s"]));
        assert_eq!(c.take(), Some(LinkMessage::Watch(watch(&[], &["s"]))));
        drop((b, c, d));
        assert_eq!(gossip.hub().institutes.len(), 1, "nothing is kept of those who left");
    }

    #[test]
    fn the_other_processes_are_one_more_edge_before_and_after_those_of_this_one() {
        let gossip = Gossip::default();
        gossip.connect_others(Arc::default());
        gossip.others_watch(watch(&["far"], &[]));
        let edge = gossip.join(HERE);
        assert_eq!(edge.take(), Some(LinkMessage::Watch(watch(&["far"], &[]))));
        edge.say(heads("far", 1, 1));
        edge.watch(watch(&["near"], &[]));
        assert_eq!(gossip.watched_here(), [(HERE.to_owned(), "near".to_owned())]);
        let told = std::iter::from_fn(|| gossip.next_for_others(1_000)).collect::<Vec<_>>();
        assert_eq!(
            told,
            [LinkMessage::Watch(watch(&["near"], &[])), LinkMessage::RemoteHeads(heads("far", 1, 1))]
        );
        gossip.others_say(heads("near", 2, 2));
        assert_eq!(edge.take(), Some(LinkMessage::RemoteHeads(heads("near", 2, 2))));
        assert_eq!(gossip.next_for_others(1_000), None, "what they said is not said back");
        drop(edge);
        gossip.others_watch(watch(&[], &["far"]));
        assert!(gossip.hub().institutes.is_empty());
    }

    #[test]
    fn of_what_waits_the_newest_counts_and_there_is_an_end_to_it() {
        let gossip = Gossip::default();
        let (slow, quick) = (gossip.join(HERE), gossip.join(HERE));
        let many: Vec<String> = (0..=MAX_WATCHED_STORAGES).map(|n| n.to_string()).collect();
        slow.watch(Watch { institute: HERE.into(), add: many, remove: Vec::new() });
        for (head, said_at) in [(1, 5), (2, 7), (3, 6)] {
            quick.say(heads("0", head, said_at));
        }
        assert_eq!(slow.take(), Some(LinkMessage::RemoteHeads(heads("0", 2, 7))));
        let mut asked = 0;
        while let Some(LinkMessage::Watch(watch)) = quick.take() {
            assert!(watch.add.iter().map(String::len).sum::<usize>() <= MESSAGE_BYTES);
            asked += watch.add.len();
        }
        assert_eq!(asked, MAX_WATCHED_STORAGES);
        let of = |n: u32| {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            DocumentId::from_bytes(bytes)
        };
        for n in 0..2 * MAX_WAITING_HEADS as u32 {
            let mut told = heads("0", 1, 8);
            told.items[0].document = of(n);
            quick.say(told);
        }
        let mut told = 0;
        while let Some(LinkMessage::RemoteHeads(message)) = slow.take() {
            told += message.items.len();
        }
        assert_eq!(told, MAX_WAITING_HEADS);
    }
}
