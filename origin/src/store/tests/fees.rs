//! Money in the tables: what they refuse whatever the application asks, the same on each engine.

use super::conformance::{AT, read, school};
use super::*;

on_each_engine! {
    each_movement_is_in_the_ledger_once,
    the_tables_refuse_what_does_not_balance,
    a_void_invoice_is_not_outstanding,
    an_event_is_kept_once_with_what_became_of_it,
}

pub(super) fn invoice(invoice: &str, amount_minor: i64) -> NewInvoice {
    NewInvoice {
        invoice: invoice.into(),
        student: "ann".into(),
        title: "Fees".into(),
        amount_minor,
        due_on: "2026-12-31".into(),
        issued_at: AT,
    }
}

pub(super) fn payment(payment: &str, amount_minor: i64) -> PaymentRow {
    PaymentRow {
        payment: payment.into(),
        invoice: "i1".into(),
        student_name: String::new(),
        amount_minor,
        method: "cash".into(),
        reference: None,
        recorded_by: "admin".into(),
        paid_at: AT + 1,
    }
}

fn refund(refund: &str, amount_minor: i64) -> NewRefund {
    NewRefund {
        refund: refund.into(),
        payment: "p1".into(),
        amount_minor,
        reason: Some("ill".into()),
        refunded_by: None,
        refunded_at: AT + 2,
    }
}

fn paid_school(store: &Store) {
    school(store);
    write(store, |tx| {
        assert!(tx.add_invoice(&invoice("i1", 1_000))?);
        assert!(tx.add_payment(&payment("p1", 600))?);
        assert!(tx.add_refund(&refund("r1", 200))?);
        Ok(())
    })
    .unwrap();
}

fn each_movement_is_in_the_ledger_once(TestStore { store, .. }: &TestStore) {
    paid_school(store);
    write(store, |tx| {
        assert!(!tx.add_invoice(&invoice("i1", 1_000))?);
        assert!(!tx.add_payment(&payment("p1", 600))?);
        assert!(!tx.add_refund(&refund("r1", 200))?);
        Ok(())
    })
    .unwrap();
    read(store, |records| {
        let entry = |kind, entry: &str, amount_minor, at| LedgerEntry {
            kind,
            entry: entry.into(),
            invoice: "i1".into(),
            amount_minor,
            at: Some(at),
        };
        let ledger = [
            entry(EntryKind::Refund, "r1", 200, AT + 2),
            entry(EntryKind::Payment, "p1", -600, AT + 1),
            entry(EntryKind::Invoice, "i1", 1_000, AT),
        ];
        assert_eq!(records.ledger("ann", 10)?, ledger);
        assert_eq!(records.ledger("ann", 1)?, ledger[..1]);
        assert_eq!((records.balance_minor("ann")?, records.balance_minor("bob")?), (600, 0));
        assert_eq!(records.invoice("i1")?.unwrap().paid_minor, 400);
        let payment = records.payment("p1")?.unwrap();
        assert_eq!(
            (payment.student.as_str(), payment.amount_minor, payment.refunded_minor),
            ("ann", 600, 200)
        );
        assert!(records.payment("p2")?.is_none());
        Ok(())
    });
}

fn the_tables_refuse_what_does_not_balance(TestStore { store, .. }: &TestStore) {
    paid_school(store);
    assert!(write(store, |tx| tx.add_payment(&payment("p2", 601)).map(drop)).is_err(), "more than is due");
    assert!(write(store, |tx| tx.add_refund(&refund("r2", 401)).map(drop)).is_err(), "more than is left");
    assert!(write(store, |tx| tx.add_invoice(&invoice("i2", 0)).map(drop)).is_err());
    assert!(write(store, |tx| tx.add_payment(&payment("p3", -1)).map(drop)).is_err());
    assert!(write(store, |tx| tx.add_refund(&refund("r3", -1)).map(drop)).is_err());
    read(store, |records| {
        assert_eq!((records.balance_minor("ann")?, records.ledger("ann", 10)?.len()), (600, 3));
        Ok(())
    });
}

