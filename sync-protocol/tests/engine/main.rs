//! What the engine says to single devices, with a log that is always empty: rights, refusals, unknown documents.

#![expect(clippy::unwrap_used, reason = "clippy knows a test function, and not the functions that it calls")]

mod actors;
mod deletion;
mod gossip;
mod inspection;
mod limits;
mod pulls;
mod receipts;
mod refusals;
mod remote_heads;
mod rights;
mod versions;
#[path = "../wire/wire.rs"]
mod wire;

use automerge::sync::{Message, State, SyncDoc as _};
use automerge::transaction::Transactable as _;
use automerge::{ActorId, Automerge, Change, ROOT, ReadDoc as _};
use std::collections::VecDeque;
use sync_protocol::actor::Binding;
use sync_protocol::directory::DirectoryEntry;
use sync_protocol::document_id::DocumentId;
use sync_protocol::engine::{Effect, Engine, Event, Limits, Position, SessionId, Stored};
use sync_protocol::kind::{self, Kind};
use sync_protocol::link::{DocumentRecord, Following, Hash, LinkMessage};
use sync_protocol::repo_message::RepoMessage;
use sync_protocol::token::{AUDIENCE, Claims, ISSUER, Role};

const NOTES: DocumentId = DocumentId::from_bytes([8; 16]);
const SHEET: DocumentId = DocumentId::from_bytes([7; 16]);
const UNKNOWN: DocumentId = DocumentId::from_bytes([9; 16]);

/// The origin follows a log of which it has nothing, in an institute in which nothing has happened.
fn following() -> Following {
    Following {
        institute: "northside.example".into(),
        epoch: 1,
        revision: 0,
        log: String::new(),
        acknowledged: 0,
        reset: false,
        gossip: false,
    }
}

fn followed() -> Event {
    Event::Link(LinkMessage::Following(following()))
}

fn linked(edge: &mut Edge) {
    edge.run([Event::LinkUp, followed()]);
}

/// An edge whose log holds [`NOTES`] of batch `b1` and forgets all that is written to it.
struct Edge {
    engine: Engine,
    now: u64,
    written: Vec<Effect>,
    /// What the log says that the origin has committed of the notes.
    committed: Vec<Hash>,
    /// What it says of the notes' actors.
    actors: Vec<Binding>,
    /// It says that whatever is asked for was deleted.
    deleted: bool,
    /// What it has of [`SHEET`].
    sheet: Vec<Vec<u8>>,
    /// What it says that the origin has refused.
    refused: Vec<(Hash, String)>,
    /// Frames as they were sent.
    frames: Vec<(SessionId, Vec<u8>)>,
}

impl Edge {
    fn new() -> Self {
        let engine = Engine::new("northside.example", Limits::default(), Position::default());
        Self {
            engine,
            now: 1_000,
            written: Vec::new(),
            committed: Vec::new(),
            actors: Vec::new(),
            deleted: false,
            sheet: stored_sheet().chunks,
            refused: Vec::new(),
            frames: Vec::new(),
        }
    }

    /// The log keeps the directory; nothing else is.
    fn restart(&mut self, directory: Option<Vec<DirectoryEntry>>) {
        let position = Position { directory, ..Position::default() };
        self.engine = Engine::new("northside.example", Limits::default(), position);
        self.written.clear();
    }

    /// Handles events and gives what is to be sent.
    fn run(&mut self, events: impl IntoIterator<Item = Event>) -> Vec<(SessionId, RepoMessage)> {
        let mut events: VecDeque<Event> = events.into_iter().collect();
        let mut sent = Vec::new();
        loop {
            let (effects, flushed) = match events.pop_front() {
                Some(event) => (self.engine.handle(self.now, event), false),
                None => (self.engine.flush(), true),
            };
            let done = flushed && effects.is_empty();
            for effect in effects {
                match effect {
                    Effect::Load(document) | Effect::LoadNews(document) => {
                        let stored = match document {
                            NOTES => {
                                let (committed, actors) = (self.committed.clone(), self.actors.clone());
                                Some(Stored { committed, actors, ..stored_notes() })
                            }
                            SHEET => Some(Stored { chunks: self.sheet.clone(), ..stored_sheet() }),
                            _ => None,
                        };
                        events.push_front(Event::Loaded {
                            document,
                            stored,
                            refused: self.refused.clone(),
                            deleted: self.deleted,
                        });
                    }
                    Effect::Send { session, bytes } => {
                        sent.push((session, RepoMessage::decode(&bytes).unwrap()));
                        self.frames.push((session, bytes));
                    }
                    other => self.written.push(other),
                }
            }
            if done {
                return sent;
            }
        }
    }

