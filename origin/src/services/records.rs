//! Records as JSON: what admins read, what the audit log keeps, and what an entity tag stands for are the same.

use super::local_time::LocalTime;
use crate::store::collections::{self, Cell, Collection, Row};
use crate::store::{Records, StoreError};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use sync_protocol::command::Command;

/// Bytes of a hash that an entity tag shows: two states of one record never share 128 bits.
const TAG_BYTES: usize = 16;
/// Longest `If-Match`: some tags.
pub(crate) const MAX_IF_MATCH_BYTES: usize = 512;

/// The record that a command is about.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// As the audit log names it.
    pub(crate) kind: &'static str,
    /// Absent for what is no record of its own, such as a device.
    pub(crate) collection: Option<&'static Collection>,
    /// Absent until the command has made the record.
    pub(crate) key: Option<Vec<String>>,
}

impl Subject {
    pub(crate) fn of(collection: &'static Collection, key: Option<Vec<String>>) -> Self {
        Self { kind: collection.record, collection: Some(collection), key }
    }

    /// What `command` is about, before it has its effect.
    pub(crate) fn of_command(records: &dyn Records, command: &Command) -> Result<Self, StoreError> {
        let known = |collection, key: &[&String]| {
            Self::of(collection, Some(key.iter().map(|part| (*part).clone()).collect()))
        };
        let made = |collection, key: &Option<String>| Self::of(collection, key.clone().map(|key| vec![key]));
        let submission = |assignment: &str, student: &str| -> Result<Self, StoreError> {
            let work = records.submission(assignment, student)?;
            Ok(Self::of(&collections::SUBMISSIONS, work.map(|work| vec![work.submission])))
        };
        Ok(match command {
            Command::GradeSubmission { assignment, student, .. } => submission(assignment, student)?,
            // Who hands in is not part of the command: the outcome names the work.
            Command::SubmitAssignment { .. } => Self::of(&collections::SUBMISSIONS, None),
            Command::RecordPayment { invoice, .. } | Command::VoidInvoice { invoice } => {
                known(&collections::INVOICES, &[invoice])
            }
            Command::ApplyPaymentEvent { provider, event }
            | Command::SettlePaymentEvent { provider, event, .. } => {
                known(&collections::PAYMENT_EVENTS, &[provider, event])
            }
            Command::RefundPayment { payment, .. } => known(&collections::PAYMENTS, &[payment]),
            // The giver's, who is not part of the command.
            Command::MarkMessagesRead { .. } => Self::of(&collections::MAILBOXES, None),
            Command::PostMessage { .. } => Self::of(&collections::MESSAGES, None),
            Command::RetractMessage { message, .. } => known(&collections::MESSAGES, &[message]),
            Command::EnrollStudent { student, batch } | Command::WithdrawStudent { student, batch } => {
                known(&collections::ENROLMENTS, &[batch, student])
            }
            Command::AssignTeacher { teacher, batch } | Command::UnassignTeacher { teacher, batch } => {
                known(&collections::TEACHINGS, &[batch, teacher])
            }
            Command::AddGuardian { guardian, student } | Command::RemoveGuardian { guardian, student } => {
                known(&collections::GUARDIANS, &[guardian, student])
            }
            Command::DeactivateUser { user }
            | Command::ReactivateUser { user }
            | Command::ChangeUser { user, .. } => known(&collections::USERS, &[user]),
            Command::CreateUser { .. } => Self::of(&collections::USERS, None),
            Command::CreateBatch { batch, .. } | Command::ChangeBatch { batch, .. } => {
                known(&collections::BATCHES, &[batch])
            }
            Command::RescheduleClass { class, .. }
            | Command::ChangeClass { class, .. }
            | Command::ChangeClassSeries { class, .. }
            | Command::CancelClassSeries { class }
            | Command::CancelClass { class } => known(&collections::CLASSES, &[class]),
            Command::CreateClassSeries { series, .. } => made(&collections::SERIES, series),
            Command::CreateClass { class, .. } => made(&collections::CLASSES, class),
            Command::ChangeAssignment { assignment, .. } => known(&collections::ASSIGNMENTS, &[assignment]),
            Command::CreateAssignment { assignment, .. } => made(&collections::ASSIGNMENTS, assignment),
            Command::CreateInvoice { invoice, .. } => made(&collections::INVOICES, invoice),
            Command::ChangeInstitute { .. } => {
                let institute = records.institute()?.map(|institute| vec![institute.institute]);
                Self::of(&collections::INSTITUTES, institute)
            }
            Command::DeleteDocument { document } => known(&collections::DOCUMENTS, &[document]),
            Command::RevokeDevice { user, device } => {
                Self { kind: "device", collection: None, key: Some(vec![user.clone(), device.clone()]) }
            }
        })
    }

