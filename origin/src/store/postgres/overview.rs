//! Questions that travel together.

use super::accounts::RawAccount;
use super::transaction::Transaction;
use crate::store::accounts::Account;
use crate::store::directory::Institute;
use crate::store::error::StoreError;
use crate::store::overview::{OverviewOf, ReadOverview, StudentOverview};
use tokio::try_join;

// Each is sent when it is first polled, before any answer is there, and the server answers in this order.
impl ReadOverview for Transaction<'_> {
    fn reader(&self, user: &str) -> Result<(Option<Account>, Option<Institute>), StoreError> {
        let (account, institute) =
            self.wait(async { try_join!(biased; self.ask_account(user), self.ask_institute()) })?;
        Ok((account.map(RawAccount::parse).transpose()?, institute))
    }

    fn student_overview(&self, of: &OverviewOf<'_>) -> Result<StudentOverview, StoreError> {
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
}
