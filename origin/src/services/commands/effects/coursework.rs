//! Commands that make and change assignments.

use super::{CommandFault, already_exists, forbidden, invalid, local, not_found, read_time};
use super::{require_batch, require_teacher};
use crate::store::{Account, Assignment, WriteTx};
use serde_json::{Value, json};
use sync_protocol::command::Command;
use sync_protocol::tag;
use uuid::Uuid;

pub(super) fn apply(tx: &mut WriteTx<'_>, by: &Account, command: &Command) -> Result<Value, CommandFault> {
    if let Command::CreateAssignment { assignment, batch, title, due_at, max_score } = command {
        require_teacher(tx, by, batch)?;
        require_batch(tx, batch, "batch")?;
        let new = Assignment {
            assignment: assignment.clone().unwrap_or_else(|| Uuid::now_v7().to_string()),
            batch: batch.clone(),
            title: title.clone(),
            due_at: due_at.as_deref().map(|at| read_time("due_at", at)).transpose()?,
            max_score: *max_score,
        };
        if !tx.add_assignment(&new)? {
            return Err(already_exists("assignment", &new.assignment));
        }
        tx.touch(tag::batch(batch));
        return outcome(tx, command.name(), &new.assignment);
    }
    if let Command::ChangeAssignment { assignment, title, due_at, max_score } = command {
        let found = tx.assignment(assignment)?.ok_or_else(|| not_found("assignment", assignment))?;
        require_teacher(tx, by, &found.batch)?;
        let due_at = due_at.as_deref().map(|at| read_time("due_at", at)).transpose()?;
        if let (Some(full), Some(highest)) = (max_score, tx.highest_score(assignment)?)
            && *full < highest
        {
            let detail = format!("max_score is {full}, a score of {highest} was given");
            return Err(invalid("max_score", detail));
        }
        tx.change_assignment(assignment, title.as_deref(), due_at, *max_score)?;
        tx.touch(tag::batch(&found.batch));
        return outcome(tx, command.name(), assignment);
    }
    Err(forbidden("the command is not about assignments"))
}

fn outcome(tx: &WriteTx<'_>, command: &str, assignment: &str) -> Result<Value, CommandFault> {
    let now = tx.assignment(assignment)?.ok_or_else(|| not_found("assignment", assignment))?;
    let due_at = now.due_at.map(|at| local(tx, at)).transpose()?;
    Ok(json!({
        "command": command, "assignment": now.assignment, "batch": now.batch, "title": now.title,
        "due_at": due_at, "max_score": now.max_score,
    }))
}
