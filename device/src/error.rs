//! What can go wrong on a device, as far as an app tells it apart.

use sync_protocol::document_id::DocumentId;

/// An RFC 9457 problem that the edge answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub status: u16,
    /// Stable, for programs.
    pub code: String,
    /// A sentence, for people.
    pub detail: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.detail)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("store: {0}")]
    Store(#[from] rusqlite::Error),
    #[error("store {0} is in use by another process or device")]
    AlreadyOpen(String),
    #[error("store belongs to {stored}, not to {wanted}")]
    OtherUser { stored: String, wanted: String },
    #[error("store has version {0}, which is newer than this program")]
    NewerStore(i64),
    #[error("document {0} is not on this device")]
    UnknownDocument(DocumentId),
    #[error("document {0} is not available to this user")]
    Unavailable(DocumentId),
    #[error("document: {0}")]
    Document(#[from] automerge::AutomergeError),
    #[error("document has no {0}")]
    NoSuchField(String),
    #[error("{0:?} is not a mark, marks are present, absent, late, excused")]
    NotAMark(String),
    #[error("remark is {0} bytes, the limit is {limit}", limit = sync_protocol::kind::MAX_REMARK_BYTES)]
    LongRemark(usize),
    #[error("change is {0} bytes, the limit is {limit}", limit = sync_protocol::document_limits::MAX_CHANGE_BYTES)]
    LargeChange(usize),
    #[error("command is not valid: {0}")]
    Command(#[from] sync_protocol::command::CommandError),
    #[error("there is no network")]
    Offline,
    #[error("network: {0}")]
    Network(String),
    #[error("the edge answered {0}")]
    Refused(Problem),
    #[error("the edge's answer is not understood: {0}")]
    Protocol(String),
    #[error("waited {seconds:.1} s for {what}")]
    Deadline { what: String, seconds: f64 },
}

impl From<reqwest::Error> for DeviceError {
    fn from(error: reqwest::Error) -> Self {
        // The chain holds what matters ("connection refused"); reqwest's own text only names the URL.
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        DeviceError::Network(text)
    }
}

impl DeviceError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            DeviceError::Offline | DeviceError::Network(_) | DeviceError::Deadline { .. } => true,
            DeviceError::Refused(problem) => {
                problem.status >= 500 || matches!(problem.status, 408 | 409 | 429)
            }
            DeviceError::Store(_)
            | DeviceError::AlreadyOpen(_)
            | DeviceError::OtherUser { .. }
            | DeviceError::NewerStore(_)
            | DeviceError::UnknownDocument(_)
            | DeviceError::Unavailable(_)
            | DeviceError::Document(_)
            | DeviceError::NoSuchField(_)
            | DeviceError::NotAMark(_)
            | DeviceError::LongRemark(_)
            | DeviceError::LargeChange(_)
            | DeviceError::Command(_)
            | DeviceError::Protocol(_) => false,
        }
    }
}
