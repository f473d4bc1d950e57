//! What this process knows of the commits of an institute: for each tag, the newest that touched it.
//!
//! The feed says it, and the store is asked for the feed only when a commit is known that has not been read: by this
//! process itself at once, by others within the tenth of a second that the store takes to hear of them.

use super::{Entry, UNWATCHED_AGE_MAX};
use crate::store::{FeedRow, Store, StoreError};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use sync_protocol::bookmark::Bookmark;
use tokio::sync::watch;

/// Commits before the first reading whose tags are learnt: entries of Redis since then are of use to a process that
/// has just started.
const HISTORY: u64 = 1_024;
/// Commits that are read at a time. Whoever is further behind forgets the past and goes on from the present.
const PAGE: u32 = 1_024;
/// Tags that are remembered for each institute, about a megabyte of them.
const MAX_TAGS: usize = 10_000;
/// Institutes that are remembered, and how long after their last use.
const MAX_INSTITUTES: u64 = 4_096;
const IDLE: Duration = Duration::from_secs(600);

/// The institutes that this process serves.
pub(super) struct FloorMap {
    store: Store,
    institutes: std::sync::Mutex<Known>,
}

#[derive(Default)]
struct Known {
    floors: HashMap<String, (Arc<Floors>, std::time::Instant)>,
}

pub(super) struct Floors {
    store: Store,
    institute: String,
    /// The newest revision that the store has told this process of; 0 before the first.
    newest: watch::Receiver<u64>,
    state: RwLock<State>,
    /// Held by whoever reads the feed.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// 0 before the first reading.
    epoch: u64,
    /// All commits after this revision and up to `position` are known.
    base: u64,
    position: u64,
    /// The newest of them that touched each tag.
    floors: HashMap<String, u64>,
}

impl FloorMap {
    pub(super) fn new(store: Store) -> Self {
        Self { store, institutes: std::sync::Mutex::default() }
    }

    pub(super) fn of(&self, institute: &str) -> Arc<Floors> {
        let now = std::time::Instant::now();
        let mut known = self.institutes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((floors, used)) = known.floors.get_mut(institute) {
            *used = now;
            return Arc::clone(floors);
        }
        known.floors.retain(|_, (_, used)| now.duration_since(*used) < IDLE);
        if known.floors.len() as u64 >= MAX_INSTITUTES {
            // The one that was not used for longest: its next reader learns it anew.
            let oldest = known.floors.iter().min_by_key(|(_, (_, used))| *used).map(|(name, _)| name.clone());
            oldest.and_then(|name| known.floors.remove(&name));
        }
        let floors = Arc::new(Floors {
            store: self.store.clone(),
            institute: institute.to_owned(),
            newest: self.store.watch(institute),
            state: RwLock::default(),
            turn: tokio::sync::Mutex::default(),
        });
        known.floors.insert(institute.to_owned(), (Arc::clone(&floors), now));
        floors
    }
}

impl Floors {
    /// Learns of the commits that the store has told this process of, and of those that the reader has seen; whether
    /// all of the former are known then.
    pub(super) async fn catch_up(&self, seen: Option<Bookmark>) -> bool {
        let done = || self.is_current() && seen.is_none_or(|seen| self.reaches(seen));
        if done() {
            return true;
        }
        let _turn = self.turn.lock().await;
        // Whoever had the turn before may have read it all.
        if !done() {
            self.read_feed(seen).await;
        }
        self.is_current()
    }

    /// Learns of all commits that the store shows now.
    pub(super) async fn catch_up_to_store(&self) {
        let _turn = self.turn.lock().await;
        self.read_feed(None).await;
    }

    fn is_current(&self) -> bool {
        let newest = *self.newest.borrow();
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.epoch != 0 && state.epoch == self.store.epoch() && state.position >= newest
    }

    /// Whether a bookmark is of this history, as far as it is known here.
    pub(super) fn reaches(&self, bookmark: Bookmark) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.epoch == bookmark.epoch && bookmark.revision <= state.position
    }

    /// The newest revision that the entry is known to show; none when it may not be served to who has `seen` this.
    pub(super) fn admit(&self, entry: &Entry, seen: Option<Bookmark>, now: i64) -> Option<Bookmark> {
        if now >= entry.expires_at {
            return None;
        }
        let oldest = now.saturating_sub(i64::try_from(UNWATCHED_AGE_MAX.as_millis()).unwrap_or(i64::MAX));
        if entry.computed_at < oldest && !self.store.hears_of_commits() {
            return None;
        }
        let at = self.state.read().unwrap_or_else(PoisonError::into_inner).shows(entry)?;
        seen.is_none_or(|seen| seen <= at).then_some(at)
    }

    async fn read_feed(&self, seen: Option<Bookmark>) {
        let newest = Bookmark::new(self.store.epoch(), *self.newest.borrow());
        let newest = seen.map_or(newest, |seen| seen.max(newest));
        let (known_epoch, position) = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            (state.epoch, state.position)
        };
        let read = self.store.read_after::<_, StoreError, _>(&self.institute, Some(newest), move |records| {
            let at = Bookmark::new(records.epoch(), records.revision()?);
            let from = if at.epoch == known_epoch { position } else { at.revision.saturating_sub(HISTORY) };
            Ok((at, from, records.feed_after(from, PAGE)?))
        });
        match read.await {
            Ok((at, from, rows)) => {
                let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
                state.learn(at, from, rows);
            }
            Err(error) => {
                tracing::debug!(%error, institute = self.institute, "the feed cannot be read");
            }
        }
    }
}