    /// Takes the key of what a command made from its outcome, which names it after its kind.
    pub(crate) fn made(&mut self, outcome: &Value) {
        if self.key.is_none() {
            self.key = outcome.get(self.kind).and_then(Value::as_str).map(|key| vec![key.to_owned()]);
        }
    }

    /// Takes the key of a record that is the giver's own.
    pub(crate) fn given_by(&mut self, user: &str) {
        if self.kind == collections::MAILBOXES.record {
            self.key = Some(vec![user.to_owned()]);
        }
    }

    /// The key in one text.
    pub(crate) fn name(&self) -> Option<String> {
        self.key.as_ref().map(|key| key.join("/"))
    }

    /// The record as it is in this transaction.
    pub(crate) fn state(&self, records: &dyn Records) -> Result<Option<Value>, StoreError> {
        let (Some(collection), Some(key)) = (self.collection, &self.key) else { return Ok(None) };
        let key: Vec<&str> = key.iter().map(String::as_str).collect();
        let Some(row) = records.read_record(collection, &key)? else { return Ok(None) };
        let time = local_time(records)?;
        Ok(Some(to_json(collection, row, &time, true)?))
    }

    /// A state as the audit log keeps it.
    pub(crate) fn logged(&self, mut state: Value) -> String {
        let columns = self.collection.iter().flat_map(|collection| collection.columns);
        for column in columns.filter(|column| column.unlogged) {
            if let Some(object) = state.as_object_mut() {
                object.remove(column.name);
            }
        }
        state.to_string()
    }
}

pub(crate) fn local_time(records: &dyn Records) -> Result<LocalTime, StoreError> {
    let zone = records.institute()?.map_or_else(|| "UTC".to_owned(), |institute| institute.time_zone);
    LocalTime::new(&zone)
}

/// A row as a JSON object; `alone` says that it has the columns which lists leave out.
pub(crate) fn to_json(
    collection: &Collection,
    row: Row,
    time: &LocalTime,
    alone: bool,
) -> Result<Value, StoreError> {
    let columns = collection.columns.iter().filter(|column| alone || !column.alone);
    let mut object = Map::new();
    for (column, cell) in columns.zip(row) {
        object.insert(column.name.to_owned(), cell_to_json(cell, time)?);
    }
    Ok(Value::Object(object))
}

fn cell_to_json(cell: Cell, time: &LocalTime) -> Result<Value, StoreError> {
    Ok(match cell {
        Cell::Null => Value::Null,
        Cell::Text(text) => text.into(),
        Cell::Integer(number) => number.into(),
        Cell::Real(number) => number.into(),
        Cell::Time(at) => time.text(at).into(),
        Cell::Flag(flag) => flag.into(),
        Cell::Json(text) => {
            serde_json::from_str(&text).map_err(|_| StoreError::Corrupt { what: "JSON of a record", text })?
        }
    })
}

/// The strong entity tag of a record's state, quotes and all: it changes with whatever changes the record, and with
/// nothing else.
pub(crate) fn entity_tag(state: &Value) -> String {
    let hash = Sha256::digest(state.to_string());
    format!("\"{}\"", hex::encode(&hash[..TAG_BYTES]))
}

/// Whether `If-Match` names the state that a record has, or `*` and there is one (RFC 9110, section 13.1.1).
pub(crate) fn matches(if_match: &str, state: Option<&Value>) -> bool {
    let Some(state) = state else { return false };
    let current = entity_tag(state);
    if_match.split(',').map(str::trim).any(|tag| tag == "*" || tag == current)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tag_stands_for_a_state_and_weak_ones_for_none() {
        let (one, other) = (json!({"title": "A"}), json!({"title": "B"}));
        let tag = entity_tag(&one);
        assert!(matches(&tag, Some(&one)) && !matches(&tag, Some(&other)) && !matches(&tag, None));
        assert!(
            matches(&format!("\"x\", {tag}"), Some(&one)) && matches("*", Some(&one)) && !matches("*", None)
        );
        assert!(!matches(&format!("W/{tag}"), Some(&one)));
    }
}
