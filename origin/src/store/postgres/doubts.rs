//! Doubts: what the threads say, as rows.

use super::transaction::{Millis, Transaction, millis, some_millis};
use crate::store::doubts::{DoubtQuery, DoubtRow, FoundDoubt, ReadDoubts, ThreadTimes, Words, WriteDoubts};
use crate::store::error::StoreError;
use crate::store::transaction::{to_i64, to_u64};
use sync_protocol::document_id::DocumentId;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

fn read_found(row: &Row) -> Result<FoundDoubt, tokio_postgres::Error> {
    Ok(FoundDoubt {
        document: row.try_get(0)?,
        subject: row.try_get(1)?,
        batch: row.try_get(2)?,
        asked_by: row.try_get(3)?,
        asked_by_name: row.try_get(4)?,
        excerpt: row.try_get(5)?,
        answer_count: to_u64(row.try_get(6)?),
        answered_by: row.try_get(7)?,
        conflicts: to_u64(row.try_get(8)?),
        asked_at: millis(row, 9)?,
        updated_at: millis(row, 10)?,
    })
}

impl ReadDoubts for Transaction<'_> {
    fn doubt(&self, subject: &str) -> Result<Option<DoubtRow>, StoreError> {
        self.one(
            "SELECT subject, document, batch, asked_by, question, answers::text, answer_count, answered_by,
                 conflicts, omitted_bytes, words, asked_at, updated_at, heads::text
             FROM doubts WHERE institute = $1 AND subject = $2",
            &[&self.institute, &subject],
            |row| {
                Ok(DoubtRow {
                    subject: row.try_get(0)?,
                    document: row.try_get(1)?,
                    batch: row.try_get(2)?,
                    asked_by: row.try_get(3)?,
                    question: row.try_get(4)?,
                    answers: row.try_get(5)?,
                    answer_count: to_u64(row.try_get(6)?),
                    answered_by: row.try_get(7)?,
                    conflicts: to_u64(row.try_get(8)?),
                    omitted_bytes: to_u64(row.try_get(9)?),
                    words: row.try_get(10)?,
                    asked_at: millis(row, 11)?,
                    updated_at: millis(row, 12)?,
                    heads: row.try_get(13)?,
                })
            },
        )
    }

    fn thread_times(&self, document: DocumentId, origin: &str) -> Result<Option<ThreadTimes>, StoreError> {
        // A deleted document keeps its row, and with it when something was asked.
        let times = self.one(
            "WITH RECURSIVE chain (document, created_at) AS (
                 SELECT document, created_at FROM documents WHERE document = $2 AND institute = $1
                 UNION ALL
                 SELECT d.document, d.created_at FROM chain part
                 JOIN documents d ON d.successor = part.document AND d.successor IS NOT NULL AND d.institute = $1
             )
             SELECT min(part.created_at), max((
                 SELECT w.received_at FROM changes w
                 WHERE w.document = part.document AND w.institute = $1 AND w.edge <> $3
                 ORDER BY w.position DESC LIMIT 1
             )) FROM chain part",
            &[&self.institute, &document.to_string(), &origin],
            |row| Ok((some_millis(row, 0)?, some_millis(row, 1)?)),
        )?;
        Ok(times.and_then(ThreadTimes::of))
    }

    fn doubts_of(&self, query: &DoubtQuery) -> Result<Vec<FoundDoubt>, StoreError> {
        let words = query.words.as_ref().map(Words::tsquery);
        let limit = i64::from(query.limit);
        let (at, document) = query.before.clone().unzip();
        let at = Millis::of(at);
        let mut values: Vec<&(dyn ToSql + Sync)> =
            vec![&self.institute as &(dyn ToSql + Sync), &query.batches, &limit];
        let mut conditions = String::new();
        if at.is_some() {
            conditions.push_str(" AND (d.updated_at, d.document) < ($4::timestamptz, $5::text)");
            values.extend([&at as &(dyn ToSql + Sync), &document]);
        }
        match query.answered {
            Some(true) => conditions.push_str(" AND d.answered_by IS NOT NULL"),
            Some(false) => conditions.push_str(" AND d.answered_by IS NULL"),
            None => {}
        }
        let columns = "d.document, d.subject, d.batch, d.asked_by, d.question, d.answer_count, d.answered_by,
             d.conflicts, d.asked_at, d.updated_at";
        let found = if let Some(words) = &words {
            values.push(words);
            format!(
                "SELECT {columns} FROM doubts d WHERE d.institute = $1 AND d.batch = ANY ($2::text[])
                     AND d.document IN (SELECT s.document FROM search_doubts(${}) s){conditions}
                 ORDER BY d.updated_at DESC, d.document DESC LIMIT $3",
                values.len()
            )
        } else {
            // One search for each batch, each by its index and bounded by the limit; the first of all are kept.
            format!(
                "SELECT d.* FROM unnest($2::text[]) own(batch) CROSS JOIN LATERAL (
                     SELECT {columns} FROM doubts d WHERE d.institute = $1 AND d.batch = own.batch{conditions}
                     ORDER BY d.updated_at DESC, d.document DESC LIMIT $3
                 ) d"
            )
        };
        let sql = format!(
            r#"SELECT d.document, d.subject, d.batch, d.asked_by, u.name, substr(d.question, 1, 200), d.answer_count,
                 d.answered_by, d.conflicts, d.asked_at, d.updated_at
             FROM ({found}) d JOIN users u ON u."user" = d.asked_by
             ORDER BY d.updated_at DESC, d.document DESC LIMIT $3"#
        );
        self.all(&sql, &values, read_found)
    }
}

