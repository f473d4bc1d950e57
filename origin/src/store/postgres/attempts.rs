//! Attempts that origins count together.

use super::transaction::{Millis, Transaction, millis};
use crate::store::attempts::{FORGOTTEN, ReadAttempts, WriteAttempts};
use crate::store::error::StoreError;

impl ReadAttempts for Transaction<'_> {
    fn bucket_full_at(&self, bucket: &[u8]) -> Result<Option<i64>, StoreError> {
        self.one("SELECT full_at FROM attempts WHERE bucket = $1", &[&bucket], |row| millis(row, 0))
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
            "INSERT INTO attempts AS a (bucket, full_at) VALUES ($1, $2)
             ON CONFLICT (bucket) DO UPDATE SET full_at = greatest(a.full_at, $3) + (excluded.full_at - $3)
             WHERE a.full_at <= $4",
            &[&bucket, &Millis(now + refill_ms), &Millis(now), &Millis(now + owed_max_ms)],
        )?;
        // Those that somebody else counts in or forgets are left to them.
        self.run(
            "DELETE FROM attempts WHERE bucket = ANY (ARRAY(
                 SELECT bucket FROM attempts WHERE full_at < $1 ORDER BY full_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
            &[&Millis(now), &i64::from(FORGOTTEN)],
        )?;
        Ok(counted > 0)
    }

    fn give_attempt_back(&self, bucket: &[u8], refill_ms: i64) -> Result<(), StoreError> {
        let sql =
            "UPDATE attempts SET full_at = full_at - $2::bigint * interval '1 millisecond' WHERE bucket = $1";
        self.run(sql, &[&bucket, &refill_ms])?;
        Ok(())
    }

    fn forget_attempts(&self, bucket: &[u8]) -> Result<(), StoreError> {
        self.run("DELETE FROM attempts WHERE bucket = $1", &[&bucket])?;
        Ok(())
    }
}
