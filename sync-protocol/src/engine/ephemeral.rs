//! Ephemeral messages, presence above all: relayed to the other readers of the document, once each, and to nobody else; not
//! kept, so one that comes too fast is dropped and nobody is told.

use super::slots::Slot;
use super::{Effect, Engine, SessionId};
use crate::document_id::DocumentId;
use crate::repo_message::RepoMessage;
use std::collections::{BTreeSet, VecDeque};

/// Messages of one session a second, over time: a pointer that moves sends up to 30.
pub const EPHEMERAL_PER_SECOND: u64 = 50;
/// Messages at once: what piles up while a phone's network is away for some seconds.
pub const EPHEMERAL_BURST: u64 = 200;
/// Bytes of one session a second, over time. Each is sent to every reader of a document.
pub const EPHEMERAL_BYTES_PER_SECOND: u64 = 64 * 1024;
/// Bytes at once: four of the largest messages.
pub const EPHEMERAL_BYTES_BURST: u64 = 256 * 1024;
/// Senders and runs of theirs that one user's duplicates are told by: those of all his devices, and of peers that they relay.
const MAX_HEARD: usize = 64;

/// Holds at most `burst` tokens and gains `per_second`.
pub(super) struct Bucket {
    burst: u64,
    per_second: u64,
    /// In thousandths.
    tokens: u64,
    /// Milliseconds since the Unix epoch.
    filled: u64,
}

impl Bucket {
    pub(super) fn new(burst: u64, per_second: u64) -> Self {
        Self { burst, per_second, tokens: burst * 1_000, filled: 0 }
    }

    pub(super) fn fill(&mut self, now: u64) {
        // A clock that is set back gives nothing, and takes nothing.
        let gained = now.saturating_sub(self.filled).saturating_mul(self.per_second);
        self.tokens = self.tokens.saturating_add(gained).min(self.burst * 1_000);
        self.filled = now;
    }

    pub(super) fn holds(&self, tokens: u64) -> bool {
        self.tokens >= tokens * 1_000
    }

    /// Takes as many of `tokens` as it holds.
    pub(super) fn take_up_to(&mut self, tokens: usize) -> usize {
        let held = usize::try_from(self.tokens / 1_000).unwrap_or(usize::MAX);
        let taken = tokens.min(held);
        self.take(taken as u64);
        taken
    }

    pub(super) fn take(&mut self, tokens: u64) {
        self.tokens -= tokens * 1_000;
    }
}

/// What one session has sent.
pub(super) struct Presence {
    messages: Bucket,
    bytes: Bucket,
}

/// What was heard of one user: the same message may come by several of his sessions, because clients pass on what they hear to all
/// peers. Sender, its run and the highest count of it, the oldest first.
///
/// Kept by user, and not for all: nobody can keep another's messages from being heard by naming him as sender.
#[derive(Default)]
pub(super) struct Heard {
    latest: VecDeque<(String, String, u64)>,
    /// The user's sessions that said something.
    sessions: BTreeSet<SessionId>,
}

impl Presence {
    pub(super) fn new() -> Self {
        Self {
            messages: Bucket::new(EPHEMERAL_BURST, EPHEMERAL_PER_SECOND),
            bytes: Bucket::new(EPHEMERAL_BYTES_BURST, EPHEMERAL_BYTES_PER_SECOND),
        }
    }

    fn within_rate(&mut self, now: u64, bytes: u64) -> bool {
        self.messages.fill(now);
        self.bytes.fill(now);
        let within = self.messages.holds(1) && self.bytes.holds(bytes);
        if within {
            self.messages.take(1);
            self.bytes.take(bytes);
        }
        within
    }
}

impl Heard {
    /// A sender's messages count up; one that comes late has been overtaken.
    fn is_new(&mut self, sender: &str, run: &str, count: u64) -> bool {
        if let Some((_, _, highest)) = self.latest.iter_mut().find(|(s, r, _)| s == sender && r == run) {
            let new = count > *highest;
            *highest = count.max(*highest);
            return new;
        }
        if self.latest.len() == MAX_HEARD {
            self.latest.pop_front();
        }
        self.latest.push_back((sender.to_owned(), run.to_owned(), count));
        true
    }
}

impl Engine {
    pub(super) fn relay(&mut self, now: u64, from: SessionId, message: RepoMessage) {
        let RepoMessage::Ephemeral { sender, document, session: run, count, data, .. } = message else {
            return;
        };
        if !self.readers(document).any(|reader| reader == from) || self.speaks_for_another(from, &sender) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&from) else { return };
        if !session.presence.within_rate(now, data.len() as u64) {
            return;
        }
        let heard = self.heard.entry(session.claims.sub.clone()).or_default();
        heard.sessions.insert(from);
        if !heard.is_new(&sender, &run, count) {
            return;
        }
        let others: Vec<SessionId> = self.readers(document).filter(|reader| *reader != from).collect();
        for reader in others {
            let Some(target) = self.sessions.get(&reader).and_then(|s| s.peer.clone()) else { continue };
            // Who said it may be here by another way than it came.
            if target == sender {
                continue;
            }
            let (sender, session, data) = (sender.clone(), run.clone(), data.clone());
            let message = RepoMessage::Ephemeral { sender, target, document, session, count, data };
            self.effects.push(Effect::Send { session: reader, bytes: message.encode() });
        }
    }

    /// A session of the user has ended: with the last one goes what was heard.
    pub(super) fn forget_heard(&mut self, id: SessionId, user: &str) {
        if let Some(heard) = self.heard.get_mut(user) {
            heard.sessions.remove(&id);
            if heard.sessions.is_empty() {
                self.heard.remove(user);
            }
        }
    }

    fn readers(&self, document: DocumentId) -> impl Iterator<Item = SessionId> + use<'_> {
        let readers = match self.slots.get(&document) {
            Some(Slot::Ready(doc)) => Some(&doc.readers),
            Some(
                Slot::Loading { .. } | Slot::Pulling { .. } | Slot::Awaited { .. } | Slot::Deleted { .. },
            )
            | None => self.parked.get(&document).map(|parked| &parked.readers),
        };
        readers.into_iter().flatten().copied()
    }

    /// Clients relay for peers that are not connected here. One that is speaks for itself, unless it is the same user.
    fn speaks_for_another(&self, from: SessionId, sender: &str) -> bool {
        let Some(session) = self.sessions.get(&from) else { return true };
        let own = session.peer.as_deref() == Some(sender);
        let is_other =
            |s: &super::Session| s.peer.as_deref() == Some(sender) && s.claims.sub != session.claims.sub;
        !own && self.sessions.values().any(is_other)
    }
}
