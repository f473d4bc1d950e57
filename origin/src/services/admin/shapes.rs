//! The shapes of what the admin API answers, field by field.
//!
//! Times are RFC 3339 with the institute's offset, dates `YYYY-MM-DD`, money in minor units of the institute's currency.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PageOf<T> {
    pub(crate) items: Vec<T>,
    /// The `cursor` of the next page; null after the last one.
    pub(crate) next: Option<String>,
}

/// What somebody is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RoleName {
    Admin,
    Teacher,
    Student,
    Guardian,
}

/// The institute.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InstituteRecord {
    pub(crate) institute: String,
    pub(crate) name: String,
    /// IANA name.
    pub(crate) time_zone: String,
    /// ISO 4217.
    pub(crate) currency: String,
    pub(crate) created_at: String,
}

/// A user.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserRecord {
    pub(crate) user: String,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) role: RoleName,
    /// False for somebody who was deactivated.
    pub(crate) active: bool,
    /// Without one they cannot sign in yet.
    pub(crate) has_password: bool,
    pub(crate) created_at: String,
}

/// A batch.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchRecord {
    pub(crate) batch: String,
    pub(crate) title: String,
}

/// A student in a batch.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnrolmentRecord {
    pub(crate) batch: String,
    pub(crate) student: String,
    pub(crate) student_name: String,
    pub(crate) enrolled_at: String,
}

/// A teacher of a batch.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TeachingRecord {
    pub(crate) batch: String,
    pub(crate) teacher: String,
    pub(crate) teacher_name: String,
}

/// Somebody who may read what a student may read.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GuardianshipRecord {
    pub(crate) guardian: String,
    pub(crate) guardian_name: String,
    pub(crate) student: String,
    pub(crate) student_name: String,
}

/// A class on the timetable.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClassRecord {
    pub(crate) class: String,
    pub(crate) batch: String,
    pub(crate) title: String,
    pub(crate) room: String,
    pub(crate) teacher: String,
    pub(crate) teacher_name: String,
    pub(crate) starts_at: String,
    pub(crate) ends_at: String,
    pub(crate) cancelled: bool,
    /// Of which it is one.
    pub(crate) series: Option<String>,
}

/// A student's mark in a class, as the merged sheet has it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MarkRecord {
    pub(crate) class: String,
    pub(crate) batch: String,
    pub(crate) starts_at: String,
    pub(crate) student: String,
    pub(crate) student_name: String,
    pub(crate) mark: String,
    pub(crate) remark: Option<String>,
}

/// An assignment.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssignmentRecord {
    pub(crate) assignment: String,
    pub(crate) batch: String,
    pub(crate) title: String,
    pub(crate) due_at: Option<String>,
    pub(crate) max_score: f64,
}

/// A student's work and its grade.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubmissionRecord {
    pub(crate) submission: String,
    pub(crate) assignment: String,
    pub(crate) batch: String,
    pub(crate) student: String,
    pub(crate) student_name: String,
    /// Null for a result without handed-in work, such as an exam's.
    pub(crate) submitted_at: Option<String>,
    pub(crate) score: Option<f64>,
    pub(crate) max_score: f64,
    pub(crate) graded_by: Option<String>,
    pub(crate) graded_at: Option<String>,
}

/// A student's work with its text.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubmissionDetail {
    pub(crate) submission: String,
    pub(crate) assignment: String,
    pub(crate) batch: String,
    pub(crate) student: String,
    pub(crate) student_name: String,
    pub(crate) submitted_at: Option<String>,
    pub(crate) score: Option<f64>,
    pub(crate) max_score: f64,
    pub(crate) graded_by: Option<String>,
    pub(crate) graded_at: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) feedback: Option<String>,
}

/// An invoice.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InvoiceRecord {
    pub(crate) invoice: String,
    pub(crate) student: String,
    pub(crate) student_name: String,
    pub(crate) title: String,
    pub(crate) amount_minor: i64,
    pub(crate) paid_minor: i64,
    pub(crate) due_on: String,
    /// Nothing is owed for a void invoice.
    pub(crate) voided_at: Option<String>,
}

/// A payment.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PaymentRecord {
    pub(crate) payment: String,
    pub(crate) invoice: String,
    pub(crate) student: String,
    pub(crate) student_name: String,
    pub(crate) amount_minor: i64,
    /// What was given back of it.
    pub(crate) refunded_minor: i64,
    pub(crate) method: String,
    pub(crate) reference: Option<String>,
    pub(crate) recorded_by: String,
    pub(crate) paid_at: String,
}

