//! The feed: what each commit touched, and how far the logs of the edges are committed.

use super::error::StoreError;
use sync_protocol::document_id::DocumentId;

/// One commit of an institute.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FeedRow {
    pub(crate) revision: u64,
    pub(crate) tags: Vec<String>,
    /// Changed documents with their heads, hex.
    pub(crate) documents: Vec<(DocumentId, Vec<String>)>,
}

pub(crate) trait ReadFeed {
    /// The store's generation in this transaction: with the revision it makes a bookmark.
    fn epoch(&self) -> u64;

    /// The institute's newest revision in this transaction; 0 for an unknown institute.
    fn revision(&self) -> Result<u64, StoreError>;

    /// Commits after `revision`, oldest first, at most `limit`.
    fn feed_after(&self, revision: u64, limit: u32) -> Result<Vec<FeedRow>, StoreError>;

    /// Highest sequence of an edge's log that is committed; 0 for none.
    fn acknowledged(&self, log: &str) -> Result<u64, StoreError>;
}

pub(crate) trait WriteFeed {
    /// Notes that all of an edge's log up to `sequence` is committed or refused; never goes back.
    fn acknowledge(&self, log: &str, edge: &str, sequence: u64) -> Result<(), StoreError>;
}
