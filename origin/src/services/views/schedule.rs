//! The classes of one day of a student or a teacher.

use super::{ClassView, LIST, Scene};
use crate::store::StoreError;
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
    for class in scene.records.classes_of(&scene.batches, from, until, LIST)? {
        let mark = match scene.account.role {
            Role::Student => scene.records.mark_of(&class.class, &scene.account.user)?,
            Role::Teacher | Role::Admin | Role::Guardian => None,
        };
        classes.push(ScheduledClass { class: scene.class_view(&class), mark });
    }
    Ok(Schedule { date: date.to_string(), time_zone: scene.institute.time_zone.clone(), classes })
}
