//! The sync engine of one institute at one edge: a state machine without I/O. Events in, effects out.
//!
//! The caller carries out effects in their order inside one transaction of the log, feeds what [`Effect::Load`] and
//! [`Effect::ReadLog`] find back as events, calls [`Engine::flush`] when it has no more events, commits, and only then
//! delivers [`Effect::Send`], [`Effect::Close`] and [`Effect::Link`]. So whatever a device is told is durable. When
//! the transaction fails, the engine is ahead of its log and must be dropped.

mod deletion;
mod document;
mod ephemeral;
mod gossip;
mod held;
mod inspection;
mod link;
mod memory;
mod peer_state;
mod quarantine;
mod receipts;
mod remote_heads;
mod rights;
mod sessions;
mod slots;

use crate::actor::{Binding, Bringer};
use crate::directory::DirectoryEntry;
use crate::document_id::DocumentId;
use crate::document_limits::KindLimits;
use crate::link::{DocumentRecord, Hash, LinkMessage, PushItem, QuarantineItem};
use crate::token::Claims;
use automerge::ReadDoc as _;
use ephemeral::Heard;
pub use ephemeral::{
    EPHEMERAL_BURST, EPHEMERAL_BYTES_BURST, EPHEMERAL_BYTES_PER_SECOND, EPHEMERAL_PER_SECOND,
};
use gossip::Gossip;
pub use gossip::{GOSSIP_BURST, GOSSIP_PER_SECOND, MAX_KNOWN_HEADS, MAX_OWED_HEADS, OVERTAKEN_MS};
pub use inspection::{Inspection, MAX_READERS, Reader};
use link::LinkState;
pub use link::PULL_ANSWER_MS;
pub use memory::Usage;
use memory::{Memory, Parked};
use quarantine::Telling;
pub use remote_heads::{
    MAX_SUBSCRIPTIONS, REMOTE_HEADS_BURST, REMOTE_HEADS_PER_SECOND, SUBSCRIPTIONS_BURST,
    SUBSCRIPTIONS_PER_SECOND,
};
use rights::Rights;
pub use sessions::Reply;
use sessions::{Answers, Session};
use slots::Slot;
use std::collections::{BTreeMap, BTreeSet};

pub type SessionId = u64;

/// What one engine may hold. Numbers that the caller may lower in tests.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Documents that one session may have open: a device's documents of some years.
    pub session_documents: usize,
    /// Messages that wait for one document while it is loaded; a client has one in flight for each.
    pub waiting_messages: usize,
    /// Bytes of the messages of one session that wait, over all documents: two of the largest frames.
    pub waiting_bytes: usize,
    /// Bytes that one session's states of sync take because of what it said: heads, and Bloom filters of ten bits for each of
    /// its changes. A device with a thousand documents of a thousand changes each says 1.3 MB of them.
    pub state_bytes: usize,
    /// What devices may bring a document to.
    pub documents: KindLimits,
    /// Changes of one document that wait for a dependency.
    pub held_changes: usize,
    /// Bytes of these changes: two of the largest frames.
    pub held_bytes: usize,
    /// Changes in the log behind a snapshot before the next one; more for a document of many changes.
    pub tail_changes: usize,
    /// Bytes that documents in memory may take together, as far as they can be loaded again: a quarter of the sandbox's 512 MiB, which
    /// has to hold what is merged and loaded besides. Above it those go that were used least recently.
    pub memory_bytes: usize,
    /// How long a document that nobody reads stays in memory, in milliseconds.
    pub idle_ms: u64,
    /// How long a device waits for the origin's word on an unknown document, in milliseconds.
    pub pull_ms: u64,
    /// How long it waits, then, for another device to bring the document, in milliseconds. Clients give up on the first
    /// 'unavailable' that they hear, and a document's link may travel faster than its content.
    pub await_ms: u64,
    /// Highest version of a kind that is known, if the build knows more: an engine of yesterday, in tests.
    pub kind_version: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            session_documents: 10_000,
            waiting_messages: 64,
            waiting_bytes: 32 * 1024 * 1024,
            state_bytes: 16 * 1024 * 1024,
            documents: KindLimits::default(),
            held_changes: 4_096,
            held_bytes: 32 * 1024 * 1024,
            tail_changes: 256,
            memory_bytes: 128 * 1024 * 1024,
            idle_ms: 30_000,
            pull_ms: 5_000,
            await_ms: 1_000,
            kind_version: u32::MAX,
        }
    }
}

