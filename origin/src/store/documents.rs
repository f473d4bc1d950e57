//! Documents: their records, the log of their changes, snapshots, and the changes that were refused.

use super::error::StoreError;
use sync_protocol::actor::Binding;
use sync_protocol::document_id::DocumentId;
use sync_protocol::link::DocumentRecord;

/// A document's record, with the institute that it belongs to.
#[derive(Debug, Clone)]
pub(crate) struct LoggedDocument {
    pub(crate) institute: String,
    pub(crate) record: DocumentRecord,
}

/// A document's row as each engine reads it, before its id is known to be one.
pub(super) struct RawDocument {
    pub(super) document: String,
    pub(super) institute: String,
    pub(super) kind: String,
    pub(super) subject: String,
    pub(super) batch: Option<String>,
    pub(super) owner: String,
}

impl RawDocument {
    pub(super) fn parse(self) -> Result<LoggedDocument, StoreError> {
        let Self { document, institute, kind, subject, batch, owner } = self;
        let document =
            document.parse().map_err(|_| StoreError::Corrupt { what: "document id", text: document })?;
        Ok(LoggedDocument { institute, record: DocumentRecord { document, kind, subject, batch, owner } })
    }
}

#[derive(Debug, Clone)]
pub(crate) struct NewDocument {
    pub(crate) record: DocumentRecord,
    pub(crate) created_at: i64,
}

/// One change in the log, with who made it.
#[derive(Debug, Clone)]
pub(crate) struct ChangeRow {
    pub(crate) hash: [u8; 32],
    pub(crate) bytes: Vec<u8>,
    pub(crate) user: String,
    pub(crate) device: String,
    pub(crate) edge: String,
    pub(crate) received_at: i64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct DocumentCounts {
    /// Documents and changes by kind.
    pub(crate) kinds: Vec<(String, u64, u64)>,
    /// Refused changes that nobody has settled.
    pub(crate) quarantined: u64,
}

pub(crate) trait ReadDocuments {
    /// The document, whatever its institute, deleted or not: the caller compares, so that a foreign id is not taken for a new one.
    fn document_anywhere(&self, document: DocumentId) -> Result<Option<LoggedDocument>, StoreError>;

    /// The institute's own document, unless it was deleted.
    fn document(&self, document: DocumentId) -> Result<Option<DocumentRecord>, StoreError>;

    /// Whether it is a document of the institute that was deleted.
    fn is_deleted(&self, document: DocumentId) -> Result<bool, StoreError>;

    /// The one that was not deleted.
    fn document_by_subject(&self, kind: &str, subject: &str) -> Result<Option<LoggedDocument>, StoreError>;

    /// The last snapshot: how many changes it holds, and its bytes.
    fn snapshot(&self, document: DocumentId) -> Result<Option<(u64, Vec<u8>)>, StoreError>;

    /// The bytes of the changes after `position`, in the order of the log.
    fn changes_after(&self, document: DocumentId, position: u64) -> Result<Vec<Vec<u8>>, StoreError>;

    /// Documents of a kind that were not deleted, by their ids, after one of them.
    fn documents_of_kind(
        &self,
        kind: &str,
        after: Option<DocumentId>,
        limit: u32,
    ) -> Result<Vec<DocumentRecord>, StoreError>;

    /// Whose the document's actors are.
    fn bindings(&self, document: DocumentId) -> Result<Vec<Binding>, StoreError>;

    /// Those of `hashes` that are in the log of the document.
    fn changes_among(&self, document: DocumentId, hashes: &[[u8; 32]]) -> Result<Vec<[u8; 32]>, StoreError>;

    fn document_counts(&self) -> Result<DocumentCounts, StoreError>;
}

pub(crate) trait WriteDocuments {
    /// Adds a document without changes unless its kind and subject have one; whether it was added.
    fn add_document(&self, new: &NewDocument) -> Result<bool, StoreError>;

    /// Appends changes and sets the document's heads (hex), if `after` is the position of its last change; false when
    /// another process has appended meanwhile.
    ///
    /// The caller has made sure that ancestors come first and that none of them is among the changes up to `after`.
    fn append_changes(
        &self,
        document: DocumentId,
        after: u64,
        changes: &[ChangeRow],
        heads: &[String],
    ) -> Result<bool, StoreError>;

    fn put_snapshot(&self, document: DocumentId, position: u64, bytes: &[u8]) -> Result<(), StoreError>;

    /// Forgets the document's content and keeps that it was deleted.
    fn delete_document(&self, document: DocumentId, by: &str, now: i64) -> Result<(), StoreError>;

    /// Binds an actor of the document, anew if it was bound.
    fn put_binding(&self, document: DocumentId, binding: &Binding) -> Result<(), StoreError>;
}
