//! What each command does, and to whom it is allowed.
//!
//! An outcome names the command and the records that it made or changed. Times in outcomes are RFC 3339 with the
//! institute's offset.

mod coursework;
mod documents;
mod members;
mod messages;
mod money;
mod records;
mod series;
mod timetable;

use super::{CommandFault, Refusal, RefusalCode};
use crate::services::events::{self, Event};
use crate::services::local_time::LocalTime;
use crate::store::{Account, NewSubmission, StoreError, WriteTx};
use jiff::Timestamp;
use serde_json::{Value, json};
use sync_protocol::command::Command;
use sync_protocol::tag;
use sync_protocol::token::Role;
use uuid::Uuid;

/// Longest class: a day. A longer one is a slip of the pen in a date.
const MAX_CLASS_MS: i64 = 24 * 60 * 60 * 1000;

/// Applies `command` in the name of `user`; `at` is when they gave it (Unix milliseconds).
pub(super) fn apply(
    tx: &mut WriteTx<'_>,
    user: &str,
    command: &Command,
    at: i64,
) -> Result<Value, CommandFault> {
    let by = tx.account(user)?.ok_or_else(|| forbidden("the user is not of this institute"))?;
    match command {
        Command::GradeSubmission { assignment, student, score, feedback } => {
            grade_submission(tx, &by, (assignment, student), *score, feedback.as_deref(), at)
        }
        Command::CreateInvoice { .. }
        | Command::VoidInvoice { .. }
        | Command::RefundPayment { .. }
        | Command::ApplyPaymentEvent { .. }
        | Command::SettlePaymentEvent { .. }
        | Command::RecordPayment { .. } => money::apply(tx, &by, command, at),
        Command::PostMessage { to, text } => messages::post(tx, &by, to, text, at),
        Command::RetractMessage { message, reason } => messages::retract(tx, &by, message, reason, at),
        Command::MarkMessagesRead { until } => messages::mark_read(tx, &by, *until),
        Command::SubmitAssignment { assignment, text } => submit_assignment(tx, &by, assignment, text, at),
        Command::CreateClass { .. } | Command::ChangeClass { .. } | Command::CancelClass { .. } => {
            timetable::apply(tx, &by, command, at)
        }
        Command::CreateClassSeries { .. }
        | Command::ChangeClassSeries { .. }
        | Command::CancelClassSeries { .. } => series::apply(tx, &by, command, at),
        Command::CreateAssignment { .. } | Command::ChangeAssignment { .. } => {
            coursework::apply(tx, &by, command)
        }
        Command::CreateUser { .. }
        | Command::ChangeUser { .. }
        | Command::CreateBatch { .. }
        | Command::ChangeBatch { .. }
        | Command::ChangeInstitute { .. }
        | Command::RevokeDevice { .. } => records::apply(tx, &by, command, at),
        Command::EnrollStudent { .. }
        | Command::WithdrawStudent { .. }
        | Command::AssignTeacher { .. }
        | Command::UnassignTeacher { .. }
        | Command::AddGuardian { .. }
        | Command::RemoveGuardian { .. }
        | Command::DeactivateUser { .. }
        | Command::ReactivateUser { .. } => members::apply(tx, &by, command, at),
        Command::DeleteDocument { document } => documents::delete(tx, &by, document, at),
        Command::RescheduleClass { class, starts_at, ends_at, room } => {
            let starts_at = read_time("starts_at", starts_at)?;
            let ends_at = read_time("ends_at", ends_at)?;
            reschedule_class(tx, &by, class, (starts_at, ends_at), room.as_deref())
        }
    }
}

fn grade_submission(
    tx: &mut WriteTx<'_>,
    by: &Account,
    (assignment, student): (&str, &str),
    score: f64,
    feedback: Option<&str>,
    at: i64,
) -> Result<Value, CommandFault> {
    let found = tx.assignment(assignment)?.ok_or_else(|| not_found("assignment", assignment))?;
    require_teacher(tx, by, &found.batch)?;
    let work = tx.submission(assignment, student)?.ok_or_else(|| not_found("student", student))?;
    if score > found.max_score {
        return Err(invalid("score", format!("score is {score}, the limit is {}", found.max_score)));
    }
    tx.grade_submission(&work.submission, score, feedback, &by.user, at)?;
    tx.touch(tag::batch(&found.batch));
    tx.touch(tag::user(student));
    let graded = Event::SubmissionGraded {
        student: student.to_owned(),
        assignment: assignment.to_owned(),
        title: found.title,
        score,
        max_score: found.max_score,
    };
    events::emit(tx, &graded);
    Ok(json!({
        "command": "grade-submission", "submission": work.submission, "assignment": assignment,
        "student": student, "score": score, "max_score": found.max_score,
    }))
}

