//! The audit log: what was decided, for whom, and what it changed.

use super::error::StoreError;
use crate::clock::unix_ms;
use sync_protocol::token::Claims;
use uuid::Uuid;

/// One decided command. Entries are read as the collection `AUDIT`.
#[derive(Debug, Clone)]
pub(crate) struct AuditEntry {
    /// UUID of version 7: the order of entries is the order of time.
    pub(crate) entry: String,
    pub(crate) at: i64,
    pub(crate) user: String,
    pub(crate) device: String,
    pub(crate) command: &'static str,
    /// The command's idempotency key.
    pub(crate) key: String,
    /// Kind and key of the record that the command is about.
    pub(crate) kind: &'static str,
    pub(crate) record: Option<String>,
    /// JSON: the record as it was and as it became.
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    /// The code of the refusal; absent for a command that had its effect.
    pub(crate) refusal: Option<&'static str>,
    /// The institute's revision after the effect.
    pub(crate) revision: u64,
}

impl AuditEntry {
    /// What somebody did now that is no command, and so has no key of its own.
    pub(crate) fn of_act(by: &Claims, act: &'static str, kind: &'static str) -> Self {
        let entry = Uuid::now_v7().to_string();
        Self {
            key: format!("{act}-{entry}"),
            entry,
            at: unix_ms(),
            user: by.sub.clone(),
            device: by.dev.clone(),
            command: act,
            kind,
            record: None,
            before: None,
            after: None,
            refusal: None,
            revision: 0,
        }
    }
}

pub(crate) trait WriteAudit {
    /// Nothing changes or removes an entry once it is there.
    fn add_audit(&self, entry: &AuditEntry) -> Result<(), StoreError>;
}
