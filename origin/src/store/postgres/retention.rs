//! What is kept for a time alone.

use super::transaction::{Millis, Transaction};
use crate::store::error::StoreError;
use crate::store::retention::{Left, ReadRetention, Trimmed, WriteRetention};

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

    fn trim_messages(&self, before: i64, _limit: u32) -> Result<Trimmed, StoreError> {
        self.retire("retire_message_partition", before)
    }

    fn trim_notifications(&self, before: i64, limit: u32) -> Result<u64, StoreError> {
        self.trim("notifications", "created_at", before, limit)
    }

    fn trim_refresh_tokens(&self, before: i64, limit: u32) -> Result<u64, StoreError> {
        self.trim("refresh_tokens", "expires_at", before, limit)
    }
}

impl Transaction<'_> {
    /// Drops one partition, or some rows outside of all partitions, by a function of the database.
    pub(super) fn retire(&self, function: &str, before: i64) -> Result<Trimmed, StoreError> {
        let sql = format!("SELECT {function}($1)");
        let rows: Option<i64> = self.one(&sql, &[&Millis(before)], |row| row.try_get(0))?.flatten();
        Ok(match rows {
            None => Trimmed { rows: 0, left: Left::Nothing },
            Some(rows) => match u64::try_from(rows) {
                Ok(rows) => Trimmed { rows, left: Left::More },
                Err(_) => Trimmed { rows: 0, left: Left::InUse },
            },
        })
    }

    /// Both names are ours.
    fn trim(&self, table: &str, column: &str, before: i64, limit: u32) -> Result<u64, StoreError> {
        let sql = format!(
            "DELETE FROM {table} WHERE ctid = ANY (ARRAY(
                 SELECT ctid FROM {table} WHERE institute = $1 AND {column} < $2 LIMIT $3))"
        );
        self.run(&sql, &[&self.institute, &Millis(before), &i64::from(limit)])
    }
}
