//! Documents: their records, the log of their changes, snapshots, and the changes that were refused.

use super::transaction::{Answer, Millis, Transaction, millis};
use crate::store::documents::{
    Carried, ChangeRow, LoggedDocument, NewDocument, RawDocument, RawSuccession, ReadDocuments, Succession,
    WriteDocuments,
};
use crate::store::error::StoreError;
use crate::store::figures::Figure;
use crate::store::transaction::{to_i64, to_u64};
use sync_protocol::actor::Binding;
use sync_protocol::document_id::DocumentId;
use sync_protocol::link::DocumentRecord;
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

fn read_hash(row: &Row, column: usize) -> Result<[u8; 32], tokio_postgres::Error> {
    let mut hash = [0; 32];
    let bytes: &[u8] = row.try_get(column)?;
    // The table takes no other length.
    hash.copy_from_slice(&bytes[..32]);
    Ok(hash)
}

impl Transaction<'_> {
    pub(super) async fn ask_documents_by_subjects(
        &self,
        kind: &str,
        subjects: &[String],
    ) -> Answer<Vec<RawDocument>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM documents WHERE institute = $1 AND kind = $2 AND subject = ANY ($3)
                 AND deleted_at IS NULL AND successor IS NULL"
        );
        self.ask_all(&sql, &[&self.institute, &kind, &subjects], read_document).await
    }
}

impl ReadDocuments for Transaction<'_> {
    fn document_anywhere(&self, document: DocumentId) -> Result<Option<LoggedDocument>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM document_anywhere($1)");
        self.one(&sql, &[&document.to_string()], read_document)?.map(RawDocument::parse).transpose()
    }

    fn document(&self, document: DocumentId) -> Result<Option<DocumentRecord>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM documents WHERE document = $1 AND institute = $2 AND deleted_at IS NULL"
        );
        let found = self.one(&sql, &[&document.to_string(), &self.institute], read_document)?;
        Ok(found.map(RawDocument::parse).transpose()?.map(|known| known.record))
    }

    fn is_deleted(&self, document: DocumentId) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM documents WHERE document = $1 AND institute = $2 AND deleted_at IS NOT NULL";
        Ok(self.one(sql, &[&document.to_string(), &self.institute], |_| Ok(()))?.is_some())
    }

    fn succession(&self, document: DocumentId) -> Result<Option<Succession>, StoreError> {
        let sql = "SELECT successor, cut_heads, cut_first FROM documents
             WHERE document = $1 AND institute = $2 AND successor IS NOT NULL";
        let found = self.one(sql, &[&document.to_string(), &self.institute], |row| {
            Ok(RawSuccession { successor: row.try_get(0)?, heads: row.try_get(1)?, first: row.try_get(2)? })
        })?;
        found.map(RawSuccession::parse).transpose()
    }

    fn predecessors(&self, document: DocumentId) -> Result<Vec<DocumentRecord>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM documents WHERE successor = $1 AND institute = $2 AND deleted_at IS NULL"
        );
        let rows = self.all(&sql, &[&document.to_string(), &self.institute], read_document)?;
        rows.into_iter().map(|row| row.parse().map(|known| known.record)).collect()
    }

    fn carried(&self, document: DocumentId, changes: &[[u8; 32]]) -> Result<Vec<Carried>, StoreError> {
        let sql = "SELECT hash, upto, carried_as FROM carried
             WHERE document = $1 AND institute = $2 AND hash = ANY ($3)";
        let wanted: Vec<&[u8]> = changes.iter().map(<[u8; 32]>::as_slice).collect();
        self.all(sql, &[&document.to_string(), &self.institute, &wanted], |row| {
            Ok(Carried { hash: read_hash(row, 0)?, upto: read_hash(row, 1)?, carried_as: read_hash(row, 2)? })
        })
    }

    fn document_by_subject(&self, kind: &str, subject: &str) -> Result<Option<LoggedDocument>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM documents WHERE institute = $1 AND kind = $2 AND subject = $3
                 AND deleted_at IS NULL AND successor IS NULL"
        );
        self.one(&sql, &[&self.institute, &kind, &subject], read_document)?
            .map(RawDocument::parse)
            .transpose()
    }

    fn documents_by_subjects(
        &self,
        kind: &str,
        subjects: &[String],
    ) -> Result<Vec<LoggedDocument>, StoreError> {
        let found = self.wait(self.ask_documents_by_subjects(kind, subjects))?;
        found.into_iter().map(RawDocument::parse).collect()
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

    fn documents_of_kind(
        &self,
        kind: &str,
        after: Option<DocumentId>,
        limit: u32,
    ) -> Result<Vec<DocumentRecord>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM documents
             WHERE institute = $1 AND kind = $2 AND document > $3 AND deleted_at IS NULL AND successor IS NULL
             ORDER BY document LIMIT $4"
        );
        let after = after.map(|document| document.to_string()).unwrap_or_default();
        let rows = self.all(&sql, &[&self.institute, &kind, &after, &i64::from(limit)], read_document)?;
        rows.into_iter().map(|row| row.parse().map(|known| known.record)).collect()
    }

    fn bindings(&self, document: DocumentId) -> Result<Vec<Binding>, StoreError> {
        let sql = r#"SELECT actor, "user", device, since FROM actors WHERE document = $1 AND institute = $2"#;
        self.all(sql, &[&document.to_string(), &self.institute], |row| {
            Ok(Binding {
                actor: row.try_get::<_, Vec<u8>>(0)?.into(),
                user: row.try_get(1)?,
                device: row.try_get(2)?,
                since: to_u64(millis(row, 3)?),
            })
        })
    }

    fn changes_among(&self, document: DocumentId, hashes: &[[u8; 32]]) -> Result<Vec<[u8; 32]>, StoreError> {
        let sql = "SELECT hash FROM changes WHERE document = $1 AND institute = $2 AND hash = ANY ($3)";
        let wanted: Vec<&[u8]> = hashes.iter().map(<[u8; 32]>::as_slice).collect();
        let found = self.all(sql, &[&document.to_string(), &self.institute, &wanted], |row| {
            row.try_get::<_, Vec<u8>>(0)
        })?;
        Ok(found.into_iter().filter_map(|hash| hash.try_into().ok()).collect())
    }
}

