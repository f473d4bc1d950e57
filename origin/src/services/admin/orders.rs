//! What the admin API takes: the bodies of its writes. What is checked is checked by the commands that they become.

mod series;

pub(crate) use series::{ClassSeriesChange, NewClassSeries};

use super::shapes::RoleName;
use serde::{Deserialize, Deserializer};
use sync_protocol::command::Command;
use sync_protocol::token::Role;
use utoipa::ToSchema;

/// A record's id.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
pub(crate) struct Id(String);

/// A name on one line.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(
    min_length = 1,
    max_length = 200,
    pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*[^\\s\\x00-\\x1f\\x7f-\\x9f][^\\x00-\\x1f\\x7f-\\x9f]*$"
)]
pub(crate) struct Title(String);

/// A room; empty for a class without one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(
    max_length = 200,
    pattern = "^([^\\x00-\\x1f\\x7f-\\x9f]*[^\\s\\x00-\\x1f\\x7f-\\x9f][^\\x00-\\x1f\\x7f-\\x9f]*)?$"
)]
pub(crate) struct Room(String);

/// An e-mail address.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(max_length = 254, pattern = "^[A-Za-z0-9._+-]+@[A-Za-z0-9-]+([.][A-Za-z0-9-]+)+$")]
pub(crate) struct Email(String);

/// RFC 3339 with an offset, from 1970 on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(
    max_length = 64,
    pattern = "^(19[7-9][0-9]|20[0-9]{2})-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,3})?(Z|[+-](0[0-9]|1[0-2]):[0-5][0-9])$"
)]
pub(crate) struct Moment(String);

/// `YYYY-MM-DD`, from 1970 on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(
    pattern = "^(19[7-9][0-9]|20[0-9]{2})-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))$"
)]
pub(crate) struct Day(String);

/// An IANA name, for example `Asia/Kolkata`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(min_length = 1, max_length = 64)]
pub(crate) struct TimeZoneName(String);

/// ISO 4217.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(pattern = "^[A-Z]{3}$")]
pub(crate) struct Currency(String);

/// A text of at most 16 KiB.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(min_length = 1, pattern = "^[^\\x00]*[^\\s\\x00][^\\x00]*$")]
pub(crate) struct LongText(String);

/// A member that is there has a value: null is no way to leave it out.
pub(crate) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// A user to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    email: Email,
    name: Title,
    role: RoleName,
}

/// What somebody may become: who was made a student to be a guardian, before there was the role.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LaterRole {
    Guardian,
}

/// What changes of a user, at least one of these.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserChange {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Title, required = false)]
    name: Option<Title>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Email, required = false)]
    email: Option<Email>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = LaterRole, required = false)]
    role: Option<LaterRole>,
}

/// Why a message is retracted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retraction {
    reason: Title,
}

/// Why nothing comes of what a payment provider told.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settlement {
    reason: Title,
}

impl Settlement {
    /// The command about a provider's event.
    pub(crate) fn into_command(self, provider: String, event: String) -> Command {
        Command::SettlePaymentEvent { provider, event, reason: self.reason.0 }
    }
}

/// A batch to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBatch {
    batch: Id,
    title: Title,
}

/// What changes of a batch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchChange {
    title: Title,
}

/// A class to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewClass {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Id, required = false)]
    class: Option<Id>,
    batch: Id,
    title: Title,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Room, required = false)]
    room: Option<Room>,
    teacher: Id,
    starts_at: Moment,
    ends_at: Moment,
}

/// What changes of a class, at least one of them; the two times come together.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClassChange {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Title, required = false)]
    title: Option<Title>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Room, required = false)]
    room: Option<Room>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Id, required = false)]
    teacher: Option<Id>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Moment, required = false)]
    starts_at: Option<Moment>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Moment, required = false)]
    ends_at: Option<Moment>,
}

/// An assignment to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAssignment {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Id, required = false)]
    assignment: Option<Id>,
    batch: Id,
    title: Title,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Moment, required = false)]
    due_at: Option<Moment>,
    #[schema(exclusive_minimum = 0, maximum = 1000000)]
    max_score: f64,
}

/// What changes of an assignment, at least one of them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssignmentChange {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Title, required = false)]
    title: Option<Title>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Moment, required = false)]
    due_at: Option<Moment>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = f64, required = false, exclusive_minimum = 0, maximum = 1000000)]
    max_score: Option<f64>,
}

