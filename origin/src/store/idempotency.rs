//! What was decided about each command, by its idempotency key.

use super::error::StoreError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecisionStatus {
    Delivered,
    Refused,
}

impl DecisionStatus {
    pub(crate) fn as_str(self) -> &'static str {
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
    /// Of the command's record, as it was after the effect; absent where the command is about none, or was refused.
    pub(crate) entity_tag: Option<String>,
}

pub(crate) trait ReadDecisions {
    fn decision(&self, key: &str) -> Result<Option<Decision>, StoreError>;
}

pub(crate) trait WriteDecisions {
    /// Keeps a decision for good. Fails when the key has one: look before.
    fn add_decision(&self, key: &str, decision: &Decision, now: i64) -> Result<(), StoreError>;
}
