//! What a person was told, and what of it they have read.

use super::auth::account_of;
use super::local_time::LocalTime;
use crate::clock::unix_ms;
use crate::store::{NotificationId, NotificationRow, Records, Store, StoreError};
use serde::Serialize;
use serde_json::Value;
use sync_protocol::bookmark::Bookmark;
use sync_protocol::token::{Claims, TokenError};
use utoipa::ToSchema;

/// The kind of those that tell of a message, with the beginning of its text.
pub(super) const MESSAGE_POSTED: &str = "message-posted";
/// Most notifications in one answer.
const PAGE: u32 = 50;
/// Unread ones are counted up to this: nobody needs to know more, and counting costs.
const UNREAD_MAX: u32 = 1_000;

#[derive(Debug, thiserror::Error)]
pub(crate) enum NotificationError {
    #[error("{0} is not REVISION-POSITION, as in `id`")]
    Id(&'static str),
    #[error("the user is not of this institute any more")]
    UnknownUser,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("this origin is at {current}, the reader has seen {seen}")]
    Behind { current: Bookmark, seen: Bookmark },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// `GET /api/notifications`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NotificationPage {
    /// At most 1,000 are counted.
    unread: u64,
    /// The newest first.
    notifications: Vec<NotificationView>,
    /// Where the next page begins (`before`); absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct NotificationView {
    /// `REVISION-POSITION`.
    id: String,
    kind: String,
    created_at: String,
    read: bool,
    /// What the kind tells; times are Unix milliseconds.
    #[schema(value_type = Object)]
    about: Value,
}

#[derive(Clone)]
pub(crate) struct NotificationService {
    store: Store,
}

impl NotificationService {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// The newest notifications of whom the claims name, or those before `before`, and the revision they were read at.
    pub(crate) async fn list(
        &self,
        claims: &Claims,
        before: Option<&str>,
        seen: Option<Bookmark>,
    ) -> Result<(NotificationPage, Bookmark), NotificationError> {
        let before = before.map(|text| parse_id(text).ok_or(NotificationError::Id("before"))).transpose()?;
        let claims = claims.clone();
        let institute = claims.inst.clone();
        self.store
            .read_after(&institute, seen, move |records| {
                let account = account_of::<NotificationError>(records, &claims)?;
                let user = account.ok_or(NotificationError::UnknownUser)?.user;
                let current = Bookmark::new(records.epoch(), records.revision()?);
                if let Some(seen) = seen.filter(|seen| *seen > current) {
                    return Err(NotificationError::Behind { current, seen });
                }
                let institute = records.institute()?.ok_or(NotificationError::UnknownUser)?;
                let time = LocalTime::new(&institute.time_zone)?;
                let mut rows = records.notifications(&user, before, PAGE + 1)?;
                let more = rows.len() > PAGE as usize;
                rows.truncate(PAGE as usize);
                let next = rows.last().filter(|_| more).map(|row| id_text(row.id));
                blank_retracted(records, &mut rows)?;
                let unread = records.unread_notifications(&user, UNREAD_MAX)?;
                let notifications =
                    rows.into_iter().map(|row| view(row, &time)).collect::<Result<_, StoreError>>()?;
                Ok((NotificationPage { unread, notifications, next }, current))
            })
            .await
    }

    /// Marks all up to one as read; how many were not. Again changes nothing.
    pub(crate) async fn mark_read(&self, claims: &Claims, until: &str) -> Result<u64, NotificationError> {
        let until = parse_id(until).ok_or(NotificationError::Id("until"))?;
        let claims = claims.clone();
        let institute = claims.inst.clone();
        let read = self.store.write_aside::<_, NotificationError, _>(&institute, move |tx| {
            let account = account_of::<NotificationError>(tx.records(), &claims)?;
            let account = account.ok_or(NotificationError::UnknownUser)?;
            Ok(tx.read_notifications(&account.user, until, unix_ms())?)
        });
        Ok(read.await?.value)
    }
}

/// Takes the texts of messages that were retracted. Here, since a message may be retracted before all were told of it.
fn blank_retracted(records: &dyn Records, rows: &mut [NotificationRow]) -> Result<(), StoreError> {
    let about = |row: &NotificationRow| serde_json::from_str::<Value>(&row.body).ok();
    let message = |about: &Value| about["message"].as_str().map(str::to_owned);
    let told = rows.iter_mut().filter(|row| row.kind == MESSAGE_POSTED);
    let mut told: Vec<_> = told.filter_map(|row| about(row).map(|about| (row, about))).collect();
    let messages: Vec<String> = told.iter().filter_map(|(_, about)| message(about)).collect();
    if messages.is_empty() {
        return Ok(());
    }
    let retracted = records.retracted_of(&messages)?;
    for (row, about) in &mut told {
        if message(about).is_some_and(|message| retracted.contains(&message)) {
            about["text"] = "".into();
            about["retracted"] = true.into();
            row.body = about.to_string();
        }
    }
    Ok(())
}

fn view(row: NotificationRow, time: &LocalTime) -> Result<NotificationView, StoreError> {
    let about = serde_json::from_str(&row.body)
        .map_err(|_| StoreError::Corrupt { what: "body of a notification", text: id_text(row.id) })?;
    Ok(NotificationView {
        id: id_text(row.id),
        kind: row.kind,
        created_at: time.text(row.created_at),
        read: row.read_at.is_some(),
        about,
    })
}

fn id_text(id: NotificationId) -> String {
    format!("{}-{}", id.revision, id.position)
}

fn parse_id(text: &str) -> Option<NotificationId> {
    let (revision, position) = text.split_once('-')?;
    Some(NotificationId { revision: parse_number(revision, 15)?, position: parse_number(position, 9)? })
}

/// Digits alone, as the description says: Rust reads a sign too.
fn parse_number(text: &str, digits_max: usize) -> Option<u64> {
    let digits = text.len() <= digits_max && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_their_text() {
        let id = NotificationId { revision: 7, position: 2 };
        assert_eq!(parse_id(&id_text(id)), Some(id));
        for wrong in
            ["7", "7-", "-2", "7-2-1", "x-1", "-1--1", "99999999999999999999-0", "1000000000000000-0", "+7-2"]
        {
            assert_eq!(parse_id(wrong), None, "{wrong}");
        }
    }
}
