//! What the log says of documents without loading them.

use super::{Log, LogError, as_document, as_integer, as_text, blob, integer};
use crate::bindings::exports::rollcall::sync::inspection::{DocumentFigures, Refusal};
use crate::bindings::spin::sqlite::sqlite::{RowResult, Value};
use sync_protocol::document_id::DocumentId;

/// A page of documents, then what belongs to each by the indexes of its tables: rows of other documents are not read. The lengths
/// of blobs stand in the heads of their rows.
fn statement(comparison: &str) -> String {
    format!(
        "WITH page AS (
            SELECT d.document, d.kind, d.subject, d.batch, d.behind,
                coalesce(s.upto, 0) AS upto, coalesce(length(s.bytes), 0) AS snapshot_bytes
            FROM documents d
            LEFT JOIN snapshots s ON s.institute = d.institute AND s.document = d.document
            WHERE d.institute = ?1 AND d.document {comparison} ?2 ORDER BY d.document LIMIT ?3)
         SELECT page.document, page.kind, page.subject, page.batch, page.behind,
            page.snapshot_bytes + coalesce(sum(length(c.bytes)) FILTER (WHERE c.sequence > page.upto), 0),
            count(c.sequence) FILTER (WHERE c.sequence > page.upto),
            count(c.sequence) FILTER (WHERE c.source = 0 AND c.sequence > ?4),
            (SELECT count(*) FROM refusals r WHERE r.institute = ?1 AND r.document = page.document),
            (SELECT r.code FROM refusals r WHERE r.institute = ?1 AND r.document = page.document
                ORDER BY r.sequence DESC LIMIT 1),
            (SELECT r.refused_at FROM refusals r WHERE r.institute = ?1 AND r.document = page.document
                ORDER BY r.sequence DESC LIMIT 1)
         FROM page LEFT JOIN changes c ON c.institute = ?1 AND c.document = page.document
         GROUP BY page.document ORDER BY page.document"
    )
}

impl Log {
    /// Documents behind this one, in the order of their ids' bytes.
    pub(crate) fn figures(
        &self,
        after: Option<DocumentId>,
        limit: u32,
    ) -> Result<Vec<DocumentFigures>, LogError> {
        let after = after.as_ref().map_or(&[][..], |document| document.as_bytes());
        self.figures_where(">", after, limit)
    }

    pub(crate) fn figures_of(&self, document: DocumentId) -> Result<Option<DocumentFigures>, LogError> {
        Ok(self.figures_where("=", document.as_bytes(), 1)?.pop())
    }

    fn figures_where(
        &self,
        comparison: &str,
        document: &[u8],
        limit: u32,
    ) -> Result<Vec<DocumentFigures>, LogError> {
        let limit = Value::Integer(limit.into());
        let parameters = vec![self.own(), blob(document), limit, integer(self.acknowledged)];
        let rows = self.rows(&statement(comparison), parameters)?;
        Ok(rows.into_iter().filter_map(figures).collect())
    }
}

fn figures(mut row: RowResult) -> Option<DocumentFigures> {
    let has_text = |row: &RowResult, column| matches!(row.values.get(column), Some(Value::Text(_)));
    let number = |row: &RowResult, column| as_integer(row, column).unsigned_abs();
    let last_refusal =
        has_text(&row, 9).then(|| Refusal { code: as_text(&mut row, 9), at_ms: number(&row, 10) });
    Some(DocumentFigures {
        id: as_document(&mut row, 0)?.to_string(),
        kind: as_text(&mut row, 1),
        subject: as_text(&mut row, 2),
        batch: has_text(&row, 3).then(|| as_text(&mut row, 3)),
        behind: as_integer(&row, 4) != 0,
        bytes: number(&row, 5),
        tail_changes: number(&row, 6),
        unacknowledged_changes: number(&row, 7),
        refused_changes: number(&row, 8),
        last_refusal,
    })
}
