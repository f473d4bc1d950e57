//! Documents: their records, the log of their changes, snapshots, and the changes that were refused.

use super::transaction::{Millis, Transaction};
use crate::store::documents::{
    ChangeRow, DocumentCounts, LoggedDocument, NewDocument, QuarantineRow, RawDocument, ReadDocuments,
    WriteDocuments,
};
use crate::store::error::StoreError;
use crate::store::transaction::{to_i64, to_u64};
use sync_protocol::document_id::DocumentId;
use tokio_postgres::Row;

const COLUMNS: &str = "document, institute, kind, subject, batch, owner";

fn read_document(row: &Row) -> Result<RawDocument, tokio_postgres::Error> {
    Ok(RawDocument {
        document: row.try_get(0)?,
        institute: row.try_get(1)?,
        kind: row.try_get(2)?,
        subject: row.try_get(3)?,
        batch: row.try_get(4)?,
        owner: row.try_get(5)?,
    })
}

impl ReadDocuments for Transaction<'_> {
    fn document_anywhere(&self, document: DocumentId) -> Result<Option<LoggedDocument>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM document_anywhere($1)");
        self.one(&sql, &[&document.to_string()], read_document)?.map(RawDocument::parse).transpose()
    }

    fn document_by_subject(&self, kind: &str, subject: &str) -> Result<Option<LoggedDocument>, StoreError> {
        let sql =
            format!("SELECT {COLUMNS} FROM documents WHERE institute = $1 AND kind = $2 AND subject = $3");
        self.one(&sql, &[&self.institute, &kind, &subject], read_document)?
            .map(RawDocument::parse)
            .transpose()
    }

    fn snapshot(&self, document: DocumentId) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        self.one(
            "SELECT position, bytes FROM snapshots WHERE document = $1 AND institute = $2",
            &[&document.to_string(), &self.institute],
            |row| Ok((to_u64(row.try_get(0)?), row.try_get(1)?)),
        )
    }

    fn changes_after(&self, document: DocumentId, position: u64) -> Result<Vec<Vec<u8>>, StoreError> {
        let sql = "SELECT bytes FROM changes WHERE document = $1 AND institute = $2 AND position > $3
             ORDER BY position";
        let params = (document.to_string(), to_i64(position));
        self.all(sql, &[&params.0, &self.institute, &params.1], |row| row.try_get(0))
    }

    fn document_counts(&self) -> Result<DocumentCounts, StoreError> {
        let kinds = self.all(
            "SELECT kind, count(*), sum(changes)::bigint FROM documents WHERE institute = $1
             GROUP BY kind ORDER BY kind",
            &[&self.institute],
            |row| Ok((row.try_get(0)?, to_u64(row.try_get(1)?), to_u64(row.try_get(2)?))),
        )?;
        let quarantined =
            self.number("SELECT count(*) FROM quarantine WHERE institute = $1", &[&self.institute])?;
        Ok(DocumentCounts { kinds, quarantined })
    }
}

impl WriteDocuments for Transaction<'_> {
    fn add_document(&self, new: &NewDocument) -> Result<bool, StoreError> {
        let record = &new.record;
        let added = self.run(
            "INSERT INTO documents
                 (document, institute, kind, subject, batch, owner, heads, changes, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, '{}', 0, $7) ON CONFLICT DO NOTHING",
            &[
                &record.document.to_string(),
                &self.institute,
                &record.kind,
                &record.subject,
                &record.batch,
                &record.owner,
                &Millis(new.created_at),
            ],
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
            "UPDATE documents SET changes = changes + $4, heads = $5
             WHERE document = $1 AND institute = $2 AND changes = $3",
            &[&id, &self.institute, &after, &added, &heads],
        )?;
        if moved == 0 {
            return Ok(false);
        }
        let column = |read: fn(&ChangeRow) -> &str| changes.iter().map(read).collect::<Vec<_>>();
        let hashes: Vec<&[u8]> = changes.iter().map(|change| &change.hash[..]).collect();
        let bytes: Vec<&[u8]> = changes.iter().map(|change| &change.bytes[..]).collect();
        let received: Vec<Millis> = changes.iter().map(|change| Millis(change.received_at)).collect();
        self.run(
            r#"INSERT INTO changes (institute, document, position, hash, bytes, "user", device, edge, received_at)
             SELECT $1, $2, $3 + n, hash, bytes, "user", device, edge, received_at
             FROM unnest($4::bytea[], $5::bytea[], $6::text[], $7::text[], $8::text[], $9::timestamptz[])
                 WITH ORDINALITY AS new (hash, bytes, "user", device, edge, received_at, n)"#,
            &[
                &self.institute,
                &id,
                &after,
                &hashes,
                &bytes,
                &column(|change| &change.user),
                &column(|change| &change.device),
                &column(|change| &change.edge),
                &received,
            ],
        )?;
        Ok(true)
    }

    fn put_snapshot(&self, document: DocumentId, position: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO snapshots (document, institute, position, bytes) VALUES ($1, $2, $3, $4)
             ON CONFLICT (document) DO UPDATE SET position = excluded.position, bytes = excluded.bytes",
            &[&document.to_string(), &self.institute, &to_i64(position), &bytes],
        )?;
        Ok(())
    }

    fn quarantine(&self, log: &str, edge: &str, row: &QuarantineRow, now: i64) -> Result<(), StoreError> {
        self.run(
            r#"INSERT INTO quarantine
                 (institute, log, sequence, document, "user", device, edge, code, bytes, received_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING"#,
            &[
                &self.institute,
                &log,
                &to_i64(row.sequence),
                &row.document.to_string(),
                &row.user,
                &row.device,
                &edge,
                &row.code,
                &row.bytes,
                &Millis(now),
            ],
        )?;
        Ok(())
    }
}