/// An invoice to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewInvoice {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Id, required = false)]
    invoice: Option<Id>,
    student: Id,
    title: Title,
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    amount_minor: i64,
    due_on: Day,
    /// If it is there, it has to be the institute's.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Currency, required = false)]
    currency: Option<Currency>,
}

/// What changes of the institute, at least one of them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InstituteChange {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Title, required = false)]
    name: Option<Title>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = TimeZoneName, required = false)]
    time_zone: Option<TimeZoneName>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Currency, required = false)]
    currency: Option<Currency>,
}

/// A grade.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grade {
    #[schema(minimum = 0, maximum = 1000000)]
    score: f64,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = LongText, required = false)]
    feedback: Option<LongText>,
}

impl Grade {
    /// Score and feedback.
    pub(crate) fn into_parts(self) -> (f64, Option<String>) {
        (self.score, self.feedback.map(|text| text.0))
    }
}

impl From<RoleName> for Role {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Admin => Role::Admin,
            RoleName::Teacher => Role::Teacher,
            RoleName::Student => Role::Student,
            RoleName::Guardian => Role::Guardian,
        }
    }
}

/// A body that becomes a command, of the record that the path names.
pub(crate) trait IntoCommand {
    fn into_command(self, record: String) -> Command;
}

impl IntoCommand for NewUser {
    fn into_command(self, _: String) -> Command {
        Command::CreateUser { email: self.email.0, name: self.name.0, role: self.role.into() }
    }
}

impl IntoCommand for UserChange {
    fn into_command(self, user: String) -> Command {
        Command::ChangeUser {
            user,
            name: self.name.map(|it| it.0),
            email: self.email.map(|it| it.0),
            role: self.role.map(|LaterRole::Guardian| Role::Guardian),
        }
    }
}

impl IntoCommand for Retraction {
    fn into_command(self, message: String) -> Command {
        Command::RetractMessage { message, reason: self.reason.0 }
    }
}

impl IntoCommand for NewBatch {
    fn into_command(self, _: String) -> Command {
        Command::CreateBatch { batch: self.batch.0, title: self.title.0 }
    }
}

impl IntoCommand for BatchChange {
    fn into_command(self, batch: String) -> Command {
        Command::ChangeBatch { batch, title: self.title.0 }
    }
}

impl IntoCommand for NewClass {
    fn into_command(self, _: String) -> Command {
        Command::CreateClass {
            class: self.class.map(|it| it.0),
            batch: self.batch.0,
            title: self.title.0,
            room: self.room.map(|it| it.0).unwrap_or_default(),
            teacher: self.teacher.0,
            starts_at: self.starts_at.0,
            ends_at: self.ends_at.0,
        }
    }
}

impl IntoCommand for ClassChange {
    fn into_command(self, class: String) -> Command {
        Command::ChangeClass {
            class,
            title: self.title.map(|it| it.0),
            room: self.room.map(|it| it.0),
            teacher: self.teacher.map(|it| it.0),
            starts_at: self.starts_at.map(|it| it.0),
            ends_at: self.ends_at.map(|it| it.0),
        }
    }
}

impl IntoCommand for NewAssignment {
    fn into_command(self, _: String) -> Command {
        Command::CreateAssignment {
            assignment: self.assignment.map(|it| it.0),
            batch: self.batch.0,
            title: self.title.0,
            due_at: self.due_at.map(|it| it.0),
            max_score: self.max_score,
        }
    }
}

impl IntoCommand for AssignmentChange {
    fn into_command(self, assignment: String) -> Command {
        Command::ChangeAssignment {
            assignment,
            title: self.title.map(|it| it.0),
            due_at: self.due_at.map(|it| it.0),
            max_score: self.max_score,
        }
    }
}

impl IntoCommand for NewInvoice {
    fn into_command(self, _: String) -> Command {
        Command::CreateInvoice {
            invoice: self.invoice.map(|it| it.0),
            student: self.student.0,
            title: self.title.0,
            amount_minor: self.amount_minor,
            due_on: self.due_on.0,
            currency: self.currency.map(|it| it.0),
        }
    }
}

impl IntoCommand for InstituteChange {
    fn into_command(self, _: String) -> Command {
        Command::ChangeInstitute {
            name: self.name.map(|it| it.0),
            time_zone: self.time_zone.map(|it| it.0),
            currency: self.currency.map(|it| it.0),
        }
    }
}
