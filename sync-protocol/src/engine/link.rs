//! The engine's side of the link: it follows the institute's feed, pulls documents that the origin knows better, and
//! pushes what devices have written.

use super::document::Document;
use super::slots::Slot;
use super::{Effect, Engine, Position};
use crate::document_id::DocumentId;
use crate::document_limits::{CHANGE_TOO_LARGE, MAX_CHANGE_BYTES};
use crate::kind::{Access, DELETED};
use crate::link::{
    Document as OriginDocument, DocumentHeads, DocumentRecord, Feed, Follow, Following, Hash, LinkMessage,
    Pull, Push, PushItem, Pushed,
};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

/// Documents that are pulled at one time in the background. Devices that wait for one do not count.
const MAX_BACKGROUND_PULLS: usize = 16;
/// How long one of them may wait for its answer, in milliseconds, before another has its place: the origin answers no pull of a
/// document that it cannot read, and a slow link carries the largest answer in less.
pub const PULL_ANSWER_MS: u64 = 60_000;

pub(super) struct LinkState {
    up: bool,
    /// The origin has answered [`Follow`] on this connection.
    following: bool,
    epoch: u64,
    revision: u64,
    log: String,
    acknowledged: u64,
    /// A [`Push`] waits for its answer.
    pushing: bool,
    /// The log may hold changes that are not pushed.
    pub(super) unpushed: bool,
    /// Documents of which the origin has more, with the heads that the feed has named last, if it has.
    behind: BTreeMap<DocumentId, Vec<Hash>>,
    /// Those of them that are asked for, or are being loaded in order to be, and since when.
    pulling: BTreeMap<DocumentId, u64>,
    /// The last that was asked for: those after it have their turn next, so that none waits behind one that never ends.
    pulled_last: Option<DocumentId>,
}

