//! Commands: authoritative writes, validated and applied once at the origin.

use crate::document_id::DocumentId;
use serde::{Deserialize, Serialize};

/// The header that names a command for good: the same key never has two effects.
pub const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";
/// Longest idempotency key, in bytes.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 200;
/// Largest command, in bytes of JSON: a long message with room.
pub const MAX_COMMAND_BYTES: usize = 64 * 1024;
/// Longest record id, in bytes.
pub const MAX_ID_BYTES: usize = 64;
/// Longest message text, in bytes.
pub const MAX_TEXT_BYTES: usize = 16 * 1024;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// By a teacher of the assignment's batch, or an admin.
    GradeSubmission {
        assignment: String,
        student: String,
        score: f64,
        #[serde(default)]
        feedback: Option<String>,
    },
    /// By an admin. `amount_minor` is in the currency's minor unit (paise, cents).
    RecordPayment {
        invoice: String,
        amount_minor: i64,
        method: String,
        #[serde(default)]
        reference: Option<String>,
    },
    /// To one user of the institute, or to all members of a batch.
    PostMessage { to: Recipient, text: String },
    /// By the student who is signed in.
    SubmitAssignment { assignment: String, text: String },
    /// By an admin.
    EnrollStudent { student: String, batch: String },
    /// By an admin.
    WithdrawStudent { student: String, batch: String },
    /// By an admin.
    AssignTeacher { teacher: String, batch: String },
    /// By an admin.
    UnassignTeacher { teacher: String, batch: String },
    /// By an admin: the guardian may read what the student may read.
    AddGuardian { guardian: String, student: String },
    /// By an admin.
    RemoveGuardian { guardian: String, student: String },
    /// By an admin, of somebody else: no token of theirs counts any more.
    DeactivateUser { user: String },
    /// By an admin.
    ReactivateUser { user: String },
    /// By an admin, or by the owner of what is his alone: for everybody and for good.
    DeleteDocument { document: String },
    /// By the class's teacher, or an admin. Times are RFC 3339 with an offset.
    RescheduleClass {
        class: String,
        starts_at: String,
        ends_at: String,
        #[serde(default)]
        room: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recipient {
    User(String),
    Batch(String),
}

/// What is wrong with a command, before anything is looked up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("command is {0} bytes, the limit is {MAX_COMMAND_BYTES}")]
    TooLong(usize),
    #[error("body is not JSON: {0}")]
    NotJson(String),
    #[error("there is no command {0:?}")]
    Unknown(String),
    #[error("{message}")]
    Field { field: String, message: String },
    #[error("header Idempotency-Key is missing")]
    MissingKey,
    #[error("header Idempotency-Key is not 1 to {MAX_IDEMPOTENCY_KEY_BYTES} visible ASCII characters")]
    BadKey,
}

impl CommandError {
    /// The stable `code` of the problem details.
    pub fn code(&self) -> &'static str {
        match self {
            CommandError::TooLong(_) => "body-too-large",
            CommandError::NotJson(_) => "invalid-json",
            CommandError::Unknown(_) => "unknown-command",
            CommandError::Field { .. } => "invalid-field",
            CommandError::MissingKey => "missing-idempotency-key",
            CommandError::BadKey => "invalid-idempotency-key",
        }
    }

    pub fn field(&self) -> Option<&str> {
        match self {
            CommandError::Field { field, .. } => Some(field),
            CommandError::TooLong(_)
            | CommandError::NotJson(_)
            | CommandError::Unknown(_)
            | CommandError::MissingKey
            | CommandError::BadKey => None,
        }
    }
}

/// The names by which clients call the commands.
pub const NAMES: [&str; 14] = [
    "grade-submission",
    "record-payment",
    "post-message",
    "submit-assignment",
    "enroll-student",
    "withdraw-student",
    "assign-teacher",
    "unassign-teacher",
    "add-guardian",
    "remove-guardian",
    "deactivate-user",
    "reactivate-user",
    "delete-document",
    "reschedule-class",
];

/// Checks the value of the `Idempotency-Key` header.
pub fn check_key(key: Option<&str>) -> Result<&str, CommandError> {
    let key = key.ok_or(CommandError::MissingKey)?;
    let visible = key.bytes().all(|b| b.is_ascii_graphic());
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY_BYTES || !visible {
        return Err(CommandError::BadKey);
    }
    Ok(key)
}

