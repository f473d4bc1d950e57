//! Commands: authoritative writes, validated and applied once at the origin.

use serde::{Deserialize, Serialize};

/// The header that names a command for good: the same key never has two effects.
pub const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";
/// Longest idempotency key, in bytes.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 200;
/// Largest command, in bytes of JSON: a long message with room.
pub const MAX_COMMAND_BYTES: usize = 64 * 1024;
/// Longest record id, in bytes.
pub const MAX_ID_BYTES: usize = 64;
/// Longest title of an invoice or reason of a refund, in bytes.
pub const MAX_TITLE_BYTES: usize = 200;
/// Longest id that a payment provider gives, in bytes.
pub const MAX_PROVIDER_ID_BYTES: usize = 128;
/// Largest amount of one invoice, payment or refund: sums of millions of them stay within 64 bits.
pub const MAX_AMOUNT_MINOR: i64 = 1_000_000_000_000;
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
    /// By an admin. `due_on` is `YYYY-MM-DD`; `currency` (ISO 4217), if it is there, has to be the institute's.
    IssueInvoice {
        student: String,
        title: String,
        amount_minor: i64,
        due_on: String,
        #[serde(default)]
        currency: Option<String>,
    },
    /// By an admin, of an invoice of which nothing is paid.
    VoidInvoice { invoice: String },
    /// By an admin: all of a payment, or a part.
    RefundPayment {
        payment: String,
        amount_minor: i64,
        #[serde(default)]
        reason: Option<String>,
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
pub const NAMES: [&str; 16] = [
    "grade-submission",
    "issue-invoice",
    "void-invoice",
    "refund-payment",
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
            Command::IssueInvoice { .. } => "issue-invoice",
            Command::VoidInvoice { .. } => "void-invoice",
            Command::RefundPayment { .. } => "refund-payment",
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
            Command::IssueInvoice { student, title, amount_minor, due_on, currency } => {
                id("student", student)?;
                amount(*amount_minor)?;
                invoice_terms(title, due_on, currency.as_deref())
            }
            Command::VoidInvoice { invoice } => id("invoice", invoice),
            Command::RefundPayment { payment, amount_minor, reason } => {
                payment_id("payment", payment)?;
                amount(*amount_minor)?;
                reason.as_deref().map_or(Ok(()), |reason| short_text("reason", reason))
            }
            Command::RecordPayment { invoice, amount_minor, method, reference } => {
                id("invoice", invoice)?;
                amount(*amount_minor)?;
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

fn invoice_terms(title: &str, due_on: &str, currency: Option<&str>) -> Result<(), CommandError> {
    short_text("title", title)?;
    if !is_date_shaped(due_on) {
        return Err(field("due_on", "due_on is not YYYY-MM-DD"));
    }
    match currency {
        Some(code) if code.len() != 3 || !code.bytes().all(|b| b.is_ascii_uppercase()) => {
            Err(field("currency", "currency is not a code of ISO 4217, such as INR"))
        }
        Some(_) | None => Ok(()),
    }
}

fn amount(amount_minor: i64) -> Result<(), CommandError> {
    if (1..=MAX_AMOUNT_MINOR).contains(&amount_minor) {
        return Ok(());
    }
    let message = format!("amount_minor is {amount_minor}, not between 1 and {MAX_AMOUNT_MINOR}");
    Err(CommandError::Field { field: "amount_minor".into(), message })
}

/// A payment's id is ours, or `PROVIDER:ID` with the provider's own.
fn payment_id(name: &str, value: &str) -> Result<(), CommandError> {
    let (provider, own) = value.split_once(':').unwrap_or(("", value));
    if !provider.is_empty() {
        id(name, provider)?;
    }
    if own.is_empty() || own.len() > MAX_PROVIDER_ID_BYTES || !own.bytes().all(|b| b.is_ascii_graphic()) {
        let message = format!("{name} is not 1 to {MAX_PROVIDER_ID_BYTES} visible ASCII characters");
        return Err(CommandError::Field { field: name.into(), message });
    }
    Ok(())
}

/// Whether it exists, the calendar says.
fn is_date_shaped(text: &str) -> bool {
    let shape = |(at, b): (usize, u8)| if at == 4 || at == 7 { b == b'-' } else { b.is_ascii_digit() };
    text.len() == 10 && text.bytes().enumerate().all(shape)
}

fn short_text(name: &str, value: &str) -> Result<(), CommandError> {
    if value.trim().is_empty() || value.len() > MAX_TITLE_BYTES || value.chars().any(char::is_control) {
        let message = format!("{name} is not 1 to {MAX_TITLE_BYTES} bytes in one line");
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
    fn money_is_bounded_and_dated() {
        let faulty = |rest: &str| {
            let json = format!(r#"{{"command":"issue-invoice","student":"s"{rest}}}"#);
            decode(&json).unwrap_err().field().map(str::to_owned).unwrap()
        };
        assert_eq!(faulty(r#","title":"T","amount_minor":0,"due_on":"2026-11-02""#), "amount_minor");
        assert_eq!(
            faulty(r#","title":"T","amount_minor":1000000000001,"due_on":"2026-11-02""#),
            "amount_minor"
        );
        assert_eq!(faulty(r#","title":"T","amount_minor":1,"due_on":"2026-1-2""#), "due_on");
        assert_eq!(faulty(r#","title":"a\nb","amount_minor":1,"due_on":"2026-11-02""#), "title");
        let currency = r#","title":"T","amount_minor":1,"due_on":"2026-11-02","currency":"inr""#;
        assert_eq!(faulty(currency), "currency");
        let fraction = r#"{"command":"refund-payment","payment":"p","amount_minor":1.5}"#;
        assert_eq!(decode(fraction).unwrap_err().code(), "invalid-field");
        let payment = r#"{"command":"refund-payment","payment":"a b:c","amount_minor":1}"#;
        assert_eq!(decode(payment).unwrap_err().field(), Some("payment"));
    }

    #[test]
    fn every_name_is_read_and_is_the_name_of_what_was_read() {
        let fields = [
            ("grade-submission", r#","assignment":"a","student":"s","score":1"#),
            ("issue-invoice", r#","student":"s","title":"Fees","amount_minor":1,"due_on":"2026-11-02""#),
            ("void-invoice", r#","invoice":"i""#),
            ("refund-payment", r#","payment":"stripe:pi_1","amount_minor":1"#),
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
