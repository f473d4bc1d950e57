//! Messages to one user or to a batch.

use super::transaction::{Answer, Millis, Transaction, millis};
use crate::store::error::StoreError;
use crate::store::messages::{MessageRow, NewMessage, ReadMessages, WriteMessages};

impl Transaction<'_> {
    pub(super) async fn ask_messages_to(
        &self,
        user: &str,
        batches: &[String],
        limit: u32,
    ) -> Answer<Vec<MessageRow>> {
        // One search for each mailbox, each by its index and bounded by the limit; the newest of all are kept.
        self.ask_all(
            r#"SELECT m.message, m.author, u.name, m.batch, m.text, m.posted_at FROM (
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
                })
            },
        )
        .await
    }

    pub(super) async fn ask_unread_messages(
        &self,
        user: &str,
        batches: &[String],
        read_at: i64,
    ) -> Answer<u64> {
        self.ask_number(
            "SELECT (SELECT count(*) FROM messages
                     WHERE institute = $1 AND recipient = $2 AND posted_at > $4)
                  + (SELECT count(*) FROM messages
                     WHERE institute = $1 AND batch = ANY ($3) AND posted_at > $4 AND author <> $2)",
            &[&self.institute, &user, &batches, &Millis(read_at)],
        )
        .await
    }
}

impl ReadMessages for Transaction<'_> {
    fn messages_to(&self, user: &str, batches: &[String], limit: u32) -> Result<Vec<MessageRow>, StoreError> {
        self.wait(self.ask_messages_to(user, batches, limit))
    }

    fn unread_messages(&self, user: &str, batches: &[String], read_at: i64) -> Result<u64, StoreError> {
        self.wait(self.ask_unread_messages(user, batches, read_at))
    }
}

impl WriteMessages for Transaction<'_> {
    fn add_message(&self, message: &NewMessage) -> Result<bool, StoreError> {
        let added = self.run(
            "INSERT INTO messages (institute, message, author, recipient, batch, text, posted_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
            &[
                &self.institute,
                &message.message,
                &message.author,
                &message.recipient,
                &message.batch,
                &message.text,
                &Millis(message.posted_at),
            ],
        )?;
        Ok(added > 0)
    }
}
