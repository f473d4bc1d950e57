//! The attendance of a student, class by class.

use super::student::StudentAttendance;
use super::{ClassView, Person, Scene};
use crate::store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

/// Marks that the view shows, the newest: a year of several classes a day.
const MARKS: u32 = 500;

/// `GET /api/students/attendance`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Attendance {
    student: Person,
    /// Over all classes.
    attendance: StudentAttendance,
    /// The newest first.
    classes: Vec<MarkedClass>,
}

#[derive(Debug, Serialize, ToSchema)]
struct MarkedClass {
    #[serde(flatten)]
    class: ClassView,
    mark: String,
    /// What was noted beside the mark, at most 500 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<String>,
}

pub(super) fn attendance(scene: &Scene<'_>) -> Result<Attendance, StoreError> {
    let student = &scene.account.user;
    let classes = scene.records.marked_classes(student, MARKS)?.into_iter();
    Ok(Attendance {
        student: scene.person(),
        attendance: StudentAttendance::of(&scene.records.student_figures(student)?),
        classes: classes
            .map(|row| MarkedClass {
                class: scene.class_view(&row.class),
                mark: row.mark,
                remark: row.remark,
            })
            .collect(),
    })
}
