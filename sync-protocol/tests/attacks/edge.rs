//! An edge without a disk: a log that knows registered documents and forgets what is written, counting what the engine says.

use automerge::Automerge;
use automerge::sync::{State, SyncDoc as _};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use sync_protocol::document_id::DocumentId;
use sync_protocol::engine::{Effect, Engine, Event, Limits, Position, SessionId, Stored};
use sync_protocol::kind::{self, Kind};
use sync_protocol::link::DocumentRecord;
use sync_protocol::repo_message::RepoMessage;
use sync_protocol::token::{AUDIENCE, Claims, ISSUER, Role};

pub(crate) struct Edge {
    pub(crate) engine: Engine,
    pub(crate) now: u64,
    registered: BTreeMap<DocumentId, Stored>,
    pub(crate) sent: Vec<(SessionId, RepoMessage)>,
    pub(crate) closed: BTreeSet<SessionId>,
    /// Codes of quarantined changes.
    pub(crate) quarantined: Vec<String>,
    pub(crate) appended: usize,
    pub(crate) loads: usize,
}

pub(crate) fn id(n: u32) -> DocumentId {
    let mut bytes = [1; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    DocumentId::from_bytes(bytes)
}

impl Edge {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            engine: Engine::new("northside.example", limits, Position::default()),
            now: 1_000_000,
            registered: BTreeMap::new(),
            sent: Vec::new(),
            closed: BTreeSet::new(),
            quarantined: Vec::new(),
            appended: 0,
            loads: 0,
        }
    }

    /// A document of batch `b1`, of which `tara` is a teacher.
    pub(crate) fn register(&mut self, n: u32, kind: Kind) -> Automerge {
        let document = id(n);
        let record = DocumentRecord {
            document,
            kind: kind.as_str().into(),
            subject: "class-1".into(),
            batch: Some("b1".into()),
            owner: "tara".into(),
        };
        let genesis = kind::genesis(kind, document).unwrap();
        let doc = Automerge::load(&genesis).unwrap();
        self.registered.insert(
            document,
            Stored {
                record,
                chunks: vec![genesis],
                tail: 1,
                whole: true,
                committed: Vec::new(),
                actors: Vec::new(),
            },
        );
        doc
    }

    /// What the log has of a document, in place of what it began with.
    pub(crate) fn store(&mut self, n: u32, doc: &Automerge) {
        self.registered.get_mut(&id(n)).unwrap().chunks = vec![doc.save()];
    }

    pub(crate) fn run(&mut self, events: impl IntoIterator<Item = Event>) {
        let mut events: VecDeque<Event> = events.into_iter().collect();
        loop {
            let (effects, flushed) = match events.pop_front() {
                Some(event) => (self.engine.handle(self.now, event), false),
                None => (self.engine.flush(), true),
            };
            let done = flushed && effects.is_empty();
            for effect in effects {
                match effect {
                    Effect::Load(document) | Effect::LoadNews(document) => {
                        self.loads += 1;
                        let stored = self.registered.get(&document).cloned();
                        let (refused, deleted) = (Vec::new(), false);
                        events.push_front(Event::Loaded { document, stored, refused, deleted });
                    }
                    Effect::Send { session, bytes } => {
                        self.sent.push((session, RepoMessage::decode(&bytes).unwrap()));
                    }
                    Effect::Close { session, .. } => drop(self.closed.insert(session)),
                    Effect::Quarantine { code, .. } => self.quarantined.push(code),
                    Effect::SaveRecord(record) => {
                        let (committed, actors) = (Vec::new(), Vec::new());
                        let stored =
                            Stored { record, chunks: Vec::new(), tail: 0, whole: true, committed, actors };
                        self.registered.entry(stored.record.document).or_insert(stored);
                    }
                    Effect::Append { document, bytes, .. } => {
                        self.appended += 1;
                        self.registered.get_mut(&document).unwrap().chunks.push(bytes);
                    }
                    Effect::Snapshot { document, bytes } => {
                        self.registered.get_mut(&document).unwrap().chunks = vec![bytes];
                    }
                    _ => {}
                }
            }
            if done {
                return;
            }
        }
    }

    pub(crate) fn join(&mut self, session: SessionId, user: &str, peer: &str) {
        let claims = Claims {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: user.into(),
            inst: "northside.example".into(),
            role: Role::Teacher,
            name: user.into(),
            dev: format!("{user}-phone"),
            batches: vec!["b1".into()],
            iat: 0,
            exp: i64::MAX,
            jti: String::new(),
            sid: String::new(),
        };
        let bytes =
            RepoMessage::Join { sender: peer.into(), versions: vec!["1".into()], extended: true }.encode();
        self.run([Event::Opened { session, claims }, Event::Frame { session, bytes }]);
    }

    pub(crate) fn say(&mut self, session: SessionId, n: u32, data: Vec<u8>) {
        let (sender, target) = (String::new(), String::new());
        let frame = RepoMessage::Sync { request: false, sender, target, document: id(n), data };
        self.frame(session, &frame);
    }

    pub(crate) fn frame(&mut self, session: SessionId, frame: &RepoMessage) {
        self.run([Event::Frame { session, bytes: frame.encode() }]);
    }

    /// Joins the readers of a document.
    pub(crate) fn read(&mut self, session: SessionId, n: u32) {
        self.say(session, n, Automerge::new().generate_sync_message(&mut State::new()).unwrap().encode());
    }

    pub(crate) fn sent_to(&self, session: SessionId) -> usize {
        self.sent.iter().filter(|(to, _)| *to == session).count()
    }
}