#[derive(Debug)]
pub enum Event {
    /// A device has connected; its claims are verified.
    Opened {
        session: SessionId,
        claims: Claims,
    },
    /// One binary WebSocket frame.
    Frame {
        session: SessionId,
        bytes: Vec<u8>,
    },
    Closed {
        session: SessionId,
    },
    /// The answer to [`Effect::Load`].
    Loaded {
        document: DocumentId,
        stored: Option<Stored>,
        /// Changes that the origin has refused, with its codes.
        refused: Vec<(Hash, String)>,
        /// What [`Effect::Delete`] has left.
        deleted: bool,
    },
    /// The answer to [`Effect::ReadLog`]; empty when all is pushed.
    Unpushed(Vec<PushItem>),
    /// The answer to [`Effect::ReadQuarantine`]; empty when the origin has all.
    Untold(Vec<QuarantineItem>),
    /// The answer to [`Effect::ListDocuments`].
    Held(Vec<DocumentId>),
    /// Somebody else has written to the log of these documents.
    Written(Vec<DocumentId>),
    LinkUp,
    LinkDown,
    Link(LinkMessage),
    /// About once a second.
    Tick,
}

/// A document as the log has it.
#[derive(Debug, Clone)]
pub struct Stored {
    pub record: DocumentRecord,
    /// The snapshot and the changes behind it, in the order of the log; or changes that were written lately.
    pub chunks: Vec<Vec<u8>>,
    /// How many of the chunks are changes behind the snapshot.
    pub tail: usize,
    /// False when the chunks are what was written lately.
    pub whole: bool,
    /// As the last [`Effect::SaveCommitted`] has it.
    pub committed: Vec<Hash>,
    /// All that [`Effect::SaveBinding`] has saved.
    pub actors: Vec<Binding>,
}

