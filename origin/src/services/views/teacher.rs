//! The dashboard of a teacher.

use super::schedule::with_taught;
use super::{ClassView, InstituteView, LIST, Messages, Person, SHORT_LIST, Scene, UNREAD_MAX, rate};
use crate::store::{
    AttendanceFigures, ClassConflict, ClassRow, LoggedDocument, StoreError, TaughtBatch, TeacherOverviewOf,
    UngradedSubmission,
};
use serde::Serialize;
use std::collections::HashMap;
use utoipa::ToSchema;

/// The span of the recent attendance rate: four weeks.
const RECENT_MS: i64 = 28 * 24 * 60 * 60 * 1000;

/// `GET /api/teachers/dashboard`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TeacherDashboard {
    institute: InstituteView,
    teacher: Person,
    batches: Vec<TeacherBatch>,
    /// The classes of today in the institute's time zone: of the teacher's batches, and those that name the teacher.
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

/// Document ids of the class, where they exist already and the batch is the teacher's.
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
    let (from, until) = scene.time.day(scene.today);
    let of = TeacherOverviewOf {
        teacher: &scene.account,
        batches: &scene.batches,
        today: from..until,
        today_max: LIST,
        recent: scene.now - RECENT_MS..scene.now,
        to_grade_max: LIST,
        messages_max: SHORT_LIST,
        unread_max: UNREAD_MAX,
    };
    let found = scene.records.teacher_overview(&of)?;
    let classes = with_taught(scene, found.classes, found.taught);
    let today = classes_today(scene, &classes, &found.taught_batches)?;
    let (unread, newest) = found.messages;
    Ok(TeacherDashboard {
        institute: scene.institute_view(),
        teacher: scene.person(),
        today,
        recent_attendance: recent_attendance(&found.recent),
        to_grade: ToGrade {
            count: found.work_to_grade_count,
            submissions: found.work_to_grade.into_iter().map(|work| ungraded_view(scene, work)).collect(),
        },
        messages: scene.messages_view(unread, newest),
        batches: found.taught_batches.into_iter().map(TeacherBatch::from).collect(),
    })
}

impl From<TaughtBatch> for TeacherBatch {
    fn from(TaughtBatch { batch, title, students }: TaughtBatch) -> Self {
        Self { batch, title, students }
    }
}

fn classes_today(
    scene: &Scene<'_>,
    classes: &[ClassRow],
    batches: &[TaughtBatch],
) -> Result<Vec<TeacherClass>, StoreError> {
    let ids: Vec<String> = classes.iter().map(|class| class.class.clone()).collect();
    let mut of_classes = scene.records.classes_overview(&ids)?;
    let mut conflicts: HashMap<String, Vec<ConflictView>> = HashMap::new();
    for conflict in of_classes.conflicts {
        conflicts.entry(conflict.class.clone()).or_default().push(conflict_view(conflict)?);
    }
    let by_class = |documents: Vec<LoggedDocument>| -> HashMap<String, String> {
        let ids =
            documents.into_iter().map(|known| (known.record.subject, known.record.document.to_string()));
        ids.collect()
    };
    let (mut sheets, mut notes) = (by_class(of_classes.sheets), by_class(of_classes.notes));
    let today = classes.iter().map(|class| {
        let figures = of_classes.figures.remove(&class.class).unwrap_or_default();
        let marked = figures.present + figures.absent + figures.late + figures.excused;
        let own = batches.iter().find(|own| own.batch == class.batch);
        let students = match own {
            Some(batch) => batch.students,
            None => scene.records.enrolled(&class.batch)?,
        };
        // Sheet and notes are for the batch's teachers.
        let own_document = |documents: &mut HashMap<String, String>| own.and(documents.remove(&class.class));
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
            conflicts: conflicts.remove(&class.class).unwrap_or_default(),
            documents: ClassDocuments {
                attendance: own_document(&mut sheets),
                notes: own_document(&mut notes),
            },
        })
    });
    today.collect()
}

fn conflict_view(conflict: ClassConflict) -> Result<ConflictView, StoreError> {
    let values = serde_json::from_str(&conflict.marks)
        .map_err(|_| StoreError::Corrupt { what: "marks of a student", text: conflict.marks.clone() })?;
    Ok(ConflictView { student: conflict.student, name: conflict.name, values })
}

fn recent_attendance(figures: &AttendanceFigures) -> RecentAttendance {
    RecentAttendance {
        days: 28,
        present: figures.present,
        absent: figures.absent,
        late: figures.late,
        excused: figures.excused,
        rate: rate(figures),
    }
}

fn ungraded_view(scene: &Scene<'_>, work: UngradedSubmission) -> UngradedView {
    UngradedView {
        submission: work.submission,
        assignment: work.assignment.assignment,
        title: work.assignment.title,
        batch: work.assignment.batch,
        max_score: work.assignment.max_score,
        student: work.student,
        student_name: work.student_name,
        submitted_at: work.submitted_at.map(|at| scene.time.text(at)),
    }
}