    fn join(&mut self, session: SessionId, user: &str, role: Role, batches: &[&str]) {
        let claims = claims(user, role, batches);
        let bytes =
            RepoMessage::Join { sender: user.into(), versions: vec!["1".into()], extended: true }.encode();
        let sent = self.run([Event::Opened { session, claims }, Event::Frame { session, bytes }]);
        assert!(matches!(&sent[..], [(_, RepoMessage::Peer { target, .. })] if target == user));
    }

    /// A client that does not know our messages.
    fn join_plainly(&mut self, session: SessionId, user: &str, role: Role, batches: &[&str]) {
        let claims = claims(user, role, batches);
        let sender = format!("{user}-{session}");
        let bytes = RepoMessage::Join { sender, versions: vec!["1".into()], extended: false }.encode();
        self.run([Event::Opened { session, claims }, Event::Frame { session, bytes }]);
    }

    fn say(
        &mut self,
        session: SessionId,
        document: DocumentId,
        data: Vec<u8>,
    ) -> Vec<(SessionId, RepoMessage)> {
        let (sender, target) = (String::new(), String::new());
        let bytes = RepoMessage::Sync { request: false, sender, target, document, data }.encode();
        self.run([Event::Frame { session, bytes }])
    }

    fn wait(&mut self, ms: u64) -> Vec<(SessionId, RepoMessage)> {
        self.now += ms;
        self.run([Event::Tick])
    }

    /// Lets a device and the edge talk until neither has anything to say, and fails when they never end.
    fn talk(&mut self, session: SessionId, document: DocumentId, doc: &mut Automerge, state: &mut State) {
        for _ in 0..50 {
            let Some(message) = doc.generate_sync_message(state) else { return };
            for (_, answer) in self.say(session, document, message.encode()) {
                if let RepoMessage::Sync { data, .. } = answer {
                    doc.receive_sync_message(state, Message::decode(&data).unwrap()).unwrap();
                }
            }
        }
        panic!("device and edge talk for ever");
    }

    fn quarantined(&self) -> Vec<&str> {
        self.written
            .iter()
            .filter_map(|effect| match effect {
                Effect::Quarantine { code, .. } => Some(code.as_str()),
                _ => None,
            })
            .collect()
    }

    fn appended(&self) -> usize {
        self.written.iter().filter(|effect| matches!(effect, Effect::Append { .. })).count()
    }
}

fn stored_notes() -> Stored {
    let record = DocumentRecord {
        document: NOTES,
        kind: Kind::Notes.as_str().into(),
        subject: "class-1".into(),
        batch: Some("b1".into()),
        owner: "tara".into(),
    };
    Stored {
        record,
        chunks: vec![kind::genesis(Kind::Notes, NOTES).unwrap()],
        tail: 1,
        whole: true,
        committed: Vec::new(),
        actors: Vec::new(),
    }
}

fn stored_sheet() -> Stored {
    let record =
        DocumentRecord { document: SHEET, kind: Kind::Attendance.as_str().into(), ..stored_notes().record };
    Stored { record, chunks: vec![kind::genesis(Kind::Attendance, SHEET).unwrap()], ..stored_notes() }
}

fn claims(user: &str, role: Role, batches: &[&str]) -> Claims {
    Claims {
        iss: ISSUER.into(),
        aud: AUDIENCE.into(),
        sub: user.into(),
        inst: "northside.example".into(),
        role,
        name: user.into(),
        dev: format!("{user}-phone"),
        batches: batches.iter().map(|batch| (*batch).to_owned()).collect(),
        iat: 0,
        exp: i64::MAX,
        jti: String::new(),
        sid: String::new(),
    }
}

fn notes(actor: u8) -> Automerge {
    Automerge::load(&kind::genesis(Kind::Notes, NOTES).unwrap()).unwrap().with_actor(ActorId::from([actor]))
}

fn write(doc: &mut Automerge, key: &str, value: &str) {
    let mut tx = doc.transaction();
    tx.put(ROOT, key, value).unwrap();
    tx.commit();
}

fn first_message(doc: &Automerge) -> Vec<u8> {
    doc.generate_sync_message(&mut State::new()).unwrap().encode()
}

