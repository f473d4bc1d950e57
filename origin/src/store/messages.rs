//! Messages to one user or to a batch.

use super::error::StoreError;

/// A message as its reader sees it.
#[derive(Debug, Clone)]
pub(crate) struct MessageRow {
    pub(crate) message: String,
    pub(crate) author: String,
    pub(crate) author_name: String,
    /// Absent for a message to the reader alone.
    pub(crate) batch: Option<String>,
    /// Empty for one that was retracted.
    pub(crate) text: String,
    pub(crate) posted_at: i64,
    pub(crate) retracted: bool,
}

/// Where a message went: exactly one of the two is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Addressee {
    pub(crate) recipient: Option<String>,
    pub(crate) batch: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct NewMessage {
    pub(crate) message: String,
    pub(crate) author: String,
    /// Exactly one of `recipient` and `batch` is there.
    pub(crate) recipient: Option<String>,
    pub(crate) batch: Option<String>,
    pub(crate) text: String,
    pub(crate) posted_at: i64,
}

pub(crate) trait ReadMessages {
    /// Messages to the user and to their batches, the newest first; what they wrote themselves is left out.
    fn messages_to(&self, user: &str, batches: &[String], limit: u32) -> Result<Vec<MessageRow>, StoreError>;

    /// Where the message went; none when there is no such message.
    fn addressee(&self, message: &str) -> Result<Option<Addressee>, StoreError>;

    /// Those of the messages that were retracted.
    fn retracted_of(&self, messages: &[String]) -> Result<Vec<String>, StoreError>;

    /// Messages to the user and to their batches that came after `read_at`, without those that were retracted.
    fn unread_messages(&self, user: &str, batches: &[String], read_at: i64) -> Result<u64, StoreError>;
}

pub(crate) trait WriteMessages {
    fn add_message(&self, message: &NewMessage) -> Result<bool, StoreError>;

    /// Whether it was not retracted before.
    fn retract_message(&self, message: &str, by: &str, reason: &str, at: i64) -> Result<bool, StoreError>;
}
