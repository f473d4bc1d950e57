//! Documents: their records, the log of their changes, snapshots, and the changes that were refused.

use super::transaction::Transaction;
use crate::store::documents::{
    ChangeRow, DocumentCounts, LoggedDocument, NewDocument, QuarantineRow, RawDocument, ReadDocuments,
    WriteDocuments,
};
use crate::store::error::StoreError;
use crate::store::transaction::{to_i64, to_json, to_u64};
use rusqlite::Row;
use sync_protocol::document_id::DocumentId;

const DOCUMENT: &str = "SELECT document, institute, kind, subject, batch, owner FROM documents";

fn read_document(row: &Row<'_>) -> rusqlite::Result<RawDocument> {
    Ok(RawDocument {
        document: row.get(0)?,
        institute: row.get(1)?,
        kind: row.get(2)?,
        subject: row.get(3)?,
        batch: row.get(4)?,
        owner: row.get(5)?,
    })
}

impl ReadDocuments for Transaction<'_> {
    fn document_anywhere(&self, document: DocumentId) -> Result<Option<LoggedDocument>, StoreError> {
        let sql = format!("{DOCUMENT} WHERE document = ?1");
        self.one(&sql, (document.to_string(),), read_document)?.map(RawDocument::parse).transpose()
    }

    fn document_by_subject(&self, kind: &str, subject: &str) -> Result<Option<LoggedDocument>, StoreError> {
        let sql = format!("{DOCUMENT} WHERE institute = ?1 AND kind = ?2 AND subject = ?3");
        self.one(&sql, (self.institute, kind, subject), read_document)?.map(RawDocument::parse).transpose()
    }

    fn snapshot(&self, document: DocumentId) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        self.one(
            "SELECT position, bytes FROM snapshots WHERE document = ?1",
            (document.to_string(),),
            |row| Ok((to_u64(row.get(0)?), row.get(1)?)),
        )
    }

    fn changes_after(&self, document: DocumentId, position: u64) -> Result<Vec<Vec<u8>>, StoreError> {
        let sql = "SELECT bytes FROM changes WHERE document = ?1 AND position > ?2 ORDER BY position";
        self.all(sql, (document.to_string(), to_i64(position)), |row| row.get(0))
    }

    fn document_counts(&self) -> Result<DocumentCounts, StoreError> {
        let kinds = self.all(
            "SELECT kind, count(*), sum(changes) FROM documents WHERE institute = ?1 GROUP BY kind ORDER BY kind",
            (self.institute,),
            |row| Ok((row.get(0)?, to_u64(row.get(1)?), to_u64(row.get(2)?))),
        )?;
        let quarantined =
            self.number("SELECT count(*) FROM quarantine WHERE institute = ?1", (self.institute,))?;
        Ok(DocumentCounts { kinds, quarantined })
    }
}

impl WriteDocuments for Transaction<'_> {
    fn add_document(&self, new: &NewDocument) -> Result<bool, StoreError> {
        let record = &new.record;
        let added = self.run(
            "INSERT INTO documents
                 (document, institute, kind, subject, batch, owner, heads, changes, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, '[]', 0, ?7) ON CONFLICT DO NOTHING",
            (
                record.document.to_string(),
                self.institute,
                &record.kind,
                &record.subject,
                &record.batch,
                &record.owner,
                new.created_at,
            ),
        )?;
        Ok(added > 0)
    }

    fn append_changes(
        &self,
        document: DocumentId,
        after: u64,
        changes: &[ChangeRow],
        heads: &[String],
    ) -> Result<bool, StoreError> {
        let id = document.to_string();
        let (after, added) = (to_i64(after), to_i64(changes.len() as u64));
        let moved = self.run(
            "UPDATE documents SET changes = changes + ?3, heads = ?4 WHERE document = ?1 AND changes = ?2",
            (&id, after, added, to_json(&heads)),
        )?;
        if moved == 0 {
            return Ok(false);
        }
        for (change, position) in changes.iter().zip(after + 1..) {
            self.run(
                "INSERT INTO changes (document, position, hash, bytes, user, device, edge, received_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                (
                    &id,
                    position,
                    &change.hash[..],
                    &change.bytes,
                    &change.user,
                    &change.device,
                    &change.edge,
                    change.received_at,
                ),
            )?;
        }
        Ok(true)
    }

    fn put_snapshot(&self, document: DocumentId, position: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO snapshots (document, position, bytes) VALUES (?1, ?2, ?3)
             ON CONFLICT (document) DO UPDATE SET position = excluded.position, bytes = excluded.bytes",
            (document.to_string(), to_i64(position), bytes),
        )?;
        Ok(())
    }

    fn quarantine(&self, log: &str, edge: &str, row: &QuarantineRow, now: i64) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO quarantine
                 (institute, log, sequence, document, user, device, edge, code, bytes, received_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
            (
                self.institute,
                log,
                to_i64(row.sequence),
                row.document.to_string(),
                &row.user,
                &row.device,
                edge,
                row.code,
                &row.bytes,
                now,
            ),
        )?;
        Ok(())
    }
}
