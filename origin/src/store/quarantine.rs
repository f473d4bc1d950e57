//! Changes that were refused, until an admin settles them.

use super::error::StoreError;
use sync_protocol::document_id::DocumentId;
use sync_protocol::quarantine::Usage;

/// A refused change, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QuarantineRow {
    pub(crate) document: DocumentId,
    /// Of the change; of the bytes where they are no change.
    pub(crate) hash: [u8; 32],
    pub(crate) user: String,
    pub(crate) device: String,
    pub(crate) edge: String,
    pub(crate) code: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) refused_at: i64,
}

/// How an item was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuarantineOutcome {
    Accepted,
    Dropped,
    /// The document got the change another way.
    Arrived,
}

impl QuarantineOutcome {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            QuarantineOutcome::Accepted => "accepted",
            QuarantineOutcome::Dropped => "dropped",
            QuarantineOutcome::Arrived => "arrived",
        }
    }
}

/// Items that no one has settled yet.
pub(crate) trait ReadQuarantine {
    /// What is kept of a device and of the institute.
    fn quarantine_usage(&self, device: &str) -> Result<(Usage, Usage), StoreError>;

    /// The items of one document without their bytes, the oldest first.
    fn quarantine_of(&self, document: DocumentId, limit: u32) -> Result<Vec<QuarantineRow>, StoreError>;

    fn quarantined(&self, document: DocumentId, hash: &[u8; 32])
    -> Result<Option<QuarantineRow>, StoreError>;
}

pub(crate) trait WriteQuarantine {
    /// Keeps a refused change; whether it is new. The first reason stays when it comes again, and one that was settled stays
    /// so.
    fn quarantine(&self, row: &QuarantineRow) -> Result<bool, StoreError>;

    /// Settles those of `hashes` that are open: the document has got them another way.
    fn settle_arrived(&self, document: DocumentId, hashes: &[[u8; 32]], now: i64) -> Result<(), StoreError>;

    /// Settles an item and forgets its bytes; whether it was open.
    fn settle_quarantined(
        &self,
        document: DocumentId,
        hash: &[u8; 32],
        outcome: QuarantineOutcome,
        by: Option<&str>,
        now: i64,
    ) -> Result<bool, StoreError>;
}
