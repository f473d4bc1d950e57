//! Events: what happened, for whoever acts on it after the commit.
//!
//! An event is written to the outbox in the transaction that it tells of, once for each consumer that it concerns.

use crate::store::WriteTx;
use serde::{Deserialize, Serialize};

/// Longest part of a text that an event repeats, in characters: enough to recognise it by.
const EXCERPT_CHARS: usize = 120;

/// Who acts on events. The names are stored, and are the routing keys of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consumer {
    /// Tells people what concerns them.
    Notifications,
}

impl Consumer {
    pub(crate) const ALL: [Self; 1] = [Self::Notifications];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Consumer::Notifications => "notifications",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|consumer| consumer.as_str() == name)
    }
}

/// What happened. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    SubmissionGraded {
        student: String,
        assignment: String,
        title: String,
        score: f64,
        max_score: f64,
    },
    /// To a user or to a batch.
    MessagePosted {
        message: String,
        author: String,
        author_name: String,
        recipient: Option<String>,
        batch: Option<String>,
        excerpt: String,
    },
    InvoiceIssued {
        student: String,
        invoice: String,
        title: String,
        amount_minor: i64,
        due_on: String,
    },
    PaymentRecorded {
        student: String,
        payment: String,
        invoice: String,
        amount_minor: i64,
        due_minor: i64,
    },
    PaymentRefunded {
        student: String,
        payment: String,
        invoice: String,
        amount_minor: i64,
    },
    ClassRescheduled {
        class: String,
        batch: String,
        by: String,
        title: String,
        starts_at: i64,
        ends_at: i64,
        room: String,
        /// Of the class, who need not be one of the batch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        teacher: Option<String>,
    },
    ClassCancelled {
        class: String,
        batch: String,
        by: String,
        title: String,
        starts_at: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        teacher: Option<String>,
    },
    /// Of a class of a series and those that follow it. Times and room are those of the first.
    ClassSeriesRescheduled {
        series: String,
        class: String,
        batch: String,
        by: String,
        title: String,
        starts_at: i64,
        ends_at: i64,
        room: String,
        /// How many they are.
        classes: u64,
        teachers: Vec<String>,
    },
    ClassSeriesCancelled {
        series: String,
        class: String,
        batch: String,
        by: String,
        title: String,
        starts_at: i64,
        classes: u64,
        teachers: Vec<String>,
    },
}

impl Event {
    fn consumers(&self) -> &'static [Consumer] {
        match self {
            Event::SubmissionGraded { .. }
            | Event::MessagePosted { .. }
            | Event::InvoiceIssued { .. }
            | Event::PaymentRecorded { .. }
            | Event::PaymentRefunded { .. }
            | Event::ClassRescheduled { .. }
            | Event::ClassCancelled { .. }
            | Event::ClassSeriesRescheduled { .. }
            | Event::ClassSeriesCancelled { .. } => &[Consumer::Notifications],
        }
    }
}

/// Leaves an event in the outbox of the transaction.
pub(crate) fn emit(tx: &mut WriteTx<'_>, event: &Event) {
    let value = serde_json::to_value(event).expect("texts and finite numbers are always JSON");
    for consumer in event.consumers() {
        tx.add_event(consumer.as_str(), value.clone());
    }
}

/// The beginning of a text.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_of_events_stays_readable() {
        let stored = r#"[
            {"event":"submission-graded","student":"s","assignment":"a","title":"t","score":1.5,"max_score":2.0},
            {"event":"message-posted","message":"m","author":"a","author_name":"A","recipient":null,"batch":"b","excerpt":"hi"},
            {"event":"invoice-issued","student":"s","invoice":"i","title":"t","amount_minor":1,"due_on":"2026-01-01"},
            {"event":"payment-refunded","student":"s","payment":"p","invoice":"i","amount_minor":1},
            {"event":"class-cancelled","class":"c","batch":"b","by":"t","title":"T","starts_at":1},
            {"event":"payment-recorded","student":"s","payment":"p","invoice":"i","amount_minor":1,"due_minor":0},
            {"event":"class-rescheduled","class":"c","batch":"b","by":"t","title":"T","starts_at":1,"ends_at":2,"room":"r"},
            {"event":"class-cancelled","class":"c","batch":"b","by":"t","title":"T","starts_at":1,"teacher":"t"},
            {"event":"class-series-rescheduled","series":"s","class":"c","batch":"b","by":"t","title":"T","starts_at":1,"ends_at":2,"room":"r","classes":3,"teachers":["t"]},
            {"event":"class-series-cancelled","series":"s","class":"c","batch":"b","by":"t","title":"T","starts_at":1,"classes":3,"teachers":["t"]}
        ]"#;
        let events: Vec<Event> = serde_json::from_str(stored).unwrap();
        let again = serde_json::to_value(&events).unwrap();
        assert_eq!(again, serde_json::from_str::<serde_json::Value>(stored).unwrap());
        assert_eq!(excerpt(&"é".repeat(500)).chars().count(), EXCERPT_CHARS);
        for consumer in Consumer::ALL {
            assert_eq!(Consumer::parse(consumer.as_str()), Some(consumer));
        }
    }
}
