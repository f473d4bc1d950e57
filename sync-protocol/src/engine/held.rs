//! Changes of one document that wait for what they depend on.

use super::{Author, Limits};
use automerge::{Change, ChangeHash};
use std::collections::HashMap;

#[derive(Default)]
pub(super) struct Held {
    changes: HashMap<ChangeHash, (Change, Author)>,
    bytes: usize,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    pub(super) fn get(&self, hash: &ChangeHash) -> Option<&Change> {
        self.changes.get(hash).map(|(change, _)| change)
    }

    pub(super) fn author(&self, hash: &ChangeHash) -> Option<&Author> {
        self.changes.get(hash).map(|(_, author)| author)
    }

    pub(super) fn contains(&self, hash: &ChangeHash) -> bool {
        self.changes.contains_key(hash)
    }

    /// Whether a device of this name has brought any of them.
    pub(super) fn has_of(&self, user: &str, device: &str) -> bool {
        self.changes.values().any(|(_, author)| author.user == user && author.device == device)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn has_room(&self, change: &Change, limits: &Limits) -> bool {
        self.changes.len() < limits.held_changes && self.bytes + change.raw_bytes().len() <= limits.held_bytes
    }

    pub(super) fn put(&mut self, hash: ChangeHash, change: Change, author: Author) {
        self.bytes += change.raw_bytes().len();
        if let Some((before, _)) = self.changes.insert(hash, (change, author)) {
            self.bytes -= before.raw_bytes().len();
        }
    }

    pub(super) fn take(&mut self, hash: &ChangeHash) -> Option<(Change, Author)> {
        let taken = self.changes.remove(hash)?;
        self.bytes -= taken.0.raw_bytes().len();
        Some(taken)
    }

    /// Takes out what waits for nothing any more.
    pub(super) fn take_complete(&mut self, complete: impl Fn(&Change) -> bool) -> Vec<(Change, Author)> {
        let free = self.changes.iter().filter(|(_, (change, _))| complete(change)).map(|(hash, _)| *hash);
        let free: Vec<ChangeHash> = free.collect();
        free.iter().filter_map(|hash| self.take(hash)).collect()
    }

    /// What waits for each change.
    pub(super) fn by_dependency(&self) -> HashMap<ChangeHash, Vec<ChangeHash>> {
        let mut waiting = HashMap::<ChangeHash, Vec<ChangeHash>>::new();
        for (hash, (change, _)) in &self.changes {
            for dep in change.deps() {
                waiting.entry(*dep).or_default().push(*hash);
            }
        }
        waiting
    }

    /// Forgets changes whose author does not pass.
    pub(super) fn retain(&mut self, passes: impl Fn(&Author) -> bool) {
        self.changes.retain(|_, (_, author)| passes(author));
        self.bytes = self.changes.values().map(|(change, _)| change.raw_bytes().len()).sum();
    }
}
