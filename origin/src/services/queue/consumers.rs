//! What is done about events, in the transaction that takes them out of the outbox.

use crate::services::events::{Consumer, Event};
use crate::services::notifications::MESSAGE_POSTED;
use crate::store::{NewNotification, NotificationId, StoreError, Work, WriteTx};
use serde_json::{Value, json};

/// Why an event's effect did not happen.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("there is no consumer {0:?}")]
    UnknownConsumer(String),
    #[error("the events cannot be read: {0}")]
    Unreadable(serde_json::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(super) fn apply(tx: &WriteTx<'_>, work: &Work) -> Result<(), Fault> {
    let unknown = || Fault::UnknownConsumer(work.consumer.clone());
    let consumer = Consumer::parse(&work.consumer).ok_or_else(unknown)?;
    let events: Vec<Event> = serde_json::from_str(&work.events).map_err(Fault::Unreadable)?;
    match consumer {
        Consumer::Notifications => {
            for (event, position) in events.iter().zip(0..) {
                notify(tx, event, work, position)?;
            }
        }
    }
    Ok(())
}

/// Whom an event concerns.
enum Concerned<'e> {
    User(&'e str),
    /// Its members without the one who made the event.
    Batch(&'e str, &'e str),
    /// The same, and the teachers of classes, who need not be of them.
    Class {
        batch: &'e str,
        except: &'e str,
        teachers: &'e [String],
    },
}

fn notify(tx: &WriteTx<'_>, event: &Event, work: &Work, position: u64) -> Result<(), StoreError> {
    let Some((concerned, kind, body)) = told(event) else { return Ok(()) };
    let notification = NewNotification {
        id: NotificationId { revision: work.revision, position },
        kind,
        body: body.to_string(),
        created_at: work.committed_at,
    };
    match concerned {
        Concerned::User(user) => tx.notify_user(user, &notification)?,
        Concerned::Batch(batch, except) => tx.notify_batch(batch, except, &notification)?,
        Concerned::Class { batch, except, teachers } => {
            let mut told = tx.notify_batch(batch, except, &notification)?;
            for teacher in teachers.iter().filter(|teacher| *teacher != except) {
                if !tx.teaches(teacher, batch)? {
                    told += tx.notify_user(teacher, &notification)?;
                }
            }
            told
        }
    };
    Ok(())
}

fn told(event: &Event) -> Option<(Concerned<'_>, &'static str, Value)> {
    Some(match event {
        Event::SubmissionGraded { student, assignment, title, score, max_score } => (
            Concerned::User(student),
            "submission-graded",
            json!({"assignment": assignment, "title": title, "score": score, "max_score": max_score}),
        ),
        Event::MessagePosted { message, author, author_name, recipient, batch, excerpt } => {
            let concerned = match (recipient, batch) {
                (Some(recipient), _) => Concerned::User(recipient),
                (None, Some(batch)) => Concerned::Batch(batch, author),
                (None, None) => return None,
            };
            let body = json!({
                "message": message, "from": author_name, "from_user": author, "batch": batch, "text": excerpt,
            });
            (concerned, MESSAGE_POSTED, body)
        }
        Event::InvoiceIssued { student, invoice, title, amount_minor, due_on } => (
            Concerned::User(student),
            "invoice-issued",
            json!({"invoice": invoice, "title": title, "amount_minor": amount_minor, "due_on": due_on}),
        ),
        Event::PaymentRecorded { student, payment, invoice, amount_minor, due_minor } => (
            Concerned::User(student),
            "payment-recorded",
            json!({
                "payment": payment, "invoice": invoice, "amount_minor": amount_minor, "due_minor": due_minor,
            }),
        ),
        Event::PaymentRefunded { student, payment, invoice, amount_minor } => (
            Concerned::User(student),
            "payment-refunded",
            json!({"payment": payment, "invoice": invoice, "amount_minor": amount_minor}),
        ),
        Event::ClassRescheduled { class, batch, by, title, starts_at, ends_at, room, teacher } => (
            Concerned::Class { batch, except: by, teachers: teacher.as_slice() },
            "class-rescheduled",
            json!({
                "class": class, "batch": batch, "title": title, "starts_at": starts_at, "ends_at": ends_at,
                "room": room,
            }),
        ),
        Event::ClassCancelled { class, batch, by, title, starts_at, teacher } => (
            Concerned::Class { batch, except: by, teachers: teacher.as_slice() },
            "class-cancelled",
            json!({"class": class, "batch": batch, "title": title, "starts_at": starts_at}),
        ),
        Event::ClassSeriesRescheduled { .. } | Event::ClassSeriesCancelled { .. } => told_of_series(event)?,
    })
}

/// The same of series of classes.
fn told_of_series(event: &Event) -> Option<(Concerned<'_>, &'static str, Value)> {
    match event {
        Event::ClassSeriesRescheduled {
            series,
            class,
            batch,
            by,
            title,
            starts_at,
            ends_at,
            room,
            classes,
            teachers,
        } => Some((
            Concerned::Class { batch, except: by, teachers },
            "class-series-rescheduled",
            json!({
                "series": series, "class": class, "batch": batch, "title": title, "starts_at": starts_at,
                "ends_at": ends_at, "room": room, "classes": classes,
            }),
        )),
        Event::ClassSeriesCancelled { series, class, batch, by, title, starts_at, classes, teachers } => {
            Some((
                Concerned::Class { batch, except: by, teachers },
                "class-series-cancelled",
                json!({
                    "series": series, "class": class, "batch": batch, "title": title, "starts_at": starts_at,
                    "classes": classes,
                }),
            ))
        }
        _ => None,
    }
}
