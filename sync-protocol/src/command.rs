//! Commands: authoritative writes, validated and applied once at the origin.

mod checks;
mod series;

pub use series::{MAX_SERIES_CLASSES, MAX_SERIES_DAYS, Weekday};

use crate::token::Role;
use serde::{Deserialize, Serialize};

/// The header that names a command for good: the same key never has two effects.
pub const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";
/// Longest idempotency key, in bytes.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 200;
/// Largest command, in bytes of JSON: a long message with room.
pub const MAX_COMMAND_BYTES: usize = 64 * 1024;
/// Longest record id, in bytes.
pub const MAX_ID_BYTES: usize = 64;
/// Longest id that a payment provider gives, in bytes.
pub const MAX_PROVIDER_ID_BYTES: usize = 128;
/// Largest amount of one invoice, payment or refund: sums of millions of them stay within 64 bits.
pub const MAX_AMOUNT_MINOR: i64 = 1_000_000_000_000;
/// Longest message text, in bytes.
pub const MAX_TEXT_BYTES: usize = 16 * 1024;
/// Longest name of a person, a batch, a class, a room or an invoice, and longest reason of a refund, in characters: what
/// fits on a line of a list.
pub const MAX_TITLE_CHARS: usize = 200;
/// Longest e-mail address (RFC 5321, section 4.5.3.1.3, without the brackets).
pub const MAX_EMAIL_BYTES: usize = 254;
/// Longest name of a device, as signing in takes it.
pub const MAX_DEVICE_BYTES: usize = 64;
/// Highest score: more digits than any mark has.
pub const MAX_SCORE: f64 = 1_000_000.0;

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
    /// By an admin: nobody reads the text any more, and its readers see that there was one.
    RetractMessage { message: String, reason: String },
    /// By whoever is signed in: their messages up to `until` are read, which is `messages.until` of a dashboard that shows
    /// them. What comes to the origin later stays unread, whenever it was written.
    MarkMessagesRead { until: i64 },
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
    /// By an admin. The origin makes the id; the user cannot sign in before they have a password.
    CreateUser { email: String, name: String, role: Role },
    /// By an admin. What is absent stays as it is, here and in the other commands that change a record. The one role that
    /// somebody changes to is guardian: a student who was made to be one before there was the role.
    ChangeUser {
        user: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        email: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        role: Option<Role>,
    },
    /// By an admin.
    CreateBatch { batch: String, title: String },
    /// By an admin.
    ChangeBatch { batch: String, title: String },
    /// By a teacher of the batch, or an admin. Without an id the origin makes one, here and below.
    CreateClass {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        class: Option<String>,
        batch: String,
        title: String,
        #[serde(default)]
        room: String,
        teacher: String,
        starts_at: String,
        ends_at: String,
    },
    /// By a teacher of the batch, or an admin. The two times come together.
    ChangeClass {
        class: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        teacher: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        starts_at: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ends_at: Option<String>,
    },
    /// By the class's teacher, or an admin: it is on no timetable any more, and what was marked stays.
    CancelClass { class: String },
    /// By a teacher of the batch, or an admin: a class on each of these weekdays, `from` and `until` included (local dates), but for
    /// the dates of `except`. `starts` is `HH:MM` by the institute's clocks, whatever their offset on the day. Each class is one like
    /// any other, with the id `SERIES-YYYY-MM-DD`.
    CreateClassSeries {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        series: Option<String>,
        batch: String,
        title: String,
        #[serde(default)]
        room: String,
        teacher: String,
        #[serde(deserialize_with = "series::read_weekdays")]
        weekdays: Vec<Weekday>,
        /// In every so many weeks, counted from that of `from`; weeks begin on Monday.
        #[serde(default = "series::every_week")]
        every_weeks: u32,
        from: String,
        until: String,
        starts: String,
        /// How long each class is.
        minutes: u32,
        #[serde(default)]
        except: Vec<String>,
    },
    /// By a teacher of the batch, or an admin: this class of a series and those that follow it. Each stays on its day.
    ChangeClassSeries {
        class: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        teacher: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        starts: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        minutes: Option<u32>,
    },
    /// By the teacher of all these classes, or an admin: this class of a series and those that follow it.
    CancelClassSeries { class: String },
    /// By a teacher of the batch, or an admin.
    CreateAssignment {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        assignment: Option<String>,
        batch: String,
        title: String,
        #[serde(default)]
        due_at: Option<String>,
        max_score: f64,
    },
    /// By a teacher of the batch, or an admin. The full score does not fall below a score that was given.
    ChangeAssignment {
        assignment: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due_at: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_score: Option<f64>,
    },
    /// By an admin. `due_on` is a local date, `YYYY-MM-DD`; `currency` (ISO 4217), if it is there, has to be the institute's.
    CreateInvoice {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        invoice: Option<String>,
        student: String,
        title: String,
        amount_minor: i64,
        due_on: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        currency: Option<String>,
    },
    /// By an admin, of what a payment provider told and could not be applied then: it is tried again.
    ApplyPaymentEvent { provider: String, event: String },
    /// By an admin: nothing comes of it, and why.
    SettlePaymentEvent { provider: String, event: String, reason: String },
    /// By an admin. `time_zone` is an IANA name, `currency` an ISO 4217 code, which stays once anything was owed in it.
    ChangeInstitute {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        time_zone: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        currency: Option<String>,
    },
    /// By an admin: no refresh token of the device works any more.
    RevokeDevice { user: String, device: String },
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
pub const NAMES: [&str; 35] = [
    "grade-submission",
    "void-invoice",
    "refund-payment",
    "record-payment",
    "post-message",
    "retract-message",
    "mark-messages-read",
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
    "create-user",
    "change-user",
    "create-batch",
    "change-batch",
    "create-class",
    "change-class",
    "cancel-class",
    "create-class-series",
    "change-class-series",
    "cancel-class-series",
    "create-assignment",
    "change-assignment",
    "create-invoice",
    "apply-payment-event",
    "settle-payment-event",
    "change-institute",
    "revoke-device",
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
            Command::VoidInvoice { .. } => "void-invoice",
            Command::RefundPayment { .. } => "refund-payment",
            Command::RecordPayment { .. } => "record-payment",
            Command::PostMessage { .. } => "post-message",
            Command::RetractMessage { .. } => "retract-message",
            Command::MarkMessagesRead { .. } => "mark-messages-read",
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
            Command::CreateUser { .. } => "create-user",
            Command::ChangeUser { .. } => "change-user",
            Command::CreateBatch { .. } => "create-batch",
            Command::ChangeBatch { .. } => "change-batch",
            Command::CreateClass { .. } => "create-class",
            Command::ChangeClass { .. } => "change-class",
            Command::CancelClass { .. } => "cancel-class",
            Command::CreateClassSeries { .. } => "create-class-series",
            Command::ChangeClassSeries { .. } => "change-class-series",
            Command::CancelClassSeries { .. } => "cancel-class-series",
            Command::CreateAssignment { .. } => "create-assignment",
            Command::ChangeAssignment { .. } => "change-assignment",
            Command::CreateInvoice { .. } => "create-invoice",
            Command::ApplyPaymentEvent { .. } => "apply-payment-event",
            Command::SettlePaymentEvent { .. } => "settle-payment-event",
            Command::ChangeInstitute { .. } => "change-institute",
            Command::RevokeDevice { .. } => "revoke-device",
        }
    }
}

