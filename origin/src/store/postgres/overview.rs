//! Questions that travel together.

use super::accounts::RawAccount;
use super::transaction::Transaction;
use crate::store::accounts::Account;
use crate::store::directory::Institute;
use crate::store::documents::RawDocument;
use crate::store::error::StoreError;
use crate::store::overview::{
    ClassesOverview, ReadOverview, StudentOverview, StudentOverviewOf, TeacherOverview, TeacherOverviewOf,
};
use sync_protocol::kind::Kind;
use tokio::try_join;

// Each is sent when it is first polled, before any answer is there, and the server answers in this order.
impl ReadOverview for Transaction<'_> {
    fn reader(&self, user: &str) -> Result<(Option<Account>, Option<Institute>), StoreError> {
        let (account, institute) =
            self.wait(async { try_join!(biased; self.ask_account(user), self.ask_institute()) })?;
        Ok((account.map(RawAccount::parse).transpose()?, institute))
    }

    fn student_overview(&self, of: &StudentOverviewOf<'_>) -> Result<StudentOverview, StoreError> {
        let student = &of.student.user;
        let messages = async {
            let Some(max) = of.messages_max else { return Ok(None) };
            let unread = self.ask_unread_messages(student, of.batches, of.unread_max);
            try_join!(biased; unread, self.ask_messages_to(student, of.batches, max)).map(Some)
        };
        let parts = self.wait(async {
            try_join!(
                biased;
                self.ask_studied_batches(student),
                self.ask_student_figures(student),
                self.ask_classes_of(of.batches, of.classes.start, of.classes.end, of.classes_max),
                self.ask_open_assignments(student, of.open_max),
                self.ask_student_work(student, of.work_max),
                self.ask_student_average(student),
                self.ask_student_invoices(student),
                messages,
            )
        })?;
        let (studied_batches, figures, classes, open_assignments, work, average, invoices, messages) = parts;
        Ok(StudentOverview {
            studied_batches,
            figures,
            classes,
            open_assignments,
            work,
            average,
            invoices,
            messages,
        })
    }

    fn teacher_overview(&self, of: &TeacherOverviewOf<'_>) -> Result<TeacherOverview, StoreError> {
        let teacher = &of.teacher.user;
        let (taught_batches, classes, taught, recent, work_to_grade, work_to_grade_count, unread, newest) =
            self.wait(async {
                try_join!(
                    biased;
                    self.ask_taught_batches(teacher),
                    self.ask_classes_of(of.batches, of.today.start, of.today.end, of.today_max),
                    self.ask_classes_taught(teacher, of.today.start, of.today.end, of.today_max),
                    self.ask_figures_of_batches(of.batches, of.recent.start, of.recent.end),
                    self.ask_work_to_grade(teacher, of.to_grade_max),
                    self.ask_work_to_grade_count(teacher),
                    self.ask_unread_messages(teacher, of.batches, of.unread_max),
                    self.ask_messages_to(teacher, of.batches, of.messages_max),
                )
            })?;
        let messages = (unread, newest);
        Ok(TeacherOverview {
            taught_batches,
            classes,
            taught,
            recent,
            work_to_grade,
            work_to_grade_count,
            messages,
        })
    }

    fn classes_overview(&self, classes: &[String]) -> Result<ClassesOverview, StoreError> {
        let (figures, conflicts, sheets, notes) = self.wait(async {
            try_join!(
                biased;
                self.ask_figures_of_classes(classes),
                self.ask_conflicts_of_classes(classes),
                self.ask_documents_by_subjects(Kind::Attendance.as_str(), classes),
                self.ask_documents_by_subjects(Kind::Notes.as_str(), classes),
            )
        })?;
        let parsed = |rows: Vec<RawDocument>| rows.into_iter().map(RawDocument::parse).collect();
        let (sheets, notes): (Result<_, _>, Result<_, _>) = (parsed(sheets), parsed(notes));
        Ok(ClassesOverview { figures, conflicts, sheets: sheets?, notes: notes? })
    }
}
