//! What people are told about events that concern them.

use super::transaction::{Millis, Transaction, millis, some_millis};
use crate::store::error::StoreError;
use crate::store::notifications::{
    NewNotification, NotificationId, NotificationRow, ReadNotifications, WriteNotifications,
};
use crate::store::transaction::{to_i64, to_u64};

impl ReadNotifications for Transaction<'_> {
    fn notifications(
        &self,
        user: &str,
        before: Option<NotificationId>,
        limit: u32,
    ) -> Result<Vec<NotificationRow>, StoreError> {
        let (revision, position) = before.map_or((i64::MAX, 0), place);
        self.all(
            r#"SELECT revision, position, kind, body::text, created_at, read_at FROM notifications
             WHERE institute = $1 AND "user" = $2 AND (revision, position) < ($3, $4)
             ORDER BY revision DESC, position DESC LIMIT $5"#,
            &[&self.institute, &user, &revision, &position, &i64::from(limit)],
            |row| {
                Ok(NotificationRow {
                    id: NotificationId {
                        revision: to_u64(row.try_get(0)?),
                        position: to_u64(row.try_get(1)?),
                    },
                    kind: row.try_get(2)?,
                    body: row.try_get(3)?,
                    created_at: millis(row, 4)?,
                    read_at: some_millis(row, 5)?,
                })
            },
        )
    }

    fn unread_notifications(&self, user: &str, most: u32) -> Result<u64, StoreError> {
        let sql = r#"SELECT count(*) FROM (SELECT 1 FROM notifications
             WHERE institute = $1 AND "user" = $2 AND read_at IS NULL LIMIT $3) unread"#;
        self.number(sql, &[&self.institute, &user, &i64::from(most)])
    }
}

impl WriteNotifications for Transaction<'_> {
    fn notify_user(&self, user: &str, notification: &NewNotification) -> Result<u64, StoreError> {
        let (revision, position) = place(notification.id);
        self.run(
            r#"INSERT INTO notifications (institute, "user", revision, position, kind, body, created_at)
             SELECT institute, "user", $3, $4, $5, $6::text::json, $7 FROM users
             WHERE institute = $1 AND "user" = $2"#,
            &[
                &self.institute,
                &user,
                &revision,
                &position,
                &notification.kind,
                &notification.body,
                &Millis(notification.created_at),
            ],
        )
    }

    fn notify_batch(
        &self,
        batch: &str,
        except: &str,
        notification: &NewNotification,
    ) -> Result<u64, StoreError> {
        let (revision, position) = place(notification.id);
        self.run(
            r#"INSERT INTO notifications (institute, "user", revision, position, kind, body, created_at)
             SELECT $1, member."user", $4, $5, $6, $7::text::json, $8 FROM (
                 SELECT student AS "user" FROM enrolments WHERE institute = $1 AND batch = $2
                 UNION
                 SELECT "user" FROM batch_teachers WHERE institute = $1 AND batch = $2
             ) member WHERE member."user" <> $3"#,
            &[
                &self.institute,
                &batch,
                &except,
                &revision,
                &position,
                &notification.kind,
                &notification.body,
                &Millis(notification.created_at),
            ],
        )
    }

    fn read_notifications(&self, user: &str, until: NotificationId, now: i64) -> Result<u64, StoreError> {
        let (revision, position) = place(until);
        self.run(
            r#"UPDATE notifications SET read_at = $5
             WHERE institute = $1 AND "user" = $2 AND (revision, position) <= ($3, $4) AND read_at IS NULL"#,
            &[&self.institute, &user, &revision, &position, &Millis(now)],
        )
    }
}

fn place(id: NotificationId) -> (i64, i64) {
    (to_i64(id.revision), to_i64(id.position))
}
