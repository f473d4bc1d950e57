//! A device as any automerge-repo client is: documents, sync states that live as long as a connection, a socket.

use crate::Rng;
use crate::edge::Edge;
use crate::rights::kind_of;
use crate::{DEVICES, claims, wire};
use automerge::sync::{Message, State, SyncDoc as _};
use automerge::transaction::Transactable as _;
use automerge::{Automerge, Change, ChangeHash, ROOT, ReadDoc as _};
use std::collections::{BTreeMap, BTreeSet};
use sync_protocol::actor::registered;
use sync_protocol::document_id::DocumentId;
use sync_protocol::kind::{self, Kind, MARKS, versions};
use sync_protocol::repo_message::RepoMessage;
use sync_protocol::token::Claims;

pub(crate) struct Device {
    claims: Claims,
    documents: BTreeMap<DocumentId, Automerge>,
    states: BTreeMap<DocumentId, State>,
    acknowledged: BTreeMap<DocumentId, BTreeSet<ChangeHash>>,
    /// Heads that the origin has, as the edge last said.
    committed: BTreeMap<DocumentId, BTreeSet<ChangeHash>>,
    /// What it was told on this connection that other storages have, and the time that was named last.
    remote: BTreeMap<(String, DocumentId), Vec<String>>,
    told_at: f64,
    connection: Option<(usize, u64)>,
    /// How many phones this user has lost.
    lost: u8,
    /// All that this user has written, on whatever phone.
    written: BTreeSet<ChangeHash>,
}

impl Device {
    pub(crate) fn new(claims: Claims) -> Self {
        Self {
            claims,
            documents: BTreeMap::new(),
            states: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            committed: BTreeMap::new(),
            remote: BTreeMap::new(),
            told_at: 0.0,
            connection: None,
            lost: 0,
            written: BTreeSet::new(),
        }
    }

    pub(crate) fn is_at(&self, edge: usize) -> bool {
        self.connection.is_some_and(|(at, _)| at == edge)
    }

    /// Opens a sheet offline: registered documents begin the same on every device.
    pub(crate) fn open(&mut self, document: DocumentId) -> &mut Automerge {
        let unique = [self.lost, document.as_bytes()[0], 0, 0, 0, 0, 0, 0];
        let actor = registered(&self.claims.dev, unique);
        self.documents.entry(document).or_insert_with(|| {
            let genesis = kind::genesis(kind_of(document), document).unwrap();
            Automerge::load(&genesis).unwrap().with_actor(actor)
        })
    }

    /// The change that it made; none when the mark was there already.
    pub(crate) fn mark(&mut self, document: DocumentId, rng: &mut Rng) -> Option<ChangeHash> {
        let student = format!("student-{}", rng.below(5));
        let mark = MARKS[rng.below(MARKS.len())];
        let doc = self.open(document);
        let sheet = match kind_of(document) {
            Kind::Attendance => doc.get(ROOT, "marks").unwrap().unwrap().1,
            _ => ROOT,
        };
        let mut tx = doc.transaction();
        tx.put(&sheet, student, mark).unwrap();
        let (written, _) = tx.commit();
        self.written.extend(written);
        written
    }

    /// A remark on a sheet, by a device that knows what a remark is; an old document becomes a new one for it, offline or not.
    pub(crate) fn remark(&mut self, document: DocumentId, rng: &mut Rng) {
        if kind_of(document) != Kind::Attendance {
            return;
        }
        let student = format!("student-{}", rng.below(5));
        let doc = self.open(document);
        let migrations = versions::migrate(doc, Kind::Attendance, document);
        let made: Vec<ChangeHash> = migrations.iter().map(Change::hash).collect();
        doc.apply_changes(migrations).unwrap();
        let remarks = versions::container(doc, document, "remarks").unwrap();
        let mut tx = doc.transaction();
        tx.put(&remarks, student, format!("remark {}", rng.below(1_000))).unwrap();
        let (written, _) = tx.commit();
        self.written.extend(made.into_iter().chain(written));
    }

    /// Gives another device all of a document, and takes what that one has.
    pub(crate) fn meet(&mut self, other: &mut Self, document: DocumentId) {
        let (one, other) = (self.open(document), other.open(document));
        one.merge(other).unwrap();
        other.merge(one).unwrap();
    }

    pub(crate) fn connect(&mut self, edge: usize, edges: &mut [Edge]) {
        if self.connection.is_none() {
            let session = edges[edge].open(self.claims.clone());
            let (sender, target) = (self.claims.dev.clone(), String::new());
            edges[edge].deliver(session, wire::join_with_storage(&sender, self.storage(), true));
            let add = (0..DEVICES).map(|n| claims(n).name).filter(|name| name != self.storage()).collect();
            let subscribe = RepoMessage::Subscribe { sender, target, add, remove: Vec::new() };
            edges[edge].deliver(session, subscribe.encode());
            self.connection = Some((edge, session));
            self.remote.clear();
            self.told_at = 0.0;
            self.states.clear();
        }
    }