/// A sync message that carries exactly these changes.
fn carrying(doc: &Automerge, changes: &[Change]) -> Vec<u8> {
    let mut message = doc.generate_sync_message(&mut State::new()).unwrap();
    let chunks: Vec<Vec<u8>> = changes.iter().map(|change| change.raw_bytes().to_vec()).collect();
    message.changes = chunks.into();
    message.encode()
}

#[test]
fn a_document_that_was_heard_of_before_its_content_came_is_not_called_unavailable() {
    let mut edge = Edge::new();
    edge.join(1, "tara", Role::Teacher, &[]);
    edge.join(2, "tara-laptop", Role::Teacher, &[]);
    // Both sign in as one user, so that both may reach the private document.
    edge.run([
        Event::Closed { session: 2 },
        Event::Opened { session: 2, claims: claims("tara", Role::Teacher, &[]) },
    ]);
    let join =
        RepoMessage::Join { sender: "laptop".into(), versions: vec!["1".into()], extended: false }.encode();
    edge.run([Event::Frame { session: 2, bytes: join }]);

    assert_eq!(edge.say(2, UNKNOWN, first_message(&Automerge::new())), []);
    let mut made = Automerge::new();
    write(&mut made, "title", "begun");
    let sent = edge.say(1, UNKNOWN, carrying(&made, &made.get_changes(&[])));
    let told: Vec<SessionId> = sent
        .iter()
        .filter(|(_, m)| matches!(m, RepoMessage::Sync { .. }))
        .map(|(session, _)| *session)
        .collect();
    assert_eq!(told, [1, 2]);
}

#[test]
fn an_unknown_document_is_unavailable_after_a_moment_and_synced_when_it_turns_up() {
    let mut edge = Edge::new();
    edge.join(1, "tara", Role::Teacher, &[]);
    assert_eq!(edge.say(1, UNKNOWN, first_message(&Automerge::new())), []);
    assert!(
        matches!(&edge.wait(1_000)[..], [(1, RepoMessage::Unavailable { document, .. })] if *document == UNKNOWN)
    );
    let mut record = stored_notes().record;
    record.document = UNKNOWN;
    record.batch = None;
    let stored = Stored { record, ..stored_notes() };
    edge.join(2, "ada", Role::Admin, &[]);
    edge.say(2, UNKNOWN, first_message(&Automerge::new()));
    let sent = edge.run([Event::Loaded {
        document: UNKNOWN,
        stored: Some(stored),
        refused: Vec::new(),
        deleted: false,
    }]);
    assert!(matches!(&sent[..], [(2, RepoMessage::Sync { .. })]), "{sent:?}");
}

#[test]
fn somebody_without_the_right_is_told_what_he_would_be_told_of_nothing() {
    let mut edge = Edge::new();
    edge.join(1, "mallory", Role::Teacher, &["b2"]);
    let sent = edge.say(1, NOTES, first_message(&notes(1)));
    assert!(matches!(&sent[..], [(1, RepoMessage::Unavailable { .. })]), "{sent:?}");
    let mut doc = notes(1);
    write(&mut doc, "text", "mine");
    let mine = carrying(&doc, &doc.get_changes(&notes(1).get_heads()));
    let sent = edge.say(1, NOTES, mine.clone());
    let [(1, RepoMessage::Refused { code, .. }), (1, RepoMessage::Unavailable { .. })] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(code, "forbidden");

    // A client that does not read our messages hears of nothing, and its change is kept too.
    edge.join_plainly(2, "mallory", Role::Teacher, &["b2"]);
    let sent = edge.say(2, NOTES, first_message(&doc));
    assert!(matches!(&sent[..], [(2, RepoMessage::Unavailable { .. })]), "{sent:?}");
    let sent = edge.say(2, NOTES, mine);
    assert!(matches!(&sent[..], [(2, RepoMessage::Unavailable { .. })]), "{sent:?}");
    assert_eq!((edge.appended(), edge.quarantined()), (0, vec!["forbidden", "forbidden"]));
}

