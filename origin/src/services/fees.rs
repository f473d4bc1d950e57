//! The rules for money: what may be issued, paid, refunded and voided. Commands and payment providers go through here.

use super::events::{self, Event};
use crate::store::{Invoice, NewInvoice, NewRefund, Payment, PaymentRow, StoreError, WriteTx};
use sync_protocol::tag;

/// What one student may owe: with it an institute of 900,000 students stays within 64 bits.
const MAX_BALANCE_MINOR: i64 = 10_000_000_000_000;

#[derive(Debug, thiserror::Error)]
pub(crate) enum FeeFault {
    #[error("invoice {0:?} is taken")]
    Taken(String),
    #[error("there is no invoice {0:?}")]
    UnknownInvoice(String),
    #[error("the invoice is void")]
    Void,
    #[error("the invoice has payments: refund them before it is voided")]
    Paid,
    #[error("amount_minor is {amount}, still due is {due}")]
    BeyondDue { amount: i64, due: i64 },
    #[error("there is no payment {0:?}")]
    UnknownPayment(String),
    #[error("amount_minor is {amount}, what can be refunded of the payment is {left}")]
    BeyondPaid { amount: i64, left: i64 },
    #[error("the student would owe {balance}, the limit is {MAX_BALANCE_MINOR}")]
    BeyondBalance { balance: i64 },
    #[error("the event cannot be applied: {0}")]
    Event(String),
    #[error("the currency is {found}, the institute's is {expected}")]
    Currency { found: String, expected: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Adds an invoice; what the student owes then.
pub(crate) fn create_invoice(tx: &mut WriteTx<'_>, new: &NewInvoice) -> Result<i64, FeeFault> {
    let balance = tx.balance_minor(&new.student)?.saturating_add(new.amount_minor);
    if balance > MAX_BALANCE_MINOR {
        return Err(FeeFault::BeyondBalance { balance });
    }
    if !tx.add_invoice(new)? {
        return Err(FeeFault::Taken(new.invoice.clone()));
    }
    tx.touch(tag::user(&new.student));
    let issued = Event::InvoiceIssued {
        student: new.student.clone(),
        invoice: new.invoice.clone(),
        title: new.title.clone(),
        amount_minor: new.amount_minor,
        due_on: new.due_on.clone(),
    };
    events::emit(tx, &issued);
    Ok(balance)
}

/// Voids an invoice of which nothing is paid. A second time changes nothing.
pub(crate) fn void(tx: &mut WriteTx<'_>, invoice: &str, at: i64) -> Result<Invoice, FeeFault> {
    let found = find_invoice(tx, invoice)?;
    if found.voided_at.is_some() {
        return Ok(found);
    }
    if found.paid_minor != 0 {
        return Err(FeeFault::Paid);
    }
    tx.void_invoice(&found, at)?;
    tx.touch(tag::user(&found.student));
    Ok(Invoice { voided_at: Some(at), ..found })
}

/// Adds a payment, of at most what is due; the invoice as it is then. A payment that is there changes nothing.
pub(crate) fn pay(tx: &mut WriteTx<'_>, payment: &PaymentRow) -> Result<Invoice, FeeFault> {
    let invoice = find_invoice(tx, &payment.invoice)?;
    if tx.payment(&payment.payment)?.is_some() {
        return Ok(invoice);
    }
    if invoice.voided_at.is_some() {
        return Err(FeeFault::Void);
    }
    let (amount, due) = (payment.amount_minor, invoice.due_minor());
    if amount > due {
        return Err(FeeFault::BeyondDue { amount, due });
    }
    tx.add_payment(payment)?;
    tx.touch(tag::user(&invoice.student));
    let recorded = Event::PaymentRecorded {
        student: invoice.student.clone(),
        payment: payment.payment.clone(),
        invoice: payment.invoice.clone(),
        amount_minor: amount,
        due_minor: due - amount,
    };
    events::emit(tx, &recorded);
    Ok(Invoice { paid_minor: invoice.paid_minor + amount, ..invoice })
}

/// Adds a refund, of at most what is left of its payment; the payment as it is then.
pub(crate) fn refund(tx: &mut WriteTx<'_>, new: &NewRefund) -> Result<Payment, FeeFault> {
    let unknown = || FeeFault::UnknownPayment(new.payment.clone());
    let payment = tx.payment(&new.payment)?.ok_or_else(unknown)?;
    let (amount, left) = (new.amount_minor, payment.amount_minor - payment.refunded_minor);
    if amount > left {
        return Err(FeeFault::BeyondPaid { amount, left });
    }
    if !tx.add_refund(new)? {
        return Ok(payment);
    }
    tx.touch(tag::user(&payment.student));
    let refunded = Event::PaymentRefunded {
        student: payment.student.clone(),
        payment: payment.payment.clone(),
        invoice: payment.invoice.clone(),
        amount_minor: amount,
    };
    events::emit(tx, &refunded);
    Ok(Payment { refunded_minor: payment.refunded_minor + amount, ..payment })
}

/// Refuses another currency than the institute's.
pub(crate) fn check_currency(tx: &WriteTx<'_>, currency: &str) -> Result<(), FeeFault> {
    let expected = tx.institute()?.map_or_else(String::new, |institute| institute.currency);
    if currency.eq_ignore_ascii_case(&expected) {
        return Ok(());
    }
    Err(FeeFault::Currency { found: currency.chars().take(8).collect(), expected })
}

fn find_invoice(tx: &WriteTx<'_>, invoice: &str) -> Result<Invoice, FeeFault> {
    tx.invoice(invoice)?.ok_or_else(|| FeeFault::UnknownInvoice(invoice.to_owned()))
}
