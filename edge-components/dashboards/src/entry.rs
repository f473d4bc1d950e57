//! A kept view, and the rule that says when it may be served.

use serde::{Deserialize, Serialize};
use sync_protocol::bookmark::Bookmark;

/// Life of an entry whose invalidations arrive over the link: bounds the harm of one that was lost.
const LINKED_LIFE_MS: i64 = 300 * 1000;
/// Life of an entry that nobody invalidates.
const UNLINKED_LIFE_MS: i64 = 5 * 1000;

/// The state of the institute's feed, as the host keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Feed {
    pub(crate) linked: bool,
    pub(crate) epoch: u64,
    /// The revision after which floors are complete: the edge has seen no commit at or before it.
    pub(crate) base: u64,
}

/// What a kept view is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EntryHead {
    /// Path and query.
    pub(crate) view: String,
    pub(crate) content_type: String,
    pub(crate) etag: Option<String>,
    pub(crate) tags: Vec<String>,
    /// Revision of the snapshot that the origin read it in.
    pub(crate) revision: u64,
    pub(crate) epoch: u64,
    /// The bookmark whole, as the origin wrote it.
    #[serde(default)]
    pub(crate) bookmark: String,
    /// Milliseconds since the Unix epoch, by the clock of the edge.
    pub(crate) stored_at: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) head: EntryHead,
    pub(crate) body: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum EntryError {
    #[error("entry has no head")]
    NoHead,
    #[error("head of the entry: {0}")]
    Head(#[from] serde_json::Error),
}

/// What freshness depends on besides the entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// None where no host keeps a feed, as under `spin up`.
    pub(crate) feed: Option<Feed>,
    /// The highest floor of the entry's tags.
    pub(crate) floor: u64,
    pub(crate) bookmark: Option<Bookmark>,
    pub(crate) now_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Served at once.
    Fresh,
    /// Served only when the origin does not answer.
    Stale,
    /// The reader has seen more: never served to this reader.
    Behind,
}

impl EntryHead {
    pub(crate) fn bookmark(&self) -> Bookmark {
        Bookmark::new(self.epoch, self.revision)
    }

    pub(crate) fn freshness(&self, reading: &Reading) -> Freshness {
        if reading.bookmark.is_some_and(|seen| seen > self.bookmark()) {
            return Freshness::Behind;
        }
        let of_this_feed =
            reading.feed.is_none_or(|feed| feed.epoch == self.epoch && self.revision >= feed.base);
        let life_ms =
            if reading.feed.is_some_and(|feed| feed.linked) { LINKED_LIFE_MS } else { UNLINKED_LIFE_MS };
        // An age below zero means that the clock was set back: nothing is known about the true age.
        let young = (0..life_ms).contains(&reading.now_ms.saturating_sub(self.stored_at));
        if of_this_feed && young && reading.floor <= self.revision {
            Freshness::Fresh
        } else {
            Freshness::Stale
        }
    }
}

impl Entry {
    /// One line of JSON, then the body as it is.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(&self.head).expect("texts and numbers are always JSON");
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.body);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let end = bytes.iter().position(|b| *b == b'\n').ok_or(EntryError::NoHead)?;
        Ok(Self { head: serde_json::from_slice(&bytes[..end])?, body: bytes[end + 1..].to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn head() -> EntryHead {
        EntryHead {
            view: "/api/students/dashboard".into(),
            content_type: "application/json".into(),
            etag: Some("\"7\"".into()),
            tags: vec!["user:u1".into(), "everything".into()],
            revision: 7,
            epoch: 1,
            bookmark: "1.7".into(),
            stored_at: NOW,
        }
    }

    fn linked() -> Reading {
        let feed = Feed { linked: true, epoch: 1, base: 3 };
        Reading { feed: Some(feed), floor: 0, bookmark: None, now_ms: NOW + 1 }
    }

    fn seen(epoch: u64, revision: u64) -> Option<Bookmark> {
        Some(Bookmark::new(epoch, revision))
    }

    #[test]
    fn a_linked_entry_lives_five_minutes_and_an_unlinked_one_five_seconds() {
        let at = |now_ms| Reading { now_ms, ..linked() };
        assert_eq!(head().freshness(&at(NOW + LINKED_LIFE_MS - 1)), Freshness::Fresh);
        assert_eq!(head().freshness(&at(NOW + LINKED_LIFE_MS)), Freshness::Stale);
        assert_eq!(head().freshness(&at(NOW - 1)), Freshness::Stale);
        for feed in [None, Some(Feed { linked: false, epoch: 1, base: 3 })] {
            let at = |now_ms| Reading { feed, now_ms, ..linked() };
            assert_eq!(head().freshness(&at(NOW + UNLINKED_LIFE_MS - 1)), Freshness::Fresh);
            assert_eq!(head().freshness(&at(NOW + UNLINKED_LIFE_MS)), Freshness::Stale);
        }
    }

    #[test]
    fn a_commit_that_touched_a_tag_ends_freshness() {
        assert_eq!(head().freshness(&Reading { floor: 7, ..linked() }), Freshness::Fresh);
        assert_eq!(head().freshness(&Reading { floor: 8, ..linked() }), Freshness::Stale);
    }

    #[test]
    fn an_entry_from_before_the_feed_or_of_another_epoch_is_not_fresh() {
        let feed = |epoch, base| Some(Feed { linked: true, epoch, base });
        assert_eq!(head().freshness(&Reading { feed: feed(1, 7), ..linked() }), Freshness::Fresh);
        assert_eq!(head().freshness(&Reading { feed: feed(1, 8), ..linked() }), Freshness::Stale);
        assert_eq!(head().freshness(&Reading { feed: feed(2, 0), ..linked() }), Freshness::Stale);
    }

    #[test]
    fn a_reader_never_goes_back_behind_a_bookmark() {
        assert_eq!(head().freshness(&Reading { bookmark: seen(1, 7), ..linked() }), Freshness::Fresh);
        assert_eq!(head().freshness(&Reading { bookmark: seen(1, 8), ..linked() }), Freshness::Behind);
        assert_eq!(head().freshness(&Reading { bookmark: seen(2, 0), ..linked() }), Freshness::Behind);
        let old = Reading { bookmark: seen(1, 8), now_ms: NOW + 10 * LINKED_LIFE_MS, ..linked() };
        assert_eq!(head().freshness(&old), Freshness::Behind);
    }

    #[test]
    fn an_entry_survives_its_encoding_and_a_torn_one_is_an_error() {
        let entry = Entry { head: head(), body: b"{\n}".to_vec() };
        assert_eq!(Entry::decode(&entry.encode()).unwrap(), entry);
        assert!(Entry::decode(b"").is_err());
        assert!(Entry::decode(b"{}\nbody").is_err());
    }
}
