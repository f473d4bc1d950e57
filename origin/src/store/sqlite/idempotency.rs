//! What was decided about each command, by its idempotency key.

use super::transaction::Transaction;
use crate::store::error::StoreError;
use crate::store::idempotency::{Decision, DecisionStatus, ReadDecisions, WriteDecisions};
use crate::store::transaction::{to_i64, to_u64};

impl ReadDecisions for Transaction<'_> {
    fn decision(&self, key: &str) -> Result<Option<Decision>, StoreError> {
        self.one(
            "SELECT user, device, request_hash, status, outcome, revision, entity_tag FROM idempotency
             WHERE institute = ?1 AND key = ?2",
            (self.institute, key),
            |row| {
                let status: String = row.get(3)?;
                let refused = status == DecisionStatus::Refused.as_str();
                Ok(Decision {
                    user: row.get(0)?,
                    device: row.get(1)?,
                    request_hash: row.get(2)?,
                    status: if refused { DecisionStatus::Refused } else { DecisionStatus::Delivered },
                    outcome: row.get(4)?,
                    revision: to_u64(row.get(5)?),
                    entity_tag: row.get(6)?,
                })
            },
        )
    }
}

impl WriteDecisions for Transaction<'_> {
    fn add_decision(&self, key: &str, decision: &Decision, now: i64) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO idempotency
                 (institute, key, user, device, request_hash, status, outcome, revision, decided_at, entity_tag)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            (
                self.institute,
                key,
                &decision.user,
                &decision.device,
                &decision.request_hash,
                decision.status.as_str(),
                &decision.outcome,
                to_i64(decision.revision),
                now,
                &decision.entity_tag,
            ),
        )?;
        Ok(())
    }
}
