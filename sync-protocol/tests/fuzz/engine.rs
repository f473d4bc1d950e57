//! The whole engine over a log in memory: sessions of several users that say what clients say, what no client says and what is
//! half of each, a link that does the same, and a clock that runs either way.

use crate::gate::following;
use crate::input::Input;
use crate::log::Log;
use automerge::sync::{Message, State, SyncDoc as _};
use automerge::transaction::Transactable as _;
use automerge::{ActorId, Automerge, ROOT};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use sync_protocol::actor::Binding;
use sync_protocol::directory::DirectoryEntry;
use sync_protocol::document_id::DocumentId;
use sync_protocol::engine::{Effect, Engine, Event, Limits, SessionId};
use sync_protocol::gate;
use sync_protocol::kind::{self, Kind};
use sync_protocol::link::{
    DirectoryPage, Document, DocumentHeads, DocumentRecord, Feed, Following, Hash, LinkMessage, Pushed,
    Refused,
};
use sync_protocol::repo_message::RepoMessage;
use sync_protocol::token::{AUDIENCE, Claims, ISSUER, Role};

const INSTITUTE: &str = "northside.example";
const SESSIONS: u64 = 4;
const USERS: [(&str, Role, &str); 3] =
    [("sam", Role::Student, "b1"), ("tara", Role::Teacher, "b1"), ("mallory", Role::Teacher, "b2")];

fn document(n: usize) -> DocumentId {
    DocumentId::from_bytes([n as u8; 16])
}

fn record(n: usize) -> DocumentRecord {
    let kinds = [Kind::Notes, Kind::Attendance, Kind::Doubt, Kind::Planner];
    DocumentRecord {
        document: document(n),
        kind: kinds[n % kinds.len()].as_str().into(),
        subject: "tara".into(),
        batch: Some("b1".into()),
        owner: "tara".into(),
    }
}

fn genesis(n: usize) -> Vec<u8> {
    kind::genesis(record(n).kind.parse().unwrap(), document(n)).unwrap()
}

fn claims(user: usize) -> Claims {
    let (sub, role, batch) = USERS[user];
    Claims {
        iss: ISSUER.into(),
        aud: AUDIENCE.into(),
        sub: sub.into(),
        inst: INSTITUTE.into(),
        role,
        name: sub.into(),
        dev: format!("{sub}-phone"),
        batches: vec![batch.into()],
        iat: 0,
        exp: i64::MAX,
        jti: String::new(),
        sid: String::new(),
    }
}

/// A client's documents and states of sync.
#[derive(Default)]
struct Device {
    documents: BTreeMap<usize, (Automerge, State)>,
}

struct World {
    engine: Engine,
    log: Log,
    now: u64,
    open: BTreeSet<SessionId>,
    devices: BTreeMap<SessionId, Device>,
    revision: u64,
}

fn limits() -> Limits {
    Limits {
        session_documents: 5,
        waiting_messages: 4,
        held_changes: 4,
        tail_changes: 3,
        ..Limits::default()
    }
}

/// Few and short: what a step may cost is asked for elsewhere, and a fuzzer tries many.
const MAX_STEPS: usize = 200;

pub(crate) fn engine(data: &[u8]) {
    let mut input = Input::new(data);
    let mut log = Log::default();
    // Registered documents; the others are unknown until somebody brings them.
    for n in 0..4 {
        log.store(record(n), genesis(n));
    }
    let engine = Engine::new(INSTITUTE, limits(), log.position());
    let mut world =
        World { engine, log, now: 1_000_000, open: BTreeSet::new(), devices: BTreeMap::new(), revision: 0 };
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        let events = world.step(&mut input);
        world.run(events);
    }
    world.log.check();
}