/// A refund: all of a payment, or a part.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefundRecord {
    pub(crate) refund: String,
    pub(crate) payment: String,
    pub(crate) invoice: String,
    pub(crate) student: String,
    pub(crate) student_name: String,
    pub(crate) amount_minor: i64,
    pub(crate) reason: Option<String>,
    /// Null for one that the payment provider told of.
    pub(crate) refunded_by: Option<String>,
    pub(crate) refunded_at: String,
}

/// A device that a user has registered.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceRecord {
    pub(crate) user: String,
    pub(crate) user_name: String,
    pub(crate) device: String,
    pub(crate) name: String,
    pub(crate) platform: Option<String>,
    pub(crate) registered_at: String,
}

/// How far a consumer of the institute's queue is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueueRecord {
    pub(crate) consumer: String,
    /// At most 10,000 are counted, here and below.
    pub(crate) waiting: u64,
    /// When the oldest of it was committed.
    pub(crate) oldest_at: Option<String>,
    pub(crate) set_aside: u64,
}

/// Work that failed too often.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetAsideRecord {
    pub(crate) consumer: String,
    /// Of the commit that asks for it; with the consumer it names the work.
    pub(crate) revision: i64,
    pub(crate) committed_at: String,
    pub(crate) failures: i64,
    /// Why it failed last.
    pub(crate) fault: Option<String>,
    pub(crate) set_aside_at: String,
}

/// What a payment provider told, and what became of it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PaymentEventRecord {
    pub(crate) provider: String,
    /// The provider's id of it.
    pub(crate) event: String,
    /// `applied`, `ignored` or `set-aside`.
    pub(crate) status: String,
    /// Why it was set aside.
    pub(crate) reason: Option<String>,
    pub(crate) received_at: String,
    /// When an admin applied it after all, or settled it.
    pub(crate) settled_at: Option<String>,
    pub(crate) settled_by: Option<String>,
    /// Why nothing came of it.
    pub(crate) settlement: Option<String>,
    /// As the provider sent it, when the event is read alone; empty for one that was ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
}

/// A message, to a user or to a batch.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessageRecord {
    pub(crate) message: String,
    pub(crate) author: String,
    pub(crate) author_name: String,
    pub(crate) recipient: Option<String>,
    pub(crate) batch: Option<String>,
    pub(crate) posted_at: String,
    /// Whether its readers see it no more.
    pub(crate) retracted: bool,
    /// What is written, when the message is read alone; so below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retracted_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retracted_by: Option<String>,
    /// Why it was retracted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// A shared document, without what is in it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DocumentRecord {
    pub(crate) document: String,
    pub(crate) kind: String,
    pub(crate) subject: String,
    pub(crate) batch: Option<String>,
    pub(crate) owner: String,
    /// Changes in its log.
    pub(crate) changes: i64,
    pub(crate) created_at: String,
    pub(crate) deleted_at: Option<String>,
    /// The document that continues it, when its history was cut.
    pub(crate) successor: Option<String>,
}

/// A shared document with its heads and its size.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DocumentDetail {
    pub(crate) document: String,
    pub(crate) kind: String,
    pub(crate) subject: String,
    pub(crate) batch: Option<String>,
    pub(crate) owner: String,
    pub(crate) changes: i64,
    pub(crate) created_at: String,
    pub(crate) deleted_at: Option<String>,
    /// The document that continues it, when its history was cut.
    pub(crate) successor: Option<String>,
    /// Hex hashes.
    pub(crate) heads: Vec<String>,
    /// Of all changes in its log.
    pub(crate) bytes: i64,
    /// Refused changes that nobody has settled.
    pub(crate) quarantined: i64,
    /// Why the last of them was refused.
    pub(crate) last_refusal: Option<String>,
}

/// A doubt thread in which somebody has written something.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DoubtRecord {
    pub(crate) document: String,
    /// `BATCH/NAME`.
    pub(crate) subject: String,
    pub(crate) batch: String,
    pub(crate) asked_by: String,
    pub(crate) asked_by_name: String,
    /// The first 200 characters of the question.
    pub(crate) excerpt: String,
    pub(crate) answer_count: i64,
    /// Whether others than the one who asked have answered.
    pub(crate) answered: bool,
    /// Who of them stands last in the thread.
    pub(crate) answered_by: Option<String>,
    /// Answers of which there are several concurrent texts.
    pub(crate) conflicts: i64,
    pub(crate) asked_at: String,
    /// When somebody last wrote there.
    pub(crate) updated_at: String,
}

