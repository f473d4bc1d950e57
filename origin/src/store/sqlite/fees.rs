//! Invoices, payments, refunds, the ledger, and the events of payment providers.

use super::transaction::Transaction;
use crate::store::error::StoreError;
use crate::store::fees::{
    EntryKind, EventStatus, Invoice, KeptEvent, LedgerEntry, NewInvoice, NewRefund, Payment, PaymentEvent,
    PaymentRow, ReadFees, SetAside, Settled, WriteFees,
};
use crate::store::figures::{Figure, day_of};
use rusqlite::Row;

fn read_invoice(row: &Row<'_>) -> rusqlite::Result<Invoice> {
    Ok(Invoice {
        invoice: row.get(0)?,
        student: row.get(1)?,
        title: row.get(2)?,
        amount_minor: row.get(3)?,
        paid_minor: row.get(4)?,
        due_on: row.get(5)?,
        voided_at: row.get(6)?,
    })
}

impl ReadFees for Transaction<'_> {
    fn invoice(&self, invoice: &str) -> Result<Option<Invoice>, StoreError> {
        let sql = "SELECT invoice, student, title, amount_minor, paid_minor, due_on, voided_at FROM invoices
             WHERE institute = ?1 AND invoice = ?2";
        self.one(sql, (self.institute, invoice), read_invoice)
    }

    fn student_invoices(&self, student: &str) -> Result<Vec<Invoice>, StoreError> {
        let sql = "SELECT invoice, student, title, amount_minor, paid_minor, due_on, voided_at
             FROM invoices INDEXED BY invoices_by_student
             WHERE institute = ?1 AND student = ?2 ORDER BY due_on, invoice";
        self.all(sql, (self.institute, student), read_invoice)
    }

    fn open_invoices(&self, limit: u32) -> Result<Vec<Invoice>, StoreError> {
        let sql = "SELECT invoice, student, title, amount_minor, paid_minor, due_on, voided_at
             FROM invoices INDEXED BY invoices_open
             WHERE institute = ?1 AND paid_minor < amount_minor AND voided_at IS NULL
             ORDER BY due_on LIMIT ?2";
        self.all(sql, (self.institute, limit), read_invoice)
    }

    fn recent_payments(&self, limit: u32) -> Result<Vec<PaymentRow>, StoreError> {
        self.all(
            "SELECT p.payment, p.invoice, u.name, p.amount_minor, p.method, p.reference, p.recorded_by, p.paid_at
             FROM payments p JOIN invoices i ON i.institute = p.institute AND i.invoice = p.invoice
             JOIN users u ON u.user = i.student
             WHERE p.institute = ?1 ORDER BY p.paid_at DESC, p.payment LIMIT ?2",
            (self.institute, limit),
            |row| {
                Ok(PaymentRow {
                    payment: row.get(0)?,
                    invoice: row.get(1)?,
                    student_name: row.get(2)?,
                    amount_minor: row.get(3)?,
                    method: row.get(4)?,
                    reference: row.get(5)?,
                    recorded_by: row.get(6)?,
                    paid_at: row.get(7)?,
                })
            },
        )
    }

    fn payment(&self, payment: &str) -> Result<Option<Payment>, StoreError> {
        self.one(
            "SELECT p.payment, p.invoice, i.student, p.amount_minor, p.refunded_minor
             FROM payments p JOIN invoices i ON i.institute = p.institute AND i.invoice = p.invoice
             WHERE p.institute = ?1 AND p.payment = ?2",
            (self.institute, payment),
            |row| {
                Ok(Payment {
                    payment: row.get(0)?,
                    invoice: row.get(1)?,
                    student: row.get(2)?,
                    amount_minor: row.get(3)?,
                    refunded_minor: row.get(4)?,
                })
            },
        )
    }

    fn balance_minor(&self, student: &str) -> Result<i64, StoreError> {
        let sql = "SELECT coalesce(sum(amount_minor), 0) FROM ledger INDEXED BY ledger_by_student
             WHERE institute = ?1 AND student = ?2";
        Ok(self.one(sql, (self.institute, student), |row| row.get(0))?.unwrap_or(0))
    }

    fn ledger(&self, student: &str, limit: u32) -> Result<Vec<LedgerEntry>, StoreError> {
        let rows = self.all(
            "SELECT kind, entry, invoice, amount_minor, at FROM ledger INDEXED BY ledger_by_student
             WHERE institute = ?1 AND student = ?2 ORDER BY at DESC, kind, entry LIMIT ?3",
            (self.institute, student, limit),
            |row| {
                let kind: String = row.get(0)?;
                let entry = LedgerEntry {
                    kind: EntryKind::Invoice,
                    entry: row.get(1)?,
                    invoice: row.get(2)?,
                    amount_minor: row.get(3)?,
                    at: row.get(4)?,
                };
                Ok((kind, entry))
            },
        )?;
        rows.into_iter()
            .map(|(kind, entry)| Ok(LedgerEntry { kind: EntryKind::parse(&kind)?, ..entry }))
            .collect()
    }

    fn has_ledger(&self) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM ledger WHERE institute = ?1 LIMIT 1";
        Ok(self.one(sql, (self.institute,), |_| Ok(()))?.is_some())
    }

    fn payment_event(&self, provider: &str, event: &str) -> Result<Option<KeptEvent>, StoreError> {
        let sql = "SELECT status, reason, body, received_at, settled_at FROM payment_events
             WHERE institute = ?1 AND provider = ?2 AND event = ?3";
        let found = self.one(sql, (self.institute, provider, event), |row| {
            let kept = PaymentEvent {
                provider: provider.to_owned(),
                event: event.to_owned(),
                status: EventStatus::SetAside,
                reason: row.get(1)?,
                body: row.get(2)?,
                received_at: row.get(3)?,
            };
            Ok((row.get::<_, String>(0)?, KeptEvent { event: kept, settled_at: row.get(4)? }))
        })?;
        found
            .map(|(status, kept)| {
                let event = PaymentEvent { status: EventStatus::parse(&status)?, ..kept.event };
                Ok(KeptEvent { event, ..kept })
            })
            .transpose()
    }

    fn knows_payment_event(&self, provider: &str, event: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM payment_events WHERE institute = ?1 AND provider = ?2 AND event = ?3";
        Ok(self.one(sql, (self.institute, provider, event), |_| Ok(()))?.is_some())
    }

    fn set_aside_events(&self, limit: u32) -> Result<Vec<SetAside>, StoreError> {
        self.all(
            "SELECT provider, event, coalesce(reason, ''), body, received_at
             FROM payment_events INDEXED BY payment_events_set_aside
             WHERE institute = ?1 AND status = 'set-aside' AND settled_at IS NULL
             ORDER BY received_at, provider, event LIMIT ?2",
            (self.institute, limit),
            |row| {
                Ok(SetAside {
                    provider: row.get(0)?,
                    event: row.get(1)?,
                    reason: row.get(2)?,
                    body: row.get(3)?,
                    received_at: row.get(4)?,
                })
            },
        )
    }
}

