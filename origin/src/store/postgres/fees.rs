//! Invoices and their payments. Money is in minor units of the institute's currency.

use super::transaction::{Millis, Transaction, millis};
use crate::store::error::StoreError;
use crate::store::fees::{Invoice, NewInvoice, PaymentRow, ReadFees, WriteFees};
use tokio_postgres::Row;

const INVOICE: &str = "SELECT invoice, student, title, amount_minor, paid_minor, due_on::text FROM invoices";

fn read_invoice(row: &Row) -> Result<Invoice, tokio_postgres::Error> {
    Ok(Invoice {
        invoice: row.try_get(0)?,
        student: row.try_get(1)?,
        title: row.try_get(2)?,
        amount_minor: row.try_get(3)?,
        paid_minor: row.try_get(4)?,
        due_on: row.try_get(5)?,
    })
}

impl ReadFees for Transaction<'_> {
    fn invoice(&self, invoice: &str) -> Result<Option<Invoice>, StoreError> {
        let sql = format!("{INVOICE} WHERE institute = $1 AND invoice = $2");
        self.one(&sql, &[&self.institute, &invoice], read_invoice)
    }

    fn student_invoices(&self, student: &str) -> Result<Vec<Invoice>, StoreError> {
        let sql = format!("{INVOICE} WHERE institute = $1 AND student = $2 ORDER BY due_on, invoice");
        self.all(&sql, &[&self.institute, &student], read_invoice)
    }

    fn outstanding_minor(&self) -> Result<i64, StoreError> {
        let sql = "SELECT coalesce(sum(amount_minor - paid_minor), 0)::bigint FROM invoices
             WHERE institute = $1 AND paid_minor < amount_minor";
        Ok(self.one(sql, &[&self.institute], |row| row.try_get(0))?.unwrap_or(0))
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

    fn received_since_minor(&self, since: i64) -> Result<i64, StoreError> {
        let sql = "SELECT coalesce(sum(amount_minor), 0)::bigint FROM payments
             WHERE institute = $1 AND paid_at >= $2";
        Ok(self.one(sql, &[&self.institute, &Millis(since)], |row| row.try_get(0))?.unwrap_or(0))
    }
}

impl WriteFees for Transaction<'_> {
    fn add_invoice(&self, invoice: &NewInvoice) -> Result<bool, StoreError> {
        let added = self.run(
            "INSERT INTO invoices (institute, invoice, student, title, amount_minor, due_on)
             VALUES ($1, $2, $3, $4, $5, $6::text::date) ON CONFLICT DO NOTHING",
            &[
                &self.institute,
                &invoice.invoice,
                &invoice.student,
                &invoice.title,
                &invoice.amount_minor,
                &invoice.due_on,
            ],
        )?;
        Ok(added > 0)
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
            self.run(
                "UPDATE invoices SET paid_minor = paid_minor + $3 WHERE institute = $1 AND invoice = $2",
                &[&self.institute, &payment.invoice, &payment.amount_minor],
            )?;
        }
        Ok(added > 0)
    }
}
