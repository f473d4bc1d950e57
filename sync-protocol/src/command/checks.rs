//! What can be checked of a command without looking anything up.

use super::{
    Command, CommandError, MAX_AMOUNT_MINOR, MAX_DEVICE_BYTES, MAX_EMAIL_BYTES, MAX_ID_BYTES,
    MAX_PROVIDER_ID_BYTES, MAX_SCORE, MAX_TEXT_BYTES, MAX_TITLE_CHARS, Recipient,
};

use crate::document_id::DocumentId;
use crate::token::Role;

impl Command {
    /// Checks all that can be checked without looking anything up, as [`Command::decode`] does.
    pub fn validate(&self) -> Result<(), CommandError> {
        match self {
            Command::GradeSubmission { assignment, student, score, feedback } => {
                id("assignment", assignment)?;
                id("student", student)?;
                if !score.is_finite() || *score < 0.0 || *score > MAX_SCORE {
                    return Err(field("score", "score is not between 0 and 1000000"));
                }
                optional_text("feedback", feedback)
            }
            Command::PostMessage { .. } | Command::RetractMessage { .. } => self.validate_message(),
            // Any number: the origin knows up to where there are messages.
            Command::MarkMessagesRead { until: _ } => Ok(()),
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
            Command::RescheduleClass { class, starts_at, ends_at, room: place } => {
                id("class", class)?;
                id_sized("starts_at", starts_at)?;
                id_sized("ends_at", ends_at)?;
                optional(place, |place| room(place))
            }
            Command::CreateClass { .. }
            | Command::ChangeClass { .. }
            | Command::CancelClass { .. }
            | Command::CreateAssignment { .. }
            | Command::ChangeAssignment { .. } => self.validate_teaching(),
            Command::CreateClassSeries { .. }
            | Command::ChangeClassSeries { .. }
            | Command::CancelClassSeries { .. } => self.validate_series(),
            Command::CreateUser { .. }
            | Command::ChangeUser { .. }
            | Command::CreateBatch { .. }
            | Command::ChangeBatch { .. }
            | Command::ChangeInstitute { .. }
            | Command::RevokeDevice { .. } => self.validate_record(),
            Command::CreateInvoice { .. }
            | Command::VoidInvoice { .. }
            | Command::RecordPayment { .. }
            | Command::RefundPayment { .. }
            | Command::ApplyPaymentEvent { .. }
            | Command::SettlePaymentEvent { .. } => self.validate_money(),
        }
    }

    /// The commands about messages.
    fn validate_message(&self) -> Result<(), CommandError> {
        if let Command::PostMessage { to, text: body } = self {
            match to {
                Recipient::User(user) => id("to.user", user)?,
                Recipient::Batch(batch) => id("to.batch", batch)?,
            }
            text("text", body)?;
        }
        if let Command::RetractMessage { message, reason } = self {
            id("message", message)?;
            title("reason", reason)?;
        }
        Ok(())
    }

    /// The commands about invoices, payments and refunds.
    fn validate_money(&self) -> Result<(), CommandError> {
        if let Command::CreateInvoice {
            invoice,
            student,
            title: text,
            amount_minor,
            due_on,
            currency: code,
        } = self
        {
            optional(invoice, |invoice| id("invoice", invoice))?;
            id("student", student)?;
            title("title", text)?;
            amount(*amount_minor)?;
            date("due_on", due_on)?;
            optional(code, |code| currency(code))?;
        }
        if let Command::VoidInvoice { invoice } = self {
            id("invoice", invoice)?;
        }
        if let Command::RecordPayment { invoice, amount_minor, method, reference } = self {
            id("invoice", invoice)?;
            amount(*amount_minor)?;
            id("method", method)?;
            optional_text("reference", reference)?;
        }
        if let Command::RefundPayment { payment, amount_minor, reason } = self {
            payment_id("payment", payment)?;
            amount(*amount_minor)?;
            optional(reason, |reason| title("reason", reason))?;
        }
        if let Command::ApplyPaymentEvent { provider, event }
        | Command::SettlePaymentEvent { provider, event, .. } = self
        {
            id("provider", provider)?;
            provider_id("event", event)?;
        }
        if let Command::SettlePaymentEvent { reason, .. } = self {
            title("reason", reason)?;
        }
        Ok(())
    }

