//! Invoices, payments, refunds, the ledger of what students owe, and the events of payment providers. Money is in minor
//! units of the institute's currency.

use super::error::StoreError;

#[derive(Debug, Clone)]
pub(crate) struct Invoice {
    pub(crate) invoice: String,
    pub(crate) student: String,
    pub(crate) title: String,
    pub(crate) amount_minor: i64,
    /// Payments without what was refunded of them.
    pub(crate) paid_minor: i64,
    /// Local date, `YYYY-MM-DD`.
    pub(crate) due_on: String,
    /// Nothing is owed for a void invoice.
    pub(crate) voided_at: Option<i64>,
}

impl Invoice {
    /// Still to be paid.
    pub(crate) fn due_minor(&self) -> i64 {
        if self.voided_at.is_some() { 0 } else { self.amount_minor - self.paid_minor }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct NewInvoice {
    pub(crate) invoice: String,
    pub(crate) student: String,
    pub(crate) title: String,
    pub(crate) amount_minor: i64,
    pub(crate) due_on: String,
    pub(crate) issued_at: i64,
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
    /// A user, or the payment provider that told of it.
    pub(crate) recorded_by: String,
    pub(crate) paid_at: i64,
}

/// A payment as a refund needs it.
#[derive(Debug, Clone)]
pub(crate) struct Payment {
    pub(crate) payment: String,
    pub(crate) invoice: String,
    pub(crate) student: String,
    pub(crate) amount_minor: i64,
    pub(crate) refunded_minor: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct NewRefund {
    pub(crate) refund: String,
    pub(crate) payment: String,
    pub(crate) amount_minor: i64,
    pub(crate) reason: Option<String>,
    pub(crate) refunded_by: Option<String>,
    pub(crate) refunded_at: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Invoice,
    Void,
    Payment,
    Refund,
}

impl EntryKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            EntryKind::Invoice => "invoice",
            EntryKind::Void => "void",
            EntryKind::Payment => "payment",
            EntryKind::Refund => "refund",
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, StoreError> {
        let all = [EntryKind::Invoice, EntryKind::Void, EntryKind::Payment, EntryKind::Refund];
        let unknown = || StoreError::Corrupt { what: "kind of a ledger's entry", text: text.to_owned() };
        all.into_iter().find(|kind| kind.as_str() == text).ok_or_else(unknown)
    }
}

/// One line of what a student owes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LedgerEntry {
    pub(crate) kind: EntryKind,
    /// The invoice, payment or refund.
    pub(crate) entry: String,
    pub(crate) invoice: String,
    /// What the student owes more, or less when negative.
    pub(crate) amount_minor: i64,
    /// None for invoices that were there before the ledger.
    pub(crate) at: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventStatus {
    Applied,
    /// Not about money that came or went.
    Ignored,
    SetAside,
}

impl EventStatus {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            EventStatus::Applied => "applied",
            EventStatus::Ignored => "ignored",
            EventStatus::SetAside => "set-aside",
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, StoreError> {
        let all = [EventStatus::Applied, EventStatus::Ignored, EventStatus::SetAside];
        let unknown = || StoreError::Corrupt { what: "status of an event", text: text.to_owned() };
        all.into_iter().find(|status| status.as_str() == text).ok_or_else(unknown)
    }
}

/// What a payment provider told, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PaymentEvent {
    pub(crate) provider: String,
    pub(crate) event: String,
    pub(crate) status: EventStatus,
    pub(crate) reason: Option<String>,
    pub(crate) body: String,
    pub(crate) received_at: i64,
}

/// An event that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptEvent {
    pub(crate) event: PaymentEvent,
    /// When somebody dealt with an event that was set aside.
    pub(crate) settled_at: Option<i64>,
}

/// What was done about an event that was set aside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settled<'a> {
    pub(crate) by: &'a str,
    pub(crate) at: i64,
    /// Why nothing comes of it; absent when it was applied after all.
    pub(crate) why: Option<&'a str>,
}

/// An event that waits for somebody to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetAside {
    pub(crate) provider: String,
    pub(crate) event: String,
    pub(crate) reason: String,
    pub(crate) body: String,
    pub(crate) received_at: i64,
}

pub(crate) trait ReadFees {
    fn invoice(&self, invoice: &str) -> Result<Option<Invoice>, StoreError>;

    /// All of the student's invoices, void ones too, the first due first.
    fn student_invoices(&self, student: &str) -> Result<Vec<Invoice>, StoreError>;

    /// Invoices of the whole institute that are not paid in full, the first due first.
    fn open_invoices(&self, limit: u32) -> Result<Vec<Invoice>, StoreError>;

    /// Payments of the whole institute, the newest first.
    fn recent_payments(&self, limit: u32) -> Result<Vec<PaymentRow>, StoreError>;

    fn payment(&self, payment: &str) -> Result<Option<Payment>, StoreError>;

    /// What the student owes: the sum of their ledger. Negative when too much was paid, which nothing here allows.
    fn balance_minor(&self, student: &str) -> Result<i64, StoreError>;

    /// The student's ledger, the newest first.
    fn ledger(&self, student: &str, limit: u32) -> Result<Vec<LedgerEntry>, StoreError>;

    /// Whether anything was ever owed, in the institute's currency.
    fn has_ledger(&self) -> Result<bool, StoreError>;

    /// Whether the event was taken in before.
    fn knows_payment_event(&self, provider: &str, event: &str) -> Result<bool, StoreError>;

    /// An event with what became of it.
    fn payment_event(&self, provider: &str, event: &str) -> Result<Option<KeptEvent>, StoreError>;

    /// Events that were set aside and that nobody has dealt with, the oldest first.
    fn set_aside_events(&self, limit: u32) -> Result<Vec<SetAside>, StoreError>;
}

/// Each adds to the ledger what it changes. The callers have checked that nothing is paid or refunded beyond what is due;
/// the tables refuse it too.
pub(crate) trait WriteFees {
    fn add_invoice(&self, invoice: &NewInvoice) -> Result<bool, StoreError>;

    /// Voids an invoice of which nothing is paid.
    fn void_invoice(&self, invoice: &Invoice, at: i64) -> Result<(), StoreError>;

    /// Adds a payment and raises what its invoice has received; whether it was not there.
    fn add_payment(&self, payment: &PaymentRow) -> Result<bool, StoreError>;

    /// Adds a refund and lowers what the payment's invoice has received; whether it was not there.
    fn add_refund(&self, refund: &NewRefund) -> Result<bool, StoreError>;

    /// Keeps an event for good. Fails when it is there: look before.
    fn add_payment_event(&self, event: &PaymentEvent) -> Result<(), StoreError>;

    /// Notes what was done about an event that was set aside; false when it was not, or somebody was faster.
    fn settle_payment_event(
        &self,
        provider: &str,
        event: &str,
        settled: &Settled<'_>,
    ) -> Result<bool, StoreError>;
}