impl LinkState {
    pub(super) fn new(position: Position) -> Self {
        Self {
            up: false,
            following: false,
            epoch: position.epoch,
            revision: position.revision,
            log: position.log,
            acknowledged: position.acknowledged,
            pushing: false,
            unpushed: true,
            behind: position.behind.into_iter().map(|document| (document, Vec::new())).collect(),
            pulling: BTreeMap::new(),
            pulled_last: None,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    /// The origin has answered on this connection.
    pub(super) fn is_following(&self) -> bool {
        self.following
    }

    /// Name of this edge's log.
    pub(super) fn log(&self) -> &str {
        &self.log
    }

    /// Heads that the feed has named and that were not pulled yet.
    fn news_of(&self, document: DocumentId) -> &[Hash] {
        self.behind.get(&document).map_or(&[], Vec::as_slice)
    }

    pub(super) fn is_pulled(&self, document: DocumentId) -> bool {
        self.pulling.contains_key(&document)
    }

    pub(super) fn pulled_first(&self) -> Option<DocumentId> {
        self.pulling.first_key_value().map(|(document, _)| *document)
    }

    /// Takes back what was asked for and not answered in time: it is asked for again when its turn comes.
    pub(super) fn give_up_late_pulls(&mut self, now: u64) {
        self.pulling.retain(|_, since| now.abs_diff(*since) < PULL_ANSWER_MS);
    }

    /// Documents of which the origin has more and that are not asked for, at most `room`, beginning behind the last.
    fn next_to_pull(&self, room: usize) -> Vec<DocumentId> {
        let idle = |(document, _): &(&DocumentId, &Vec<Hash>)| !self.pulling.contains_key(document);
        let behind = match self.pulled_last {
            Some(last) => self.behind.range((Bound::Excluded(last), Bound::Unbounded)),
            None => self.behind.range(..),
        };
        let before = self.pulled_last.map(|last| self.behind.range(..=last)).into_iter().flatten();
        behind.chain(before).filter(idle).take(room).map(|(document, _)| *document).collect()
    }

    /// The document needs no pull any more.
    pub(super) fn settled(&mut self, document: DocumentId) {
        self.behind.remove(&document);
        self.pulling.remove(&document);
    }
}

impl Engine {
    pub(super) fn link_up(&mut self) {
        self.link.up = true;
        self.link.following = false;
        self.link.pushing = false;
        self.link.pulling.clear();
        self.follow();
    }

    fn follow(&mut self) {
        self.link.following = false;
        self.gossip.restart(false);
        self.effects.push(Effect::Link(LinkMessage::Follow(Follow {
            institute: self.institute.clone(),
            epoch: self.link.epoch,
            revision: self.link.revision,
            log: self.link.log.clone(),
            directory: self.rights.directory.is_some(),
            gossip: true,
        })));
    }

    pub(super) fn link_down(&mut self, now: u64) {
        self.link.up = false;
        self.link.following = false;
        self.link.pulling.clear();
        self.gossip.restart(false);
        let waiting: Vec<DocumentId> = self
            .slots
            .iter()
            .filter(|(_, slot)| matches!(slot, Slot::Pulling { .. }))
            .map(|(document, _)| *document)
            .collect();
        for document in waiting {
            self.give_up_pulling(now, document);
        }
    }

    pub(super) fn link_message(&mut self, now: u64, message: LinkMessage) {
        if message.institute() != Some(&self.institute) {
            return;
        }
        match message {
            LinkMessage::Following(following) => self.followed(following),
            LinkMessage::Feed(feed) => self.feed(now, feed),
            LinkMessage::Directory(page) => self.directory_page(now, page),
            LinkMessage::Pushed(pushed) => self.pushed(now, pushed),
            LinkMessage::Document(document) => self.pulled(now, document),
            LinkMessage::Quarantined(told) => self.told_origin(told),
            LinkMessage::Watch(watch) => self.watched_elsewhere(now, watch),
            LinkMessage::RemoteHeads(told) => self.remote_heads(now, told),
            LinkMessage::Welcome(_)
            | LinkMessage::Follow(_)
            | LinkMessage::Push(_)
            | LinkMessage::Pull(_)
            | LinkMessage::Quarantine(_) => {}
        }
    }

    fn followed(&mut self, following: Following) {
        if following.log != self.link.log {
            return;
        }
        self.link.following = true;
        self.telling.restart();
        self.gossip.restart(following.gossip);
        self.link.pushing = false;
        self.link.unpushed = true;
        self.link.epoch = following.epoch;
        self.link.revision = following.revision;
        self.effects.push(Effect::SaveCursor { epoch: following.epoch, revision: following.revision });
        // How far the origin has come with the log is not how far it has been heard: what it said of refused changes on the link
        // before may be lost. All that was not answered is pushed again; the origin knows what it has, and refuses again.
        if following.reset {
            // What the feed named was of a history that may have ended.
            self.link.behind.values_mut().for_each(Vec::clear);
            self.effects.push(Effect::ListDocuments);
        }
        // Devices that were told that there is no such document may be told better.
        let wanted: Vec<DocumentId> = self.interest.keys().copied().collect();
        self.pull_later(wanted);
    }

    fn acknowledge(&mut self, sequence: u64) {
        if sequence > self.link.acknowledged {
            self.link.acknowledged = sequence;
            self.effects.push(Effect::SaveAcknowledged(sequence));
        }
    }

    fn feed(&mut self, now: u64, feed: Feed) {
        if !self.link.following || feed.revision <= self.link.revision {
            return;
        }
        if feed.revision != self.link.revision + 1 {
            return self.follow();
        }
        self.link.revision = feed.revision;
        let (gone, changed): (Vec<_>, Vec<_>) =
            feed.documents.into_iter().partition(DocumentHeads::is_deleted);
        for entry in gone {
            self.delete(now, entry.document);
        }
        for entry in &changed {
            self.committed(entry.document, &entry.heads);
        }
        let lacking: Vec<DocumentHeads> = changed
            .into_iter()
            .filter(|entry| match self.slots.get(&entry.document) {
                Some(Slot::Ready(doc)) => {
                    doc.unconfirmed || !entry.heads.iter().all(|head| doc.knows(&(*head).into()))
                }
                Some(Slot::Loading { .. } | Slot::Pulling { .. } | Slot::Awaited { .. }) | None => true,
                Some(Slot::Deleted { .. }) => false,
            })
            .collect();
        self.pull_later(lacking.iter().map(|entry| entry.document).collect());
        for entry in lacking {
            self.link.behind.insert(entry.document, entry.heads);
        }
        self.members_changed(now, feed.members);
        self.effects.push(Effect::SaveCursor { epoch: self.link.epoch, revision: feed.revision });
    }

    /// Remembers, over a restart too, that the origin has more of these documents.
    pub(super) fn pull_later(&mut self, documents: Vec<DocumentId>) {
        for document in documents {
            // An answer under way may be older than this news.
            self.link.pulling.remove(&document);
            if let Entry::Vacant(entry) = self.link.behind.entry(document) {
                entry.insert(Vec::new());
                self.effects.push(Effect::MarkBehind(document));
            }
        }
    }

    /// Starts what the link has room for. Called when a batch of events is done.
    pub(super) fn pump_link(&mut self) {
        if !self.link.following {
            return;
        }
        let room = MAX_BACKGROUND_PULLS.saturating_sub(self.link.pulling.len());
        for document in self.link.next_to_pull(room) {
            self.link.pulling.insert(document, self.now);
            self.link.pulled_last = Some(document);
            match self.slots.get(&document) {
                Some(Slot::Ready(doc)) => {
                    let have = doc.automerge.get_heads().into_iter().map(Hash::from).collect();
                    self.pull(document, have);
                }
                // What is under way for a device that waits was asked for before the news.
                Some(Slot::Awaited { .. } | Slot::Pulling { .. }) => self.pull(document, Vec::new()),
                Some(Slot::Loading { .. }) => drop(self.link.pulling.remove(&document)),
                Some(Slot::Deleted { .. }) => self.link.settled(document),
                None => {
                    self.slots.insert(document, Slot::Loading { waiting: Vec::new() });
                    // Once it is loaded it is dirty, and the flush after that comes here again.
                    self.link.pulling.remove(&document);
                    self.effects.push(Effect::Load(document));
                }
            }
        }
        if self.link.unpushed && !self.link.pushing {
            self.link.unpushed = false;
            self.effects.push(Effect::ReadLog { after: self.link.acknowledged });
        }
    }

    /// Asks for a document of which there is nothing here, because somebody waits for it.
    pub(super) fn ask_for(&mut self, document: DocumentId) {
        if self.link.behind.contains_key(&document) {
            self.link.pulling.insert(document, self.now);
        }
        self.pull(document, Vec::new());
    }

    fn pull(&mut self, document: DocumentId, have: Vec<Hash>) {
        let institute = self.institute.clone();
        self.effects.push(Effect::Link(LinkMessage::Pull(Pull { institute, document, have })));
    }

    pub(super) fn push(&mut self, mut items: Vec<PushItem>) {
        if items.is_empty() || !self.link.following {
            return;
        }
        // A log from before there was a limit may have them. No message has room for one, and nothing behind it would ever go.
        for item in items.extract_if(.., |item| item.bytes.len() > MAX_CHANGE_BYTES) {
            self.link.unpushed = true;
            self.discard(item.document, vec![(item.sequence, CHANGE_TOO_LARGE.to_owned())]);
        }
        if items.is_empty() {
            return;
        }
        self.link.pushing = true;
        let (institute, log) = (self.institute.clone(), self.link.log.clone());
        self.effects.push(Effect::Link(LinkMessage::Push(Push { institute, log, items })));
    }

    fn pushed(&mut self, now: u64, pushed: Pushed) {
        if pushed.log != self.link.log {
            return;
        }
        self.link.pushing = false;
        self.link.unpushed = true;
        let mut refused = BTreeMap::<DocumentId, Vec<(u64, String)>>::new();
        for item in pushed.refused {
            refused.entry(item.document).or_default().push((item.sequence, item.code));
        }
        for (document, refused) in refused {
            match refused.iter().any(|(_, code)| code == DELETED) {
                true => self.delete(now, document),
                false => self.discard(document, refused),
            }
        }
        self.acknowledge(pushed.acknowledged);
    }

    /// The origin does not take what this edge has merged: its word counts. The edge forgets its copy and fetches the
    /// origin's; the refused changes stay in quarantine and are not taken again.
    fn discard(&mut self, document: DocumentId, refused: Vec<(u64, String)>) {
        let code = refused.first().map(|(_, code)| code.clone()).unwrap_or_default();
        self.effects.push(Effect::Report(format!("the origin refused changes of {document}: {code}")));
        self.effects.push(Effect::Discard { document, refused });
        self.dirty.remove(&document);
        if let Some(Slot::Ready(doc)) = self.slots.remove(&document) {
            for reader in doc.readers {
                if let Some(session) = self.sessions.get_mut(&reader) {
                    session.states.remove(&document);
                }
                self.unavailable(reader, document);
            }
        }
        self.forget_parked(document);
        self.pull_later(vec![document]);
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one state after the other of a document that the origin answers about"
    )]
    fn pulled(&mut self, now: u64, answer: OriginDocument) {
        let document = answer.document;
        if answer.deleted {
            return self.delete(now, document);
        }
        if answer.record.is_none() && !self.link.news_of(document).is_empty() {
            // It was asked for before the feed named the document; the answer to what was asked since then counts.
            return;
        }
        let newest = self.link.is_pulled(document) || !self.link.behind.contains_key(&document);
        let (mut doc, waiting) = match self.slots.remove(&document) {
            Some(Slot::Ready(doc)) => (doc, Vec::new()),
            Some(Slot::Pulling { waiting, refused, .. } | Slot::Awaited { waiting, refused, .. }) => {
                let mut doc = Box::new(Document::new(document, "", now));
                doc.refuse(refused);
                (doc, waiting)
            }
            Some(loading @ Slot::Loading { .. }) => {
                // It is asked for again once it is loaded.
                self.link.pulling.remove(&document);
                self.slots.insert(document, loading);
                return;
            }
            Some(deleted @ Slot::Deleted { .. }) => {
                self.slots.insert(document, deleted);
                return;
            }
            None => {
                self.link.pulling.remove(&document);
                return;
            }
        };
        let Some(record) = answer.record else {
            self.link.settled(document);
            return match doc.record {
                Some(_) => drop(self.slots.insert(document, Slot::Ready(doc))),
                None => self.unknown(now, document, waiting, doc.into_refused()),
            };
        };
        if doc.unconfirmed && doc.record.as_ref().is_some_and(|guess| *guess != record) {
            return self.start_over(document, &record, *doc);
        }
        doc.unconfirmed = false;
        if doc.record.as_ref() != Some(&record) {
            self.judge_anew(document, &record, &mut doc);
            doc.record = Some(record.clone());
            self.effects.push(Effect::SaveRecord(record));
        }
        for binding in answer.actors {
            // The origin has heard of all edges: its word counts.
            if doc.actors.put(binding.clone()) {
                self.effects.push(Effect::SaveBinding { document, binding });
            }
        }
        let chunks: Vec<Vec<u8>> = answer.chunks.into_iter().map(Into::into).collect();
        let (first, before) = (doc.automerge.is_empty(), doc.automerge.get_heads());
        let merged = doc.merge_from_origin(&chunks);
        let broken = merged.is_err();
        match merged {
            Ok(_) if first => {
                doc.tail = 0;
                self.effects.push(Effect::Snapshot { document, bytes: doc.automerge.save() });
            }
            Ok(new) => {
                for change in new {
                    let (hash, author, bytes) = (change.hash.into(), change.author, change.bytes);
                    self.effects.push(Effect::Append { document, hash, author, bytes });
                }
            }
            Err(error) => {
                self.effects
                    .push(Effect::Report(format!("the origin's copy of {document} is broken: {error}")));
            }
        }
        if newest && self.link.news_of(document).iter().all(|head| broken || doc.knows(&(*head).into())) {
            self.link.settled(document);
            self.effects.push(Effect::MarkCurrent(document));
        }
        let now_has = doc.automerge.get_heads();
        if now_has != before {
            self.ask_for_forgotten(document);
            if !answer.heads.iter().all(|head| doc.knows(&(*head).into())) {
                // It did not fit in one message: the next goes on from here.
                self.pull(document, now_has.into_iter().map(Hash::from).collect());
            }
        }
        self.make_ready(now, document, doc, waiting);
        self.committed(document, &answer.heads);
        self.release(document);
    }

    /// What this edge took for somebody's private document is another one: what it took in was judged by the wrong rights and
    /// rules, and must not reach those who read the document in truth. They begin anew, with the origin's copy, and devices
    /// that may write are asked for all that they have. What was acknowledged stays in the log until the origin has judged it.
    fn start_over(&mut self, document: DocumentId, record: &DocumentRecord, doc: Document) {
        self.effects.push(Effect::Discard { document, refused: Vec::new() });
        self.dirty.remove(&document);
        for id in doc.readers {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            session.states.remove(&document);
            match self.rights.access_to(Some(record), "", &session.claims) {
                Access::None => self.unavailable(id, document),
                Access::Read | Access::Write => self.take_interest(id, document),
            }
        }
        self.pull_later(vec![document]);
    }

    /// Takes in what devices brought earlier and what waited for this.
    fn release(&mut self, document: DocumentId) {
        let Some(Slot::Ready(doc)) = self.slots.get_mut(&document) else { return };
        let released = {
            let judge = self.rights.judge(None);
            doc.release(&self.limits, &judge)
        };
        match released {
            Ok(received) => {
                self.log_admitted(document, received.admitted, received.bound);
                self.set_aside_held(document, received.rejected);
            }
            Err(error) => {
                self.effects.push(Effect::Report(format!("{document}, what waited for the origin: {error}")));
                self.drop_document(document);
            }
        }
    }
}
