//! An edge: the engine under test over a log in memory, its sockets and its link, any of which may break.

use crate::Rng;
use crate::audit::Users;
use crate::memory_log::MemoryLog;
use crate::origin::Origin;
use automerge::ChangeHash;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use sync_protocol::document_id::DocumentId;
use sync_protocol::document_limits::KindLimits;
use sync_protocol::engine::{Effect, Engine, Event, Limits, SessionId};
use sync_protocol::link::LinkMessage;
use sync_protocol::token::Claims;

pub(crate) struct Edge {
    institute: String,
    name: usize,
    limits: Limits,
    engine: Engine,
    log: MemoryLog,
    incoming: VecDeque<Event>,
    /// Frames for each open session; none for the end of the connection.
    outgoing: BTreeMap<SessionId, VecDeque<Option<Vec<u8>>>>,
    next_session: SessionId,
    users: Users,
    link: bool,
    /// Position of this edge's reading of the origin's feed, while it follows.
    cursor: Option<u64>,
    to_origin: VecDeque<LinkMessage>,
    from_origin: VecDeque<LinkMessage>,
}

/// Bytes of documents in memory: two sheets at the end of a run, of three.
const MEMORY: usize = 64 * 1024;

/// Small, so that snapshots, evictions and time-outs all happen within a run.
pub(crate) fn limits(documents: &KindLimits, kind_version: u32) -> Limits {
    let documents = documents.clone();
    Limits {
        tail_changes: 5,
        idle_ms: 300,
        pull_ms: 400,
        memory_bytes: MEMORY,
        documents,
        kind_version,
        ..Limits::default()
    }
}

impl Edge {
    pub(crate) fn new(institute: &str, name: usize, limits: Limits) -> Self {
        let log = MemoryLog::new(format!("log-{name}"), limits.documents.clone(), limits.kind_version);
        Self {
            institute: institute.to_owned(),
            name,
            engine: Engine::new(institute, limits.clone(), log.position()),
            limits,
            log,
            incoming: VecDeque::new(),
            outgoing: BTreeMap::new(),
            next_session: 1,
            users: Users::new(),
            link: false,
            cursor: None,
            to_origin: VecDeque::new(),
            from_origin: VecDeque::new(),
        }
    }

    /// The changes of a document in the log.
    pub(crate) fn logged(&self, document: DocumentId) -> BTreeSet<ChangeHash> {
        self.log.hashes(document)
    }

    /// Whether it has refused the change because the document was full.
    pub(crate) fn had_no_room_for(&self, document: DocumentId, hash: &ChangeHash) -> bool {
        self.log.had_no_room_for(document, hash)
    }

    pub(crate) fn changes_without_room(&self) -> usize {
        self.log.changes_without_room()
    }

    pub(crate) fn open(&mut self, claims: Claims) -> SessionId {
        let session = self.next_session;
        self.next_session += 1;
        self.outgoing.insert(session, VecDeque::new());
        self.users.insert(session, claims.sub.clone());
        self.incoming.push_back(Event::Opened { session, claims });
        session
    }

    pub(crate) fn deliver(&mut self, session: SessionId, bytes: Vec<u8>) {
        self.incoming.push_back(Event::Frame { session, bytes });
    }

    pub(crate) fn close(&mut self, session: SessionId) {
        self.outgoing.remove(&session);
        self.incoming.push_back(Event::Closed { session });
    }

    pub(crate) fn take_frame(&mut self, session: SessionId) -> Option<Option<Vec<u8>>> {
        self.outgoing.get_mut(&session)?.pop_front()
    }

    /// Handles some of what has come in; now and then the machine dies before or right after the commit.
    pub(crate) fn run(&mut self, now: u64, rng: &mut Rng) {
        let batch = 1 + rng.below(6);
        let mut events: VecDeque<Event> = (0..batch).map_while(|_| self.incoming.pop_front()).collect();
        events.push_back(Event::Tick);
        let before = self.log.clone();
        let outgoing = self.run_batch(now, events);
        match rng.below(100) {
            0..4 => self.log = before,
            4..8 => {}
            _ => return self.dispatch(outgoing),
        }
        // Whether committed or not, nothing of what the batch said was delivered.
        for frames in self.outgoing.values_mut() {
            frames.clear();
            frames.push_back(None);
        }
        self.restart();
    }

    pub(crate) fn run_whole(&mut self, now: u64) -> bool {
        let mut events = std::mem::take(&mut self.incoming);
        let moved = !events.is_empty();
        events.push_back(Event::Tick);
        let outgoing = self.run_batch(now, events);
        let moved = moved || !outgoing.is_empty();
        self.dispatch(outgoing);
        moved
    }

