//! All grades of a student.

use super::student::{GradedView, SubmittedView, work};
use super::{Person, Scene};
use crate::store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

/// Works that the view shows, the newest: several years of them.
const WORKS: u32 = 500;

/// `GET /api/students/grades`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Grades {
    student: Person,
    /// Mean share of the full score over all graded work.
    average: Option<f64>,
    /// The newest grade first.
    graded: Vec<GradedView>,
    /// Handed in and not graded.
    submitted: Vec<SubmittedView>,
}

pub(super) fn grades(scene: &Scene<'_>) -> Result<Grades, StoreError> {
    let student = &scene.account.user;
    let (submitted, graded) = work(scene, scene.records.student_work(student, WORKS)?);
    let average = scene.records.student_average(student)?;
    Ok(Grades { student: scene.person(), average, graded, submitted })
}
