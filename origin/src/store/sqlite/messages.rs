//! Messages to one user or to a batch.

use super::transaction::Transaction;
use crate::store::error::StoreError;
use crate::store::messages::{Addressee, MessageRow, NewMessage, ReadMessages, WriteMessages};

impl ReadMessages for Transaction<'_> {
    fn messages_to(&self, user: &str, batches: &[String], limit: u32) -> Result<Vec<MessageRow>, StoreError> {
        // One search for each mailbox, each by its index and bounded by `limit`; the newest of all are kept.
        let select = "SELECT m.message, m.author, u.name, m.batch, iif(m.retracted_at IS NULL, m.text, ''),
                m.posted_at, m.retracted_at IS NOT NULL
             FROM messages m JOIN users u ON u.user = m.author";
        let read = |row: &rusqlite::Row<'_>| {
            Ok(MessageRow {
                message: row.get(0)?,
                author: row.get(1)?,
                author_name: row.get(2)?,
                batch: row.get(3)?,
                text: row.get(4)?,
                posted_at: row.get(5)?,
                retracted: row.get(6)?,
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

    fn addressee(&self, message: &str) -> Result<Option<Addressee>, StoreError> {
        let sql = "SELECT recipient, batch FROM messages WHERE institute = ?1 AND message = ?2";
        self.one(sql, (self.institute, message), |row| {
            Ok(Addressee { recipient: row.get(0)?, batch: row.get(1)? })
        })
    }

    fn retracted_of(&self, messages: &[String]) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT message FROM messages
             WHERE institute = ?1 AND message = ?2 AND retracted_at IS NOT NULL";
        let found = messages.iter().map(|message| self.one(sql, (self.institute, message), |row| row.get(0)));
        found.filter_map(Result::transpose).collect()
    }

    fn unread_messages(&self, user: &str, batches: &[String], read_at: i64) -> Result<u64, StoreError> {
        let direct = "SELECT count(*) FROM messages
             WHERE institute = ?1 AND recipient = ?2 AND posted_at > ?3 AND retracted_at IS NULL";
        let mut unread = self.number(direct, (self.institute, user, read_at))?;
        let in_batch = "SELECT count(*) FROM messages
             WHERE institute = ?1 AND batch = ?2 AND posted_at > ?3 AND author <> ?4
                 AND retracted_at IS NULL";
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

    fn retract_message(&self, message: &str, by: &str, reason: &str, at: i64) -> Result<bool, StoreError> {
        let sql = "UPDATE messages SET retracted_at = ?3, retracted_by = ?4, reason = ?5
             WHERE institute = ?1 AND message = ?2 AND retracted_at IS NULL";
        Ok(self.run(sql, (self.institute, message, at, by, reason))? > 0)
    }
}
