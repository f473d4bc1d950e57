//! The dashboard of a teacher.

use super::{ClassView, InstituteView, LIST, Messages, Person, Scene, rate};
use crate::store::{AttendanceFigures, ClassConflict, ClassRow, StoreError};
use serde::Serialize;
use sync_protocol::kind::Kind;
use utoipa::ToSchema;

/// The span of the recent attendance rate: four weeks.
const RECENT_MS: i64 = 28 * 24 * 60 * 60 * 1000;

/// `GET /api/teachers/dashboard`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TeacherDashboard {
    institute: InstituteView,
    teacher: Person,
    batches: Vec<TeacherBatch>,
    /// The classes of today in the institute's time zone.
    today: Vec<TeacherClass>,
    recent_attendance: RecentAttendance,
    to_grade: ToGrade,
    messages: Messages,
}

#[derive(Debug, Serialize, ToSchema)]
struct TeacherBatch {
    batch: String,
    title: String,
    students: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct TeacherClass {
    #[serde(flatten)]
    class: ClassView,
    attendance: ClassAttendance,
    /// Students whom several people marked differently at the same time.
    conflicts: Vec<ConflictView>,
    documents: ClassDocuments,
}

#[derive(Debug, Serialize, ToSchema)]
struct ClassAttendance {
    present: u64,
    absent: u64,
    late: u64,
    excused: u64,
    unmarked: u64,
    conflicts: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct ConflictView {
    student: String,
    name: String,
    /// All concurrent marks; the shown one last.
    values: Vec<String>,
}

/// Document ids of the class, where they exist already.
#[derive(Debug, Serialize, ToSchema)]
struct ClassDocuments {
    attendance: Option<String>,
    notes: Option<String>,
}

/// Marks of the last four weeks in all of the teacher's batches.
#[derive(Debug, Serialize, ToSchema)]
struct RecentAttendance {
    days: u32,
    present: u64,
    absent: u64,
    late: u64,
    excused: u64,
    rate: Option<f64>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ToGrade {
    count: u64,
    /// The longest waiting first.
    submissions: Vec<UngradedView>,
}

#[derive(Debug, Serialize, ToSchema)]
struct UngradedView {
    submission: String,
    assignment: String,
    title: String,
    batch: String,
    max_score: f64,
    student: String,
    /// Name.
    student_name: String,
    submitted_at: Option<String>,
}

pub(super) fn dashboard(scene: &Scene<'_>) -> Result<TeacherDashboard, StoreError> {
    let batches: Vec<TeacherBatch> = scene
        .records
        .taught_batches(&scene.account.user)?
        .into_iter()
        .map(|b| TeacherBatch { batch: b.batch, title: b.title, students: b.students })
        .collect();
    let (from, until) = scene.time.day(scene.today);
    let classes = scene.records.classes_of(&scene.batches, from, until, LIST)?;
    let today = classes.iter().map(|class| class_today(scene, class, &batches)).collect::<Result<_, _>>()?;
    Ok(TeacherDashboard {
        institute: scene.institute_view(),
        teacher: scene.person(),
        today,
        recent_attendance: recent_attendance(scene)?,
        to_grade: to_grade(scene)?,
        messages: scene.messages()?,
        batches,
    })
}

fn class_today(
    scene: &Scene<'_>,
    class: &ClassRow,
    batches: &[TeacherBatch],
) -> Result<TeacherClass, StoreError> {
    let figures = scene.records.class_figures(&class.class)?;
    let students = batches.iter().find(|b| b.batch == class.batch).map_or(0, |b| b.students);
    let marked = figures.present + figures.absent + figures.late + figures.excused;
    let conflicts = scene.records.class_conflicts(&class.class)?;
    let document = |kind: Kind| {
        let document = scene.records.document_by_subject(kind.as_str(), &class.class)?;
        Ok::<_, StoreError>(document.map(|document| document.record.document.to_string()))
    };
    Ok(TeacherClass {
        class: scene.class_view(class),
        attendance: ClassAttendance {
            present: figures.present,
            absent: figures.absent,
            late: figures.late,
            excused: figures.excused,
            unmarked: students.saturating_sub(marked),
            conflicts: figures.conflicts,
        },
        conflicts: conflicts.into_iter().map(conflict_view).collect::<Result<_, _>>()?,
        documents: ClassDocuments { attendance: document(Kind::Attendance)?, notes: document(Kind::Notes)? },
    })
}

fn conflict_view(conflict: ClassConflict) -> Result<ConflictView, StoreError> {
    let values = serde_json::from_str(&conflict.marks)
        .map_err(|_| StoreError::Corrupt { what: "marks of a student", text: conflict.marks.clone() })?;
    Ok(ConflictView { student: conflict.student, name: conflict.name, values })
}

fn recent_attendance(scene: &Scene<'_>) -> Result<RecentAttendance, StoreError> {
    let mut sum = AttendanceFigures::default();
    for batch in &scene.batches {
        let figures = scene.records.batch_figures(batch, scene.now - RECENT_MS, scene.now)?;
        sum.present += figures.present;
        sum.absent += figures.absent;
        sum.late += figures.late;
        sum.excused += figures.excused;
    }
    Ok(RecentAttendance {
        days: 28,
        present: sum.present,
        absent: sum.absent,
        late: sum.late,
        excused: sum.excused,
        rate: rate(&sum),
    })
}

fn to_grade(scene: &Scene<'_>) -> Result<ToGrade, StoreError> {
    let teacher = &scene.account.user;
    let submissions = scene.records.work_to_grade(teacher, LIST)?.into_iter().map(|work| UngradedView {
        submission: work.submission,
        assignment: work.assignment.assignment,
        title: work.assignment.title,
        batch: work.assignment.batch,
        max_score: work.assignment.max_score,
        student: work.student,
        student_name: work.student_name,
        submitted_at: work.submitted_at.map(|at| scene.time.text(at)),
    });
    Ok(ToGrade { submissions: submissions.collect(), count: scene.records.work_to_grade_count(teacher)? })
}
