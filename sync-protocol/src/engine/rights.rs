//! Who may do what with a document, by the directory that the link keeps current; by the claims of the token where
//! there is none yet. A change of rights takes effect on open sessions at once.

use super::document::Document;
use super::sessions::Session;
use super::slots::Slot;
use super::{Author, Effect, Engine, SessionId};
use crate::directory::{Directory, DirectoryEntry};
use crate::document_id::DocumentId;
use crate::kind::{self, Access};
use crate::link::{DirectoryPage, DocumentRecord};
use crate::rules::{self, Writer};
use crate::token::{Claims, Role};
use automerge::sync::State;
use automerge::{Automerge, Change};
use std::collections::BTreeSet;

/// Refuses a change of somebody who may not write the document.
pub(super) const FORBIDDEN: &str = "forbidden";

pub(super) struct Rights {
    /// None where no origin has ever sent one: under a host without a link, or before the first.
    pub(super) directory: Option<Directory>,
    /// Pages of a directory that has not come whole yet, and how many they are.
    pages: (u32, Vec<DirectoryEntry>),
    /// As in [`super::Limits`].
    kind_version: u32,
}

impl Rights {
    pub(super) fn new(entries: Option<Vec<DirectoryEntry>>, kind_version: u32) -> Self {
        Self { directory: entries.map(Directory::new), pages: (0, Vec::new()), kind_version }
    }

    pub(super) fn access(&self, doc: &Document, claims: &Claims) -> Access {
        self.access_to(doc.record.as_ref(), &doc.creator, claims)
    }

    /// Without a record the document is its creator's.
    pub(super) fn access_to(
        &self,
        record: Option<&DocumentRecord>,
        creator: &str,
        claims: &Claims,
    ) -> Access {
        let Some(record) = record else {
            return if creator == claims.sub && self.is_active(claims) && !self.is_guardian(claims) {
                Access::Write
            } else {
                Access::None
            };
        };
        match &self.directory {
            Some(directory) => directory.access(record, &claims.sub),
            None => kind::access(record, claims.into()),
        }
    }

    /// The rules of kinds, for a session with these claims. Of another author, whose change was held back, the role is
    /// known from the directory alone.
    pub(super) fn judge<'a>(
        &'a self,
        claims: Option<&'a Claims>,
    ) -> impl Fn(&Automerge, &DocumentRecord, &Change, &Author) -> Result<(), &'static str> + 'a {
        move |doc, record, change, author| {
            let own = |user: &str| claims.filter(|claims| claims.sub == user).map(|claims| claims.role);
            let entry = self.directory.as_ref().and_then(|directory| directory.get(&author.user));
            let role = entry.map(|entry| entry.role).or(own(&author.user));
            let moderates = matches!(role, Some(Role::Teacher | Role::Admin));
            let writer = Writer { user: &author.user, moderates };
            let studies = |user: &str, batch: &str| self.directory.as_ref()?.studies(user, batch);
            rules::check_as_of(self.kind_version, doc, record, change, writer, studies)
        }
    }

    /// Whether the user has not been deactivated. Somebody who is not in the directory yet may have been added just now.
    pub(super) fn is_active(&self, claims: &Claims) -> bool {
        let entry = self.directory.as_ref().and_then(|directory| directory.get(&claims.sub));
        entry.is_none_or(|entry| entry.active)
    }

    /// Whether the user is one who has no documents. A directory from before the role has a guardian as a student: the
    /// token knows better.
    pub(super) fn is_guardian(&self, claims: &Claims) -> bool {
        let entry = self.directory.as_ref().and_then(|directory| directory.get(&claims.sub));
        claims.role == Role::Guardian || entry.is_some_and(|entry| entry.role == Role::Guardian)
    }
}