#[test]
fn a_reader_gets_the_document_and_cannot_change_it() {
    let mut edge = Edge::new();
    edge.join(1, "sam", Role::Student, &["b1"]);
    let (mut doc, mut state) = (Automerge::new(), State::new());
    edge.talk(1, NOTES, &mut doc, &mut state);
    assert_eq!(doc.get_heads(), notes(1).get_heads());
    let mut changed = notes(2);
    write(&mut changed, "text", "mine");
    let mine = carrying(&changed, &changed.get_changes(&doc.get_heads()));
    let sent = edge.say(1, NOTES, mine.clone());
    let told = |m: &RepoMessage| matches!(m, RepoMessage::Refused { code, .. } if code == "forbidden");
    assert!(sent.iter().any(|(_, message)| told(message)), "{sent:?}");
    edge.talk(1, NOTES, &mut changed, &mut State::new());

    // A client that does not read our messages is told by Automerge's flag, and sends nothing of itself.
    edge.join_plainly(2, "sam", Role::Student, &["b1"]);
    edge.talk(2, NOTES, &mut changed.fork(), &mut State::new());
    let kept = edge.quarantined().len();
    let sent = edge.say(2, NOTES, mine);
    assert!(sent.iter().all(|(_, message)| matches!(message, RepoMessage::Sync { .. })), "{sent:?}");
    assert_eq!(edge.quarantined()[kept..], ["forbidden"], "what it sends all the same is kept");
    assert_eq!(edge.appended(), 0);
}

#[test]
fn a_sequence_number_used_twice_is_refused_and_the_talk_ends() {
    let mut edge = Edge::new();
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    let tablet = Claims { dev: "tara-tablet".into(), ..claims("tara", Role::Teacher, &["b1"]) };
    let join = RepoMessage::Join { sender: "tablet".into(), versions: vec!["1".into()], extended: true };
    edge.run([
        Event::Opened { session: 2, claims: tablet },
        Event::Frame { session: 2, bytes: join.encode() },
    ]);
    let (mut honest, mut state) = (notes(7), State::new());
    write(&mut honest, "a", "1");
    edge.talk(1, NOTES, &mut honest, &mut state);
    assert_eq!(edge.appended(), 1);

    let (mut forged, mut forged_state) = (notes(7), State::new());
    write(&mut forged, "a", "2");
    edge.say(2, NOTES, carrying(&forged, &forged.get_changes(&notes(7).get_heads())));
    assert_eq!(edge.quarantined(), ["sequence-reused"]);
    // The forger's client goes on asking; the edge does not answer what it has answered.
    edge.talk(2, NOTES, &mut forged.fork(), &mut forged_state);

    write(&mut honest, "a", "3");
    edge.talk(1, NOTES, &mut honest, &mut state);
    assert_eq!(edge.appended(), 2);
}

#[test]
fn changes_wait_for_what_they_depend_on_and_are_bounded() {
    let mut edge = Edge::new();
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    let mut doc = notes(7);
    for n in 0..6_000 {
        write(&mut doc, "n", &n.to_string());
    }
    let changes = doc.get_changes(&notes(7).get_heads());
    edge.say(1, NOTES, carrying(&doc, &changes[2..4]));
    assert_eq!(edge.appended(), 0);
    edge.say(1, NOTES, carrying(&doc, &changes[..2]));
    assert_eq!(edge.appended(), 4);
    edge.say(1, NOTES, carrying(&doc, &changes[5..]));
    assert_eq!(edge.appended(), 4);
    assert_eq!(edge.quarantined().len(), changes[5..].len() - Limits::default().held_changes);
}

#[test]
fn what_is_no_sync_message_ends_the_session_that_sent_it_and_no_other() {
    let mut edge = Edge::new();
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    edge.join(2, "tom", Role::Teacher, &["b1"]);
    let sent = edge.say(1, NOTES, vec![0x42, 0xff]);
    assert!(matches!(&sent[..], [(1, RepoMessage::Error { .. })]), "{sent:?}");
    assert!(edge.written.iter().any(|e| matches!(e, Effect::Close { session: 1, .. })));
    let sent = edge.run([Event::Frame { session: 2, bytes: b"hello".to_vec() }]);
    assert!(matches!(&sent[..], [(2, RepoMessage::Error { .. })]), "{sent:?}");
    edge.join(3, "tina", Role::Teacher, &["b1"]);
    let (mut doc, mut state) = (Automerge::new(), State::new());
    edge.talk(3, NOTES, &mut doc, &mut state);
    assert!(doc.get(ROOT, "text").unwrap().is_some());
}

#[test]
fn an_ephemeral_message_reaches_the_other_readers_and_nobody_else() {
    let mut edge = Edge::new();
    for (session, user, batch) in [(1, "tara", "b1"), (2, "tom", "b1"), (3, "mallory", "b2")] {
        edge.join(session, user, Role::Teacher, &[batch]);
        edge.say(session, NOTES, first_message(&notes(1)));
    }
    let bytes = RepoMessage::Ephemeral {
        sender: "tara".into(),
        target: "rollcall".into(),
        document: NOTES,
        session: "s".into(),
        count: 1,
        data: vec![1],
    }
    .encode();
    let sent = edge.run([Event::Frame { session: 1, bytes: bytes.clone() }]);
    assert!(
        matches!(&sent[..], [(2, RepoMessage::Ephemeral { sender, target, .. })] if sender == "tara" && target == "tom"),
        "{sent:?}"
    );
    assert_eq!(edge.run([Event::Frame { session: 3, bytes }]), []);
}

