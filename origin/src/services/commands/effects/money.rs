//! Commands about money, by admins alone. The rules are those of `services::fees`.

use super::{CommandFault, forbidden, invalid, not_found, require_admin};
use crate::services::fees::{self, FeeFault};
use crate::store::{Account, NewInvoice, NewRefund, PaymentRow, WriteTx};
use jiff::civil::Date;
use serde_json::{Value, json};
use sync_protocol::command::Command;
use sync_protocol::token::Role;
use uuid::Uuid;

pub(super) fn apply(
    tx: &mut WriteTx<'_>,
    by: &Account,
    command: &Command,
    at: i64,
) -> Result<Value, CommandFault> {
    require_admin(by)?;
    match command {
        Command::IssueInvoice { student, title, amount_minor, due_on, currency } => {
            let new = NewInvoice {
                invoice: Uuid::now_v7().to_string(),
                student: student.clone(),
                title: title.clone(),
                amount_minor: *amount_minor,
                due_on: due_on.clone(),
                issued_at: at,
            };
            issue(tx, &new, currency.as_deref())
        }
        Command::VoidInvoice { invoice } => void_invoice(tx, invoice, at),
        Command::RecordPayment { invoice, amount_minor, method, reference } => {
            let payment = PaymentRow {
                payment: Uuid::now_v7().to_string(),
                invoice: invoice.clone(),
                student_name: String::new(),
                amount_minor: *amount_minor,
                method: method.clone(),
                reference: reference.clone(),
                recorded_by: by.user.clone(),
                paid_at: at,
            };
            record_payment(tx, &payment)
        }
        Command::RefundPayment { payment, amount_minor, reason } => {
            let new = NewRefund {
                refund: Uuid::now_v7().to_string(),
                payment: payment.clone(),
                amount_minor: *amount_minor,
                reason: reason.clone(),
                refunded_by: Some(by.user.clone()),
                refunded_at: at,
            };
            refund_payment(tx, &new)
        }
        Command::GradeSubmission { .. }
        | Command::PostMessage { .. }
        | Command::SubmitAssignment { .. }
        | Command::EnrollStudent { .. }
        | Command::WithdrawStudent { .. }
        | Command::AssignTeacher { .. }
        | Command::UnassignTeacher { .. }
        | Command::AddGuardian { .. }
        | Command::RemoveGuardian { .. }
        | Command::DeactivateUser { .. }
        | Command::ReactivateUser { .. }
        | Command::RescheduleClass { .. } => Err(forbidden("the command is not about money")),
    }
}

fn void_invoice(tx: &mut WriteTx<'_>, invoice: &str, at: i64) -> Result<Value, CommandFault> {
    let voided = fees::void(tx, invoice, at).map_err(|fault| refuse(fault, "invoice"))?;
    Ok(json!({
        "command": "void-invoice", "invoice": voided.invoice, "student": voided.student,
        "amount_minor": voided.amount_minor,
    }))
}

fn record_payment(tx: &mut WriteTx<'_>, payment: &PaymentRow) -> Result<Value, CommandFault> {
    let paid = fees::pay(tx, payment).map_err(|fault| refuse(fault, "amount_minor"))?;
    Ok(json!({
        "command": "record-payment", "payment": payment.payment, "invoice": paid.invoice,
        "student": paid.student, "amount_minor": payment.amount_minor, "paid_minor": paid.paid_minor,
        "due_minor": paid.due_minor(),
    }))
}

fn refund_payment(tx: &mut WriteTx<'_>, new: &NewRefund) -> Result<Value, CommandFault> {
    let refunded = fees::refund(tx, new).map_err(|fault| refuse(fault, "amount_minor"))?;
    Ok(json!({
        "command": "refund-payment", "refund": new.refund, "payment": refunded.payment,
        "invoice": refunded.invoice, "student": refunded.student, "amount_minor": new.amount_minor,
        "refunded_minor": refunded.refunded_minor,
    }))
}

fn issue(tx: &mut WriteTx<'_>, new: &NewInvoice, currency: Option<&str>) -> Result<Value, CommandFault> {
    let student = tx.account(&new.student)?.filter(|account| account.role == Role::Student);
    student.ok_or_else(|| not_found("student", &new.student))?;
    if new.due_on.parse::<Date>().is_err() {
        return Err(invalid("due_on", format!("due_on {:?} is not in the calendar", new.due_on)));
    }
    currency
        .map_or(Ok(()), |currency| fees::check_currency(tx, currency))
        .map_err(|fault| refuse(fault, "currency"))?;
    let balance = fees::issue(tx, new).map_err(|fault| refuse(fault, "amount_minor"))?;
    Ok(json!({
        "command": "issue-invoice", "invoice": new.invoice, "student": new.student,
        "amount_minor": new.amount_minor, "due_on": new.due_on, "balance_minor": balance,
    }))
}

/// A fault as the refusal of a command, of which `field` is to blame unless the fault says otherwise.
fn refuse(fault: FeeFault, field: &str) -> CommandFault {
    let detail = fault.to_string();
    match fault {
        FeeFault::UnknownInvoice(invoice) => not_found("invoice", &invoice),
        FeeFault::UnknownPayment(payment) => not_found("payment", &payment),
        FeeFault::Void | FeeFault::Paid => invalid("invoice", detail),
        FeeFault::BeyondDue { .. }
        | FeeFault::BeyondPaid { .. }
        | FeeFault::BeyondBalance { .. }
        | FeeFault::Currency { .. } => invalid(field, detail),
        FeeFault::Store(error) => error.into(),
    }
}