impl Engine {
    /// One page of the whole directory. It counts once the last one has come; a page that comes twice counts once.
    pub(super) fn directory_page(&mut self, now: u64, page: DirectoryPage) {
        let (next, entries) = &mut self.rights.pages;
        if page.page == 0 {
            (*next, *entries) = (0, Vec::new());
        }
        if page.page != *next {
            return;
        }
        *next += 1;
        entries.extend(page.entries);
        if !page.last {
            return;
        }
        let (_, entries) = std::mem::take(&mut self.rights.pages);
        self.effects.push(Effect::SaveDirectory { entries: entries.clone(), whole: true });
        let directory = Directory::new(entries);
        let before = self.rights.directory.replace(directory.clone()).unwrap_or_default();
        let users = before.users().chain(directory.users());
        let changed: BTreeSet<String> =
            users.filter(|user| before.get(user) != directory.get(user)).map(str::to_owned).collect();
        let affected = changed.iter().flat_map(|user| {
            let old = before.affected_by(user);
            old.into_iter().chain(directory.affected_by(user))
        });
        let mut affected: BTreeSet<String> = affected.collect();
        // Somebody whom the token vouched for and the directory does not know.
        let strangers = self.sessions.values().map(|session| &session.claims.sub);
        affected.extend(strangers.filter(|user| directory.get(user).is_none()).cloned());
        self.rights_changed(now, &affected);
    }

    /// What a commit changed of the directory.
    pub(super) fn members_changed(&mut self, now: u64, entries: Vec<DirectoryEntry>) {
        let Some(directory) = &mut self.rights.directory else { return };
        let mut affected = BTreeSet::new();
        for entry in &entries {
            affected.extend(directory.affected_by(&entry.user));
            directory.put(entry.clone());
        }
        if !entries.is_empty() {
            self.effects.push(Effect::SaveDirectory { entries, whole: false });
            self.rights_changed(now, &affected);
        }
    }

    fn rights_changed(&mut self, now: u64, users: &BTreeSet<String>) {
        let sessions: Vec<SessionId> =
            self.sessions.iter().filter(|(_, s)| users.contains(&s.claims.sub)).map(|(id, _)| *id).collect();
        for id in sessions {
            let Some(session) = self.sessions.get(&id) else { continue };
            if !self.rights.is_active(&session.claims) {
                self.fail(id, "the user is deactivated");
                continue;
            }
            let open: Vec<DocumentId> = session.states.keys().copied().collect();
            let wanted: Vec<DocumentId> = session.interest.iter().copied().collect();
            for document in open {
                self.judge_reader(id, document);
            }
            for document in wanted {
                self.judge_seeker(now, id, document);
            }
        }
        self.drop_held_of(users);
    }

    /// A session that reads a document: it goes on, with fewer or more rights, or is told that there is none.
    fn judge_reader(&mut self, id: SessionId, document: DocumentId) {
        let (record, creator) = match (self.slots.get(&document), self.parked.get(&document)) {
            (Some(Slot::Ready(doc)), _) => (doc.record.clone(), doc.creator.clone()),
            (_, Some(parked)) => (Some(parked.record.clone()), String::new()),
            (
                Some(
                    Slot::Loading { .. } | Slot::Pulling { .. } | Slot::Awaited { .. } | Slot::Deleted { .. },
                )
                | None,
                None,
            ) => return,
        };
        if !self.judge(id, document, record.as_ref(), &creator) {
            if let Some(Slot::Ready(doc)) = self.slots.get_mut(&document) {
                doc.readers.remove(&id);
            }
            self.leave_parked(id, document);
        } else if self.parked.contains_key(&document) && !self.slots.contains_key(&document) {
            let state = self.sessions.get(&id).and_then(|session| session.states.get(&document));
            if state.is_some_and(|state| state.needs_reset) {
                // It is to be asked for what was refused, which a document that was put away does not do.
                self.slots.insert(document, Slot::Loading { waiting: Vec::new() });
                self.effects.push(Effect::Load(document));
            }
        }
    }

