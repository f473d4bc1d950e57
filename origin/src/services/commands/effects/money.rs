//! Commands about money, by admins alone. The rules are those of `services::fees`.

use super::{CommandFault, already_exists, forbidden, invalid, not_found, require_admin};
use crate::services::fees::{self, FeeFault};
use crate::services::webhooks;
use crate::store::{Account, EventStatus, NewInvoice, NewRefund, PaymentEvent, PaymentRow, Settled, WriteTx};
use jiff::civil::Date;
use serde_json::{Value, json};
use sync_protocol::command::Command;
use sync_protocol::tag;
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
        Command::CreateInvoice { invoice, student, title, amount_minor, due_on, currency } => {
            let new = NewInvoice {
                invoice: invoice.clone().unwrap_or_else(|| Uuid::now_v7().to_string()),
                student: student.clone(),
                title: title.clone(),
                amount_minor: *amount_minor,
                due_on: due_on.clone(),
                issued_at: at,
            };
            create_invoice(tx, &new, currency.as_deref())
        }
        Command::VoidInvoice { invoice } => void_invoice(tx, invoice, at),
        Command::RecordPayment { invoice, amount_minor, method, reference } => {
            let (method, reference) = (method.clone(), reference.clone());
            record_payment(tx, by, (invoice, *amount_minor, method, reference), at)
        }
        Command::RefundPayment { payment, amount_minor, reason } => {
            refund_payment(tx, by, (payment, *amount_minor, reason.clone()), at)
        }
        Command::ApplyPaymentEvent { provider, event } => apply_event(tx, by, (provider, event), at),
        Command::SettlePaymentEvent { provider, event, reason } => {
            settle_event(tx, by, (provider, event), reason, at)
        }
        Command::GradeSubmission { .. }
        | Command::PostMessage { .. }
        | Command::RetractMessage { .. }
        | Command::MarkMessagesRead { .. }
        | Command::SubmitAssignment { .. }
        | Command::EnrollStudent { .. }
        | Command::WithdrawStudent { .. }
        | Command::AssignTeacher { .. }
        | Command::UnassignTeacher { .. }
        | Command::AddGuardian { .. }
        | Command::RemoveGuardian { .. }
        | Command::DeactivateUser { .. }
        | Command::ReactivateUser { .. }
        | Command::DeleteDocument { .. }
        | Command::RescheduleClass { .. }
        | Command::CreateUser { .. }
        | Command::ChangeUser { .. }
        | Command::CreateBatch { .. }
        | Command::ChangeBatch { .. }
        | Command::CreateClass { .. }
        | Command::ChangeClass { .. }
        | Command::CancelClass { .. }
        | Command::CreateClassSeries { .. }
        | Command::ChangeClassSeries { .. }
        | Command::CancelClassSeries { .. }
        | Command::CreateAssignment { .. }
        | Command::ChangeAssignment { .. }
        | Command::ChangeInstitute { .. }
        | Command::RevokeDevice { .. } => Err(forbidden("the command is not about money")),
    }
}

fn void_invoice(tx: &mut WriteTx<'_>, invoice: &str, at: i64) -> Result<Value, CommandFault> {
    let voided = fees::void(tx, invoice, at).map_err(|fault| refuse(fault, "invoice"))?;
    Ok(json!({
        "command": "void-invoice", "invoice": voided.invoice, "student": voided.student,
        "amount_minor": voided.amount_minor,
    }))
}

fn record_payment(
    tx: &mut WriteTx<'_>,
    by: &Account,
    (invoice, amount_minor, method, reference): (&str, i64, String, Option<String>),
    at: i64,
) -> Result<Value, CommandFault> {
    let payment = PaymentRow {
        payment: Uuid::now_v7().to_string(),
        invoice: invoice.to_owned(),
        student_name: String::new(),
        amount_minor,
        method,
        reference,
        recorded_by: by.user.clone(),
        paid_at: at,
    };
    let paid = fees::pay(tx, &payment).map_err(|fault| refuse(fault, "amount_minor"))?;
    Ok(json!({
        "command": "record-payment", "payment": payment.payment, "invoice": paid.invoice,
        "student": paid.student, "amount_minor": payment.amount_minor, "paid_minor": paid.paid_minor,
        "due_minor": paid.due_minor(),
    }))
}