impl Transaction<'_> {
    /// The student is the invoice's.
    fn add_entry(
        &self,
        kind: EntryKind,
        entry: &str,
        invoice: &str,
        amount: i64,
        at: i64,
    ) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO ledger (institute, kind, entry, student, invoice, amount_minor, at)
             SELECT institute, ?2, ?3, student, invoice, ?5, ?6 FROM invoices WHERE institute = ?1 AND invoice = ?4",
            (self.institute, kind.as_str(), entry, invoice, amount, at),
        )?;
        self.figures.add(Figure::Outstanding, "", amount);
        Ok(())
    }

    fn add_paid(&self, invoice: &str, amount: i64) -> Result<(), StoreError> {
        let sql = "UPDATE invoices SET paid_minor = paid_minor + ?3 WHERE institute = ?1 AND invoice = ?2";
        self.run(sql, (self.institute, invoice, amount))?;
        Ok(())
    }
}

impl WriteFees for Transaction<'_> {
    fn add_invoice(&self, new: &NewInvoice) -> Result<bool, StoreError> {
        let added = self.run(
            "INSERT INTO invoices (institute, invoice, student, title, amount_minor, due_on)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
            (self.institute, &new.invoice, &new.student, &new.title, new.amount_minor, &new.due_on),
        )?;
        if added > 0 {
            self.add_entry(EntryKind::Invoice, &new.invoice, &new.invoice, new.amount_minor, new.issued_at)?;
        }
        Ok(added > 0)
    }

    fn void_invoice(&self, invoice: &Invoice, at: i64) -> Result<(), StoreError> {
        let sql = "UPDATE invoices SET voided_at = ?3 WHERE institute = ?1 AND invoice = ?2";
        self.run(sql, (self.institute, &invoice.invoice, at))?;
        self.add_entry(EntryKind::Void, &invoice.invoice, &invoice.invoice, -invoice.amount_minor, at)
    }

    fn add_payment(&self, payment: &PaymentRow) -> Result<bool, StoreError> {
        let added = self.run(
            "INSERT INTO payments
                 (institute, payment, invoice, amount_minor, method, reference, recorded_by, paid_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
            (
                self.institute,
                &payment.payment,
                &payment.invoice,
                payment.amount_minor,
                &payment.method,
                &payment.reference,
                &payment.recorded_by,
                payment.paid_at,
            ),
        )?;
        if added > 0 {
            let PaymentRow { payment, invoice, amount_minor, paid_at, .. } = payment;
            self.add_paid(invoice, *amount_minor)?;
            self.add_entry(EntryKind::Payment, payment, invoice, -amount_minor, *paid_at)?;
            self.figures.add(Figure::Received, &day_of(*paid_at), *amount_minor);
        }
        Ok(added > 0)
    }

    fn add_refund(&self, new: &NewRefund) -> Result<bool, StoreError> {
        let added = self.run(
            "INSERT INTO refunds (institute, refund, payment, amount_minor, reason, refunded_by, refunded_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
            (
                self.institute,
                &new.refund,
                &new.payment,
                new.amount_minor,
                &new.reason,
                &new.refunded_by,
                new.refunded_at,
            ),
        )?;
        if added == 0 {
            return Ok(false);
        }
        let sql = "UPDATE payments SET refunded_minor = refunded_minor + ?3
             WHERE institute = ?1 AND payment = ?2 RETURNING invoice";
        let invoice: Option<String> =
            self.one(sql, (self.institute, &new.payment, new.amount_minor), |row| row.get(0))?;
        let invoice =
            invoice.ok_or_else(|| StoreError::Corrupt { what: "payment", text: new.payment.clone() })?;
        self.add_paid(&invoice, -new.amount_minor)?;
        self.add_entry(EntryKind::Refund, &new.refund, &invoice, new.amount_minor, new.refunded_at)?;
        self.figures.add(Figure::Received, &day_of(new.refunded_at), -new.amount_minor);
        Ok(true)
    }

    fn add_payment_event(&self, event: &PaymentEvent) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO payment_events (institute, provider, event, status, reason, body, received_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (
                self.institute,
                &event.provider,
                &event.event,
                event.status.as_str(),
                &event.reason,
                &event.body,
                event.received_at,
            ),
        )?;
        Ok(())
    }

    fn settle_payment_event(
        &self,
        provider: &str,
        event: &str,
        settled: &Settled<'_>,
    ) -> Result<bool, StoreError> {
        let changed = self.run(
            "UPDATE payment_events SET status = iif(?6 IS NULL, 'applied', status),
                 settled_by = ?4, settled_at = ?5, settlement = ?6
             WHERE institute = ?1 AND provider = ?2 AND event = ?3 AND status = 'set-aside' AND settled_at IS NULL",
            (self.institute, provider, event, settled.by, settled.at, settled.why),
        )?;
        Ok(changed > 0)
    }
}
