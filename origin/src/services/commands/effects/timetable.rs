//! Commands that make, change and cancel classes.

use super::{CommandFault, MAX_CLASS_MS, already_exists, forbidden, invalid, local, not_found, read_time};
use super::{require_batch, require_teacher};
use crate::services::events::{self, Event};
use crate::store::{Account, ClassChange, ClassRow, NewClass, WriteTx};
use serde_json::{Value, json};
use sync_protocol::command::Command;
use sync_protocol::tag;
use sync_protocol::token::Role;
use uuid::Uuid;

pub(super) fn apply(
    tx: &mut WriteTx<'_>,
    by: &Account,
    command: &Command,
    at: i64,
) -> Result<Value, CommandFault> {
    match command {
        Command::CreateClass { class, batch, title, room, teacher, starts_at, ends_at } => {
            require_teacher(tx, by, batch)?;
            require_batch(tx, batch, "batch")?;
            require_is_teacher(tx, teacher)?;
            let (starts_at, ends_at) = read_times(starts_at, ends_at)?;
            let new = NewClass {
                class: class.clone().unwrap_or_else(|| Uuid::now_v7().to_string()),
                batch: batch.clone(),
                title: title.clone(),
                room: room.clone(),
                teacher: teacher.clone(),
                starts_at,
                ends_at,
            };
            if !tx.add_class(&new)? {
                return Err(already_exists("class", &new.class));
            }
            touch(tx, batch, &[teacher]);
            outcome(tx, command.name(), &new.class)
        }
        Command::ChangeClass { class, title, room, teacher, starts_at, ends_at } => {
            let times = match (starts_at, ends_at) {
                (Some(starts_at), Some(ends_at)) => Some(read_times(starts_at, ends_at)?),
                // One without the other does not get here: the command was checked.
                (Some(_), None) | (None, Some(_)) | (None, None) => None,
            };
            let change =
                ClassChange { title: title.clone(), room: room.clone(), teacher: teacher.clone(), times };
            change_class(tx, by, class, change)?;
            outcome(tx, command.name(), class)
        }
        Command::CancelClass { class } => {
            let cancelled = cancel_class(tx, by, class, at)?;
            Ok(json!({"command": command.name(), "class": class, "cancelled": cancelled}))
        }
        _ => Err(forbidden("the command is not about classes")),
    }
}

fn change_class(
    tx: &mut WriteTx<'_>,
    by: &Account,
    class: &str,
    change: ClassChange,
) -> Result<(), CommandFault> {
    let found = tx.class(class)?.ok_or_else(|| not_found("class", class))?;
    require_teacher(tx, by, &found.batch)?;
    require_not_cancelled(tx, class)?;
    if let Some(teacher) = &change.teacher {
        require_is_teacher(tx, teacher)?;
    }
    tx.change_class(class, &change)?;
    touch(tx, &found.batch, &[&found.teacher, change.teacher.as_ref().unwrap_or(&found.teacher)]);
    let (starts_at, ends_at) = change.times.unwrap_or((found.starts_at, found.ends_at));
    let room = change.room.as_ref().unwrap_or(&found.room);
    // Another title or teacher is nothing that anybody has to be told at once.
    if (starts_at, ends_at, room) != (found.starts_at, found.ends_at, &found.room) {
        let title = change.title.as_ref().unwrap_or(&found.title);
        let teacher = change.teacher.as_ref().unwrap_or(&found.teacher);
        tell_moved(tx, by, &found, (title, teacher), (starts_at, ends_at, room));
    }
    Ok(())
}

/// Leaves word that a class with a title and a teacher takes place from, until and where it did not before.
pub(super) fn tell_moved(
    tx: &mut WriteTx<'_>,
    by: &Account,
    class: &ClassRow,
    (title, teacher): (&str, &str),
    (starts_at, ends_at, room): (i64, i64, &str),
) {
    let moved = Event::ClassRescheduled {
        class: class.class.clone(),
        batch: class.batch.clone(),
        by: by.user.clone(),
        title: title.to_owned(),
        starts_at,
        ends_at,
        room: room.to_owned(),
        teacher: Some(teacher.to_owned()),
    };
    events::emit(tx, &moved);
}

/// Says that the schedules change of a batch and of teachers, whose batch it need not be.
pub(super) fn touch(tx: &mut WriteTx<'_>, batch: &str, teachers: &[&str]) {
    tx.touch(tag::batch(batch));
    for teacher in teachers {
        tx.touch(tag::user(teacher));
    }
}

/// Whether it was not cancelled before.
fn cancel_class(tx: &mut WriteTx<'_>, by: &Account, class: &str, at: i64) -> Result<bool, CommandFault> {
    let found = tx.class(class)?.ok_or_else(|| not_found("class", class))?;
    if by.role != Role::Admin && by.user != found.teacher {
        return Err(forbidden("only the class's teacher or an admin may do this"));
    }
    let changed = tx.cancel_class(class, at)?;
    if changed {
        touch(tx, &found.batch, &[&found.teacher]);
        let cancelled = Event::ClassCancelled {
            class: class.to_owned(),
            batch: found.batch,
            by: by.user.clone(),
            title: found.title,
            starts_at: found.starts_at,
            teacher: Some(found.teacher),
        };
        events::emit(tx, &cancelled);
    }
    Ok(changed)
}

/// A cancelled class is on no timetable, and nobody is told that it moves.
pub(super) fn require_not_cancelled(tx: &WriteTx<'_>, class: &str) -> Result<(), CommandFault> {
    if tx.is_cancelled(class)? { Err(invalid("class", "the class is cancelled".into())) } else { Ok(()) }
}

pub(super) fn require_is_teacher(tx: &WriteTx<'_>, teacher: &str) -> Result<(), CommandFault> {
    let account = tx.account(teacher)?.filter(|account| account.role == Role::Teacher);
    account.map(drop).ok_or_else(|| not_found("teacher", teacher))
}

fn read_times(starts_at: &str, ends_at: &str) -> Result<(i64, i64), CommandFault> {
    let (starts_at, ends_at) = (read_time("starts_at", starts_at)?, read_time("ends_at", ends_at)?);
    if ends_at <= starts_at || ends_at - starts_at > MAX_CLASS_MS {
        return Err(invalid("ends_at", "ends_at is not within 24 hours after starts_at".into()));
    }
    Ok((starts_at, ends_at))
}

fn outcome(tx: &WriteTx<'_>, command: &str, class: &str) -> Result<Value, CommandFault> {
    let now = tx.class(class)?.ok_or_else(|| not_found("class", class))?;
    Ok(json!({
        "command": command, "class": now.class, "batch": now.batch, "title": now.title, "room": now.room,
        "teacher": now.teacher, "starts_at": local(tx, now.starts_at)?, "ends_at": local(tx, now.ends_at)?,
    }))
}