/// Who brought a change, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    pub user: String,
    pub device: String,
    pub source: Source,
    /// When it came here, in milliseconds since the Unix epoch; 0 for what the origin brought.
    pub at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// To be pushed to the origin.
    Device,
    Origin,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Deliver after commit.
    Send {
        session: SessionId,
        bytes: Vec<u8>,
    },
    /// Deliver after commit.
    Close {
        session: SessionId,
        reason: String,
    },
    /// Deliver after commit, or drop while the link is down.
    Link(LinkMessage),
    /// Answer with [`Event::Loaded`].
    Load(DocumentId),
    /// Answer with [`Event::Loaded`] too, of a document that is in memory and to which others have written. The chunks may be those alone
    /// that were written since the log was last looked at, and [`Stored::whole`] says whether they are.
    LoadNews(DocumentId),
    /// Answer with [`Event::Unpushed`]: device changes with a sequence above this one, from the lowest.
    ReadLog {
        after: u64,
    },
    /// Answer with [`Event::Untold`]: the first changes in quarantine that [`Effect::SaveTold`] does not cover.
    ReadQuarantine,
    /// The origin has what is in quarantine up to this sequence.
    SaveTold(u64),
    /// Answer with [`Event::Held`]: all documents that have a record.
    ListDocuments,
    /// Insert or replace.
    SaveRecord(DocumentRecord),
    /// Insert unless the document has a change with this hash behind its snapshot.
    ///
    /// Of one before it, which a [`Effect::Discard`] has kept until it is pushed, the snapshot that came after has nothing: it is
    /// taken in anew, and moves behind the snapshot.
    Append {
        document: DocumentId,
        hash: Hash,
        author: Author,
        bytes: Vec<u8>,
    },
    /// An actor of the document belongs to somebody. Replaces what was saved of this actor before.
    SaveBinding {
        document: DocumentId,
        binding: Binding,
    },
    /// Replaces the document's log up to here, except for changes that are not pushed.
    Snapshot {
        document: DocumentId,
        bytes: Vec<u8>,
    },
    /// Keep a change that was not merged, for an admin to look at.
    Quarantine {
        document: DocumentId,
        hash: Hash,
        author: Author,
        bytes: Vec<u8>,
        code: String,
    },
    /// The origin refused these changes: move them to the quarantine, and forget the rest of the document but for
    /// changes that are not pushed.
    Discard {
        document: DocumentId,
        refused: Vec<(u64, String)>,
    },
    /// Forgets all of the document, what is not pushed and what is in quarantine included, and remembers that it was deleted.
    Delete(DocumentId),
    SaveCursor {
        epoch: u64,
        revision: u64,
    },
    SaveAcknowledged(u64),
    /// The origin has committed these heads of the document, and all that they depend on. Replaces what was saved before.
    SaveCommitted {
        document: DocumentId,
        heads: Vec<Hash>,
    },
    /// Adds these entries of the directory or replaces those of the same users; with `whole`, all others go.
    SaveDirectory {
        entries: Vec<DirectoryEntry>,
        whole: bool,
    },
    /// The origin has more of this document than the log; no effect on a document without a record.
    MarkBehind(DocumentId),
    MarkCurrent(DocumentId),
    /// For the operator's log.
    Report(String),
}

/// Where the engine stood when its log was last committed.
#[derive(Debug, Clone, Default)]
pub struct Position {
    pub epoch: u64,
    pub revision: u64,
    /// Name of the log, made at random with it.
    pub log: String,
    pub acknowledged: u64,
    pub behind: Vec<DocumentId>,
    /// None when no origin has sent one yet.
    pub directory: Option<Vec<DirectoryEntry>>,
}

pub struct Engine {
    institute: String,
    peer: String,
    /// Names this edge's log to clients, which is a random UUID as theirs are; none when the log has no name.
    storage: Option<String>,
    limits: Limits,
    slots: BTreeMap<DocumentId, Slot>,
    parked: BTreeMap<DocumentId, Parked>,
    /// Sessions that have brought what waited in a document when it was put away.
    forgotten: BTreeMap<DocumentId, BTreeSet<SessionId>>,
    memory: Memory,
    sessions: BTreeMap<SessionId, Session>,
    interest: BTreeMap<DocumentId, BTreeSet<SessionId>>,
    /// Changed since the last flush.
    dirty: BTreeSet<DocumentId>,
    /// Sessions that are owed an answer.
    replies: BTreeSet<(DocumentId, SessionId)>,
    refusals: BTreeMap<(DocumentId, SessionId), String>,
    refused_changes: BTreeMap<(DocumentId, SessionId), Vec<(Hash, String)>>,
    /// Answers to clients without a connection that ask for changes which will be refused.
    questions: BTreeMap<(DocumentId, SessionId), Vec<u8>>,
    /// Sessions that are owed the origin's word on a document.
    receipts: BTreeSet<(DocumentId, SessionId)>,
    link: LinkState,
    telling: Telling,
    gossip: Gossip,
    /// By user, of those who are connected.
    heard: BTreeMap<String, Heard>,
    rights: Rights,
    effects: Vec<Effect>,
    /// The time of the last event, in milliseconds since the Unix epoch.
    now: u64,
}

impl Author {
    /// A device that has signed in.
    fn of(claims: &Claims, now: u64) -> Self {
        Self { user: claims.sub.clone(), device: claims.dev.clone(), source: Source::Device, at: now }
    }

