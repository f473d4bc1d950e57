//! An event in the shape that Stripe gives it and others copy.
//!
//! Read are `payment_intent.succeeded`, whose `metadata.invoice` names our invoice, and `refund.created`; every other
//! type is none of our business. What is wrong with one of the two is told, for it to be set aside.

use serde::Deserialize;
use serde_json::Value;
use sync_protocol::command::{MAX_AMOUNT_MINOR, MAX_ID_BYTES, MAX_PROVIDER_ID_BYTES, MAX_TITLE_CHARS};

#[derive(Debug, PartialEq)]
pub(super) struct Event {
    pub(super) id: String,
    /// None when no money moved; an error says what cannot be read of an event about money.
    pub(super) money: Result<Option<Money>, String>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Money {
    Paid { payment: String, invoice: String, amount_minor: i64, currency: String },
    Refunded { refund: String, payment: String, amount_minor: i64, currency: String, reason: Option<String> },
}

#[derive(Deserialize)]
struct Envelope {
    id: String,
    r#type: String,
    #[serde(default)]
    data: Data,
}

#[derive(Default, Deserialize)]
struct Data {
    #[serde(default)]
    object: Value,
}

impl Event {
    /// An error for what is no event at all.
    pub(super) fn decode(body: &[u8]) -> Result<Self, String> {
        let envelope: Envelope = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        check_id("id", &envelope.id, MAX_PROVIDER_ID_BYTES)?;
        let object = &envelope.data.object;
        let money = match envelope.r#type.as_str() {
            "payment_intent.succeeded" => paid(object).map(Some),
            "refund.created" => refunded(object).map(Some),
            _ => Ok(None),
        };
        Ok(Self { id: envelope.id, money })
    }
}

fn paid(object: &Value) -> Result<Money, String> {
    Ok(Money::Paid {
        payment: id(object, "/id", MAX_PROVIDER_ID_BYTES)?,
        invoice: id(object, "/metadata/invoice", MAX_ID_BYTES)?,
        amount_minor: amount(object, "/amount_received")?,
        currency: id(object, "/currency", 3)?,
    })
}

fn refunded(object: &Value) -> Result<Money, String> {
    let reason = object.get("reason").and_then(Value::as_str);
    let reason =
        reason.map(|reason| reason.chars().filter(|c| !c.is_control()).take(MAX_TITLE_CHARS).collect());
    Ok(Money::Refunded {
        refund: id(object, "/id", MAX_PROVIDER_ID_BYTES)?,
        payment: id(object, "/payment_intent", MAX_PROVIDER_ID_BYTES)?,
        amount_minor: amount(object, "/amount")?,
        currency: id(object, "/currency", 3)?,
        reason,
    })
}

fn id(object: &Value, at: &str, max: usize) -> Result<String, String> {
    let text = object.pointer(at).and_then(Value::as_str).ok_or_else(|| format!("{at} is missing"))?;
    check_id(at, text, max)?;
    Ok(text.to_owned())
}

fn check_id(name: &str, text: &str, max: usize) -> Result<(), String> {
    if text.is_empty() || text.len() > max || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("{name} is not 1 to {max} visible ASCII characters"));
    }
    Ok(())
}

fn amount(object: &Value, at: &str) -> Result<i64, String> {
    let amount = object.pointer(at).and_then(Value::as_i64);
    let within = amount.filter(|amount| (1..=MAX_AMOUNT_MINOR).contains(amount));
    within.ok_or_else(|| format!("{at} is not a whole number between 1 and {MAX_AMOUNT_MINOR}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn decode(kind: &str, object: Value) -> Event {
        let event = json!({"id": "evt_1", "type": kind, "data": {"object": object}, "livemode": true});
        Event::decode(event.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_payment_and_a_refund_are_read_and_other_events_are_none_of_ours() {
        let object =
            json!({"id": "pi_1", "amount_received": 500, "currency": "inr", "metadata": {"invoice": "i1"}});
        let paid = Money::Paid {
            payment: "pi_1".into(),
            invoice: "i1".into(),
            amount_minor: 500,
            currency: "inr".into(),
        };
        assert_eq!(decode("payment_intent.succeeded", object).money, Ok(Some(paid)));
        let object =
            json!({"id": "re_1", "payment_intent": "pi_1", "amount": 5, "currency": "inr", "reason": null});
        assert!(matches!(decode("refund.created", object).money, Ok(Some(Money::Refunded { .. }))));
        assert_eq!(decode("customer.created", json!({})).money, Ok(None));
    }

    #[test]
    fn what_is_wrong_with_an_event_about_money_is_told() {
        let whole =
            json!({"id": "pi_1", "amount_received": 500, "currency": "inr", "metadata": {"invoice": "i1"}});
        for (at, value) in [
            ("id", json!("")),
            ("amount_received", json!(0)),
            ("amount_received", json!(-5)),
            ("amount_received", json!(1.5)),
            ("amount_received", json!(9_000_000_000_000_000_000_u64)),
            ("amount_received", json!("500")),
            ("currency", json!("rupees")),
            ("metadata", json!({})),
            ("metadata", json!({"invoice": "a\0b"})),
        ] {
            let mut object = whole.clone();
            object[at] = value;
            let reason = decode("payment_intent.succeeded", object).money.unwrap_err();
            assert!(reason.contains(at), "{reason}");
        }
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"id":"","type":"x"}"#,
            r#"{"id":"a b","type":"x"}"#,
            r#"{"id":7,"type":"x"}"#,
        ] {
            assert!(Event::decode(body.as_bytes()).is_err(), "{body}");
        }
        assert!(Event::decode(b"\xff").is_err());
    }
}
