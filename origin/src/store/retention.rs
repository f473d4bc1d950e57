//! What is kept for a time alone.

use super::error::StoreError;

pub(crate) trait ReadRetention {
    /// Institutes whose names come after `after`, in order, at most `limit`. Of all, whatever the transaction's own.
    fn institutes_after(&self, after: &str, limit: u32) -> Result<Vec<String>, StoreError>;
}

/// Each drops what is older than `before` (Unix milliseconds), at most `limit` rows, and says how many.
pub(crate) trait WriteRetention {
    fn trim_decisions(&self, before: i64, limit: u32) -> Result<u64, StoreError>;

    fn trim_notifications(&self, before: i64, limit: u32) -> Result<u64, StoreError>;

    /// By the time when they expired.
    fn trim_refresh_tokens(&self, before: i64, limit: u32) -> Result<u64, StoreError>;
}
