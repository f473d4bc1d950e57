//! Changes that were refused: who is told, and how they come to the origin, where an admin looks at them.

use super::document::Rejected;
use super::{Author, Effect, Engine, SessionId};
use crate::document_id::DocumentId;
use crate::link::{LinkMessage, Quarantine, QuarantineItem, Quarantined};

/// Where the telling of the origin stands.
#[derive(Default)]
pub(super) struct Telling {
    /// A [`Quarantine`] waits for its answer.
    under_way: bool,
    /// The log may hold what the origin has not.
    pub(super) untold: bool,
}

impl Telling {
    /// A new connection, on which nothing is under way.
    pub(super) fn restart(&mut self) {
        *self = Self { under_way: false, untold: true };
    }
}

impl Engine {
    /// Quarantines changes that were not taken, and tells who brought them.
    pub(super) fn set_aside(&mut self, id: SessionId, document: DocumentId, rejected: Vec<Rejected>) {
        for change in rejected {
            self.tell_refusal(id, document, change.hash.into(), &change.code);
            self.quarantine(document, change);
        }
    }

    /// The same for changes that were held back, whoever of their authors' sessions is there.
    pub(super) fn set_aside_held(&mut self, document: DocumentId, rejected: Vec<Rejected>) {
        for change in rejected {
            for id in self.sessions_of(&change.author) {
                self.tell_refusal(id, document, change.hash.into(), &change.code);
            }
            self.quarantine(document, change);
        }
    }

    fn sessions_of(&self, author: &Author) -> Vec<SessionId> {
        let is_of = |claims: &crate::token::Claims| claims.sub == author.user && claims.dev == author.device;
        self.sessions.iter().filter(|(_, session)| is_of(&session.claims)).map(|(id, _)| *id).collect()
    }

    fn quarantine(&mut self, document: DocumentId, change: Rejected) {
        let Rejected { hash, author, bytes, code } = change;
        let (hash, code) = (hash.into(), code.into_owned());
        self.effects.push(Effect::Quarantine { document, hash, author, bytes, code });
        self.telling.untold = true;
    }

    /// Asks the log for what the origin has not, while nothing is under way. Called when a batch of events is done.
    pub(super) fn pump_quarantine(&mut self) {
        if self.link.is_following() && self.telling.untold && !self.telling.under_way {
            self.telling.untold = false;
            self.effects.push(Effect::ReadQuarantine);
        }
    }

    pub(super) fn tell_origin(&mut self, items: Vec<QuarantineItem>) {
        if items.is_empty() || !self.link.is_following() {
            return;
        }
        self.telling.under_way = true;
        let (institute, log) = (self.institute.clone(), self.link.log().to_owned());
        self.effects.push(Effect::Link(LinkMessage::Quarantine(Quarantine { institute, log, items })));
    }

    pub(super) fn told_origin(&mut self, told: Quarantined) {
        if told.log == self.link.log() {
            self.telling.restart();
            self.effects.push(Effect::SaveTold(told.acknowledged));
        }
    }
}
