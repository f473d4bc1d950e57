//! Doubts: what the threads say, as rows.

use super::transaction::Transaction;
use crate::store::collections::Cell;
use crate::store::doubts::{DoubtQuery, DoubtRow, FoundDoubt, ReadDoubts, ThreadTimes, WriteDoubts};
use crate::store::error::StoreError;
use crate::store::transaction::{to_i64, to_u64};
use rusqlite::Row;
use sync_protocol::document_id::DocumentId;

fn read_found(row: &Row<'_>) -> rusqlite::Result<FoundDoubt> {
    Ok(FoundDoubt {
        document: row.get(0)?,
        subject: row.get(1)?,
        batch: row.get(2)?,
        asked_by: row.get(3)?,
        asked_by_name: row.get(4)?,
        excerpt: row.get(5)?,
        answer_count: to_u64(row.get(6)?),
        answered_by: row.get(7)?,
        conflicts: to_u64(row.get(8)?),
        asked_at: row.get(9)?,
        updated_at: row.get(10)?,
    })
}

impl ReadDoubts for Transaction<'_> {
    fn doubt(&self, subject: &str) -> Result<Option<DoubtRow>, StoreError> {
        self.one(
            "SELECT subject, document, batch, asked_by, question, answers, answer_count, answered_by, conflicts,
                 omitted_bytes, words, asked_at, updated_at, heads
             FROM doubts WHERE institute = ?1 AND subject = ?2",
            (self.institute, subject),
            |row| {
                Ok(DoubtRow {
                    subject: row.get(0)?,
                    document: row.get(1)?,
                    batch: row.get(2)?,
                    asked_by: row.get(3)?,
                    question: row.get(4)?,
                    answers: row.get(5)?,
                    answer_count: to_u64(row.get(6)?),
                    answered_by: row.get(7)?,
                    conflicts: to_u64(row.get(8)?),
                    omitted_bytes: to_u64(row.get(9)?),
                    words: row.get(10)?,
                    asked_at: row.get(11)?,
                    updated_at: row.get(12)?,
                    heads: row.get(13)?,
                })
            },
        )
    }

    fn thread_times(&self, document: DocumentId, origin: &str) -> Result<Option<ThreadTimes>, StoreError> {
        // A deleted document keeps its row, and with it when something was asked.
        let times = self.one(
            "WITH RECURSIVE chain (document, created_at) AS (
                 SELECT document, created_at FROM documents WHERE document = ?2 AND institute = ?1
                 UNION ALL
                 SELECT d.document, d.created_at FROM chain part
                 CROSS JOIN documents d ON d.successor = part.document AND d.successor IS NOT NULL AND d.institute = ?1
             )
             SELECT min(part.created_at), max((
                 SELECT w.received_at FROM changes w WHERE w.document = part.document AND w.edge <> ?3
                 ORDER BY w.position DESC LIMIT 1
             )) FROM chain part",
            (self.institute, document.to_string(), origin),
            |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?)),
        )?;
        Ok(times.and_then(ThreadTimes::of))
    }

    fn doubts_of(&self, query: &DoubtQuery) -> Result<Vec<FoundDoubt>, StoreError> {
        let mut sql = String::from(
            "SELECT d.document, d.subject, d.batch, d.asked_by, u.name, substr(d.question, 1, 200), d.answer_count,
                 d.answered_by, d.conflicts, d.asked_at, d.updated_at
             FROM doubts d JOIN users u ON u.user = d.asked_by WHERE d.institute = ?1 AND d.batch = ?2",
        );
        match query.answered {
            Some(true) => sql.push_str(" AND d.answered_by IS NOT NULL"),
            Some(false) => sql.push_str(" AND d.answered_by IS NULL"),
            None => {}
        }
        let mut more = Vec::new();
        if let Some((at, document)) = &query.before {
            sql.push_str(" AND (d.updated_at, d.document) < (?3, ?4)");
            more.extend([Cell::Time(*at), Cell::Text(document.clone())]);
        }
        if let Some(words) = &query.words {
            more.push(Cell::Text(words.fts5()));
            let place = more.len() + 2;
            sql.push_str(&format!(
                " AND d.id IN (SELECT rowid FROM doubt_words WHERE doubt_words MATCH ?{place})"
            ));
        }
        more.push(Cell::Integer(i64::from(query.limit)));
        let place = more.len() + 2;
        sql.push_str(&format!(" ORDER BY d.updated_at DESC, d.document DESC LIMIT ?{place}"));
        // One search for each batch, each by its index and bounded by the limit; the first of all are kept.
        let mut found = Vec::new();
        for batch in &query.batches {
            let own = [Cell::Text(self.institute.to_owned()), Cell::Text(batch.clone())];
            found.extend(self.all(&sql, rusqlite::params_from_iter(own.iter().chain(&more)), read_found)?);
        }
        found.sort_by(|a, b| (b.updated_at, &b.document).cmp(&(a.updated_at, &a.document)));
        found.truncate(query.limit as usize);
        Ok(found)
    }
}

impl WriteDoubts for Transaction<'_> {
    fn put_doubt(&self, row: &DoubtRow) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO doubts (institute, subject, document, batch, asked_by, question, answers, answer_count,
                 answered_by, conflicts, omitted_bytes, words, asked_at, updated_at, heads)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
             ON CONFLICT (institute, subject) DO UPDATE SET
                 document = excluded.document, batch = excluded.batch, asked_by = excluded.asked_by,
                 question = excluded.question, answers = excluded.answers, answer_count = excluded.answer_count,
                 answered_by = excluded.answered_by, conflicts = excluded.conflicts,
                 omitted_bytes = excluded.omitted_bytes, words = excluded.words, asked_at = excluded.asked_at,
                 updated_at = excluded.updated_at, heads = excluded.heads",
            (
                self.institute,
                &row.subject,
                &row.document,
                &row.batch,
                &row.asked_by,
                &row.question,
                &row.answers,
                to_i64(row.answer_count),
                &row.answered_by,
                to_i64(row.conflicts),
                to_i64(row.omitted_bytes),
                &row.words,
                row.asked_at,
                row.updated_at,
                &row.heads,
            ),
        )?;
        Ok(())
    }

    fn remove_doubt(&self, subject: &str, document: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM doubts WHERE institute = ?1 AND subject = ?2 AND document = ?3";
        Ok(self.run(sql, (self.institute, subject, document))? > 0)
    }

    fn remove_stray_doubts(&self) -> Result<usize, StoreError> {
        self.run(
            "DELETE FROM doubts WHERE institute = ?1 AND NOT EXISTS (
                 SELECT 1 FROM documents c WHERE c.document = doubts.document AND c.institute = doubts.institute
                     AND c.deleted_at IS NULL AND c.successor IS NULL)",
            (self.institute,),
        )
    }
}