/// serde names the field between back quotes: ``missing field `score` ``.
fn field_error(message: &str) -> CommandError {
    let name = message.split('`').nth(1).unwrap_or("command").to_owned();
    CommandError::Field { field: name, message: message.to_owned() }
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
        for (json, field) in [
            (r#"{"command":"create-user","email":"nobody","name":"N","role":"student"}"#, "email"),
            (r#"{"command":"create-user","email":"a@b.example","name":" ","role":"student"}"#, "name"),
            (r#"{"command":"change-user","user":"u"}"#, "user"),
            (r#"{"command":"create-batch","batch":"b c","title":"T"}"#, "batch"),
            (r#"{"command":"change-class","class":"c","starts_at":"2026-11-02T09:00:00Z"}"#, "ends_at"),
            (r#"{"command":"create-assignment","batch":"b","title":"T","max_score":0}"#, "max_score"),
            (
                r#"{"command":"create-invoice","student":"s","title":"T","amount_minor":1,"due_on":"1.1.2027"}"#,
                "due_on",
            ),
            (r#"{"command":"change-institute","currency":"rupees"}"#, "currency"),
            (r#"{"command":"revoke-device","user":"u","device":""}"#, "device"),
            (r#"{"command":"mark-messages-read"}"#, "until"),
            (r#"{"command":"apply-payment-event","provider":"a b","event":"e"}"#, "provider"),
            (r#"{"command":"apply-payment-event","provider":"p","event":"a b"}"#, "event"),
            (r#"{"command":"settle-payment-event","provider":"p","event":"e","reason":" "}"#, "reason"),
        ] {
            assert_eq!(fault(json).field(), Some(field), "{json}");
        }
        let payment = r#"{"command":"record-payment","invoice":"i","amount_minor":0,"method":"cash"}"#;
        assert_eq!(fault(payment).field(), Some("amount_minor"));
        assert_eq!(fault(&format!("{:?}", "x".repeat(MAX_COMMAND_BYTES))).code(), "body-too-large");
    }

    #[test]
    fn a_class_is_moved_to_a_room_on_one_line() {
        let moved = |room: &str| {
            let times = r#""starts_at":"2026-11-02T09:00:00Z","ends_at":"2026-11-02T10:00:00Z""#;
            decode(&format!(r#"{{"command":"reschedule-class","class":"c",{times},"room":{room:?}}}"#))
        };
        for room in ["a\nb", &"x".repeat(MAX_TITLE_CHARS + 1), " "] {
            assert_eq!(moved(room).unwrap_err().field(), Some("room"), "{room:?}");
        }
        assert!(moved("").is_ok() && moved(&"x".repeat(MAX_TITLE_CHARS)).is_ok());
    }

    #[test]
    fn money_is_bounded_and_dated() {
        let faulty = |rest: &str| {
            let json = format!(r#"{{"command":"create-invoice","student":"s"{rest}}}"#);
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
            ("void-invoice", r#","invoice":"i""#),
            ("refund-payment", r#","payment":"stripe:pi_1","amount_minor":1"#),
            ("record-payment", r#","invoice":"i","amount_minor":1,"method":"cash""#),
            ("post-message", r#","to":{"user":"u"},"text":"t""#),
            ("retract-message", r#","message":"m","reason":"not for everybody""#),
            ("mark-messages-read", r#","until":7"#),
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
            ("create-user", r#","email":"a@b.example","name":"Ann","role":"student""#),
            ("change-user", r#","user":"u","name":"Ann""#),
            ("create-batch", r#","batch":"b","title":"Mathematics""#),
            ("change-batch", r#","batch":"b","title":"Mathematics""#),
            (
                "create-class",
                r#","batch":"b","title":"Algebra","teacher":"t","starts_at":"2026-11-02T09:00:00Z","ends_at":"2026-11-02T10:00:00Z""#,
            ),
            ("change-class", r#","class":"c","room":"1""#),
            ("cancel-class", r#","class":"c""#),
            (
                "create-class-series",
                r#","batch":"b","title":"Algebra","teacher":"t","weekdays":["monday"],"from":"2026-11-02","until":"2026-12-02","starts":"09:00","minutes":60"#,
            ),
            ("change-class-series", r#","class":"c","starts":"10:30""#),
            ("cancel-class-series", r#","class":"c""#),
            ("create-assignment", r#","batch":"b","title":"Exercise","max_score":10"#),
            ("change-assignment", r#","assignment":"a","max_score":20"#),
            ("create-invoice", r#","student":"s","title":"Fees","amount_minor":1,"due_on":"2026-12-01""#),
            ("apply-payment-event", r#","provider":"stripe","event":"evt_1""#),
            ("settle-payment-event", r#","provider":"stripe","event":"evt_1","reason":"Paid in cash""#),
            ("change-institute", r#","time_zone":"Asia/Kolkata""#),
            ("revoke-device", r#","user":"u","device":"a phone""#),
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
