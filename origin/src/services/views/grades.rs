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
    let (submitted, graded) = work(scene, WORKS)?;
    let average = scene.records.student_average(&scene.account.user)?;
    Ok(Grades { student: scene.person(), average, graded, submitted })
}
