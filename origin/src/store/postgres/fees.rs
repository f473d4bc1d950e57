//! Invoices, payments, refunds, the ledger, and the events of payment providers.

use super::transaction::{Answer, Millis, Transaction, millis, some_millis};
use crate::store::error::StoreError;
use crate::store::fees::{
    EntryKind, EventStatus, Invoice, KeptEvent, LedgerEntry, NewInvoice, NewRefund, Payment, PaymentEvent,
    PaymentRow, ReadFees, SetAside, Settled, WriteFees,
};
use crate::store::figures::{Figure, day_of};
use tokio_postgres::Row;

const INVOICE: &str =
    "SELECT invoice, student, title, amount_minor, paid_minor, due_on::text, voided_at FROM invoices";

fn read_invoice(row: &Row) -> Result<Invoice, tokio_postgres::Error> {
    Ok(Invoice {
        invoice: row.try_get(0)?,
        student: row.try_get(1)?,
        title: row.try_get(2)?,
        amount_minor: row.try_get(3)?,
        paid_minor: row.try_get(4)?,
        due_on: row.try_get(5)?,
        voided_at: some_millis(row, 6)?,
    })
}

impl Transaction<'_> {
    pub(super) async fn ask_student_invoices(&self, student: &str) -> Answer<Vec<Invoice>> {
        let sql = format!("{INVOICE} WHERE institute = $1 AND student = $2 ORDER BY due_on, invoice");
        self.ask_all(&sql, &[&self.institute, &student], read_invoice).await
    }
}

