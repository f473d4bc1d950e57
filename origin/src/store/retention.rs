//! What is kept for a time alone.

use super::error::StoreError;

pub(crate) trait ReadRetention {
    /// Institutes whose names come after `after`, in order, at most `limit`. Of all, whatever the transaction's own.
    fn institutes_after(&self, after: &str, limit: u32) -> Result<Vec<String>, StoreError>;
}

/// What one step of dropping did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trimmed {
    pub(crate) rows: u64,
    pub(crate) left: Left,
}

/// What there is to drop after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    Nothing,
    More,
    /// Somebody uses what is to be dropped whole.
    InUse,
}

impl Trimmed {
    /// Of a step that dropped rows, at most `limit`.
    pub(crate) fn of_rows(rows: u64, limit: u32) -> Self {
        Self { rows, left: if rows < u64::from(limit) { Left::Nothing } else { Left::More } }
    }
}

/// Each drops what is older than `before` (Unix milliseconds), at most `limit` rows, and says how many.
pub(crate) trait WriteRetention {
    fn trim_decisions(&self, before: i64, limit: u32) -> Result<u64, StoreError>;

    /// On Postgres a whole quarter of all institutes.
    fn trim_messages(&self, before: i64, limit: u32) -> Result<Trimmed, StoreError>;

    fn trim_notifications(&self, before: i64, limit: u32) -> Result<u64, StoreError>;

    /// By the time when they expired.
    fn trim_refresh_tokens(&self, before: i64, limit: u32) -> Result<u64, StoreError>;
}
