//! Messages to one user or to a batch.

use super::transaction::Transaction;
use crate::store::error::StoreError;
use crate::store::messages::{Addressee, MessageRow, NewMessage, ReadMessages, Unread, WriteMessages};
use crate::store::transaction::to_u64;

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

    fn unread_messages(&self, user: &str, batches: &[String], most: u32) -> Result<Unread, StoreError> {
        let sql = "SELECT messages_read FROM users WHERE user = ?1 AND institute = ?2";
        let read: Option<i64> = self.one(sql, (user, self.institute), |row| row.get(0))?;
        let Some(read) = read else { return Ok(Unread::default()) };
        let figures = |row: &rusqlite::Row<'_>| Ok((to_u64(row.get(0)?), row.get::<_, Option<i64>>(1)?));
        let sql = "SELECT count(*), max(arrived) FROM (
                 SELECT arrived FROM messages INDEXED BY messages_unread_of_recipient
                 WHERE institute = ?1 AND recipient = ?2 AND arrived > ?3 AND retracted_at IS NULL
                 ORDER BY arrived DESC LIMIT ?4)";
        let mut mailboxes = Vec::new();
        mailboxes.extend(self.one(sql, (self.institute, user, read, most), figures)?);
        // The last of the mailbox, and of those the others': a mailbox full of one's own words costs no more.
        let sql = "SELECT count(*) FILTER (WHERE author <> ?5), max(arrived) FROM (
                 SELECT author, arrived FROM messages INDEXED BY messages_unread_of_batch
                 WHERE institute = ?1 AND batch = ?2 AND arrived > ?3 AND retracted_at IS NULL
                 ORDER BY arrived DESC LIMIT ?4)";
        for batch in batches {
            mailboxes.extend(self.one(sql, (self.institute, batch, read, most, user), figures)?);
        }
        Ok(Unread {
            count: mailboxes.iter().map(|(count, _)| count).sum(),
            newest: mailboxes.iter().filter_map(|(_, newest)| *newest).max(),
        })
    }
}

impl WriteMessages for Transaction<'_> {
    fn add_message(&self, message: &NewMessage) -> Result<bool, StoreError> {
        let added = self.run(
            "INSERT INTO messages (institute, message, author, recipient, batch, text, posted_at, arrived)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7,
                 coalesce(?8, (SELECT revision + 1 FROM institutes WHERE institute = ?1)))
             ON CONFLICT DO NOTHING",
            (
                self.institute,
                &message.message,
                &message.author,
                &message.recipient,
                &message.batch,
                &message.text,
                message.posted_at,
                message.arrived,
            ),
        )?;
        Ok(added > 0)
    }

    fn retract_message(&self, message: &str, by: &str, reason: &str, at: i64) -> Result<bool, StoreError> {
        let sql = "UPDATE messages SET retracted_at = ?3, retracted_by = ?4, reason = ?5
             WHERE institute = ?1 AND message = ?2 AND retracted_at IS NULL";
        Ok(self.run(sql, (self.institute, message, at, by, reason))? > 0)
    }

    fn read_messages(&self, user: &str, until: i64) -> Result<bool, StoreError> {
        let sql = "UPDATE users SET messages_read = now.until
             FROM (SELECT min(?3, revision) AS until FROM institutes WHERE institute = ?2) now
             WHERE user = ?1 AND institute = ?2 AND messages_read < now.until";
        Ok(self.run(sql, (user, self.institute, until))? > 0)
    }
}