impl Transaction<'_> {
    /// Counts a document that is there, or was: `by` of them, with `changes` changes in its log.
    fn count_document(&self, kind: &str, by: i64, changes: i64) {
        self.figures.add(Figure::Documents, kind, by);
        self.figures.add(Figure::Changes, kind, changes);
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
        self.count_document(&record.kind, i64::from(added > 0), 0);
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
        let moved: Option<(String, bool)> = self.one(
            "UPDATE documents SET changes = changes + $4, heads = $5
             WHERE document = $1 AND institute = $2 AND changes = $3 AND deleted_at IS NULL
             RETURNING kind, successor IS NULL",
            &[&id, &self.institute, &after, &added, &heads],
            |row| Ok((row.try_get(0)?, row.try_get(1)?)),
        )?;
        let Some((kind, counts)) = moved else { return Ok(false) };
        self.count_document(&kind, 0, if counts { added } else { 0 });
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

    fn delete_document(&self, document: DocumentId, by: &str, now: i64) -> Result<(), StoreError> {
        let id = document.to_string();
        let sql = "SELECT kind, changes FROM documents
             WHERE document = $1 AND institute = $2 AND deleted_at IS NULL AND successor IS NULL";
        let counted: Option<(String, i64)> =
            self.one(sql, &[&id, &self.institute], |row| Ok((row.try_get(0)?, row.try_get(1)?)))?;
        let sql =
            "SELECT count(*) FROM quarantine WHERE document = $1 AND institute = $2 AND settled_at IS NULL";
        let quarantined = self.number(sql, &[&id, &self.institute])?;
        for table in ["changes", "snapshots", "actors", "carried", "quarantine"] {
            let sql = format!("DELETE FROM {table} WHERE document = $1 AND institute = $2");
            self.run(&sql, &[&id, &self.institute])?;
        }
        self.run(
            "UPDATE documents SET heads = '{}', changes = 0, deleted_by = $3, deleted_at = $4
             WHERE document = $1 AND institute = $2",
            &[&id, &self.institute, &by, &Millis(now)],
        )?;
        if let Some((kind, changes)) = counted {
            self.count_document(&kind, -1, -changes);
        }
        self.figures.add(Figure::Quarantined, "", -to_i64(quarantined));
        Ok(())
    }

    fn succeed_document(&self, document: DocumentId, succession: &Succession) -> Result<bool, StoreError> {
        let RawSuccession { successor, heads, first } = RawSuccession::of(succession);
        let marked: Option<(String, i64)> = self.one(
            "UPDATE documents SET successor = $3, cut_heads = $4, cut_first = $5
             WHERE document = $1 AND institute = $2 AND successor IS NULL AND deleted_at IS NULL
             RETURNING kind, changes",
            &[&document.to_string(), &self.institute, &successor, &heads, &first],
            |row| Ok((row.try_get(0)?, row.try_get(1)?)),
        )?;
        if let Some((kind, changes)) = &marked {
            self.count_document(kind, -1, -changes);
        }
        Ok(marked.is_some())
    }

    fn put_carried(&self, document: DocumentId, carried: &Carried) -> Result<(), StoreError> {
        let Carried { hash, upto, carried_as } = carried;
        self.run(
            "INSERT INTO carried (institute, document, hash, upto, carried_as) VALUES ($1, $2, $3, $4, $5)",
            &[&self.institute, &document.to_string(), &&hash[..], &&upto[..], &&carried_as[..]],
        )?;
        Ok(())
    }

    fn put_binding(&self, document: DocumentId, binding: &Binding) -> Result<(), StoreError> {
        self.run(
            r#"INSERT INTO actors (institute, document, actor, "user", device, since) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (document, actor) DO UPDATE SET
                 "user" = excluded."user", device = excluded.device, since = excluded.since"#,
            &[
                &self.institute,
                &document.to_string(),
                &binding.actor.as_slice(),
                &binding.user,
                &binding.device,
                &Millis(to_i64(binding.since)),
            ],
        )?;
        Ok(())
    }
}
