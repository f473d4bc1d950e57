//! What is kept: a body, what it depends on, and the revision that it was computed at.

use super::Computed;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::Duration;
use sync_protocol::bookmark::Bookmark;
use sync_protocol::revocation::Revocation;
use tokio_util::bytes::Bytes;

/// Largest entry that is read from Redis, in bytes: a view of full lists is a tenth of it.
pub(super) const MAX_BYTES: usize = 1024 * 1024;
/// What an entry takes besides its texts, about.
const OVERHEAD_BYTES: usize = 512;
/// Changes with the stored form, so that programs of different ages do not read each other's.
const FORM: &str = "2";

/// A body as it is sent, with what is sent about it.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) body: Bytes,
    /// Quoted.
    pub(crate) etag: String,
    /// Separated by `, `.
    pub(crate) tags: String,
    /// The tokens of its reader that it is not for.
    pub(crate) revocation: Revocation,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) content: Arc<Content>,
    pub(super) tags: Vec<String>,
    pub(super) bookmark: Bookmark,
    pub(super) computed_at: i64,
    pub(super) expires_at: i64,
}

/// What stands before the body in Redis.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head<'h> {
    /// The key again: an answer to another question is found out.
    key: &'h str,
    tags: Vec<String>,
    epoch: u64,
    revision: u64,
    computed_at: i64,
    expires_at: i64,
    revocation: Revocation,
}

impl Entry {
    pub(super) fn new(computed: Computed, time_to_live: Duration, now: i64) -> Self {
        let Computed { body, tags, bookmark, valid_until, revocation } = computed;
        let most = now.saturating_add(i64::try_from(time_to_live.as_millis()).unwrap_or(i64::MAX));
        let expires_at = valid_until.map_or(most, |until| until.min(most));
        let content = Content::new(body.into(), &tags, revocation);
        Self { content, tags, bookmark, computed_at: now, expires_at }
    }

    /// About what it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        OVERHEAD_BYTES + self.content.body.len() + 2 * self.content.tags.len()
    }

    /// `FORM`, the head as JSON, and the body, each after a line feed.
    pub(super) fn encode(&self, key: &str) -> Vec<u8> {
        let head = Head {
            key,
            tags: self.tags.clone(),
            epoch: self.bookmark.epoch,
            revision: self.bookmark.revision,
            computed_at: self.computed_at,
            expires_at: self.expires_at,
            revocation: self.content.revocation.clone(),
        };
        let head = serde_json::to_string(&head).expect("texts and numbers are always JSON");
        let mut bytes = Vec::with_capacity(FORM.len() + head.len() + self.content.body.len() + 2);
        bytes.extend_from_slice(FORM.as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(head.as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.content.body);
        bytes
    }

    /// What [`Entry::encode`] made for this key; anything else is none.
    pub(super) fn decode(key: &str, bytes: Vec<u8>) -> Option<Self> {
        if bytes.len() > MAX_BYTES {
            return None;
        }
        let bytes = Bytes::from(bytes);
        let rest = bytes.strip_prefix(FORM.as_bytes())?.strip_prefix(b"\n")?;
        // JSON of our own has no line feed in it.
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let head: Head<'_> = serde_json::from_slice(&rest[..end]).ok()?;
        if head.key != key {
            return None;
        }
        let body = bytes.slice_ref(&rest[end + 1..]);
        Some(Self {
            content: Content::new(body, &head.tags, head.revocation),
            bookmark: Bookmark::new(head.epoch, head.revision),
            computed_at: head.computed_at,
            expires_at: head.expires_at,
            tags: head.tags,
        })
    }
}

impl Content {
    fn new(body: Bytes, tags: &[String], revocation: Revocation) -> Arc<Self> {
        let etag = format!("\"{}\"", hex::encode(&Sha256::digest(&body)[..16]));
        Arc::new(Self { etag, tags: tags.join(", "), body, revocation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let tags = vec!["everything".to_owned(), "user:1".to_owned()];
        let body = b"{\"a\":\n1}".to_vec();
        let mut revocation = Revocation::default();
        revocation.end_session("ended", 5, 905);
        let bookmark = Bookmark::new(2, 7);
        let computed = Computed { body, tags, bookmark, valid_until: None, revocation };
        Entry::new(computed, Duration::from_secs(1), 5)
    }

    #[test]
    fn an_entry_survives_its_stored_form_and_is_of_its_key_alone() {
        let stored = entry().encode("dashboard|i|u");
        let read = Entry::decode("dashboard|i|u", stored.clone()).unwrap();
        assert_eq!(read.content.body, entry().content.body);
        assert_eq!(read.content.etag, entry().content.etag);
        assert_eq!((read.bookmark, read.tags), (entry().bookmark, entry().tags));
        assert_eq!((read.computed_at, read.expires_at), (5, 1_005));
        assert_eq!(read.content.revocation, entry().content.revocation);
        assert!(Entry::decode("dashboard|i|other", stored).is_none());
    }

    #[test]
    fn damaged_bytes_are_no_entry() {
        let stored = entry().encode("k");
        for end in 0..stored.len() - entry().content.body.len() {
            assert!(Entry::decode("k", stored[..end].to_vec()).is_none(), "{end} bytes");
        }
        assert!(Entry::decode("k", [b"1".to_vec(), stored[1..].to_vec()].concat()).is_none());
        assert!(Entry::decode("k", vec![b'2'; MAX_BYTES + 1]).is_none());
        assert!(Entry::decode("k", b"2\n{}\n".to_vec()).is_none());
    }

    #[test]
    fn what_changes_by_itself_ends_before_its_time_to_live() {
        let computed = |valid_until| Computed {
            body: Vec::new(),
            tags: Vec::new(),
            bookmark: Bookmark::new(1, 1),
            valid_until,
            revocation: Revocation::default(),
        };
        let ends = |valid_until| Entry::new(computed(valid_until), Duration::from_secs(1), 0).expires_at;
        assert_eq!([ends(None), ends(Some(300)), ends(Some(5_000))], [1_000, 300, 1_000]);
    }
}
