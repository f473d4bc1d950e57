//! What was decided about each command, by its idempotency key.

use super::transaction::{Millis, Transaction};
use crate::store::error::StoreError;
use crate::store::idempotency::{Decision, DecisionStatus, ReadDecisions, WriteDecisions};
use crate::store::transaction::{to_i64, to_u64};

impl ReadDecisions for Transaction<'_> {
    fn decision(&self, key: &str) -> Result<Option<Decision>, StoreError> {
        self.one(
            r#"SELECT "user", device, request_hash, status, outcome::text, revision, entity_tag
             FROM idempotency
             WHERE institute = $1 AND key = $2"#,
            &[&self.institute, &key],
            |row| {
                let refused = row.try_get::<_, &str>(3)? == DecisionStatus::Refused.as_str();
                Ok(Decision {
                    user: row.try_get(0)?,
                    device: row.try_get(1)?,
                    request_hash: row.try_get(2)?,
                    status: if refused { DecisionStatus::Refused } else { DecisionStatus::Delivered },
                    outcome: row.try_get(4)?,
                    revision: to_u64(row.try_get(5)?),
                    entity_tag: row.try_get(6)?,
                })
            },
        )
    }
}

impl WriteDecisions for Transaction<'_> {
    fn add_decision(&self, key: &str, decision: &Decision, now: i64) -> Result<(), StoreError> {
        self.run(
            r#"INSERT INTO idempotency
                 (institute, key, "user", device, request_hash, status, outcome, revision, decided_at, entity_tag)
             VALUES ($1, $2, $3, $4, $5, $6, $7::text::json, $8, $9, $10)"#,
            &[
                &self.institute,
                &key,
                &decision.user,
                &decision.device,
                &decision.request_hash,
                &decision.status.as_str(),
                &decision.outcome,
                &to_i64(decision.revision),
                &Millis(now),
                &decision.entity_tag,
            ],
        )?;
        Ok(())
    }
}
