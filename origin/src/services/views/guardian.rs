//! The dashboard of a guardian: whose guardian they are, and what was written to them.

use super::student::StudentBatch;
use super::{InstituteView, Messages, Person, Scene, wards};
use crate::store::StoreError;
use serde::Serialize;
use sync_protocol::tag;
use utoipa::ToSchema;

/// Most students that are shown: nobody has so many children, and each costs some searches and tags.
const STUDENTS: usize = 16;

/// `GET /api/guardians/dashboard`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GuardianDashboard {
    institute: InstituteView,
    guardian: Person,
    /// Their views are those of students with `?student=`.
    students: Vec<Ward>,
    /// The same number as `messages.unread`.
    unread_messages: u64,
    messages: Messages,
}

#[derive(Debug, Serialize, ToSchema)]
struct Ward {
    student: String,
    name: String,
    batches: Vec<StudentBatch>,
}

/// The dashboard and what it depends on.
pub(super) fn dashboard(scene: &Scene<'_>) -> Result<(GuardianDashboard, Vec<String>), StoreError> {
    let mut tags = scene.tags();
    let mut students = Vec::new();
    for student in wards(scene.records, &scene.account.user)?.iter().take(STUDENTS) {
        tags.push(tag::user(student));
        // Somebody who was deactivated is nobody here.
        let Some(account) = scene.records.account(student)? else { continue };
        let batches = scene.records.studied_batches(student)?.into_iter().map(StudentBatch::from);
        students.push(Ward { student: account.user, name: account.name, batches: batches.collect() });
    }
    let batches = students.iter().flat_map(|ward| &ward.batches);
    tags.extend(batches.map(|batch| tag::batch(&batch.batch)));
    // One place is taken by the reader's membership.
    if tags.len() + 1 > tag::MAX_TAGS {
        tags = vec![tag::EVERYTHING.to_owned(), tag::INSTITUTE.to_owned()];
    }
    let messages = scene.messages()?;
    let dashboard = GuardianDashboard {
        institute: scene.institute_view(),
        guardian: scene.person(),
        students,
        unread_messages: messages.unread,
        messages,
    };
    Ok((dashboard, tags))
}
