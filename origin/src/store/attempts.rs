//! Attempts that origins count together: when each bucket will be full again. Of no institute.

use super::error::StoreError;

pub(crate) trait ReadAttempts {
    /// In Unix milliseconds; none for a bucket in which nothing is counted.
    fn bucket_full_at(&self, bucket: &[u8]) -> Result<Option<i64>, StoreError>;
}

pub(crate) trait WriteAttempts {
    /// Has the bucket full again later by `refill_ms`, and forgets some that are full; false when it is full again
    /// only more than `owed_max_ms` from now, which leaves it as it is. Of attempts at the same time no two are granted
    /// where one is left.
    fn count_attempt(
        &self,
        bucket: &[u8],
        refill_ms: i64,
        owed_max_ms: i64,
        now: i64,
    ) -> Result<bool, StoreError>;

    /// Has the bucket full again earlier by `refill_ms`.
    fn give_attempt_back(&self, bucket: &[u8], refill_ms: i64) -> Result<(), StoreError>;

    fn forget_attempts(&self, bucket: &[u8]) -> Result<(), StoreError>;
}

/// Full buckets that each attempt forgets: more than it can add, so that they do not heap up.
pub(super) const FORGOTTEN: u32 = 8;
