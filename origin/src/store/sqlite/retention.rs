//! What is kept for a time alone.

use super::transaction::Transaction;
use crate::store::error::StoreError;
use crate::store::retention::{ReadRetention, Trimmed, WriteRetention};

impl ReadRetention for Transaction<'_> {
    fn institutes_after(&self, after: &str, limit: u32) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT institute FROM institutes WHERE institute > ?1 ORDER BY institute LIMIT ?2";
        self.all(sql, (after, limit), |row| row.get(0))
    }
}

impl WriteRetention for Transaction<'_> {
    fn trim_decisions(&self, before: i64, limit: u32) -> Result<u64, StoreError> {
        let trimmed = self.run(
            "DELETE FROM idempotency WHERE institute = ?1 AND key IN (
                 SELECT key FROM idempotency WHERE institute = ?1 AND decided_at < ?2 LIMIT ?3)",
            (self.institute, before, limit),
        )?;
        Ok(trimmed as u64)
    }

    fn trim_messages(&self, before: i64, limit: u32) -> Result<Trimmed, StoreError> {
        let trimmed = self.run(
            "DELETE FROM messages WHERE institute = ?1 AND message IN (
                 SELECT message FROM messages WHERE institute = ?1 AND posted_at < ?2 LIMIT ?3)",
            (self.institute, before, limit),
        )?;
        Ok(Trimmed::of_rows(trimmed as u64, limit))
    }

    fn trim_notifications(&self, before: i64, limit: u32) -> Result<u64, StoreError> {
        let trimmed = self.run(
            "DELETE FROM notifications WHERE institute = ?1 AND (user, revision, position) IN (
                 SELECT user, revision, position FROM notifications
                 WHERE institute = ?1 AND created_at < ?2 LIMIT ?3)",
            (self.institute, before, limit),
        )?;
        Ok(trimmed as u64)
    }

    fn trim_refresh_tokens(&self, before: i64, limit: u32) -> Result<u64, StoreError> {
        let trimmed = self.run(
            "DELETE FROM refresh_tokens WHERE token_hash IN (
                 SELECT t.token_hash FROM refresh_tokens t JOIN users u ON u.user = t.user
                 WHERE u.institute = ?1 AND t.expires_at < ?2 LIMIT ?3)",
            (self.institute, before, limit),
        )?;
        Ok(trimmed as u64)
    }
}