fn a_void_invoice_is_not_outstanding(TestStore { store, .. }: &TestStore) {
    school(store);
    write(store, |tx| {
        for (id, amount) in [("i1", 1_000), ("i2", 50)] {
            tx.add_invoice(&invoice(id, amount))?;
        }
        let void = tx.invoice("i1")?.unwrap();
        tx.void_invoice(&void, AT + 3)
    })
    .unwrap();
    read(store, |records| {
        let open: Vec<_> = records.open_invoices(10)?.into_iter().map(|invoice| invoice.invoice).collect();
        let outstanding = records.institute_figures()?.outstanding_minor;
        assert_eq!((open, outstanding), (vec!["i2".to_owned()], 50));
        assert_eq!(records.invoice("i1")?.unwrap().voided_at, Some(AT + 3));
        assert_eq!((records.student_invoices("ann")?.len(), records.balance_minor("ann")?), (2, 50));
        Ok(())
    });
    let twice = write(store, |tx| {
        let void = tx.invoice("i1")?.unwrap();
        tx.void_invoice(&void, AT + 4)
    });
    assert!(twice.is_err());
}

fn an_event_is_kept_once_with_what_became_of_it(TestStore { store, .. }: &TestStore) {
    let event = |event: &str, status, reason: Option<&str>| PaymentEvent {
        provider: "stripe".into(),
        event: event.into(),
        status,
        reason: reason.map(str::to_owned),
        body: format!(r#"{{"id":"{event}"}}"#),
        received_at: AT,
    };
    write(store, move |tx| {
        tx.add_payment_event(&event("e1", EventStatus::Applied, None))?;
        tx.add_payment_event(&event("e2", EventStatus::SetAside, Some("unknown")))?;
        tx.add_payment_event(&event("e3", EventStatus::Ignored, None))
    })
    .unwrap();
    assert!(write(store, move |tx| tx.add_payment_event(&event("e1", EventStatus::Ignored, None))).is_err());
    read(store, |records| {
        assert!(records.knows_payment_event("stripe", "e1")? && !records.knows_payment_event("other", "e1")?);
        let waiting = records.set_aside_events(10)?;
        assert_eq!(waiting.len(), 1);
        assert_eq!((waiting[0].event.as_str(), waiting[0].reason.as_str()), ("e2", "unknown"));
        assert_eq!((waiting[0].body.as_str(), waiting[0].received_at), (r#"{"id":"e2"}"#, AT));
        let kept = records.payment_event("stripe", "e2")?.unwrap();
        assert_eq!(
            (kept.event, kept.settled_at),
            (event("e2", EventStatus::SetAside, Some("unknown")), None)
        );
        assert!(records.payment_event("other", "e2")?.is_none());
        Ok(())
    });
    write(store, move |tx| {
        let settled = |why| Settled { by: "admin", at: AT + 5, why };
        assert!(!tx.settle_payment_event("stripe", "e1", &settled(None))?, "it waits for nobody");
        tx.add_payment_event(&event("e4", EventStatus::SetAside, Some("unknown")))?;
        assert!(tx.settle_payment_event("stripe", "e2", &settled(None))?);
        assert!(tx.settle_payment_event("stripe", "e4", &settled(Some("A test")))?);
        assert!(!tx.settle_payment_event("stripe", "e4", &settled(None))?, "once");
        Ok(())
    })
    .unwrap();
    read(store, |records| {
        assert!(records.set_aside_events(10)?.is_empty());
        let kept = |event: &str| {
            let kept = records.payment_event("stripe", event)?.unwrap();
            Ok::<_, StoreError>((kept.event.status, kept.settled_at))
        };
        assert_eq!(kept("e2")?, (EventStatus::Applied, Some(AT + 5)));
        assert_eq!(kept("e4")?, (EventStatus::SetAside, Some(AT + 5)));
        Ok(())
    });
    let elsewhere = store.read_blocking::<_, StoreError>("riverside.example", |records| {
        records.knows_payment_event("stripe", "e1")
    });
    assert!(!elsewhere.unwrap());
}
