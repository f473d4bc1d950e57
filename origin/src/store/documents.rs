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

/// The cut of a document's history.
#[derive(Debug, Clone)]
pub(crate) struct Succession {
    pub(crate) successor: DocumentId,
    /// The agreed point, in order.
    pub(crate) heads: Vec<[u8; 32]>,
    /// The successor's change that says what the document said there.
    pub(crate) first: [u8; 32],
}

/// The cut as each engine reads it: a document's id, and hashes in hex behind each other.
pub(super) struct RawSuccession {
    pub(super) successor: String,
    pub(super) heads: String,
    pub(super) first: String,
}

impl RawSuccession {
    pub(super) fn of(succession: &Succession) -> Self {
        let Succession { successor, heads, first } = succession;
        let heads = heads.iter().map(hex::encode).collect();
        Self { successor: successor.to_string(), heads, first: hex::encode(first) }
    }

    pub(super) fn parse(self) -> Result<Succession, StoreError> {
        let corrupt = |what, text: &str| StoreError::Corrupt { what, text: text.to_owned() };
        let hash = |text: &str| {
            let bytes = hex::decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            bytes.ok_or_else(|| corrupt("hash", text))
        };
        let heads = self.heads.as_bytes().chunks(64).map(|head| hash(&String::from_utf8_lossy(head)));
        Ok(Succession {
            successor: self.successor.parse().map_err(|_| corrupt("document id", &self.successor))?,
            heads: heads.collect::<Result<_, _>>()?,
            first: hash(&self.first)?,
        })
    }
}

/// A change that came to a document whose history was cut, in its successor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) hash: [u8; 32],
    /// The last change that was carried together with it.
    pub(crate) upto: [u8; 32],
    /// The successor's change.
    pub(crate) carried_as: [u8; 32],
}

pub(crate) trait ReadDocuments {
    /// The document, whatever its institute, deleted or not: the caller compares, so that a foreign id is not taken for a new one.
    fn document_anywhere(&self, document: DocumentId) -> Result<Option<LoggedDocument>, StoreError>;

    /// The institute's own document, unless it was deleted.
    fn document(&self, document: DocumentId) -> Result<Option<DocumentRecord>, StoreError>;

    /// Whether it is a document of the institute that was deleted.
    fn is_deleted(&self, document: DocumentId) -> Result<bool, StoreError>;

    /// The cut of the document's history, if it was.
    fn succession(&self, document: DocumentId) -> Result<Option<Succession>, StoreError>;

    /// Documents that this one continues directly, unless they were deleted: one, as a rule.
    fn predecessors(&self, document: DocumentId) -> Result<Vec<DocumentRecord>, StoreError>;

    /// Those of `changes` that were carried over into the document's successor.
    fn carried(&self, document: DocumentId, changes: &[[u8; 32]]) -> Result<Vec<Carried>, StoreError>;

    /// The one that was not deleted, and whose history was not cut.
    fn document_by_subject(&self, kind: &str, subject: &str) -> Result<Option<LoggedDocument>, StoreError>;

    /// The same of several subjects, in no order.
    fn documents_by_subjects(
        &self,
        kind: &str,
        subjects: &[String],
    ) -> Result<Vec<LoggedDocument>, StoreError>;

    /// The last snapshot: how many changes it holds, and its bytes.
    fn snapshot(&self, document: DocumentId) -> Result<Option<(u64, Vec<u8>)>, StoreError>;

    /// The bytes of the changes after `position`, in the order of the log.
    fn changes_after(&self, document: DocumentId, position: u64) -> Result<Vec<Vec<u8>>, StoreError>;

    /// Documents of a kind that were not deleted and whose history was not cut, by their ids, after one of them.
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

    /// Notes the cut of the document's history, whose subject is free from then on; false when it was cut or deleted before.
    fn succeed_document(&self, document: DocumentId, succession: &Succession) -> Result<bool, StoreError>;

    fn put_carried(&self, document: DocumentId, carried: &Carried) -> Result<(), StoreError>;

    /// Binds an actor of the document, anew if it was bound.
    fn put_binding(&self, document: DocumentId, binding: &Binding) -> Result<(), StoreError>;
}