impl Command {
    /// Reads a command from JSON and checks all that can be checked without looking anything up.
    pub fn decode(json: &[u8]) -> Result<Self, CommandError> {
        if json.len() > MAX_COMMAND_BYTES {
            return Err(CommandError::TooLong(json.len()));
        }
        let value: serde_json::Value =
            serde_json::from_slice(json).map_err(|e| CommandError::NotJson(e.to_string()))?;
        let name = value.get("command").and_then(|v| v.as_str()).ok_or_else(|| CommandError::Field {
            field: "command".into(),
            message: "command is missing or not a text".into(),
        })?;
        if !NAMES.contains(&name) {
            return Err(CommandError::Unknown(name.chars().take(MAX_ID_BYTES).collect()));
        }
        let command: Command = serde_json::from_value(value).map_err(|e| field_error(&e.to_string()))?;
        command.validate()?;
        Ok(command)
    }

    /// The same command always has the same bytes, whatever the order or white space of the JSON that it came from.
    pub fn canonical(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and finite numbers are always JSON")
    }

    pub fn name(&self) -> &'static str {
        match self {
            Command::GradeSubmission { .. } => "grade-submission",
            Command::RecordPayment { .. } => "record-payment",
            Command::PostMessage { .. } => "post-message",
            Command::SubmitAssignment { .. } => "submit-assignment",
            Command::EnrollStudent { .. } => "enroll-student",
            Command::WithdrawStudent { .. } => "withdraw-student",
            Command::AssignTeacher { .. } => "assign-teacher",
            Command::UnassignTeacher { .. } => "unassign-teacher",
            Command::AddGuardian { .. } => "add-guardian",
            Command::RemoveGuardian { .. } => "remove-guardian",
            Command::DeactivateUser { .. } => "deactivate-user",
            Command::ReactivateUser { .. } => "reactivate-user",
            Command::DeleteDocument { .. } => "delete-document",
            Command::RescheduleClass { .. } => "reschedule-class",
        }
    }

    fn validate(&self) -> Result<(), CommandError> {
        match self {
            Command::GradeSubmission { assignment, student, score, feedback } => {
                id("assignment", assignment)?;
                id("student", student)?;
                if !score.is_finite() || *score < 0.0 || *score > 1_000_000.0 {
                    return Err(field("score", "score is not between 0 and 1000000"));
                }
                optional_text("feedback", feedback)
            }
            Command::RecordPayment { invoice, amount_minor, method, reference } => {
                id("invoice", invoice)?;
                if *amount_minor <= 0 || *amount_minor > 1_000_000_000_000 {
                    return Err(field("amount_minor", "amount_minor is not between 1 and 1000000000000"));
                }
                id("method", method)?;
                optional_text("reference", reference)
            }
            Command::PostMessage { to, text: body } => {
                match to {
                    Recipient::User(user) => id("to.user", user)?,
                    Recipient::Batch(batch) => id("to.batch", batch)?,
                }
                text("text", body)
            }
            Command::SubmitAssignment { assignment, text: body } => {
                id("assignment", assignment)?;
                text("text", body)
            }
            Command::EnrollStudent { student, batch } | Command::WithdrawStudent { student, batch } => {
                id("student", student)?;
                id("batch", batch)
            }
            Command::AssignTeacher { teacher, batch } | Command::UnassignTeacher { teacher, batch } => {
                id("teacher", teacher)?;
                id("batch", batch)
            }
            Command::AddGuardian { guardian, student } | Command::RemoveGuardian { guardian, student } => {
                id("guardian", guardian)?;
                id("student", student)
            }
            Command::DeactivateUser { user } | Command::ReactivateUser { user } => id("user", user),
            Command::DeleteDocument { document } => match document.parse::<DocumentId>() {
                Ok(_) => Ok(()),
                Err(_) => Err(field("document", "document is not 16 bytes in bs58check")),
            },
            Command::RescheduleClass { class, starts_at, ends_at, room } => {
                id("class", class)?;
                id_sized("starts_at", starts_at)?;
                id_sized("ends_at", ends_at)?;
                optional_text("room", room)
            }
        }
    }
}

fn field(field: &str, message: &str) -> CommandError {
    CommandError::Field { field: field.into(), message: message.into() }
}

/// serde names the field between back quotes: ``missing field `score` ``.
fn field_error(message: &str) -> CommandError {
    let name = message.split('`').nth(1).unwrap_or("command").to_owned();
    CommandError::Field { field: name, message: message.to_owned() }
}

