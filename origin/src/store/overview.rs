//! What several operations give, asked for together.
//!
//! The engine of a cluster sends such questions without waiting for the answers in between: a view that asked one by one would pay for
//! a round trip, and for waking a thread on both sides, with each of them.

use super::accounts::{Account, ReadAccounts};
use super::coursework::{Assignment, ReadCoursework, StudentSubmission};
use super::directory::{Institute, ReadDirectory, StudiedBatch};
use super::error::StoreError;
use super::fees::{Invoice, ReadFees};
use super::messages::{MessageRow, ReadMessages, Unread};
use super::timetable::{AttendanceFigures, ClassRow, ReadTimetable};
use std::ops::Range;

/// Of which student, and how much.
pub(crate) struct OverviewOf<'a> {
    pub(crate) student: &'a Account,
    /// Batches of the student.
    pub(crate) batches: &'a [String],
    /// When the classes start, Unix milliseconds.
    pub(crate) classes: Range<i64>,
    pub(crate) classes_max: u32,
    pub(crate) open_max: u32,
    pub(crate) work_max: u32,
    /// Absent when the messages are not for who asks.
    pub(crate) messages_max: Option<u32>,
    /// Of each mailbox.
    pub(crate) unread_max: u32,
}

/// Each part is what the operation of that name gives.
pub(crate) struct StudentOverview {
    pub(crate) studied_batches: Vec<StudiedBatch>,
    pub(crate) figures: AttendanceFigures,
    pub(crate) classes: Vec<ClassRow>,
    pub(crate) open_assignments: Vec<Assignment>,
    pub(crate) work: Vec<StudentSubmission>,
    pub(crate) average: Option<f64>,
    pub(crate) invoices: Vec<Invoice>,
    /// The unread ones, and the newest.
    pub(crate) messages: Option<(Unread, Vec<MessageRow>)>,
}

pub(crate) trait ReadOverview:
    ReadAccounts + ReadCoursework + ReadDirectory + ReadFees + ReadMessages + ReadTimetable
{
    /// A user's account, and the institute.
    fn reader(&self, user: &str) -> Result<(Option<Account>, Option<Institute>), StoreError> {
        Ok((self.account(user)?, self.institute()?))
    }

    fn student_overview(&self, of: &OverviewOf<'_>) -> Result<StudentOverview, StoreError> {
        let student = &of.student.user;
        let messages = of.messages_max.map(|max| {
            let unread = self.unread_messages(student, of.batches, of.unread_max)?;
            Ok::<_, StoreError>((unread, self.messages_to(student, of.batches, max)?))
        });
        Ok(StudentOverview {
            studied_batches: self.studied_batches(student)?,
            figures: self.student_figures(student)?,
            classes: self.classes_of(of.batches, of.classes.start, of.classes.end, of.classes_max)?,
            open_assignments: self.open_assignments(student, of.open_max)?,
            work: self.student_work(student, of.work_max)?,
            average: self.student_average(student)?,
            invoices: self.student_invoices(student)?,
            messages: messages.transpose()?,
        })
    }
}