/// Two tabs of one user hear each other by other ways too, and each passes on what it hears.
#[test]
fn an_ephemeral_message_that_comes_by_two_sessions_is_relayed_once_and_not_to_who_said_it() {
    let mut edge = Edge::new();
    edge.join_plainly(1, "tara", Role::Teacher, &["b1"]);
    edge.join_plainly(2, "tara", Role::Teacher, &["b1"]);
    edge.join_plainly(3, "tom", Role::Teacher, &["b1"]);
    for session in 1..=3 {
        edge.say(session, NOTES, first_message(&notes(1)));
    }
    let frame = |session, count| {
        let (sender, target, run) = ("tara-1".to_owned(), "rollcall".to_owned(), "s".to_owned());
        let data = vec![1];
        let message = RepoMessage::Ephemeral { sender, target, document: NOTES, session: run, count, data };
        Event::Frame { session, bytes: message.encode() }
    };
    let told = |sent: Vec<(SessionId, RepoMessage)>| sent.into_iter().map(|(to, _)| to).collect::<Vec<_>>();
    assert_eq!(told(edge.run([frame(1, 1)])), [2, 3]);
    assert_eq!(told(edge.run([frame(2, 1)])), [0; 0], "it is known");
    assert_eq!(told(edge.run([frame(2, 2)])), [3], "the second tab was faster");
    assert_eq!(told(edge.run([frame(1, 2)])), [0; 0]);
    // What was heard goes with the last session, and a run that begins anew is heard.
    edge.run([Event::Closed { session: 1 }, Event::Closed { session: 2 }]);
    edge.join_plainly(1, "tara", Role::Teacher, &["b1"]);
    edge.say(1, NOTES, first_message(&notes(1)));
    assert_eq!(told(edge.run([frame(1, 1)])), [3]);
}

/// The second message brings nothing and names the heads that the first one made: Automerge's library then takes the
/// matter for settled, and the device waited for its acknowledgement for ever.
#[test]
fn a_change_is_acknowledged_when_the_next_message_comes_in_the_same_batch() {
    let mut edge = Edge::new();
    edge.join(1, "tara", Role::Teacher, &["b1"]);
    let (mut doc, mut state) = (notes(7), State::new());
    edge.talk(1, NOTES, &mut doc, &mut state);
    let next = |doc: &Automerge, state: &mut State| doc.generate_sync_message(state).unwrap().encode();
    write(&mut doc, "a", "1");
    let answers = edge.say(1, NOTES, next(&doc, &mut state));
    write(&mut doc, "b", "2");
    let ahead = next(&doc, &mut state);
    let [(_, RepoMessage::Sync { data, .. })] = &answers[..] else { panic!("{answers:?}") };
    doc.receive_sync_message(&mut state, Message::decode(data).unwrap()).unwrap();
    let behind = next(&doc, &mut state);
    let frames = [ahead, behind].map(|data| {
        let (sender, target) = (String::new(), String::new());
        let bytes = RepoMessage::Sync { request: false, sender, target, document: NOTES, data }.encode();
        Event::Frame { session: 1, bytes }
    });
    let answers = edge.run(frames);
    let [(_, RepoMessage::Sync { data, .. })] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(Message::decode(data).unwrap().heads, doc.get_heads());
}

/// The first who brought the document was gone when it was clear that nobody else has it; the others were left waiting.
#[test]
fn who_is_still_there_founds_a_document_that_several_have_brought() {
    let mut edge = Edge::new();
    edge.join(1, "tom", Role::Teacher, &[]);
    edge.join(2, "tara", Role::Teacher, &[]);
    edge.run([Event::LinkUp]);
    let mut made = Automerge::new();
    write(&mut made, "title", "begun");
    for session in [1, 2] {
        assert_eq!(edge.say(session, UNKNOWN, first_message(&made)), []);
    }
    edge.run([Event::Closed { session: 1 }]);
    let sent = edge.run([Event::LinkDown]);
    assert!(matches!(&sent[..], [(2, RepoMessage::Sync { .. })]), "{sent:?}");
}