impl World {
    fn step(&mut self, input: &mut Input<'_>) -> Vec<Event> {
        let session = 1 + input.below(SESSIONS as usize) as u64;
        match input.below(16) {
            0 | 1 => self.connect(session, input),
            2 => {
                self.open.remove(&session);
                vec![Event::Closed { session }]
            }
            3 => vec![Event::Frame { session, bytes: input.bytes().to_vec() }],
            4..=7 => self.sync(session, input),
            8 => vec![Event::Frame { session, bytes: self.other_frame(input).encode() }],
            9 => match LinkMessage::decode(input.bytes()) {
                Ok(message) => vec![Event::Link(message)],
                Err(_) => Vec::new(),
            },
            10 => vec![if input.below(2) == 0 { Event::LinkUp } else { Event::LinkDown }],
            11 | 12 => vec![Event::Link(self.link_message(input))],
            13 => vec![Event::Written(vec![document(input.below(6))])],
            14 => {
                let ms = input.number() as u64;
                self.now = if input.below(4) == 0 { self.now.saturating_sub(ms) } else { self.now + ms };
                vec![Event::Tick]
            }
            _ => {
                self.restart();
                Vec::new()
            }
        }
    }

    fn connect(&mut self, session: SessionId, input: &mut Input<'_>) -> Vec<Event> {
        if self.open.contains(&session) {
            return Vec::new();
        }
        self.open.insert(session);
        self.devices.insert(session, Device::default());
        let sender = input.pick(&["a", "b"]).to_owned();
        let extended = input.below(2) == 0;
        let join = RepoMessage::Join { sender, versions: vec!["1".into()], extended };
        let claims = claims(input.below(USERS.len()));
        vec![Event::Opened { session, claims }, Event::Frame { session, bytes: join.encode() }]
    }

    /// A sync message as a client makes it, after an edit or not, sent whole or changed on the way, or not sent at all.
    fn sync(&mut self, session: SessionId, input: &mut Input<'_>) -> Vec<Event> {
        let Some(device) = self.devices.get_mut(&session) else { return Vec::new() };
        let n = input.below(6);
        let entry = device.documents.entry(n).or_insert_with(|| {
            let doc = if n < 4 { Automerge::load(&genesis(n)).unwrap() } else { Automerge::new() };
            (doc.with_actor(ActorId::from([session as u8, n as u8])), State::new())
        });
        let (doc, state) = entry;
        let form = input.below(8);
        if form < 4 {
            let mut tx = doc.transaction();
            drop(tx.put(ROOT, input.pick(&["a", "b", "kind"]), i64::from(input.byte())));
            tx.commit_with(automerge::transaction::CommitOptions::default().with_time(0));
        }
        let message = match form {
            5 => {
                let mut message = doc.generate_sync_message(&mut State::new()).unwrap();
                message.changes = vec![following(doc, input.bytes())].into();
                Some(message)
            }
            // Without some of what it depends on.
            6 => {
                let mut message = doc.generate_sync_message(&mut State::new()).unwrap();
                let last = doc.get_changes(&[]).pop();
                message.changes = last.into_iter().map(|c| c.raw_bytes().to_vec()).collect::<Vec<_>>().into();
                Some(message)
            }
            _ => doc.generate_sync_message(state),
        };
        let Some(mut data) = message.map(Message::encode) else { return Vec::new() };
        match form {
            3 => return Vec::new(),
            7 if !data.is_empty() => {
                let at = input.number() % data.len();
                data[at] ^= input.byte();
            }
            _ => {}
        }
        let (sender, target) = (String::new(), String::new());
        let frame =
            RepoMessage::Sync { request: input.below(2) == 0, sender, target, document: document(n), data };
        vec![Event::Frame { session, bytes: frame.encode() }]
    }

    fn other_frame(&self, input: &mut Input<'_>) -> RepoMessage {
        let (sender, target) = ("a".to_owned(), "b".to_owned());
        let document = document(input.below(6));
        match input.below(3) {
            0 => RepoMessage::Unavailable { sender, target, document },
            1 => RepoMessage::Ephemeral {
                sender,
                target,
                document,
                session: "s".into(),
                count: input.number() as u64,
                data: input.bytes().to_vec(),
            },
            _ => RepoMessage::Join { sender, versions: vec!["1".into()], extended: true },
        }
    }