impl State {
    fn shows(&self, entry: &Entry) -> Option<Bookmark> {
        let Bookmark { epoch, revision, .. } = entry.bookmark;
        let floor = |tag: &String| self.floors.get(tag).copied().unwrap_or(0);
        let overtaken = entry.tags.iter().any(|tag| floor(tag) > revision);
        let known = epoch == self.epoch && revision >= self.base && !overtaken;
        // No commit up to the position has touched what it depends on.
        known.then(|| Bookmark::new(epoch, revision.max(self.position)))
    }

    /// Takes in the commits after `from` of a store that was at `at`.
    fn learn(&mut self, at: Bookmark, from: u64, rows: Vec<FeedRow>) {
        if at < Bookmark::new(self.epoch, self.position) {
            return;
        }
        if at.epoch != self.epoch {
            *self = Self { epoch: at.epoch, base: from, position: from, floors: HashMap::new() };
        }
        for row in rows {
            if row.revision != self.position + 1 {
                break;
            }
            self.position = row.revision;
            for tag in row.tags {
                self.floors.insert(tag, row.revision);
            }
        }
        // The feed does not reach back that far, or it is too much: what was before is not known, and the present is.
        if self.position < at.revision || self.floors.len() > MAX_TAGS {
            *self =
                Self { epoch: at.epoch, base: at.revision, position: at.revision, floors: HashMap::new() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Computed;
    use super::*;
    use sync_protocol::revocation::Revocation;

    fn row(revision: u64, tags: &[&str]) -> FeedRow {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        FeedRow { revision, tags, documents: Vec::new() }
    }

    fn entry(epoch: u64, revision: u64, tag: &str) -> Entry {
        let tags = vec![tag.to_owned()];
        let bookmark = Bookmark::new(epoch, revision);
        Entry::new(
            Computed {
                body: Vec::new(),
                tags,
                bookmark,
                valid_until: None,
                revocation: Revocation::default(),
            },
            IDLE,
            0,
        )
    }

    fn at(revision: u64) -> Bookmark {
        Bookmark::new(1, revision)
    }

    #[test]
    fn an_entry_is_shown_until_a_commit_touches_what_it_depends_on() {
        let mut state = State::default();
        assert_eq!(state.shows(&entry(1, 5, "a")), None, "nothing is known yet");
        state.learn(at(5), 3, vec![row(4, &["a"]), row(5, &["b"])]);
        assert_eq!(state.shows(&entry(1, 3, "a")), None);
        assert_eq!(state.shows(&entry(1, 4, "a")), Some(at(5)));
        assert_eq!(state.shows(&entry(1, 2, "c")), None, "what happened up to 3 is not known");
        assert_eq!(state.shows(&entry(1, 3, "c")), Some(at(5)));
        assert_eq!(state.shows(&entry(2, 4, "a")), None, "another epoch");
        state.learn(at(6), 5, vec![row(6, &["a"])]);
        assert_eq!(state.shows(&entry(1, 5, "a")), None);
        assert_eq!(state.shows(&entry(1, 9, "a")), Some(at(9)), "newer than what is known here");
    }

    #[test]
    fn a_gap_in_the_feed_forgets_the_past() {
        let mut state = State::default();
        state.learn(at(2), 0, vec![row(1, &["a"]), row(2, &["b"])]);
        state.learn(at(9), 2, vec![row(5, &["a"])]);
        assert_eq!(state.shows(&entry(1, 8, "c")), None);
        assert_eq!(state.shows(&entry(1, 9, "c")), Some(at(9)));
    }

    #[test]
    fn a_new_epoch_begins_anew_and_a_late_answer_of_the_old_one_changes_nothing() {
        let mut state = State::default();
        state.learn(at(9), 8, vec![row(9, &["a"])]);
        state.learn(Bookmark::new(2, 7), 6, vec![row(7, &["b"])]);
        assert_eq!(state.shows(&entry(1, 9, "c")), None);
        assert_eq!(state.shows(&entry(2, 6, "b")), None);
        assert_eq!(state.shows(&entry(2, 7, "b")), Some(Bookmark::new(2, 7)));
        state.learn(at(10), 9, vec![row(10, &["b"])]);
        assert_eq!(state.shows(&entry(2, 7, "b")), Some(Bookmark::new(2, 7)));
    }
}