    fn run_batch(&mut self, now: u64, mut events: VecDeque<Event>) -> Vec<Effect> {
        let mut outgoing = Vec::new();
        loop {
            while let Some(event) = events.pop_front() {
                let effects = self.engine.handle(now, event);
                self.log.carry_out(effects, &self.users, &mut events, &mut outgoing);
            }
            let effects = self.engine.flush();
            self.log.carry_out(effects, &self.users, &mut events, &mut outgoing);
            if events.is_empty() {
                let usage = self.engine.usage();
                assert!(usage.bytes <= self.limits.memory_bytes, "{usage:?}");
                return outgoing;
            }
        }
    }

    fn dispatch(&mut self, outgoing: Vec<Effect>) {
        for effect in outgoing {
            match effect {
                Effect::Send { session, bytes } => {
                    if let Some(frames) = self.outgoing.get_mut(&session) {
                        frames.push_back(Some(bytes));
                    }
                }
                Effect::Close { session, .. } => {
                    if let Some(frames) = self.outgoing.get_mut(&session) {
                        frames.push_back(None);
                    }
                }
                Effect::Link(message) if self.link => self.to_origin.push_back(message),
                Effect::Link(_) => {}
                other => panic!("{other:?} is not for the caller"),
            }
        }
    }

    pub(crate) fn crash(&mut self) {
        self.outgoing.clear();
        self.restart();
    }

    fn restart(&mut self) {
        self.incoming.clear();
        self.engine = Engine::new(&self.institute, self.limits.clone(), self.log.position());
        let was_up = self.link;
        self.cut_link();
        if was_up {
            self.restore_link();
        }
    }

    pub(crate) fn cut_link(&mut self) {
        self.to_origin.clear();
        self.from_origin.clear();
        self.cursor = None;
        if std::mem::take(&mut self.link) {
            self.incoming.push_back(Event::LinkDown);
        }
    }

    pub(crate) fn restore_link(&mut self) {
        if !self.link {
            self.link = true;
            self.incoming.push_back(Event::LinkUp);
        }
    }

    /// Moves one message over the link, either way, without faults.
    pub(crate) fn exchange_link(&mut self, origin: &mut Origin) -> bool {
        self.send_to_origin(origin, 1) || self.hear_from_origin(origin, 0, None)
    }

    /// The same, over a link that repeats messages, and from an origin whose answers overtake each other.
    pub(crate) fn exchange_link_roughly(&mut self, origin: &mut Origin, rng: &mut Rng) {
        let times = if rng.chance(10) { 2 } else { 1 };
        if self.send_to_origin(origin, times) {
            return;
        }
        let overtaken = if rng.chance(20) { rng.below(3) } else { 0 };
        if self.hear_from_origin(origin, overtaken, Some(rng))
            && rng.chance(10)
            && let Some(Event::Link(message)) = self.incoming.back()
        {
            // An answer may be repeated after others; what is in order is repeated at once.
            let at = if is_answer(message) { rng.below(self.from_origin.len() + 1) } else { 0 };
            self.from_origin.insert(at, message.clone());
        }
    }

    fn send_to_origin(&mut self, origin: &mut Origin, times: usize) -> bool {
        let Some(message) = self.to_origin.pop_front().filter(|_| self.link) else { return false };
        for _ in 0..times {
            let answers = origin.handle(self.name, message.clone(), &mut self.cursor);
            self.from_origin.extend(answers);
        }
        true
    }

    fn hear_from_origin(&mut self, origin: &mut Origin, overtaken: usize, rng: Option<&mut Rng>) -> bool {
        if !self.link {
            return false;
        }
        if let Some(cursor) = &mut self.cursor
            && let Some(feed) = origin.feed_after(*cursor)
        {
            *cursor += 1;
            self.from_origin.push_back(LinkMessage::Feed(feed));
        }
        // Behind what is under way, of which the answer to the edge's follow is the first.
        self.from_origin.extend(self.cursor.and_then(|_| origin.gossip_for(self.name)));
        let overtakes = self.from_origin.get(overtaken).is_some_and(is_answer);
        let Some(message) = self.from_origin.remove(if overtakes { overtaken } else { 0 }) else {
            return false;
        };
        let is_gossip = matches!(message, LinkMessage::Watch(_) | LinkMessage::RemoteHeads(_));
        if is_gossip && rng.is_some_and(|rng| rng.chance(10)) {
            // Nobody counts on it.
            return true;
        }
        self.incoming.push_back(Event::Link(message));
        true
    }
}

/// The origin answers in tasks of their own, while the feed and the directory come in order.
fn is_answer(message: &LinkMessage) -> bool {
    matches!(
        message,
        LinkMessage::Document(_)
            | LinkMessage::Pushed(_)
            | LinkMessage::Quarantined(_)
            | LinkMessage::RemoteHeads(_)
    )
}