impl ReadFees for Transaction<'_> {
    fn invoice(&self, invoice: &str) -> Result<Option<Invoice>, StoreError> {
        let sql = format!("{INVOICE} WHERE institute = $1 AND invoice = $2");
        self.one(&sql, &[&self.institute, &invoice], read_invoice)
    }

    fn student_invoices(&self, student: &str) -> Result<Vec<Invoice>, StoreError> {
        self.wait(self.ask_student_invoices(student))
    }

    fn open_invoices(&self, limit: u32) -> Result<Vec<Invoice>, StoreError> {
        let sql = format!(
            "{INVOICE} WHERE institute = $1 AND paid_minor < amount_minor AND voided_at IS NULL
             ORDER BY due_on LIMIT $2"
        );
        self.all(&sql, &[&self.institute, &i64::from(limit)], read_invoice)
    }

    fn recent_payments(&self, limit: u32) -> Result<Vec<PaymentRow>, StoreError> {
        self.all(
            r#"SELECT p.payment, p.invoice, u.name, p.amount_minor, p.method, p.reference, p.recorded_by, p.paid_at
             FROM payments p JOIN invoices i ON i.institute = p.institute AND i.invoice = p.invoice
             JOIN users u ON u."user" = i.student
             WHERE p.institute = $1 ORDER BY p.paid_at DESC, p.payment LIMIT $2"#,
            &[&self.institute, &i64::from(limit)],
            |row| {
                Ok(PaymentRow {
                    payment: row.try_get(0)?,
                    invoice: row.try_get(1)?,
                    student_name: row.try_get(2)?,
                    amount_minor: row.try_get(3)?,
                    method: row.try_get(4)?,
                    reference: row.try_get(5)?,
                    recorded_by: row.try_get(6)?,
                    paid_at: millis(row, 7)?,
                })
            },
        )
    }

    fn payment(&self, payment: &str) -> Result<Option<Payment>, StoreError> {
        self.one(
            "SELECT p.payment, p.invoice, i.student, p.amount_minor, p.refunded_minor
             FROM payments p JOIN invoices i ON i.institute = p.institute AND i.invoice = p.invoice
             WHERE p.institute = $1 AND p.payment = $2",
            &[&self.institute, &payment],
            |row| {
                Ok(Payment {
                    payment: row.try_get(0)?,
                    invoice: row.try_get(1)?,
                    student: row.try_get(2)?,
                    amount_minor: row.try_get(3)?,
                    refunded_minor: row.try_get(4)?,
                })
            },
        )
    }

    fn balance_minor(&self, student: &str) -> Result<i64, StoreError> {
        let sql = "SELECT coalesce(sum(amount_minor), 0)::bigint FROM ledger
             WHERE institute = $1 AND student = $2";
        Ok(self.one(sql, &[&self.institute, &student], |row| row.try_get(0))?.unwrap_or(0))
    }

    fn ledger(&self, student: &str, limit: u32) -> Result<Vec<LedgerEntry>, StoreError> {
        let rows = self.all(
            "SELECT kind, entry, invoice, amount_minor, at FROM ledger
             WHERE institute = $1 AND student = $2 ORDER BY at DESC NULLS LAST, kind, entry LIMIT $3",
            &[&self.institute, &student, &i64::from(limit)],
            |row| {
                let entry = LedgerEntry {
                    kind: EntryKind::Invoice,
                    entry: row.try_get(1)?,
                    invoice: row.try_get(2)?,
                    amount_minor: row.try_get(3)?,
                    at: some_millis(row, 4)?,
                };
                Ok((row.try_get::<_, String>(0)?, entry))
            },
        )?;
        rows.into_iter()
            .map(|(kind, entry)| Ok(LedgerEntry { kind: EntryKind::parse(&kind)?, ..entry }))
            .collect()
    }

    fn has_ledger(&self) -> Result<bool, StoreError> {
        // In the order of the key, so that an institute without a row costs no more than a look into it.
        let sql = "SELECT 1 FROM ledger WHERE institute = $1 ORDER BY kind, entry LIMIT 1";
        Ok(self.one(sql, &[&self.institute], |_| Ok(()))?.is_some())
    }

    fn payment_event(&self, provider: &str, event: &str) -> Result<Option<KeptEvent>, StoreError> {
        let sql = "SELECT status, reason, body, received_at, settled_at FROM payment_events
             WHERE institute = $1 AND provider = $2 AND event = $3";
        let found = self.one(sql, &[&self.institute, &provider, &event], |row| {
            let kept = PaymentEvent {
                provider: provider.to_owned(),
                event: event.to_owned(),
                status: EventStatus::SetAside,
                reason: row.try_get(1)?,
                body: row.try_get(2)?,
                received_at: millis(row, 3)?,
            };
            Ok((row.try_get::<_, String>(0)?, KeptEvent { event: kept, settled_at: some_millis(row, 4)? }))
        })?;
        found
            .map(|(status, kept)| {
                let event = PaymentEvent { status: EventStatus::parse(&status)?, ..kept.event };
                Ok(KeptEvent { event, ..kept })
            })
            .transpose()
    }

    fn knows_payment_event(&self, provider: &str, event: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM payment_events WHERE institute = $1 AND provider = $2 AND event = $3";
        Ok(self.one(sql, &[&self.institute, &provider, &event], |_| Ok(()))?.is_some())
    }

    fn set_aside_events(&self, limit: u32) -> Result<Vec<SetAside>, StoreError> {
        self.all(
            "SELECT provider, event, coalesce(reason, ''), body, received_at FROM payment_events
             WHERE institute = $1 AND status = 'set-aside' AND settled_at IS NULL
             ORDER BY received_at, provider, event LIMIT $2",
            &[&self.institute, &i64::from(limit)],
            |row| {
                Ok(SetAside {
                    provider: row.try_get(0)?,
                    event: row.try_get(1)?,
                    reason: row.try_get(2)?,
                    body: row.try_get(3)?,
                    received_at: millis(row, 4)?,
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
             SELECT institute, $2, $3, student, invoice, $5::bigint, $6::timestamptz FROM invoices
             WHERE institute = $1 AND invoice = $4",
            &[&self.institute, &kind.as_str(), &entry, &invoice, &amount, &Millis(at)],
        )?;
        self.figures.add(Figure::Outstanding, "", amount);
        Ok(())
    }

    fn add_paid(&self, invoice: &str, amount: i64) -> Result<(), StoreError> {
        let sql = "UPDATE invoices SET paid_minor = paid_minor + $3 WHERE institute = $1 AND invoice = $2";
        self.run(sql, &[&self.institute, &invoice, &amount])?;
        Ok(())
    }
}

impl WriteFees for Transaction<'_> {
    fn add_invoice(&self, new: &NewInvoice) -> Result<bool, StoreError> {
        let added = self.run(
            "INSERT INTO invoices (institute, invoice, student, title, amount_minor, due_on)
             VALUES ($1, $2, $3, $4, $5, $6::text::date) ON CONFLICT DO NOTHING",
            &[&self.institute, &new.invoice, &new.student, &new.title, &new.amount_minor, &new.due_on],
        )?;
        if added > 0 {
            self.add_entry(EntryKind::Invoice, &new.invoice, &new.invoice, new.amount_minor, new.issued_at)?;
        }
        Ok(added > 0)
    }

    fn void_invoice(&self, invoice: &Invoice, at: i64) -> Result<(), StoreError> {
        let sql = "UPDATE invoices SET voided_at = $3 WHERE institute = $1 AND invoice = $2";
        self.run(sql, &[&self.institute, &invoice.invoice, &Millis(at)])?;
        self.add_entry(EntryKind::Void, &invoice.invoice, &invoice.invoice, -invoice.amount_minor, at)
    }

    fn add_payment(&self, payment: &PaymentRow) -> Result<bool, StoreError> {
        let added = self.run(
            "INSERT INTO payments
                 (institute, payment, invoice, amount_minor, method, reference, recorded_by, paid_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
            &[
                &self.institute,
                &payment.payment,
                &payment.invoice,
                &payment.amount_minor,
                &payment.method,
                &payment.reference,
                &payment.recorded_by,
                &Millis(payment.paid_at),
            ],
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
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
            &[
                &self.institute,
                &new.refund,
                &new.payment,
                &new.amount_minor,
                &new.reason,
                &new.refunded_by,
                &Millis(new.refunded_at),
            ],
        )?;
        if added == 0 {
            return Ok(false);
        }
        let sql = "UPDATE payments SET refunded_minor = refunded_minor + $3
             WHERE institute = $1 AND payment = $2 RETURNING invoice";
        let invoice: Option<String> =
            self.one(sql, &[&self.institute, &new.payment, &new.amount_minor], |row| row.try_get(0))?;
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
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &[
                &self.institute,
                &event.provider,
                &event.event,
                &event.status.as_str(),
                &event.reason,
                &event.body,
                &Millis(event.received_at),
            ],
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
            "UPDATE payment_events SET status = CASE WHEN $6::text IS NULL THEN 'applied' ELSE status END,
                 settled_by = $4, settled_at = $5, settlement = $6
             WHERE institute = $1 AND provider = $2 AND event = $3 AND status = 'set-aside' AND settled_at IS NULL",
            &[&self.institute, &provider, &event, &settled.by, &Millis(settled.at), &settled.why],
        )?;
        Ok(changed > 0)
    }
}