    pub(crate) fn disconnect(&mut self, edges: &mut [Edge]) {
        if let Some((edge, session)) = self.connection.take() {
            edges[edge].close(session);
            self.states.clear();
        }
    }

    /// The phone is gone, with all that it had not handed over. What it was told is durable must not be.
    pub(crate) fn lose(&mut self, edges: &mut [Edge]) {
        self.disconnect(edges);
        self.documents.clear();
        self.lost += 1;
    }

    /// Reads one frame, or writes one. False when there is neither.
    pub(crate) fn exchange_one(&mut self, edges: &mut [Edge]) -> bool {
        let Some((edge, session)) = self.connection else { return false };
        if let Some(frame) = edges[edge].take_frame(session) {
            match frame {
                Some(bytes) => self.read(&bytes),
                None => {
                    self.connection = None;
                    self.states.clear();
                }
            }
            return true;
        }
        for (document, doc) in &self.documents {
            let state = self.states.entry(*document).or_default();
            if let Some(message) = doc.generate_sync_message(state) {
                let sync = RepoMessage::Sync {
                    request: false,
                    sender: self.claims.dev.clone(),
                    target: String::new(),
                    document: *document,
                    data: message.encode(),
                };
                edges[edge].deliver(session, sync.encode());
                return true;
            }
        }
        false
    }

    fn read(&mut self, bytes: &[u8]) {
        match RepoMessage::decode(bytes).unwrap() {
            RepoMessage::Sync { document, data, .. } => {
                let message = Message::decode(&data).unwrap();
                let told = message.heads.clone();
                let mut state = std::mem::take(self.states.entry(document).or_default());
                let doc = self.open(document);
                doc.receive_sync_message(&mut state, message).unwrap();
                // What the edge says it has, it has made durable: with all that it depends on.
                let has = told.iter().all(|head| doc.get_change_meta_by_hash(head).is_some());
                let durable = match has && !told.is_empty() {
                    true => doc.fork_at(&told).unwrap().get_changes(&[]),
                    false => Vec::new(),
                };
                self.states.insert(document, state);
                let hashes = durable.into_iter().map(|change| change.hash());
                self.acknowledged.entry(document).or_default().extend(hashes);
            }
            RepoMessage::Committed { document, heads, .. } => {
                self.committed.insert(document, heads.into_iter().map(Into::into).collect());
            }
            RepoMessage::Error { message, .. } if message == "the user is deactivated" => {}
            RepoMessage::Error { message, .. } => panic!("the edge refused an honest device: {message}"),
            // The log says whether there was a reason.
            RepoMessage::Refused { .. } => {}
            RepoMessage::Unavailable { .. } | RepoMessage::Peer { .. } => {}
            RepoMessage::Other => {
                let told = wire::remote_heads(bytes).unwrap();
                assert!(told.timestamp > self.told_at, "a client passes over what is not later");
                self.told_at = told.timestamp;
                self.remote.insert((told.storage, told.document), told.heads);
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Other clients name its store so.
    pub(crate) fn storage(&self) -> &str {
        &self.claims.name
    }

    /// What it was told that another has of a document.
    pub(crate) fn remote_heads(&self, storage: &str, document: DocumentId) -> Vec<String> {
        self.remote.get(&(storage.to_owned(), document)).cloned().unwrap_or_default()
    }

    /// Its own heads of a document, in the same form.
    pub(crate) fn heads(&self, document: DocumentId) -> Vec<String> {
        let heads = self.documents[&document].get_heads();
        heads.iter().map(|head| bs58::encode(head.0).with_check().into_string()).collect()
    }

    pub(crate) fn user(&self) -> &str {
        &self.claims.sub
    }

    pub(crate) fn has(&self, document: DocumentId, hash: &ChangeHash) -> bool {
        self.documents.get(&document).is_some_and(|doc| doc.get_change_meta_by_hash(hash).is_some())
    }

    pub(crate) fn has_written(&self, hash: &ChangeHash) -> bool {
        self.written.contains(hash)
    }

    /// All changes of a document, in causal order.
    pub(crate) fn changes(&self, document: DocumentId) -> Vec<Change> {
        self.documents[&document].get_changes(&[])
    }

    pub(crate) fn committed(&self, document: DocumentId) -> BTreeSet<ChangeHash> {
        self.committed.get(&document).cloned().unwrap_or_default()
    }

    pub(crate) fn acknowledged(&self, document: DocumentId) -> BTreeSet<ChangeHash> {
        self.acknowledged.get(&document).cloned().unwrap_or_default()
    }
}
