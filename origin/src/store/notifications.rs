//! What people are told about events that concern them.

use super::error::StoreError;

/// Which notification of a person: the commit that it tells of, and which of its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NotificationId {
    pub(crate) revision: u64,
    pub(crate) position: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct NewNotification {
    pub(crate) id: NotificationId,
    pub(crate) kind: &'static str,
    /// JSON object.
    pub(crate) body: String,
    pub(crate) created_at: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NotificationRow {
    pub(crate) id: NotificationId,
    pub(crate) kind: String,
    /// JSON object.
    pub(crate) body: String,
    pub(crate) created_at: i64,
    pub(crate) read_at: Option<i64>,
}

pub(crate) trait ReadNotifications {
    /// The newest of a user, or those before `before`.
    fn notifications(
        &self,
        user: &str,
        before: Option<NotificationId>,
        limit: u32,
    ) -> Result<Vec<NotificationRow>, StoreError>;

    /// How many the user has not read, counted up to `most`.
    fn unread_notifications(&self, user: &str, most: u32) -> Result<u64, StoreError>;
}

pub(crate) trait WriteNotifications {
    /// Tells a user of the institute; who is not of it is not told. How many were told now.
    fn notify_user(&self, user: &str, notification: &NewNotification) -> Result<u64, StoreError>;

    /// Tells the students and teachers of a batch, without `except`. How many were told now.
    fn notify_batch(
        &self,
        batch: &str,
        except: &str,
        notification: &NewNotification,
    ) -> Result<u64, StoreError>;

    /// Marks what the user was told, up to a notification, as read; how many were not before.
    fn read_notifications(&self, user: &str, until: NotificationId, now: i64) -> Result<u64, StoreError>;
}
