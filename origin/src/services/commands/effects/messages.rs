//! Messages: who writes to whom, and what an admin takes back.

use super::{CommandFault, forbidden, local, not_found, require_admin, require_batch};
use crate::services::events::{self, Event};
use crate::store::{Account, NewMessage, StoreError, WriteTx};
use serde_json::{Value, json};
use sync_protocol::command::Recipient;
use sync_protocol::tag;
use sync_protocol::token::Role;
use uuid::Uuid;

pub(super) fn post(
    tx: &mut WriteTx<'_>,
    by: &Account,
    to: &Recipient,
    text: &str,
    at: i64,
) -> Result<Value, CommandFault> {
    let (recipient, batch) = match to {
        Recipient::User(user) => {
            let to = tx.account(user)?.ok_or_else(|| not_found("to.user", user))?;
            if !may_write(tx, by, &to)? {
                return Err(forbidden("the two have no batch in common"));
            }
            tx.touch(tag::user(user));
            (Some(user.clone()), None)
        }
        Recipient::Batch(batch) => {
            require_batch(tx, batch, "to.batch")?;
            let member = tx.teaches(&by.user, batch)? || tx.studies(&by.user, batch)?;
            if by.role != Role::Admin && !member {
                return Err(forbidden("only members of a batch may write to it"));
            }
            tx.touch(tag::batch(batch));
            (None, Some(batch.clone()))
        }
    };
    let message = Uuid::now_v7().to_string();
    tx.add_message(&NewMessage {
        message: message.clone(),
        author: by.user.clone(),
        recipient: recipient.clone(),
        batch: batch.clone(),
        text: text.to_owned(),
        posted_at: at,
        arrived: None,
    })?;
    let posted = Event::MessagePosted {
        message: message.clone(),
        author: by.user.clone(),
        author_name: by.name.clone(),
        recipient,
        batch,
        excerpt: events::excerpt(text),
    };
    events::emit(tx, &posted);
    Ok(json!({"command": "post-message", "message": message, "posted_at": local(tx, at)?}))
}

/// Takes a message from its readers. Once: a second reason changes nothing.
pub(super) fn retract(
    tx: &mut WriteTx<'_>,
    by: &Account,
    message: &str,
    reason: &str,
    at: i64,
) -> Result<Value, CommandFault> {
    require_admin(by)?;
    let addressee = tx.addressee(message)?.ok_or_else(|| not_found("message", message))?;
    let retracted = tx.retract_message(message, &by.user, reason, at)?;
    if retracted {
        let tags =
            [addressee.recipient.map(|user| tag::user(&user)), addressee.batch.map(|b| tag::batch(&b))];
        tags.into_iter().flatten().for_each(|tag| tx.touch(tag));
    }
    Ok(json!({"command": "retract-message", "message": message, "retracted": retracted}))
}

/// Marks read what had come when the reader looked. What comes later stays unread, whenever it was written: an edge may bring it
/// days after.
pub(super) fn mark_read(tx: &mut WriteTx<'_>, by: &Account, until: i64) -> Result<Value, CommandFault> {
    let marked = tx.read_messages(&by.user, until)?;
    if marked {
        tx.touch(tag::user(&by.user));
    }
    Ok(json!({"command": "mark-messages-read", "until": until, "marked": marked}))
}

/// Anybody may write to admins and they to anybody; else people of one batch to each other, and the guardians of a
/// student and the student's teachers.
fn may_write(tx: &WriteTx<'_>, by: &Account, to: &Account) -> Result<bool, StoreError> {
    if by.role == Role::Admin || to.role == Role::Admin || tx.share_batch(&by.user, &to.user)? {
        return Ok(true);
    }
    for (guardian, teacher) in [(by, to), (to, by)] {
        if teacher.role != Role::Teacher {
            continue;
        }
        let entry = tx.directory_entry(&guardian.user)?;
        for student in entry.iter().flat_map(|entry| &entry.guardian_of) {
            if tx.share_batch(student, &teacher.user)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