fn submit_assignment(
    tx: &mut WriteTx<'_>,
    by: &Account,
    assignment: &str,
    text: &str,
    at: i64,
) -> Result<Value, CommandFault> {
    if by.role != Role::Student {
        return Err(forbidden("only students hand in assignments"));
    }
    let found = tx.assignment(assignment)?.ok_or_else(|| not_found("assignment", assignment))?;
    if !tx.studies(&by.user, &found.batch)? {
        return Err(forbidden("the assignment is of a batch that the student is not in"));
    }
    let submission = match tx.submission(assignment, &by.user)? {
        Some(before) if before.score.is_some() => {
            return Err(refused(RefusalCode::AlreadyGraded, "the work has a grade already".into(), None));
        }
        Some(before) => {
            tx.replace_submission(&before.submission, text, at)?;
            before.submission
        }
        None => {
            let submission = Uuid::now_v7().to_string();
            tx.add_submission(&NewSubmission {
                submission: submission.clone(),
                assignment: assignment.to_owned(),
                student: by.user.clone(),
                submitted_at: Some(at),
                text: Some(text.to_owned()),
            })?;
            submission
        }
    };
    tx.touch(tag::batch(&found.batch));
    tx.touch(tag::user(&by.user));
    let late = found.due_at.is_some_and(|due| at > due);
    Ok(json!({
        "command": "submit-assignment", "submission": submission, "assignment": assignment,
        "submitted_at": local(tx, at)?, "late": late,
    }))
}

fn reschedule_class(
    tx: &mut WriteTx<'_>,
    by: &Account,
    class: &str,
    (starts_at, ends_at): (i64, i64),
    room: Option<&str>,
) -> Result<Value, CommandFault> {
    let found = tx.class(class)?.ok_or_else(|| not_found("class", class))?;
    require_teacher(tx, by, &found.batch)?;
    timetable::require_not_cancelled(tx, class)?;
    if ends_at <= starts_at || ends_at - starts_at > MAX_CLASS_MS {
        return Err(invalid("ends_at", "ends_at is not within 24 hours after starts_at".into()));
    }
    tx.move_class(class, starts_at, ends_at, room)?;
    timetable::touch(tx, &found.batch, &[&found.teacher]);
    let room = room.unwrap_or(&found.room);
    timetable::tell_moved(tx, by, &found, (&found.title, &found.teacher), (starts_at, ends_at, room));
    Ok(json!({
        "command": "reschedule-class", "class": class, "starts_at": local(tx, starts_at)?,
        "ends_at": local(tx, ends_at)?, "room": room,
    }))
}

fn require_admin(by: &Account) -> Result<(), CommandFault> {
    match by.role {
        Role::Admin => Ok(()),
        Role::Teacher | Role::Student | Role::Guardian => Err(forbidden("only an admin may do this")),
    }
}

fn require_teacher(tx: &WriteTx<'_>, by: &Account, batch: &str) -> Result<(), CommandFault> {
    let allowed = match by.role {
        Role::Admin => true,
        Role::Teacher => tx.teaches(&by.user, batch)?,
        Role::Student | Role::Guardian => false,
    };
    if allowed { Ok(()) } else { Err(forbidden("only a teacher of the batch or an admin may do this")) }
}

fn require_batch(tx: &WriteTx<'_>, batch: &str, field: &str) -> Result<(), CommandFault> {
    if tx.batch_exists(batch)? { Ok(()) } else { Err(not_found(field, batch)) }
}

fn read_time(field: &str, text: &str) -> Result<i64, CommandFault> {
    // The parser of `Timestamp` asks for an offset or Z.
    let time: Timestamp = text
        .parse()
        .map_err(|_| invalid(field, format!("{field} is not an RFC 3339 time with an offset")))?;
    let time = time.as_millisecond();
    // The store's own calendar does not reach as far back as the format does.
    if time < 0 { Err(invalid(field, format!("{field} is before 1970"))) } else { Ok(time) }
}

fn local(tx: &WriteTx<'_>, at: i64) -> Result<String, StoreError> {
    let zone = tx.institute()?.map_or_else(|| "UTC".to_owned(), |institute| institute.time_zone);
    Ok(LocalTime::new(&zone)?.text(at))
}

fn refused(code: RefusalCode, detail: String, field: Option<&str>) -> CommandFault {
    CommandFault::Refused(Refusal { code, detail, field: field.map(str::to_owned) })
}

pub(super) fn precondition_failed() -> CommandFault {
    let detail = "the record is not as If-Match says: read it again";
    refused(RefusalCode::PreconditionFailed, detail.to_owned(), None)
}

fn already_exists(field: &str, value: &str) -> CommandFault {
    let detail = format!("{field} {value:?} is taken");
    refused(RefusalCode::AlreadyExists, detail, Some(field))
}

pub(super) fn forbidden(detail: &str) -> CommandFault {
    refused(RefusalCode::Forbidden, detail.to_owned(), None)
}

fn not_found(field: &str, value: &str) -> CommandFault {
    let detail = format!("there is no {} {value:?}", field.rsplit('.').next().unwrap_or(field));
    refused(RefusalCode::NotFound, detail, Some(field))
}

fn invalid(field: &str, detail: String) -> CommandFault {
    refused(RefusalCode::InvalidField, detail, Some(field))
}
