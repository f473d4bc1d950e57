//! Runs the engine over the log: carries its effects out in one transaction and hands the rest to the caller after
//! commit.

use crate::log::{Log, LogError};
use std::collections::VecDeque;
use sync_protocol::document_id::DocumentId;
use sync_protocol::engine::{Author, Effect, Engine, Event, Inspection, Limits, Reply, SessionId, Stored};
use sync_protocol::link::Hash;
use sync_protocol::token::Claims;

pub(crate) struct Runner {
    engine: Engine,
    log: Log,
}

impl Runner {
    pub(crate) fn open(institute: &str) -> Result<Self, LogError> {
        Self::over(Log::open(institute)?, institute)
    }

    /// The same over a log of the institute that is open already.
    pub(crate) fn over(mut log: Log, institute: &str) -> Result<Self, LogError> {
        let position = log.position()?;
        Ok(Self { engine: Engine::new(institute, Limits::default(), position), log })
    }

    /// Finds what other instances have written to the log; the next [`Runner::run`] goes by it. Every transaction looks too.
    pub(crate) fn look_for_foreign(&mut self) -> Result<(), LogError> {
        self.log.look_for_foreign()
    }

    /// Handles a batch of events. What is returned may be delivered: all that it speaks of is committed.
    ///
    /// After an error nothing of the batch is in the log and the engine is ahead of it: the runner must be dropped.
    pub(crate) fn run(&mut self, now: u64, events: Vec<Event>) -> Result<Vec<Effect>, LogError> {
        let outcome = self.run_uncommitted(now, events.into());
        if outcome.is_err() {
            self.log.roll_back();
        }
        outcome
    }

    fn run_uncommitted(&mut self, now: u64, mut events: VecDeque<Event>) -> Result<Vec<Effect>, LogError> {
        let mut outgoing = Vec::new();
        loop {
            while let Some(event) = events.pop_front() {
                let effects = self.engine.handle(now, event);
                self.carry_out(effects, &mut events, &mut outgoing)?;
                // A batch may open more documents than there is memory for: those that have been answered about make room.
                if self.engine.is_over_budget() {
                    let effects = self.engine.flush();
                    self.carry_out(effects, &mut events, &mut outgoing)?;
                }
            }
            let effects = self.engine.flush();
            self.carry_out(effects, &mut events, &mut outgoing)?;
            let foreign = self.log.take_foreign();
            if !foreign.is_empty() {
                events.push_back(Event::Written(foreign));
            }
            if events.is_empty() {
                break;
            }
        }
        self.log.commit()?;
        Ok(outgoing)
    }

    fn carry_out(
        &mut self,
        effects: Vec<Effect>,
        events: &mut VecDeque<Event>,
        outgoing: &mut Vec<Effect>,
    ) -> Result<(), LogError> {
        let mut effects = effects.into_iter().peekable();
        while let Some(effect) = effects.next() {
            match effect {
                Effect::Append { document, hash, author, bytes } => {
                    let mut changes = vec![(hash, bytes)];
                    while let Some(Effect::Append { hash, bytes, .. }) =
                        effects.next_if(|next| is_append_by(next, document, &author))
                    {
                        changes.push((hash, bytes));
                    }
                    self.log.append(document, &author, changes)?;
                }
                // In front of what else waits: the engine parks messages for a document until it is loaded.
                Effect::Load(document) => {
                    let stored = self.log.load(document)?;
                    events.push_front(self.loaded(document, stored)?);
                }
                Effect::LoadNews(document) => {
                    let stored = self.log.load_news(document)?;
                    events.push_front(self.loaded(document, stored)?);
                }
                Effect::ReadLog { after } => {
                    let unpushed = self.log.unpushed(after)?;
                    if !unpushed.is_empty() {
                        events.push_back(Event::Unpushed(unpushed));
                    }
                }
                Effect::ReadQuarantine => {
                    let untold = self.log.untold()?;
                    if !untold.is_empty() {
                        events.push_back(Event::Untold(untold));
                    }
                }
                Effect::ListDocuments => events.push_back(Event::Held(self.log.documents()?)),
                Effect::Report(message) => eprintln!("sync engine: {message}"),
                Effect::Send { .. } | Effect::Close { .. } | Effect::Link(_) => outgoing.push(effect),
                Effect::SaveRecord(_)
                | Effect::Snapshot { .. }
                | Effect::Quarantine { .. }
                | Effect::Discard { .. }
                | Effect::SaveCursor { .. }
                | Effect::SaveAcknowledged(_)
                | Effect::SaveCommitted { .. }
                | Effect::SaveBinding { .. }
                | Effect::Delete(_)
                | Effect::SaveTold(_)
                | Effect::SaveDirectory { .. }
                | Effect::MarkBehind(_)
                | Effect::MarkCurrent(_) => self.log.write(effect)?,
            }
        }
        Ok(())
    }

    fn loaded(&self, document: DocumentId, stored: Option<Stored>) -> Result<Event, LogError> {
        let refused = self.log.refused(document)?;
        // A document that somebody founded while the log did not know is not the one that was deleted.
        let deleted = stored.is_none() && self.log.is_deleted(document)?;
        Ok(Event::Loaded { document, stored, refused, deleted })
    }

    /// What operators see of a document; none when neither the engine nor the log has it.
    pub(crate) fn inspect(&self, document: DocumentId) -> Result<Option<Inspection>, LogError> {
        self.engine.inspect(document, || self.log.stored(document, None))
    }

    pub(crate) fn open_exchange(&mut self, session: SessionId, claims: Claims) {
        self.engine.open_exchange(session, claims);
    }

    /// Hands in one message of a client without a connection; [`Runner::run`] commits what it brought.
    pub(crate) fn exchange(
        &mut self,
        now: u64,
        session: SessionId,
        document: DocumentId,
        data: Vec<u8>,
    ) -> Result<(), LogError> {
        let mut events = VecDeque::new();
        let effects = self.engine.exchange(now, session, document, data);
        let mut outgoing = Vec::new();
        let mut outcome = self.carry_out(effects, &mut events, &mut outgoing);
        while let (Ok(()), Some(event)) = (&outcome, events.pop_front()) {
            let effects = self.engine.handle(now, event);
            outcome = self.carry_out(effects, &mut events, &mut outgoing);
        }
        if outcome.is_err() {
            self.log.roll_back();
        }
        outcome
    }

    /// Whether the documents in memory take more than they may together.
    pub(crate) fn is_over_budget(&self) -> bool {
        self.engine.is_over_budget()
    }

    pub(crate) fn exchange_reply(&mut self, session: SessionId, document: DocumentId) -> Option<Reply> {
        self.engine.exchange_reply(session, document)
    }

    pub(crate) fn exchange_refusals(
        &mut self,
        session: SessionId,
        document: DocumentId,
    ) -> Vec<(Hash, String)> {
        self.engine.exchange_refusals(session, document)
    }

    pub(crate) fn exchange_committed(&self, session: SessionId, document: DocumentId) -> Vec<Hash> {
        self.engine.exchange_committed(session, document)
    }

    pub(crate) fn log(&mut self) -> &mut Log {
        &mut self.log
    }
}

fn is_append_by(effect: &Effect, of: DocumentId, by: &Author) -> bool {
    matches!(effect, Effect::Append { document, author, .. } if *document == of && author == by)
}
