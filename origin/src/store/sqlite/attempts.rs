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
    fn count_attempt(&self, bucket: &[u8], refill_ms: i64, now: i64) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO attempts (bucket, full_at) VALUES (?1, ?2 + ?3)
             ON CONFLICT (bucket) DO UPDATE SET full_at = max(full_at, ?2) + ?3",
            (bucket, now, refill_ms),
        )?;
        self.run(
            "DELETE FROM attempts WHERE bucket IN (
                 SELECT bucket FROM attempts WHERE full_at < ?1 ORDER BY full_at LIMIT ?2)",
            (now, FORGOTTEN),
        )?;
        Ok(())
    }

    fn forget_attempts(&self, bucket: &[u8]) -> Result<(), StoreError> {
        self.run("DELETE FROM attempts WHERE bucket = ?1", (bucket,))?;
        Ok(())
    }
}
