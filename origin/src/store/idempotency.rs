//! What was decided about each command, by its idempotency key.

use super::error::StoreError;
use super::transaction::{Records, WriteTx, to_i64, to_u64};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecisionStatus {
    Delivered,
    Refused,
}

impl DecisionStatus {
    fn as_str(self) -> &'static str {
        match self {
            DecisionStatus::Delivered => "delivered",
            DecisionStatus::Refused => "refused",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Decision {
    pub(crate) user: String,
    pub(crate) device: String,
    pub(crate) request_hash: Vec<u8>,
    pub(crate) status: DecisionStatus,
    /// JSON.
    pub(crate) outcome: String,
    /// The institute's revision after the effect.
    pub(crate) revision: u64,
}

impl Records<'_> {
    pub(crate) fn decision(&self, key: &str) -> Result<Option<Decision>, StoreError> {
        self.one(
            "SELECT user, device, request_hash, status, outcome, revision FROM idempotency
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
                })
            },
        )
    }
}

impl WriteTx<'_> {
    /// Keeps a decision for good. Fails when the key has one: look before.
    pub(crate) fn add_decision(&self, key: &str, decision: &Decision, now: i64) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO idempotency
                 (institute, key, user, device, request_hash, status, outcome, revision, decided_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
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
            ),
        )?;
        Ok(())
    }
}