    /// The commands about users, batches, the institute and devices.
    fn validate_record(&self) -> Result<(), CommandError> {
        if let Command::CreateUser { email: address, name, role: _ } = self {
            email("email", address)?;
            title("name", name)?;
        }
        if let Command::ChangeUser { user, name, email: address, role } = self {
            id("user", user)?;
            match role {
                None => something("user", &[name, address])?,
                Some(Role::Guardian) => {}
                Some(Role::Admin | Role::Teacher | Role::Student) => {
                    return Err(field("role", "role is not guardian, the one that is changed to"));
                }
            }
            optional(name, |name| title("name", name))?;
            optional(address, |address| email("email", address))?;
        }
        if let Command::CreateBatch { batch, title: text } | Command::ChangeBatch { batch, title: text } =
            self
        {
            id("batch", batch)?;
            title("title", text)?;
        }
        if let Command::ChangeInstitute { name, time_zone, currency: code } = self {
            something("name", &[name, time_zone, code])?;
            optional(name, |name| title("name", name))?;
            optional(time_zone, |zone| id_sized("time_zone", zone))?;
            optional(code, |code| currency(code))?;
        }
        if let Command::RevokeDevice { user, device } = self {
            id("user", user)?;
            let sound = !device.is_empty() && device.len() <= MAX_DEVICE_BYTES && !device.contains('\0');
            let fault = || field("device", &format!("device is not 1 to {MAX_DEVICE_BYTES} bytes"));
            if !sound {
                return Err(fault());
            }
        }
        Ok(())
    }

    /// The commands about classes and assignments.
    fn validate_teaching(&self) -> Result<(), CommandError> {
        if let Command::CreateClass { class, batch, title: text, room: place, teacher, starts_at, ends_at } =
            self
        {
            optional(class, |class| id("class", class))?;
            id("batch", batch)?;
            title("title", text)?;
            room(place)?;
            id("teacher", teacher)?;
            id_sized("starts_at", starts_at)?;
            id_sized("ends_at", ends_at)?;
        }
        if let Command::ChangeClass { class, title: text, room: place, teacher, starts_at, ends_at } = self {
            id("class", class)?;
            something("class", &[text, place, teacher, starts_at, ends_at])?;
            optional(text, |text| title("title", text))?;
            optional(place, |place| room(place))?;
            optional(teacher, |teacher| id("teacher", teacher))?;
            let times = match (starts_at, ends_at) {
                (Some(starts_at), Some(ends_at)) => {
                    id_sized("starts_at", starts_at)?;
                    id_sized("ends_at", ends_at)
                }
                (None, None) => Ok(()),
                (Some(_), None) => Err(field("ends_at", "ends_at is missing beside starts_at")),
                (None, Some(_)) => Err(field("starts_at", "starts_at is missing beside ends_at")),
            };
            times?;
        }
        if let Command::CancelClass { class } = self {
            id("class", class)?;
        }
        if let Command::CreateAssignment { assignment, batch, title: text, due_at, max_score } = self {
            optional(assignment, |assignment| id("assignment", assignment))?;
            id("batch", batch)?;
            title("title", text)?;
            optional(due_at, |due_at| id_sized("due_at", due_at))?;
            full_score(*max_score)?;
        }
        if let Command::ChangeAssignment { assignment, title: text, due_at, max_score } = self {
            id("assignment", assignment)?;
            if max_score.is_none() {
                something("assignment", &[text, due_at])?;
            }
            optional(text, |text| title("title", text))?;
            optional(due_at, |due_at| id_sized("due_at", due_at))?;
            max_score.map_or(Ok(()), full_score)?;
        }
        Ok(())
    }
}

pub(super) fn field(field: &str, message: &str) -> CommandError {
    CommandError::Field { field: field.into(), message: message.into() }
}

pub(super) fn id(name: &str, value: &str) -> Result<(), CommandError> {
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
    no_nul(name, value)
}

