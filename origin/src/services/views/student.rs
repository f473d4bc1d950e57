//! The dashboard of a student.

use super::{ClassView, InstituteView, LIST, Messages, Person, SHORT_LIST, Scene, UNREAD_MAX, rate};
use crate::store::{
    Assignment, AttendanceFigures, Invoice, StoreError, StudentOverviewOf, StudentSubmission, StudiedBatch,
};
use serde::Serialize;
use utoipa::ToSchema;

/// How far ahead the next classes are looked for: two weeks, a timetable's longest gap in term.
const AHEAD_MS: i64 = 14 * 24 * 60 * 60 * 1000;

/// `GET /api/students/dashboard`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StudentDashboard {
    institute: InstituteView,
    student: Person,
    batches: Vec<StudentBatch>,
    attendance: StudentAttendance,
    assignments: StudentAssignments,
    fees: StudentFees,
    /// The same number as `messages.unread`.
    unread_messages: Option<u64>,
    /// The student's own: `null` for guardians and admins.
    messages: Option<Messages>,
    /// Classes that have not ended, the next first.
    next_classes: Vec<ClassView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StudentBatch {
    pub(super) batch: String,
    title: String,
    /// Names.
    teachers: Vec<String>,
}

impl From<StudiedBatch> for StudentBatch {
    fn from(studied: StudiedBatch) -> Self {
        Self { batch: studied.batch, title: studied.title, teachers: studied.teachers }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StudentAttendance {
    present: u64,
    absent: u64,
    late: u64,
    excused: u64,
    /// `(present + late) / (present + late + absent)`.
    rate: Option<f64>,
}

#[derive(Debug, Serialize, ToSchema)]
struct StudentAssignments {
    /// Not handed in, the next due first.
    open: Vec<AssignmentView>,
    /// Handed in and not graded.
    submitted: Vec<SubmittedView>,
    /// The newest grade first.
    graded: Vec<GradedView>,
    /// Mean share of the full score over all graded work.
    average: Option<f64>,
}

#[derive(Debug, Serialize, ToSchema)]
struct AssignmentView {
    assignment: String,
    batch: String,
    title: String,
    due_at: Option<String>,
    max_score: f64,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SubmittedView {
    submission: String,
    #[serde(flatten)]
    assignment: AssignmentView,
    submitted_at: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GradedView {
    submission: String,
    #[serde(flatten)]
    assignment: AssignmentView,
    submitted_at: Option<String>,
    score: f64,
    feedback: Option<String>,
    graded_at: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct StudentFees {
    currency: String,
    /// Still to be paid, minor units.
    due: i64,
    /// Paid so far, minor units.
    paid: i64,
    invoices: Vec<InvoiceView>,
}

#[derive(Debug, Serialize, ToSchema)]
struct InvoiceView {
    invoice: String,
    title: String,
    amount_minor: i64,
    paid_minor: i64,
    due_on: String,
}

impl StudentAttendance {
    pub(super) fn of(figures: &AttendanceFigures) -> Self {
        Self {
            present: figures.present,
            absent: figures.absent,
            late: figures.late,
            excused: figures.excused,
            rate: rate(figures),
        }
    }
}

pub(super) fn dashboard(scene: &Scene<'_>) -> Result<StudentDashboard, StoreError> {
    // A class that runs now began at most a day ago.
    let day_ms = 24 * 60 * 60 * 1000;
    let of = StudentOverviewOf {
        student: &scene.account,
        batches: &scene.batches,
        classes: scene.now - day_ms..scene.now + AHEAD_MS,
        classes_max: LIST,
        open_max: LIST,
        work_max: 2 * LIST,
        messages_max: scene.own.then_some(SHORT_LIST),
        unread_max: UNREAD_MAX,
    };
    let found = scene.records.student_overview(&of)?;
    let mut next = found.classes;
    next.retain(|class| class.ends_at > scene.now);
    next.truncate(SHORT_LIST as usize);
    let messages = found.messages.map(|(unread, recent)| scene.messages_view(unread, recent));
    let (submitted, graded) = work(scene, found.work);
    Ok(StudentDashboard {
        institute: scene.institute_view(),
        student: scene.person(),
        batches: found.studied_batches.into_iter().map(StudentBatch::from).collect(),
        attendance: StudentAttendance::of(&found.figures),
        assignments: StudentAssignments {
            open: found.open_assignments.iter().map(|open| assignment_view(scene, open)).collect(),
            submitted,
            graded,
            average: found.average,
        },
        fees: fees(scene, found.invoices),
        unread_messages: messages.as_ref().map(|messages| messages.unread),
        messages,
        next_classes: next.iter().map(|class| scene.class_view(class)).collect(),
    })
}

/// Those that wait for a grade, and those that have one.
pub(super) fn work(
    scene: &Scene<'_>,
    works: Vec<StudentSubmission>,
) -> (Vec<SubmittedView>, Vec<GradedView>) {
    let mut submitted = Vec::new();
    let mut graded = Vec::new();
    for work in works {
        let assignment = assignment_view(scene, &work.assignment);
        let submitted_at = work.submitted_at.map(|at| scene.time.text(at));
        match work {
            StudentSubmission { score: Some(score), submission, feedback, graded_at, .. } => {
                let graded_at = graded_at.map(|at| scene.time.text(at));
                graded.push(GradedView { submission, assignment, submitted_at, score, feedback, graded_at });
            }
            StudentSubmission { score: None, submission, .. } => {
                submitted.push(SubmittedView { submission, assignment, submitted_at });
            }
        }
    }
    (submitted, graded)
}

fn assignment_view(scene: &Scene<'_>, assignment: &Assignment) -> AssignmentView {
    AssignmentView {
        assignment: assignment.assignment.clone(),
        batch: assignment.batch.clone(),
        title: assignment.title.clone(),
        due_at: assignment.due_at.map(|at| scene.time.text(at)),
        max_score: assignment.max_score,
    }
}

fn fees(scene: &Scene<'_>, mut invoices: Vec<Invoice>) -> StudentFees {
    invoices.retain(|invoice| invoice.voided_at.is_none());
    StudentFees {
        currency: scene.institute.currency.clone(),
        due: invoices.iter().map(Invoice::due_minor).sum(),
        paid: invoices.iter().map(|invoice| invoice.paid_minor).sum(),
        invoices: invoices
            .into_iter()
            .map(|invoice| InvoiceView {
                invoice: invoice.invoice,
                title: invoice.title,
                amount_minor: invoice.amount_minor,
                paid_minor: invoice.paid_minor,
                due_on: invoice.due_on,
            })
            .collect(),
    }
}
