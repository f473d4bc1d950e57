//! The audit log: what was decided, for whom, and what it changed.

use super::transaction::Transaction;
use crate::store::audit::{AuditEntry, WriteAudit};
use crate::store::error::StoreError;
use crate::store::transaction::to_i64;

impl WriteAudit for Transaction<'_> {
    fn add_audit(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO audit (institute, entry, at, user, device, command, key, kind, record, before, after,
                 refusal, epoch, revision)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
            (
                self.institute,
                &entry.entry,
                entry.at,
                &entry.user,
                &entry.device,
                entry.command,
                &entry.key,
                entry.kind,
                &entry.record,
                &entry.before,
                &entry.after,
                entry.refusal,
                to_i64(self.epoch),
                to_i64(entry.revision),
            ),
        )?;
        Ok(())
    }
}
