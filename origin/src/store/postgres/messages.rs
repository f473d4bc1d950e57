//! Messages to one user or to a batch.

use super::transaction::{Answer, Millis, Transaction, millis};
use crate::store::error::StoreError;
use crate::store::messages::{Addressee, MessageRow, NewMessage, ReadMessages, Unread, WriteMessages};
use crate::store::transaction::{to_i64, to_u64};

impl Transaction<'_> {
    pub(super) async fn ask_messages_to(
        &self,
        user: &str,
        batches: &[String],
        limit: u32,
    ) -> Answer<Vec<MessageRow>> {
        // One search for each mailbox, each by its index and bounded by the limit; the newest of all are kept.
        self.ask_all(
            r#"SELECT m.message, m.author, u.name, m.batch,
                CASE WHEN m.retracted_at IS NULL THEN m.text ELSE '' END, m.posted_at, m.retracted_at IS NOT NULL FROM (
                (SELECT * FROM messages WHERE institute = $1 AND recipient = $2
                 ORDER BY posted_at DESC LIMIT $4)
                UNION ALL
                SELECT own.* FROM unnest($3::text[]) mailbox(batch) CROSS JOIN LATERAL (
                    SELECT * FROM messages WHERE institute = $1 AND batch = mailbox.batch AND author <> $2
                    ORDER BY posted_at DESC LIMIT $4) own
             ) m JOIN users u ON u."user" = m.author
             ORDER BY m.posted_at DESC, m.message LIMIT $4"#,
            &[&self.institute, &user, &batches, &i64::from(limit)],
            |row| {
                Ok(MessageRow {
                    message: row.try_get(0)?,
                    author: row.try_get(1)?,
                    author_name: row.try_get(2)?,
                    batch: row.try_get(3)?,
                    text: row.try_get(4)?,
                    posted_at: millis(row, 5)?,
                    retracted: row.try_get(6)?,
                })
            },
        )
        .await
    }

    pub(super) async fn ask_unread_messages(
        &self,
        user: &str,
        batches: &[String],
        most: u32,
    ) -> Answer<Unread> {
        // The last of each mailbox by its index, and of those the others': a mailbox full of one's own words costs no more.
        let unread = self
            .ask_one(
                r#"SELECT count(*) FILTER (WHERE others), max(arrived) FROM (
                (SELECT true AS others, arrived FROM messages
                 WHERE institute = $1 AND recipient = $2 AND retracted_at IS NULL
                     AND arrived > (SELECT messages_read FROM users WHERE "user" = $2 AND institute = $1)
                 ORDER BY arrived DESC LIMIT $4)
                UNION ALL
                SELECT own.* FROM unnest($3::text[]) mailbox(batch) CROSS JOIN LATERAL (
                    SELECT author <> $2, arrived FROM messages
                    WHERE institute = $1 AND batch = mailbox.batch AND retracted_at IS NULL
                        AND arrived > (SELECT messages_read FROM users WHERE "user" = $2 AND institute = $1)
                    ORDER BY arrived DESC LIMIT $4) own
             ) newest"#,
                &[&self.institute, &user, &batches, &i64::from(most)],
                |row| Ok(Unread { count: to_u64(row.try_get(0)?), newest: row.try_get(1)? }),
            )
            .await?;
        Ok(unread.unwrap_or_default())
    }
}

impl ReadMessages for Transaction<'_> {
    fn messages_to(&self, user: &str, batches: &[String], limit: u32) -> Result<Vec<MessageRow>, StoreError> {
        self.wait(self.ask_messages_to(user, batches, limit))
    }

    fn addressee(&self, message: &str) -> Result<Option<Addressee>, StoreError> {
        let sql = "SELECT recipient, batch FROM messages WHERE institute = $1 AND message = $2";
        self.one(sql, &[&self.institute, &message], |row| {
            Ok(Addressee { recipient: row.try_get(0)?, batch: row.try_get(1)? })
        })
    }

    fn retracted_of(&self, messages: &[String]) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT message FROM messages
             WHERE institute = $1 AND message = ANY ($2) AND retracted_at IS NOT NULL";
        self.all(sql, &[&self.institute, &messages], |row| row.try_get(0))
    }

    fn unread_messages(&self, user: &str, batches: &[String], most: u32) -> Result<Unread, StoreError> {
        self.wait(self.ask_unread_messages(user, batches, most))
    }
}

impl WriteMessages for Transaction<'_> {
    fn add_message(&self, message: &NewMessage) -> Result<bool, StoreError> {
        let added = self.run(
            "INSERT INTO messages (institute, message, author, recipient, batch, text, posted_at, arrived)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
            &[
                &self.institute,
                &message.message,
                &message.author,
                &message.recipient,
                &message.batch,
                &message.text,
                &Millis(message.posted_at),
                &message.arrived.unwrap_or(to_i64(self.at.revision + 1)),
            ],
        )?;
        Ok(added > 0)
    }

    fn retract_message(&self, message: &str, by: &str, reason: &str, at: i64) -> Result<bool, StoreError> {
        let sql = "UPDATE messages SET retracted_at = $3, retracted_by = $4, reason = $5
             WHERE institute = $1 AND message = $2 AND retracted_at IS NULL";
        Ok(self.run(sql, &[&self.institute, &message, &Millis(at), &by, &reason])? > 0)
    }

    fn read_messages(&self, user: &str, until: i64) -> Result<bool, StoreError> {
        let sql = r#"UPDATE users SET messages_read = $3
             WHERE "user" = $1 AND institute = $2 AND messages_read < $3"#;
        let until = until.min(to_i64(self.at.revision));
        Ok(self.run(sql, &[&user, &self.institute, &until])? > 0)
    }
}