fn refund_payment(
    tx: &mut WriteTx<'_>,
    by: &Account,
    (payment, amount_minor, reason): (&str, i64, Option<String>),
    at: i64,
) -> Result<Value, CommandFault> {
    let new = NewRefund {
        refund: Uuid::now_v7().to_string(),
        payment: payment.to_owned(),
        amount_minor,
        reason,
        refunded_by: Some(by.user.clone()),
        refunded_at: at,
    };
    let refunded = fees::refund(tx, &new).map_err(|fault| refuse(fault, "amount_minor"))?;
    Ok(json!({
        "command": "refund-payment", "refund": new.refund, "payment": refunded.payment,
        "invoice": refunded.invoice, "student": refunded.student, "amount_minor": new.amount_minor,
        "refunded_minor": refunded.refunded_minor,
    }))
}

/// Moves the money that a provider told of, as if it told it now.
fn apply_event(
    tx: &mut WriteTx<'_>,
    by: &Account,
    (provider, event): (&str, &str),
    at: i64,
) -> Result<Value, CommandFault> {
    let kept = open_event(tx, provider, event)?;
    webhooks::apply_kept(tx, &kept).map_err(|fault| refuse(fault, "event"))?;
    tx.settle_payment_event(provider, event, &Settled { by: &by.user, at, why: None })?;
    tx.touch(tag::INSTITUTE.to_owned());
    Ok(json!({"command": "apply-payment-event", "provider": provider, "event": event}))
}

fn settle_event(
    tx: &mut WriteTx<'_>,
    by: &Account,
    (provider, event): (&str, &str),
    reason: &str,
    at: i64,
) -> Result<Value, CommandFault> {
    open_event(tx, provider, event)?;
    tx.settle_payment_event(provider, event, &Settled { by: &by.user, at, why: Some(reason) })?;
    tx.touch(tag::INSTITUTE.to_owned());
    Ok(json!({"command": "settle-payment-event", "provider": provider, "event": event}))
}

/// An event that was set aside and that nobody has dealt with.
fn open_event(tx: &WriteTx<'_>, provider: &str, event: &str) -> Result<PaymentEvent, CommandFault> {
    let kept = tx.payment_event(provider, event)?.ok_or_else(|| not_found("event", event))?;
    if kept.event.status != EventStatus::SetAside || kept.settled_at.is_some() {
        return Err(invalid("event", "the event does not wait for anybody".to_owned()));
    }
    Ok(kept.event)
}

fn create_invoice(
    tx: &mut WriteTx<'_>,
    new: &NewInvoice,
    currency: Option<&str>,
) -> Result<Value, CommandFault> {
    let student = tx.account(&new.student)?.filter(|account| account.role == Role::Student);
    student.ok_or_else(|| not_found("student", &new.student))?;
    if !new.due_on.parse::<Date>().is_ok_and(|date| date.year() >= 1970) {
        return Err(invalid("due_on", format!("due_on is {:?}, not a day since 1970", new.due_on)));
    }
    currency
        .map_or(Ok(()), |currency| fees::check_currency(tx, currency))
        .map_err(|fault| refuse(fault, "currency"))?;
    let balance = fees::create_invoice(tx, new).map_err(|fault| refuse(fault, "amount_minor"))?;
    Ok(json!({
        "command": "create-invoice", "invoice": new.invoice, "student": new.student, "title": new.title,
        "amount_minor": new.amount_minor, "due_on": new.due_on, "balance_minor": balance,
    }))
}

/// A fault as the refusal of a command, of which `field` is to blame unless the fault says otherwise.
fn refuse(fault: FeeFault, field: &str) -> CommandFault {
    let detail = fault.to_string();
    match fault {
        FeeFault::Taken(invoice) => already_exists("invoice", &invoice),
        FeeFault::UnknownInvoice(invoice) => not_found("invoice", &invoice),
        FeeFault::UnknownPayment(payment) => not_found("payment", &payment),
        FeeFault::Void | FeeFault::Paid => invalid("invoice", detail),
        FeeFault::Event(_) => invalid("event", detail),
        FeeFault::BeyondDue { .. }
        | FeeFault::BeyondPaid { .. }
        | FeeFault::BeyondBalance { .. }
        | FeeFault::Currency { .. } => invalid(field, detail),
        FeeFault::Store(error) => error.into(),
    }
}