    fn bringer(&self) -> Bringer<'_> {
        Bringer { user: &self.user, device: &self.device, at: self.at }
    }
}

/// The same for as long as the log is there, and another one when it was lost: clients count on what they left under it.
fn storage_id(institute: &str, log: &str) -> Option<String> {
    let name = format!("rollcall storage of {institute}: {log}");
    let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes());
    (!log.is_empty()).then(|| id.to_string())
}

impl Engine {
    pub fn new(institute: &str, limits: Limits, mut position: Position) -> Self {
        Self {
            institute: institute.to_owned(),
            peer: format!("rollcall:{institute}"),
            storage: storage_id(institute, &position.log),
            slots: BTreeMap::new(),
            parked: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            memory: Memory::default(),
            sessions: BTreeMap::new(),
            interest: BTreeMap::new(),
            dirty: BTreeSet::new(),
            replies: BTreeSet::new(),
            refusals: BTreeMap::new(),
            refused_changes: BTreeMap::new(),
            questions: BTreeMap::new(),
            receipts: BTreeSet::new(),
            rights: Rights::new(position.directory.take(), limits.kind_version),
            limits,
            link: LinkState::new(position),
            telling: Telling::default(),
            gossip: Gossip::new(),
            heard: BTreeMap::new(),
            effects: Vec::new(),
            now: 0,
        }
    }

    /// `now` is in milliseconds since the Unix epoch.
    pub fn handle(&mut self, now: u64, event: Event) -> Vec<Effect> {
        self.now = now;
        match event {
            Event::Opened { session, claims } => self.open(session, claims, false),
            Event::Frame { session, bytes } => self.frame(now, session, &bytes),
            Event::Closed { session } => self.closed(session),
            Event::Loaded { document, deleted: true, .. } => self.deleted(now, document),
            Event::Loaded { document, stored, refused, deleted: false } => {
                self.loaded(now, document, stored, refused);
            }
            Event::Unpushed(items) => self.push(items),
            Event::Untold(items) => self.tell_origin(items),
            Event::Held(documents) => self.pull_later(documents),
            Event::Written(documents) => self.written(&documents),
            Event::LinkUp => self.link_up(),
            Event::LinkDown => self.link_down(now),
            Event::Link(message) => self.link_message(now, message),
            Event::Tick => self.tick(now),
        }
        std::mem::take(&mut self.effects)
    }

    /// Ends a batch of events: tells every reader of the documents that have changed, and goes on with the link.
    pub fn flush(&mut self) -> Vec<Effect> {
        let changed = std::mem::take(&mut self.dirty);
        for &document in &changed {
            self.note_growth(document);
            let Some(Slot::Ready(doc)) = self.slots.get_mut(&document) else { continue };
            let changes = doc.automerge.stats().num_changes as usize;
            if doc.tail >= self.limits.tail_changes.max(changes / 4) {
                doc.tail = 0;
                self.effects.push(Effect::Snapshot { document, bytes: doc.automerge.save() });
            }
            let heads = doc.automerge.get_heads();
            for id in &doc.readers {
                // Who has been told is told again only if he asks: a peer of whom a change was refused answers each message, and
                // where there is no room for the document it is loaded for every answer.
                let state = self.sessions.get(id).and_then(|session| session.states.get(&document));
                if state.is_some_and(|state| {
                    state.needs_reset || !state.have_responded || state.last_sent_heads != heads
                }) {
                    self.replies.insert((document, *id));
                }
            }
        }
        let mut answers = Answers::default();
        for (document, session) in std::mem::take(&mut self.replies) {
            let answers = changed.contains(&document).then_some(&mut answers);
            self.send_sync(document, session, answers);
        }
        self.send_receipts();
        self.pump_link();
        self.pump_quarantine();
        self.pump_gossip();
        self.evict();
        std::mem::take(&mut self.effects)
    }
}