    fn link_message(&mut self, input: &mut Input<'_>) -> LinkMessage {
        let (institute, log) = (INSTITUTE.to_owned(), self.log.name.clone());
        let n = input.below(6);
        match input.below(6) {
            0 => LinkMessage::Following(Following {
                institute,
                epoch: 1,
                revision: self.revision,
                log,
                acknowledged: self.log.highest().min(input.number() as u64),
                reset: input.below(2) == 0,
                gossip: input.below(2) == 0,
            }),
            1 => {
                self.revision += input.below(3) as u64;
                let heads = vec![Hash([input.byte(); 32])];
                let documents = vec![DocumentHeads { document: document(n), heads }];
                let members = self.entry(input).into_iter().collect();
                let tags = Vec::new();
                LinkMessage::Feed(Feed { institute, revision: self.revision, tags, documents, members })
            }
            2 => LinkMessage::Pushed(Pushed {
                institute,
                log,
                acknowledged: self.log.highest().min(input.number() as u64),
                refused: self
                    .log
                    .some_sequence(input.number())
                    .into_iter()
                    .map(|(sequence, document)| Refused { sequence, document, code: "forbidden".into() })
                    .collect(),
            }),
            3 => {
                let entries = self.entry(input).into_iter().collect();
                let (page, last) = (input.below(2) as u32, input.below(2) == 0);
                LinkMessage::Directory(DirectoryPage { institute, page, last, entries })
            }
            4 => LinkMessage::Document(Document {
                institute,
                document: document(n),
                record: None,
                chunks: Vec::new(),
                heads: Vec::new(),
                actors: Vec::new(),
                deleted: input.below(2) == 0,
            }),
            _ => LinkMessage::Document(Document {
                institute,
                document: document(n),
                record: Some(record(n)),
                chunks: vec![genesis(n).into()],
                heads: Vec::new(),
                actors: self.binding(input).into_iter().collect(),
                deleted: false,
            }),
        }
    }

    fn binding(&self, input: &mut Input<'_>) -> Option<Binding> {
        let (user, ..) = USERS[input.below(USERS.len())];
        let (actor, device, since) = (vec![input.below(8) as u8].into(), format!("{user}-phone"), self.now);
        (input.below(2) == 0).then(|| Binding { actor, user: user.into(), device, since })
    }

    fn entry(&self, input: &mut Input<'_>) -> Option<DirectoryEntry> {
        let (user, role, batch) = USERS[input.below(USERS.len())];
        let batches = if input.below(2) == 0 { vec![batch.to_owned()] } else { Vec::new() };
        let active = input.below(4) != 0;
        (input.below(3) != 0).then(|| DirectoryEntry {
            user: user.into(),
            role,
            active,
            batches,
            guardian_of: Vec::new(),
            revocation: Default::default(),
        })
    }

    fn restart(&mut self) {
        self.engine = Engine::new(INSTITUTE, limits(), self.log.position());
        self.open.clear();
        self.devices.clear();
    }

    fn run(&mut self, events: Vec<Event>) {
        let mut events = VecDeque::from(events);
        for turn in 0.. {
            assert!(turn < 1_000, "the engine never comes to rest");
            let (effects, flushed) = match events.pop_front() {
                Some(event) => (self.engine.handle(self.now, event), false),
                None => (self.engine.flush(), true),
            };
            let done = flushed && effects.is_empty();
            for effect in effects {
                self.carry_out(effect, &mut events);
            }
            if done {
                return;
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::Send { session, bytes } => self.hear(session, &bytes),
            Effect::Close { session, .. } => {
                self.open.remove(&session);
            }
            Effect::Link(message) => {
                let bytes = message.encode();
                assert_eq!(LinkMessage::decode(&bytes).unwrap(), message);
            }
            other => self.log.carry_out(other, events),
        }
    }

    fn hear(&mut self, session: SessionId, bytes: &[u8]) {
        assert!(self.open.contains(&session), "session {session} is told something after its end");
        let message = RepoMessage::decode(bytes).expect("what the engine sends is well formed");
        let RepoMessage::Sync { document, data, .. } = message else { return };
        gate::decode_sync_message(&data).expect("what the engine says passes its own gate");
        let n = usize::from(document.as_bytes()[0]);
        let known = self.devices.get_mut(&session).and_then(|device| device.documents.get_mut(&n));
        if let (Some((doc, state)), Ok(message)) = (known, Message::decode(&data)) {
            drop(doc.receive_sync_message(state, message));
        }
    }
}
