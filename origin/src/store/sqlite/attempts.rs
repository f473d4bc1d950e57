//! Attempts, which survive the process.

use super::transaction::Transaction;
use crate::store::attempts::{FORGOTTEN, ReadAttempts, WriteAttempts};
use crate::store::error::StoreError;

impl ReadAttempts for Transaction<'_> {
    fn bucket_full_at(&self, bucket: &[u8]) -> Result<Option<i64>, StoreError> {
        self.one("SELECT full_at FROM attempts WHERE bucket = ?1", (bucket,), |row| row.get(0))
    }
}

impl WriteAttempts for Transaction<'_> {
    fn count_attempt(
        &self,
        bucket: &[u8],
        refill_ms: i64,
        owed_max_ms: i64,
        now: i64,
    ) -> Result<bool, StoreError> {
        let counted = self.run(
            "INSERT INTO attempts (bucket, full_at) VALUES (?1, ?2 + ?3)
             ON CONFLICT (bucket) DO UPDATE SET full_at = max(full_at, ?2) + ?3 WHERE full_at <= ?2 + ?4",
            (bucket, now, refill_ms, owed_max_ms),
        )?;
        self.run(
            "DELETE FROM attempts WHERE bucket IN (
                 SELECT bucket FROM attempts WHERE full_at < ?1 ORDER BY full_at LIMIT ?2)",
            (now, FORGOTTEN),
        )?;
        Ok(counted > 0)
    }

    fn give_attempt_back(&self, bucket: &[u8], refill_ms: i64) -> Result<(), StoreError> {
        self.run("UPDATE attempts SET full_at = full_at - ?2 WHERE bucket = ?1", (bucket, refill_ms))?;
        Ok(())
    }

    fn forget_attempts(&self, bucket: &[u8]) -> Result<(), StoreError> {
        self.run("DELETE FROM attempts WHERE bucket = ?1", (bucket,))?;
        Ok(())
    }
}
