//! All documents of an institute at a glance, for admins: how large each is, and what goes wrong with it.

use super::{DocumentError, DocumentService};
use crate::store::{DocumentFigures, StoreError};
use serde::Serialize;
use sync_protocol::document_id::DocumentId;

/// Documents on one page.
const PAGE_MAX: u32 = 100;

#[derive(Debug, Serialize)]
pub(crate) struct DocumentPage {
    documents: Vec<ListedDocument>,
    /// Where the next page begins; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Debug, Serialize)]
struct ListedDocument {
    document: String,
    kind: String,
    subject: String,
    /// Hex hashes; none of a document that was deleted.
    heads: Vec<String>,
    changes: u64,
    /// Of the changes in the log.
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_change_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at: Option<i64>,
    /// Refused changes that nobody has settled.
    quarantined: u64,
    /// Why the last of them was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_refusal: Option<String>,
}

impl ListedDocument {
    fn new(figures: DocumentFigures) -> Result<Self, StoreError> {
        let heads = serde_json::from_str(&figures.heads)
            .map_err(|_| StoreError::Corrupt { what: "heads of a document", text: figures.heads })?;
        Ok(Self {
            document: figures.document,
            kind: figures.kind,
            subject: figures.subject,
            heads,
            changes: figures.changes,
            bytes: figures.bytes,
            last_change_at: figures.last_change_at,
            deleted_at: figures.deleted_at,
            quarantined: figures.quarantined,
            last_refusal: figures.last_refusal,
        })
    }
}

impl DocumentService {
    /// Documents by their ids, deleted ones too.
    pub(crate) async fn document_page(
        &self,
        institute: &str,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<DocumentPage, DocumentError> {
        let limit = limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
        let after = after.map(str::parse::<DocumentId>).transpose().map_err(|_| DocumentError::Cursor)?;
        let rows = self.store.read(institute, move |records| records.document_figures(after, limit + 1));
        let mut rows = rows.await.map_err(DocumentError::Store)?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|last| last.document.clone());
        let documents = rows.into_iter().map(ListedDocument::new).collect::<Result<_, _>>()?;
        Ok(DocumentPage { documents, next })
    }
}
