//! The students of a class: whom an attendance sheet is about.

use super::{ClassView, Scene, ViewError};
use serde::Serialize;
use std::collections::HashMap;
use sync_protocol::tag;
use sync_protocol::token::Role;
use utoipa::ToSchema;

/// Most students of one roster: more than the largest course of the Open University's dataset has.
const STUDENTS: u32 = 5_000;

/// `GET /api/classes/{class}/roster`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Roster {
    class: ClassView,
    /// The active students of the class's batch, in order of name.
    students: Vec<RosterStudent>,
}

#[derive(Debug, Serialize, ToSchema)]
struct RosterStudent {
    student: String,
    name: String,
    /// What the class's merged sheet says; null as long as it says nothing.
    mark: Option<String>,
    /// What it notes beside the mark, at most 500 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<String>,
}

/// The roster and what it depends on.
pub(super) fn roster(scene: &Scene<'_>, class: &str) -> Result<(Roster, Vec<String>), ViewError> {
    // No id has such a character, and Postgres takes none.
    let found = if class.contains('\0') { None } else { scene.records.class(class)? };
    let found = found.ok_or_else(|| ViewError::NoClass(class.chars().take(64).collect()))?;
    let allowed = match scene.account.role {
        Role::Admin => true,
        Role::Teacher => {
            let user = &scene.account.user;
            found.teacher == *user || scene.records.teaches(user, &found.batch)?
        }
        Role::Student | Role::Guardian => false,
    };
    if !allowed {
        return Err(ViewError::NotTheirClass);
    }
    let marks = scene.records.attendance(class)?.into_iter();
    let mut marks: HashMap<String, (String, Option<String>)> =
        marks.map(|row| (row.student, (row.mark, row.remark))).collect();
    let students = scene.records.batch_students(&found.batch, STUDENTS)?.into_iter();
    let students = students.map(|(student, name)| {
        let (mark, remark) = marks.remove(&student).unzip();
        RosterStudent { student, name, mark, remark: remark.flatten() }
    });
    let roster = Roster { class: scene.class_view(&found), students: students.collect() };
    // A teacher who loses the batch or the class loses the roster: that touches the batch, or the teacher.
    let tags = vec![tag::EVERYTHING.to_owned(), tag::batch(&found.batch), tag::user(&scene.account.user)];
    Ok((roster, tags))
}
