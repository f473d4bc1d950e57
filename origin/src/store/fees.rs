//! Invoices and their payments. Money is in minor units of the institute's currency.

use super::error::StoreError;

#[derive(Debug, Clone)]
pub(crate) struct Invoice {
    pub(crate) invoice: String,
    pub(crate) student: String,
    pub(crate) title: String,
    pub(crate) amount_minor: i64,
    pub(crate) paid_minor: i64,
    /// Local date, `YYYY-MM-DD`.
    pub(crate) due_on: String,
}

#[derive(Debug, Clone)]
pub(crate) struct NewInvoice {
    pub(crate) invoice: String,
    pub(crate) student: String,
    pub(crate) title: String,
    pub(crate) amount_minor: i64,
    pub(crate) due_on: String,
}

#[derive(Debug, Clone)]
pub(crate) struct PaymentRow {
    pub(crate) payment: String,
    pub(crate) invoice: String,
    /// Of the student; empty when it is about to be written.
    pub(crate) student_name: String,
    pub(crate) amount_minor: i64,
    pub(crate) method: String,
    pub(crate) reference: Option<String>,
    pub(crate) recorded_by: String,
    pub(crate) paid_at: i64,
}

pub(crate) trait ReadFees {
    fn invoice(&self, invoice: &str) -> Result<Option<Invoice>, StoreError>;

    fn student_invoices(&self, student: &str) -> Result<Vec<Invoice>, StoreError>;

    /// What the whole institute has still to receive.
    fn outstanding_minor(&self) -> Result<i64, StoreError>;

    /// Payments of the whole institute, the newest first.
    fn recent_payments(&self, limit: u32) -> Result<Vec<PaymentRow>, StoreError>;

    /// What the whole institute received since a time.
    fn received_since_minor(&self, since: i64) -> Result<i64, StoreError>;
}

pub(crate) trait WriteFees {
    fn add_invoice(&self, invoice: &NewInvoice) -> Result<bool, StoreError>;

    /// Adds a payment and raises what its invoice has received. The caller has checked that it is not too much.
    fn add_payment(&self, payment: &PaymentRow) -> Result<bool, StoreError>;
}
