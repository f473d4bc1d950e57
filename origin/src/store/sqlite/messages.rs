//! Messages to one user or to a batch.

use super::transaction::Transaction;
use crate::store::error::StoreError;
use crate::store::messages::{MessageRow, NewMessage, ReadMessages, WriteMessages};

impl ReadMessages for Transaction<'_> {
    fn messages_to(&self, user: &str, batches: &[String], limit: u32) -> Result<Vec<MessageRow>, StoreError> {
        // One search for each mailbox, each by its index and bounded by `limit`; the newest of all are kept.
        let select = "SELECT m.message, m.author, u.name, m.batch, m.text, m.posted_at
             FROM messages m JOIN users u ON u.user = m.author";
        let read = |row: &rusqlite::Row<'_>| {
            Ok(MessageRow {
                message: row.get(0)?,
                author: row.get(1)?,
                author_name: row.get(2)?,
                batch: row.get(3)?,
                text: row.get(4)?,
                posted_at: row.get(5)?,
            })
        };
        let sql = format!(
            "{select} WHERE m.institute = ?1 AND m.recipient = ?2 ORDER BY m.posted_at DESC LIMIT ?3"
        );
        let mut messages = self.all(&sql, (self.institute, user, limit), read)?;
        let sql = format!(
            "{select} WHERE m.institute = ?1 AND m.batch = ?2 AND m.author <> ?3
             ORDER BY m.posted_at DESC LIMIT ?4"
        );
        for batch in batches {
            messages.extend(self.all(&sql, (self.institute, batch, user, limit), read)?);
        }
        messages.sort_by(|a, b| b.posted_at.cmp(&a.posted_at).then_with(|| a.message.cmp(&b.message)));
        messages.truncate(limit as usize);
        Ok(messages)
    }

    fn unread_messages(&self, user: &str, batches: &[String], read_at: i64) -> Result<u64, StoreError> {
        let direct =
            "SELECT count(*) FROM messages WHERE institute = ?1 AND recipient = ?2 AND posted_at > ?3";
        let mut unread = self.number(direct, (self.institute, user, read_at))?;
        let in_batch = "SELECT count(*) FROM messages
             WHERE institute = ?1 AND batch = ?2 AND posted_at > ?3 AND author <> ?4";
        for batch in batches {
            unread += self.number(in_batch, (self.institute, batch, read_at, user))?;
        }
        Ok(unread)
    }
}

impl WriteMessages for Transaction<'_> {
    fn add_message(&self, message: &NewMessage) -> Result<bool, StoreError> {
        let added = self.run(
            "INSERT INTO messages (institute, message, author, recipient, batch, text, posted_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
            (
                self.institute,
                &message.message,
                &message.author,
                &message.recipient,
                &message.batch,
                &message.text,
                message.posted_at,
            ),
        )?;
        Ok(added > 0)
    }
}
