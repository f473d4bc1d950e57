//! What is kept for a time alone.

use super::transaction::{Millis, Transaction};
use crate::store::error::StoreError;
use crate::store::retention::{ReadRetention, WriteRetention};

impl ReadRetention for Transaction<'_> {
    fn institutes_after(&self, after: &str, limit: u32) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT institute FROM institutes_after($1, $2)";
        self.all(sql, &[&after, &i64::from(limit)], |row| row.try_get(0))
    }
}

impl WriteRetention for Transaction<'_> {
    fn trim_decisions(&self, before: i64, limit: u32) -> Result<u64, StoreError> {
        self.trim("idempotency", "decided_at", before, limit)
    }

    fn trim_notifications(&self, before: i64, limit: u32) -> Result<u64, StoreError> {
        self.trim("notifications", "created_at", before, limit)
    }

    fn trim_refresh_tokens(&self, before: i64, limit: u32) -> Result<u64, StoreError> {
        self.trim("refresh_tokens", "expires_at", before, limit)
    }
}

impl Transaction<'_> {
    /// Both names are ours.
    fn trim(&self, table: &str, column: &str, before: i64, limit: u32) -> Result<u64, StoreError> {
        let sql = format!(
            "DELETE FROM {table} WHERE ctid = ANY (ARRAY(
                 SELECT ctid FROM {table} WHERE institute = $1 AND {column} < $2 LIMIT $3))"
        );
        self.run(&sql, &[&self.institute, &Millis(before), &i64::from(limit)])
    }
}
