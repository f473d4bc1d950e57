//! What payment providers tell: each event once, in the transaction that it moves money in.
//!
//! An event that cannot be applied, such as a payment of an unknown invoice or of more than is due, is set aside whole,
//! for an admin to see (`GET /admin/v1/payment-events`) and to apply or settle later, and acknowledged: the provider's
//! repetitions would change nothing.

mod event;
mod settings;
mod signature;

pub(crate) use settings::{WebhookSettings, Webhooks};
pub(crate) use signature::SIGNATURE_HEADER;
#[cfg(test)]
pub(crate) use signature::sign;

use super::fees::{self, FeeFault};
use crate::store::{EventStatus, NewRefund, PaymentEvent, PaymentRow, Store, StoreError, WriteTx};
use event::{Event, Money};
use serde::Serialize;
use std::sync::Arc;

/// Largest event: a provider's are a few KiB.
pub(crate) const MAX_EVENT_BYTES: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum WebhookError {
    /// One answer for all: an unknown institute or provider, no signature, a wrong one, or one of another time.
    #[error("the signature is not valid for this path")]
    Signature,
    #[error("the event is {0} bytes, the limit is {MAX_EVENT_BYTES}")]
    TooLong(usize),
    #[error("the event is malformed: {0}")]
    Malformed(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The answer to an event that was taken in.
#[derive(Debug, Serialize)]
pub(crate) struct EventReceipt {
    /// `applied`, `ignored`, `set-aside`, or `known` for one that came before.
    status: &'static str,
}

#[derive(Clone)]
pub(crate) struct WebhookService {
    store: Store,
    webhooks: Arc<Webhooks>,
}

impl WebhookService {
    pub(crate) fn new(store: Store, webhooks: Webhooks) -> Self {
        Self { store, webhooks: Arc::new(webhooks) }
    }

    /// Takes in an event. When this returns, it is applied, or kept.
    pub(crate) async fn receive(
        &self,
        (institute, provider): (&str, &str),
        signature: &str,
        body: &[u8],
        now: i64,
    ) -> Result<EventReceipt, WebhookError> {
        if body.len() > MAX_EVENT_BYTES {
            return Err(WebhookError::TooLong(body.len()));
        }
        let secrets = self.webhooks.secrets(institute, provider);
        if !signature::verify(&secrets, signature, body, now / 1000) {
            return Err(WebhookError::Signature);
        }
        let event = Event::decode(body).map_err(WebhookError::Malformed)?;
        let body = String::from_utf8_lossy(body).into_owned();
        let provider = provider.to_owned();
        let taken = self.store.write::<_, WebhookError, _>(institute, move |tx| {
            if tx.institute()?.is_none() {
                return Err(WebhookError::Signature);
            }
            if tx.knows_payment_event(&provider, &event.id)? {
                return Ok("known");
            }
            let (status, reason) = apply(tx, &provider, &event, now)?;
            // What is none of our business is not kept, only that it came.
            let body = if status == EventStatus::Ignored { String::new() } else { body };
            let kept = PaymentEvent { provider, event: event.id, status, reason, body, received_at: now };
            tx.add_payment_event(&kept)?;
            Ok(status.as_str())
        });
        Ok(EventReceipt { status: taken.await?.value })
    }
}

/// What becomes of an event, and why it is set aside.
fn apply(
    tx: &mut WriteTx<'_>,
    provider: &str,
    event: &Event,
    now: i64,
) -> Result<(EventStatus, Option<String>), WebhookError> {
    let money = match &event.money {
        Ok(Some(money)) => money,
        Ok(None) => return Ok((EventStatus::Ignored, None)),
        Err(reason) => return set_aside(tx, reason.clone()),
    };
    match tx.attempt(|tx| move_money(tx, provider, money, now)) {
        Ok(()) => Ok((EventStatus::Applied, None)),
        Err(FeeFault::Store(error)) => Err(error.into()),
        Err(fault) => set_aside(tx, fault.to_string()),
    }
}

/// Moves the money of an event that was set aside, dated when it came. An error leaves nothing behind only where the transaction,
/// or an attempt within it, ends with it.
pub(crate) fn apply_kept(tx: &mut WriteTx<'_>, kept: &PaymentEvent) -> Result<(), FeeFault> {
    let event = Event::decode(kept.body.as_bytes()).map_err(FeeFault::Event)?;
    let money = event.money.map_err(FeeFault::Event)?;
    let money = money.ok_or_else(|| FeeFault::Event("it moves no money".to_owned()))?;
    move_money(tx, &kept.provider, &money, kept.received_at)
}

fn set_aside(tx: &mut WriteTx<'_>, reason: String) -> Result<(EventStatus, Option<String>), WebhookError> {
    // The admin's view shows it, and it depends on the institute, which every commit that touches anything touches.
    tx.touch(sync_protocol::tag::INSTITUTE.to_owned());
    Ok((EventStatus::SetAside, Some(reason)))
}

fn move_money(tx: &mut WriteTx<'_>, provider: &str, money: &Money, now: i64) -> Result<(), FeeFault> {
    // The provider's ids are its own: another provider, or we, might have the same.
    let own = |id: &str| format!("{provider}:{id}");
    match money {
        Money::Paid { payment, invoice, amount_minor, currency } => {
            fees::check_currency(tx, currency)?;
            let payment = PaymentRow {
                payment: own(payment),
                invoice: invoice.clone(),
                student_name: String::new(),
                amount_minor: *amount_minor,
                method: provider.to_owned(),
                reference: Some(payment.clone()),
                recorded_by: own("webhook"),
                paid_at: now,
            };
            fees::pay(tx, &payment).map(drop)
        }
        Money::Refunded { refund, payment, amount_minor, currency, reason } => {
            fees::check_currency(tx, currency)?;
            let new = NewRefund {
                refund: own(refund),
                payment: own(payment),
                amount_minor: *amount_minor,
                reason: reason.clone(),
                refunded_by: None,
                refunded_at: now,
            };
            fees::refund(tx, &new).map(drop)
        }
    }
}