    /// The origin says what a document is: who took part in it as its founder may have no right to it.
    pub(super) fn judge_anew(&mut self, document: DocumentId, record: &DocumentRecord, doc: &mut Document) {
        for id in doc.readers.clone() {
            if !self.judge(id, document, Some(record), "") {
                doc.readers.remove(&id);
            }
        }
        let sessions = self.sessions.values();
        let writers = sessions
            .filter(|session| self.rights.access_to(Some(record), "", &session.claims) == Access::Write);
        let writers: BTreeSet<&str> = writers.map(|session| session.claims.sub.as_str()).collect();
        let directory = self.rights.directory.as_ref();
        doc.held.retain(|author| match directory {
            Some(directory) => directory.access(record, &author.user) == Access::Write,
            // What somebody who is gone has brought, he brings again.
            None => writers.contains(author.user.as_str()),
        });
    }

    /// False when the session reads the document no longer; it is told so.
    pub(super) fn judge(
        &mut self,
        id: SessionId,
        document: DocumentId,
        record: Option<&DocumentRecord>,
        creator: &str,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        let access = self.rights.access_to(record, creator, &session.claims);
        let tells = session.tells_readers();
        match (access, session.states.get_mut(&document)) {
            (Access::None, _) => {
                session.states.remove(&document);
                self.replies.remove(&(document, id));
                self.unavailable(id, document);
                false
            }
            (Access::Read | Access::Write, Some(state)) => {
                state.set_read_only(access == Access::Read && tells);
                if access == Access::Write && session.forbidden.remove(&document) {
                    // It takes those for sent. The way back from read-only makes the library ask for them again.
                    state.set_read_only(true);
                    state.set_read_only(false);
                }
                if state.needs_reset || !state.have_responded {
                    self.replies.insert((document, id));
                }
                self.receipts.insert((document, id));
                true
            }
            (Access::Read | Access::Write, None) => false,
        }
    }

    /// A session that was told that there is no such document.
    fn judge_seeker(&mut self, now: u64, id: SessionId, document: DocumentId) {
        match self.slots.remove(&document) {
            Some(Slot::Ready(doc)) => self.make_ready(now, document, doc, Vec::new()),
            Some(slot) => drop(self.slots.insert(document, slot)),
            None => {
                let waits = self.sessions.get(&id).is_some_and(|s| s.interest.contains(&document));
                if waits {
                    self.slots.insert(document, Slot::Loading { waiting: Vec::new() });
                    self.effects.push(Effect::Load(document));
                }
            }
        }
    }

    /// A change that waits for what it depends on is judged by the rights of the time when it can be merged.
    fn drop_held_of(&mut self, users: &BTreeSet<String>) {
        for slot in self.slots.values_mut() {
            if let Slot::Ready(doc) = slot {
                let (record, directory) = (doc.record.clone(), self.rights.directory.as_ref());
                let (Some(record), Some(directory)) = (record, directory) else { continue };
                doc.held.retain(|author| {
                    !users.contains(&author.user) || directory.access(&record, &author.user) == Access::Write
                });
            }
        }
    }
}

impl Session {
    /// Whether the client is told by Automerge's own flag that it may not write, so that it sends no changes. One that can be
    /// told why a change is refused sends them, so that it learns that, and they can be looked at.
    pub(super) fn tells_readers(&self) -> bool {
        !self.extended && !self.quiet
    }

    /// The sync state to begin with.
    pub(super) fn state(&self, access: Access) -> State {
        match access {
            Access::Read if self.tells_readers() => State::new_read_only(),
            Access::Read | Access::Write | Access::None => State::new(),
        }
    }

    /// The sync state to begin with for a session that gets at a document later than it asked for it. None when it does not:
    /// it may get the right when the origin says what the document is.
    pub(super) fn late_state(&self, access: Access) -> Option<State> {
        match access {
            Access::None => None,
            Access::Read => Some(self.state(access)),
            // What it sent in vain it takes for sent: without a reset it would never send it again.
            Access::Write => Some(State { needs_reset: true, ..State::new() }),
        }
    }
}
