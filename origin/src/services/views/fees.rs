//! Who owes what: the statement of a student, and the institute's open invoices.

use super::{LIST, PaymentView, Person, Scene};
use crate::store::{Invoice, LedgerEntry, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

/// The span of what was received lately: 30 days.
const RECEIVED_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// `GET /api/students/fees`.
// The dashboard has a shape of this name.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FeeStatement)]
pub(crate) struct StudentFees {
    student: Person,
    currency: String,
    /// What is owed: the sum of all entries of the ledger, minor units.
    balance_minor: i64,
    invoices: Vec<InvoiceView>,
    /// The newest first.
    entries: Vec<EntryView>,
}

// The dashboard has a shape of this name.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FeeInvoice)]
struct InvoiceView {
    invoice: String,
    title: String,
    amount_minor: i64,
    paid_minor: i64,
    due_minor: i64,
    due_on: String,
    /// `open`, `overdue`, `paid` or `void`.
    state: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct EntryView {
    /// `invoice`, `void`, `payment` or `refund`.
    kind: &'static str,
    /// The id of the invoice, payment or refund.
    entry: String,
    invoice: String,
    /// What the student owes more, or less when negative.
    amount_minor: i64,
    at: Option<String>,
}

/// `GET /api/admin/fees`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AdminFees {
    currency: String,
    outstanding_minor: i64,
    /// In the last 30 days and today (UTC), refunds taken off.
    received_30_days_minor: i64,
    /// The first due first.
    open_invoices: Vec<OpenInvoice>,
    /// The newest first.
    recent_payments: Vec<PaymentView>,
    /// What payment providers told, could not be applied, and waits for somebody, the oldest first; all of it is at
    /// `/admin/v1/payment-events?open=true`.
    set_aside: Vec<SetAsideView>,
}

#[derive(Debug, Serialize, ToSchema)]
struct OpenInvoice {
    student: String,
    #[serde(flatten)]
    invoice: InvoiceView,
}

#[derive(Debug, Serialize, ToSchema)]
struct SetAsideView {
    provider: String,
    event: String,
    reason: String,
    /// As the provider sent it.
    body: String,
    received_at: String,
}

pub(super) fn student_fees(scene: &Scene<'_>) -> Result<StudentFees, StoreError> {
    let student = &scene.account;
    let invoices = scene.records.student_invoices(&student.user)?;
    let entries = scene.records.ledger(&student.user, LIST)?;
    Ok(StudentFees {
        student: scene.person(),
        currency: scene.institute.currency.clone(),
        balance_minor: scene.records.balance_minor(&student.user)?,
        invoices: invoices.into_iter().map(|invoice| invoice_view(scene, invoice)).collect(),
        entries: entries.into_iter().map(|entry| entry_view(scene, entry)).collect(),
    })
}

pub(super) fn admin_fees(scene: &Scene<'_>) -> Result<AdminFees, StoreError> {
    let records = scene.records;
    let open = records.open_invoices(LIST)?.into_iter().map(|invoice| OpenInvoice {
        student: invoice.student.clone(),
        invoice: invoice_view(scene, invoice),
    });
    let payments = records.recent_payments(LIST)?.into_iter().map(|payment| scene.payment_view(payment));
    let set_aside = records.set_aside_events(LIST)?.into_iter().map(|event| SetAsideView {
        provider: event.provider,
        event: event.event,
        reason: event.reason,
        body: event.body,
        received_at: scene.time.text(event.received_at),
    });
    Ok(AdminFees {
        currency: scene.institute.currency.clone(),
        outstanding_minor: records.institute_figures()?.outstanding_minor,
        received_30_days_minor: records.received_since_minor(scene.now - RECEIVED_MS)?,
        open_invoices: open.collect(),
        recent_payments: payments.collect(),
        set_aside: set_aside.collect(),
    })
}

fn invoice_view(scene: &Scene<'_>, invoice: Invoice) -> InvoiceView {
    let due_minor = invoice.due_minor();
    let state = match due_minor {
        _ if invoice.voided_at.is_some() => "void",
        0 => "paid",
        // Dates of this form compare as their texts do.
        _ if invoice.due_on < scene.today.to_string() => "overdue",
        _ => "open",
    };
    InvoiceView {
        invoice: invoice.invoice,
        title: invoice.title,
        amount_minor: invoice.amount_minor,
        paid_minor: invoice.paid_minor,
        due_minor,
        due_on: invoice.due_on,
        state,
    }
}

fn entry_view(scene: &Scene<'_>, entry: LedgerEntry) -> EntryView {
    EntryView {
        kind: entry.kind.as_str(),
        entry: entry.entry,
        invoice: entry.invoice,
        amount_minor: entry.amount_minor,
        at: entry.at.map(|at| scene.time.text(at)),
    }
}