/// A doubt thread with its texts.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DoubtDetail {
    pub(crate) document: String,
    pub(crate) subject: String,
    pub(crate) batch: String,
    pub(crate) asked_by: String,
    pub(crate) asked_by_name: String,
    pub(crate) excerpt: String,
    pub(crate) answer_count: i64,
    pub(crate) answered: bool,
    pub(crate) answered_by: Option<String>,
    pub(crate) conflicts: i64,
    pub(crate) asked_at: String,
    pub(crate) updated_at: String,
    pub(crate) question: String,
    /// In their order.
    pub(crate) answers: Vec<DoubtAnswer>,
    /// Bytes of the thread that are not shown here: its document has them.
    pub(crate) omitted_bytes: i64,
    /// Hex hashes: the changes that this was made from.
    pub(crate) heads: Vec<String>,
}

/// One answer of a thread.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DoubtAnswer {
    /// User id.
    pub(crate) author: String,
    pub(crate) text: String,
    /// All concurrent texts, the shown one last; absent without a conflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) writers: Option<Vec<AnswerWriter>>,
}

/// One of several concurrent texts, and whose it is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnswerWriter {
    pub(crate) text: String,
    pub(crate) actor: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<String>,
}

/// A change of a document that was refused.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuarantineRecord {
    pub(crate) document: String,
    /// Of the change, in hex; with the document it names the item.
    pub(crate) hash: String,
    pub(crate) user: String,
    pub(crate) device: String,
    pub(crate) edge: String,
    pub(crate) code: String,
    /// Of the change.
    pub(crate) bytes: i64,
    pub(crate) refused_at: String,
}

/// A sign-in on a device.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionRecord {
    pub(crate) session: String,
    pub(crate) user: String,
    pub(crate) user_name: String,
    pub(crate) device: String,
    /// When it was last renewed.
    pub(crate) issued_at: String,
    pub(crate) expires_at: String,
    pub(crate) revoked_at: Option<String>,
}

/// An edge that works for the institute.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EdgeRecord {
    pub(crate) edge: String,
    /// To the origin that answers.
    pub(crate) connected: bool,
    pub(crate) logs: Vec<EdgeLog>,
}

/// How far a log of an edge is committed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EdgeLog {
    pub(crate) log: String,
    /// The last sequence that is committed or refused.
    pub(crate) acknowledged: u64,
}

/// A command that was decided.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditRecord {
    pub(crate) entry: String,
    pub(crate) at: String,
    /// Who gave it.
    pub(crate) user: String,
    pub(crate) device: String,
    pub(crate) command: String,
    /// Its idempotency key.
    pub(crate) key: String,
    /// Of the record that it is about.
    pub(crate) kind: String,
    /// Key of the record.
    pub(crate) record: Option<String>,
    /// The record as it was.
    pub(crate) before: Option<Value>,
    /// The record as it became.
    pub(crate) after: Option<Value>,
    /// The code of the refusal; null for a command that had its effect.
    pub(crate) refusal: Option<String>,
    pub(crate) epoch: i64,
    /// With the epoch: the bookmark of its effect.
    pub(crate) revision: i64,
}

/// What a user did with their account.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActivityRecord {
    pub(crate) activity: String,
    pub(crate) at: String,
    pub(crate) user: String,
    /// `signed-in`, `sign-in-failed`, `signed-out`, `signed-out-everywhere`, `token-reused`, `password-changed`,
    /// `reset-requested`, `password-reset`, `device-registered` or `device-removed`.
    pub(crate) kind: String,
    /// Empty where none takes part.
    pub(crate) device: String,
}

/// Something that a search found.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hit {
    /// `user`, `batch` or `assignment`.
    pub(crate) kind: String,
    pub(crate) id: String,
    /// Name or title.
    pub(crate) title: String,
    /// Address and role, or the batch.
    pub(crate) detail: String,
}

/// What an import did, or would do.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ImportReport {
    /// True when nothing was written.
    pub(crate) dry_run: bool,
    pub(crate) counts: Vec<ImportCount>,
}

/// Rows of one kind.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ImportCount {
    pub(crate) kind: String,
    pub(crate) new: u64,
    pub(crate) there: u64,
}
