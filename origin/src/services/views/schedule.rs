//! The classes of one day of a student or a teacher.

use super::{ClassView, LIST, Scene};
use crate::store::{ClassRow, StoreError};
use jiff::civil::Date;
use serde::Serialize;
use sync_protocol::token::Role;
use utoipa::ToSchema;

/// `GET /api/students/schedule` and `GET /api/teachers/schedule`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Schedule {
    /// The day, in the institute's time zone.
    date: String,
    time_zone: String,
    classes: Vec<ScheduledClass>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ScheduledClass {
    #[serde(flatten)]
    class: ClassView,
    /// The student's own mark; always `null` in a teacher's schedule.
    mark: Option<String>,
}

pub(super) fn schedule(scene: &Scene<'_>, date: Option<Date>) -> Result<Schedule, StoreError> {
    let date = date.unwrap_or(scene.today);
    let (from, until) = scene.time.day(date);
    let mut classes = Vec::new();
    for class in classes_between(scene, from, until)? {
        let mark = match scene.account.role {
            Role::Student => scene.records.mark_of(&class.class, &scene.account.user)?,
            Role::Teacher | Role::Admin | Role::Guardian => None,
        };
        classes.push(ScheduledClass { class: scene.class_view(&class), mark });
    }
    Ok(Schedule { date: date.to_string(), time_zone: scene.institute.time_zone.clone(), classes })
}

/// The classes of the user's batches, and those that name the user as their teacher though the batch is not theirs.
fn classes_between(scene: &Scene<'_>, from: i64, until: i64) -> Result<Vec<ClassRow>, StoreError> {
    let classes = scene.records.classes_of(&scene.batches, from, until, LIST)?;
    if scene.account.role != Role::Teacher {
        return Ok(classes);
    }
    Ok(with_taught(scene, classes, scene.records.classes_taught(&scene.account.user, from, until, LIST)?))
}

/// Classes of a teacher's batches, and of those that name the teacher the ones of other batches, in order.
pub(super) fn with_taught(
    scene: &Scene<'_>,
    mut classes: Vec<ClassRow>,
    taught: Vec<ClassRow>,
) -> Vec<ClassRow> {
    classes.extend(taught.into_iter().filter(|class| !scene.batches.contains(&class.batch)));
    classes.sort_by(|a, b| (a.starts_at, &a.class).cmp(&(b.starts_at, &b.class)));
    classes.truncate(LIST as usize);
    classes
}