fn optional_text(name: &str, value: &Option<String>) -> Result<(), CommandError> {
    value.as_deref().map_or(Ok(()), |value| text(name, value))
}

/// Postgres keeps no such character.
fn no_nul(name: &str, value: &str) -> Result<(), CommandError> {
    if value.contains('\0') {
        Err(field(name, &format!("{name} holds the character U+0000")))
    } else {
        Ok(())
    }
}

pub(super) fn optional<T>(
    value: &Option<T>,
    check: impl FnOnce(&T) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    value.as_ref().map_or(Ok(()), check)
}

/// A command that changes a record names something to change.
pub(super) fn something(name: &str, values: &[&Option<String>]) -> Result<(), CommandError> {
    let any = values.iter().any(|value| value.is_some());
    if any { Ok(()) } else { Err(field(name, "nothing to change is named")) }
}

/// A name on one line.
pub(super) fn title(name: &str, value: &str) -> Result<(), CommandError> {
    if value.trim().is_empty()
        || value.chars().count() > MAX_TITLE_CHARS
        || value.chars().any(char::is_control)
    {
        let message = format!("{name} is not 1 to {MAX_TITLE_CHARS} characters on one line");
        return Err(CommandError::Field { field: name.into(), message });
    }
    Ok(())
}

/// May be empty: a class without a room.
pub(super) fn room(value: &str) -> Result<(), CommandError> {
    if value.is_empty() { Ok(()) } else { title("room", value) }
}

fn email(name: &str, value: &str) -> Result<(), CommandError> {
    let sound = value
        .split_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.') && !domain.contains('@'));
    let blank = |c: char| c.is_whitespace() || c.is_control();
    if !sound || value.len() > MAX_EMAIL_BYTES || value.chars().any(blank) {
        let message = format!("{name} is not an e-mail address of at most {MAX_EMAIL_BYTES} bytes");
        return Err(CommandError::Field { field: name.into(), message });
    }
    Ok(())
}

fn amount(amount_minor: i64) -> Result<(), CommandError> {
    if (1..=MAX_AMOUNT_MINOR).contains(&amount_minor) {
        return Ok(());
    }
    Err(field("amount_minor", &format!("amount_minor is not between 1 and {MAX_AMOUNT_MINOR}")))
}

/// A code of ISO 4217, such as INR; whether there is that one, nobody asks here.
fn currency(code: &str) -> Result<(), CommandError> {
    let sound = code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase());
    if sound { Ok(()) } else { Err(field("currency", "currency is not three capital letters")) }
}

/// A payment's id is ours, or `PROVIDER:ID` with the provider's own.
fn payment_id(name: &str, value: &str) -> Result<(), CommandError> {
    let (provider, own) = value.split_once(':').unwrap_or(("", value));
    if !provider.is_empty() {
        id(name, provider)?;
    }
    provider_id(name, own)
}

fn provider_id(name: &str, value: &str) -> Result<(), CommandError> {
    let visible = value.bytes().all(|b| b.is_ascii_graphic());
    if value.is_empty() || value.len() > MAX_PROVIDER_ID_BYTES || !visible {
        let message = format!("{name} is not 1 to {MAX_PROVIDER_ID_BYTES} visible ASCII characters");
        return Err(CommandError::Field { field: name.into(), message });
    }
    Ok(())
}

fn full_score(max_score: f64) -> Result<(), CommandError> {
    let sound = max_score.is_finite() && max_score > 0.0 && max_score <= MAX_SCORE;
    if sound { Ok(()) } else { Err(field("max_score", "max_score is not above 0 and at most 1000000")) }
}

/// The form alone: whether the month has that day is seen where dates are read.
pub(super) fn date(name: &str, value: &str) -> Result<(), CommandError> {
    let form = value.len() == 10
        && value
            .bytes()
            .enumerate()
            .all(|(at, b)| if at == 4 || at == 7 { b == b'-' } else { b.is_ascii_digit() });
    if form { Ok(()) } else { Err(field(name, &format!("{name} is not YYYY-MM-DD"))) }
}
