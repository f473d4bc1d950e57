//! Commands that change who belongs where, and with it rights: the edges hear of each in the feed.

use super::{CommandFault, forbidden, invalid, not_found, require_admin, require_batch};
use crate::clock::unix_ms;
use crate::services::auth;
use crate::store::{Account, WriteTx};
use serde_json::{Value, json};
use sync_protocol::command::Command;
use sync_protocol::tag;
use sync_protocol::token::Role;

/// Applies one of the commands about members; the outcome says whether anything changed.
pub(super) fn apply(
    tx: &mut WriteTx<'_>,
    by: &Account,
    command: &Command,
    at: i64,
) -> Result<Value, CommandFault> {
    require_admin(by)?;
    let name = command.name();
    match command {
        Command::EnrollStudent { .. }
        | Command::WithdrawStudent { .. }
        | Command::AssignTeacher { .. }
        | Command::UnassignTeacher { .. } => membership(tx, command, at),
        Command::AddGuardian { guardian, student } => {
            let changed = add_guardian(tx, guardian, student)?;
            Ok(json!({"command": name, "guardian": guardian, "student": student, "added": changed}))
        }
        Command::RemoveGuardian { guardian, student } => {
            let changed = tx.remove_guardian(guardian, student)?;
            touch(tx, guardian, changed);
            Ok(json!({"command": name, "guardian": guardian, "student": student, "removed": changed}))
        }
        Command::DeactivateUser { user } => {
            if *user == by.user {
                return Err(forbidden("nobody deactivates themselves"));
            }
            let changed = set_deactivated(tx, user, Some(at))?;
            Ok(json!({"command": name, "user": user, "deactivated": changed}))
        }
        Command::ReactivateUser { user } => {
            let changed = set_deactivated(tx, user, None)?;
            Ok(json!({"command": name, "user": user, "reactivated": changed}))
        }
        Command::GradeSubmission { .. }
        | Command::RecordPayment { .. }
        | Command::VoidInvoice { .. }
        | Command::RefundPayment { .. }
        | Command::ApplyPaymentEvent { .. }
        | Command::SettlePaymentEvent { .. }
        | Command::PostMessage { .. }
        | Command::RetractMessage { .. }
        | Command::MarkMessagesRead { .. }
        | Command::SubmitAssignment { .. }
        | Command::DeleteDocument { .. }
        | Command::RescheduleClass { .. }
        | Command::CreateUser { .. }
        | Command::ChangeUser { .. }
        | Command::CreateBatch { .. }
        | Command::ChangeBatch { .. }
        | Command::CreateClass { .. }
        | Command::ChangeClass { .. }
        | Command::CancelClass { .. }
        | Command::CreateClassSeries { .. }
        | Command::ChangeClassSeries { .. }
        | Command::CancelClassSeries { .. }
        | Command::CreateAssignment { .. }
        | Command::ChangeAssignment { .. }
        | Command::CreateInvoice { .. }
        | Command::ChangeInstitute { .. }
        | Command::RevokeDevice { .. } => Err(forbidden("the command is not about members")),
    }
}

/// The commands that put somebody into a batch or take them out.
fn membership(tx: &mut WriteTx<'_>, command: &Command, at: i64) -> Result<Value, CommandFault> {
    let name = command.name();
    if let Command::EnrollStudent { student, batch } = command {
        let changed = in_batch(tx, ("student", student, Role::Student), batch, |tx| {
            tx.add_enrolment(batch, student, at)
        })?;
        return Ok(json!({"command": name, "student": student, "batch": batch, "enrolled": changed}));
    }
    if let Command::WithdrawStudent { student, batch } = command {
        let changed = in_batch(tx, ("student", student, Role::Student), batch, |tx| {
            tx.remove_enrolment(batch, student)
        })?;
        return Ok(json!({"command": name, "student": student, "batch": batch, "withdrawn": changed}));
    }
    if let Command::AssignTeacher { teacher, batch } = command {
        let changed =
            in_batch(tx, ("teacher", teacher, Role::Teacher), batch, |tx| tx.add_teacher(batch, teacher))?;
        return Ok(json!({"command": name, "teacher": teacher, "batch": batch, "assigned": changed}));
    }
    if let Command::UnassignTeacher { teacher, batch } = command {
        let changed =
            in_batch(tx, ("teacher", teacher, Role::Teacher), batch, |tx| tx.remove_teacher(batch, teacher))?;
        return Ok(json!({"command": name, "teacher": teacher, "batch": batch, "unassigned": changed}));
    }
    Err(forbidden("the command is not about batches"))
}

/// Puts a member of a role into a batch or takes one out; whether that changed anything.
fn in_batch(
    tx: &mut WriteTx<'_>,
    (field, user, role): (&str, &str, Role),
    batch: &str,
    change: impl FnOnce(&WriteTx<'_>) -> Result<bool, crate::store::StoreError>,
) -> Result<bool, CommandFault> {
    require_batch(tx, batch, "batch")?;
    tx.directory_entry(user)?.filter(|entry| entry.role == role).ok_or_else(|| not_found(field, user))?;
    let changed = change(tx)?;
    if changed {
        tx.touch(tag::batch(batch));
    }
    touch(tx, user, changed);
    Ok(changed)
}

fn add_guardian(tx: &mut WriteTx<'_>, guardian: &str, student: &str) -> Result<bool, CommandFault> {
    if guardian == student {
        return Err(invalid("guardian", "guardian is the student".to_owned()));
    }
    tx.account(guardian)?.ok_or_else(|| not_found("guardian", guardian))?;
    require_student(tx, student)?;
    let changed = tx.add_guardian(guardian, student)?;
    touch(tx, guardian, changed);
    Ok(changed)
}

fn require_student(tx: &WriteTx<'_>, student: &str) -> Result<(), CommandFault> {
    let account = tx.account(student)?.filter(|account| account.role == Role::Student);
    account.map(drop).ok_or_else(|| not_found("student", student))
}

/// No token of somebody who was deactivated counts any more, and none does when they are activated again.
fn set_deactivated(tx: &mut WriteTx<'_>, user: &str, at: Option<i64>) -> Result<bool, CommandFault> {
    tx.directory_entry(user)?.ok_or_else(|| not_found("user", user))?;
    if at.is_some() {
        end_tokens(tx, user)?;
    }
    let changed = tx.set_deactivated(user, at)?;
    if at.is_none() && changed {
        // Versions before this one ended no sessions when they deactivated somebody.
        end_tokens(tx, user)?;
    }
    touch(tx, user, changed);
    Ok(changed)
}

/// Of somebody who is active: ends their sessions, and the tokens that would set a password.
fn end_tokens(tx: &mut WriteTx<'_>, user: &str) -> Result<(), CommandFault> {
    tx.remove_password_resets(user)?;
    let Some(mut account) = tx.account(user)? else { return Ok(()) };
    // Now, even when the command waited: sessions are ended up to the moment when it has its effect.
    Ok(auth::end_all_sessions(tx, &mut account, unix_ms())?)
}

fn touch(tx: &mut WriteTx<'_>, user: &str, changed: bool) {
    if changed {
        tx.touch(tag::user(user));
        tx.touch(tag::member(user));
    }
}
