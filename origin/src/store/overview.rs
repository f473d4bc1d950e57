//! What several operations give, asked for together.
//!
//! The engine of a cluster sends such questions without waiting for the answers in between: a view that asked one by one would pay for
//! a round trip, and for waking a thread on both sides, with each of them.

use super::accounts::{Account, ReadAccounts};
use super::coursework::{Assignment, ReadCoursework, StudentSubmission, UngradedSubmission};
use super::directory::{Institute, ReadDirectory, StudiedBatch, TaughtBatch};
use super::documents::{LoggedDocument, ReadDocuments};
use super::error::StoreError;
use super::fees::{Invoice, ReadFees};
use super::messages::{MessageRow, ReadMessages, Unread};
use super::timetable::{AttendanceFigures, ClassConflict, ClassRow, ReadTimetable};
use std::collections::HashMap;
use std::ops::Range;
use sync_protocol::kind::Kind;

/// Of which student, and how much.
pub(crate) struct StudentOverviewOf<'a> {
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

/// Of which teacher, and how much.
pub(crate) struct TeacherOverviewOf<'a> {
    pub(crate) teacher: &'a Account,
    /// Batches of the teacher.
    pub(crate) batches: &'a [String],
    /// When the classes of today start, Unix milliseconds.
    pub(crate) today: Range<i64>,
    pub(crate) today_max: u32,
    /// When the classes start whose marks are counted.
    pub(crate) recent: Range<i64>,
    pub(crate) to_grade_max: u32,
    pub(crate) messages_max: u32,
    /// Of each mailbox.
    pub(crate) unread_max: u32,
}

/// Each part is what the operation of that name gives.
pub(crate) struct TeacherOverview {
    pub(crate) taught_batches: Vec<TaughtBatch>,
    pub(crate) classes: Vec<ClassRow>,
    /// Those that name the teacher, whatever their batch.
    pub(crate) taught: Vec<ClassRow>,
    pub(crate) recent: AttendanceFigures,
    pub(crate) work_to_grade: Vec<UngradedSubmission>,
    pub(crate) work_to_grade_count: u64,
    /// The unread ones, and the newest.
    pub(crate) messages: (Unread, Vec<MessageRow>),
}

/// What is known of several classes.
pub(crate) struct ClassesOverview {
    /// By class; none where nobody is marked.
    pub(crate) figures: HashMap<String, AttendanceFigures>,
    pub(crate) conflicts: Vec<ClassConflict>,
    pub(crate) sheets: Vec<LoggedDocument>,
    pub(crate) notes: Vec<LoggedDocument>,
}

pub(crate) trait ReadOverview:
    ReadAccounts + ReadCoursework + ReadDirectory + ReadDocuments + ReadFees + ReadMessages + ReadTimetable
{
    /// A user's account, and the institute.
    fn reader(&self, user: &str) -> Result<(Option<Account>, Option<Institute>), StoreError> {
        Ok((self.account(user)?, self.institute()?))
    }

    fn student_overview(&self, of: &StudentOverviewOf<'_>) -> Result<StudentOverview, StoreError> {
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

    fn teacher_overview(&self, of: &TeacherOverviewOf<'_>) -> Result<TeacherOverview, StoreError> {
        let teacher = &of.teacher.user;
        Ok(TeacherOverview {
            taught_batches: self.taught_batches(teacher)?,
            classes: self.classes_of(of.batches, of.today.start, of.today.end, of.today_max)?,
            taught: self.classes_taught(teacher, of.today.start, of.today.end, of.today_max)?,
            recent: self.figures_of_batches(of.batches, of.recent.start, of.recent.end)?,
            work_to_grade: self.work_to_grade(teacher, of.to_grade_max)?,
            work_to_grade_count: self.work_to_grade_count(teacher)?,
            messages: (
                self.unread_messages(teacher, of.batches, of.unread_max)?,
                self.messages_to(teacher, of.batches, of.messages_max)?,
            ),
        })
    }

    fn classes_overview(&self, classes: &[String]) -> Result<ClassesOverview, StoreError> {
        Ok(ClassesOverview {
            figures: self.figures_of_classes(classes)?,
            conflicts: self.conflicts_of_classes(classes)?,
            sheets: self.documents_by_subjects(Kind::Attendance.as_str(), classes)?,
            notes: self.documents_by_subjects(Kind::Notes.as_str(), classes)?,
        })
    }
}
