//! What can go wrong in the store.

use std::path::PathBuf;

/// A transaction that did not happen. All of these may pass: the caller may try again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("stored {what} cannot be read: {text:?}")]
    Corrupt { what: &'static str, text: String },
    #[error("the store is closing")]
    Closed,
    #[error("a transaction panicked")]
    Panicked,
    #[error("the commit of a group of transactions: {0}")]
    Commit(String),
}

/// Why the store did not open. Each is one sentence for whoever starts the process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("data folder {folder} is in use by {holder}", folder = folder.display())]
    Locked { folder: PathBuf, holder: String },
    #[error("data folder {folder}: {source}", folder = folder.display())]
    Folder { folder: PathBuf, source: std::io::Error },
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("schema of the database: {0}")]
    Migration(#[from] refinery::Error),
    #[error("the database names epoch {0}")]
    Epoch(i64),
}