fn id(name: &str, value: &str) -> Result<(), CommandError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if value.is_empty() || value.len() > MAX_ID_BYTES || !value.bytes().all(allowed) {
        let message = format!("{name} is not 1 to {MAX_ID_BYTES} characters out of A-Z a-z 0-9 . _ -");
        return Err(CommandError::Field { field: name.into(), message });
    }
    Ok(())
}

fn id_sized(name: &str, value: &str) -> Result<(), CommandError> {
    if value.is_empty() || value.len() > MAX_ID_BYTES {
        let message = format!("{name} is not 1 to {MAX_ID_BYTES} characters");
        return Err(CommandError::Field { field: name.into(), message });
    }
    Ok(())
}

fn text(name: &str, value: &str) -> Result<(), CommandError> {
    if value.trim().is_empty() || value.len() > MAX_TEXT_BYTES {
        let message = format!("{name} is {} bytes, it must have 1 to {MAX_TEXT_BYTES}", value.len());
        return Err(CommandError::Field { field: name.into(), message });
    }
    Ok(())
}

fn optional_text(name: &str, value: &Option<String>) -> Result<(), CommandError> {
    value.as_deref().map_or(Ok(()), |value| text(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(json: &str) -> Result<Command, CommandError> {
        Command::decode(json.as_bytes())
    }

    #[test]
    fn order_and_white_space_do_not_change_a_command() {
        let a = decode(r#"{"command":"enroll-student","student":"s1","batch":"b1"}"#).unwrap();
        let b = decode(r#"{ "batch":"b1", "student":"s1", "command":"enroll-student" }"#).unwrap();
        assert_eq!(a.canonical(), b.canonical());
    }

    #[test]
    fn each_fault_names_its_field() {
        let fault = |json: &str| decode(json).unwrap_err();
        assert_eq!(fault(r#"{"command":"fly"}"#).code(), "unknown-command");
        assert_eq!(fault("{").code(), "invalid-json");
        assert_eq!(
            fault(r#"{"command":"grade-submission","student":"s","score":1}"#).field(),
            Some("assignment")
        );
        let unknown = r#"{"command":"enroll-student","student":"s","batch":"b","colour":"red"}"#;
        assert_eq!(fault(unknown).field(), Some("colour"));
        let payment = r#"{"command":"record-payment","invoice":"i","amount_minor":0,"method":"cash"}"#;
        assert_eq!(fault(payment).field(), Some("amount_minor"));
        assert_eq!(fault(&format!("{:?}", "x".repeat(MAX_COMMAND_BYTES))).code(), "body-too-large");
    }

    #[test]
    fn every_name_is_read_and_is_the_name_of_what_was_read() {
        let fields = [
            ("grade-submission", r#","assignment":"a","student":"s","score":1"#),
            ("record-payment", r#","invoice":"i","amount_minor":1,"method":"cash""#),
            ("post-message", r#","to":{"user":"u"},"text":"t""#),
            ("submit-assignment", r#","assignment":"a","text":"t""#),
            ("enroll-student", r#","student":"s","batch":"b""#),
            ("withdraw-student", r#","student":"s","batch":"b""#),
            ("assign-teacher", r#","teacher":"t","batch":"b""#),
            ("unassign-teacher", r#","teacher":"t","batch":"b""#),
            ("add-guardian", r#","guardian":"g","student":"s""#),
            ("remove-guardian", r#","guardian":"g","student":"s""#),
            ("deactivate-user", r#","user":"u""#),
            ("reactivate-user", r#","user":"u""#),
            ("delete-document", r#","document":"p3u5PhN9wrNpsGCwfkeef2LzF9""#),
            (
                "reschedule-class",
                r#","class":"c","starts_at":"2026-11-02T09:00:00Z","ends_at":"2026-11-02T10:00:00Z""#,
            ),
        ];
        assert_eq!(fields.map(|(name, _)| name), NAMES);
        for (name, rest) in fields {
            let command = decode(&format!(r#"{{"command":"{name}"{rest}}}"#)).unwrap();
            assert_eq!(command.name(), name);
        }
    }

    #[test]
    fn keys_are_bounded_and_visible() {
        assert_eq!(check_key(None), Err(CommandError::MissingKey));
        assert_eq!(check_key(Some("a b")), Err(CommandError::BadKey));
        assert_eq!(check_key(Some(&"k".repeat(MAX_IDEMPOTENCY_KEY_BYTES + 1))), Err(CommandError::BadKey));
        assert_eq!(check_key(Some("k-1")), Ok("k-1"));
    }
}