impl WriteDoubts for Transaction<'_> {
    fn put_doubt(&self, row: &DoubtRow) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO doubts (institute, subject, document, batch, asked_by, question, answers, answer_count,
                 answered_by, conflicts, omitted_bytes, words, asked_at, updated_at, heads)
             VALUES ($1, $2, $3, $4, $5, $6, $7::text::json, $8, $9, $10, $11, $12, $13, $14, $15::text::json)
             ON CONFLICT (institute, subject) DO UPDATE SET
                 document = excluded.document, batch = excluded.batch, asked_by = excluded.asked_by,
                 question = excluded.question, answers = excluded.answers, answer_count = excluded.answer_count,
                 answered_by = excluded.answered_by, conflicts = excluded.conflicts,
                 omitted_bytes = excluded.omitted_bytes, words = excluded.words, asked_at = excluded.asked_at,
                 updated_at = excluded.updated_at, heads = excluded.heads",
            &[
                &self.institute,
                &row.subject,
                &row.document,
                &row.batch,
                &row.asked_by,
                &row.question,
                &row.answers,
                &to_i64(row.answer_count),
                &row.answered_by,
                &to_i64(row.conflicts),
                &to_i64(row.omitted_bytes),
                &row.words,
                &Millis(row.asked_at),
                &Millis(row.updated_at),
                &row.heads,
            ],
        )?;
        Ok(())
    }

    fn remove_doubt(&self, subject: &str, document: &str) -> Result<bool, StoreError> {
        let sql = "DELETE FROM doubts WHERE institute = $1 AND subject = $2 AND document = $3";
        Ok(self.run(sql, &[&self.institute, &subject, &document])? > 0)
    }

    fn remove_stray_doubts(&self) -> Result<usize, StoreError> {
        let removed = self.run(
            "DELETE FROM doubts d WHERE d.institute = $1 AND NOT EXISTS (
                 SELECT 1 FROM documents c WHERE c.document = d.document AND c.institute = d.institute
                     AND c.deleted_at IS NULL AND c.successor IS NULL)",
            &[&self.institute],
        )?;
        Ok(usize::try_from(removed).unwrap_or(usize::MAX))
    }
}
