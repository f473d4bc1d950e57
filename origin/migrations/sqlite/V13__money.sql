-- Money that moves: a ledger that is only added to, refunds, void invoices, and what payment providers tell.

ALTER TABLE invoices ADD COLUMN voided_at INTEGER;
ALTER TABLE payments ADD COLUMN refunded_minor INTEGER NOT NULL DEFAULT 0
    CHECK (refunded_minor BETWEEN 0 AND amount_minor);

DROP INDEX invoices_open;
CREATE INDEX invoices_open ON invoices (institute, due_on, amount_minor, paid_minor)
    WHERE paid_minor < amount_minor AND voided_at IS NULL;

CREATE TABLE refunds (
    institute    TEXT NOT NULL,
    refund       TEXT NOT NULL,
    payment      TEXT NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    reason       TEXT,
    -- Absent for one that the payment provider told of.
    refunded_by  TEXT,
    refunded_at  INTEGER NOT NULL,
    PRIMARY KEY (institute, refund),
    FOREIGN KEY (institute, payment) REFERENCES payments
) STRICT, WITHOUT ROWID;
CREATE INDEX refunds_by_payment ON refunds (institute, payment);

-- What each student owes, entry by entry: the sum is the balance. An entry is never changed.
CREATE TABLE ledger (
    institute    TEXT NOT NULL REFERENCES institutes,
    kind         TEXT NOT NULL CHECK (kind IN ('invoice', 'void', 'payment', 'refund')),
    -- The invoice (twice when it was voided), payment or refund.
    entry        TEXT NOT NULL,
    student      TEXT NOT NULL REFERENCES users,
    invoice      TEXT NOT NULL,
    -- What the student owes more, or less when negative.
    amount_minor INTEGER NOT NULL CHECK (amount_minor <> 0),
    -- Absent for invoices that were there before the ledger.
    at           INTEGER,
    PRIMARY KEY (institute, kind, entry),
    FOREIGN KEY (institute, invoice) REFERENCES invoices
) STRICT, WITHOUT ROWID;
CREATE INDEX ledger_by_student ON ledger (institute, student, at, amount_minor);
CREATE TRIGGER ledger_is_not_changed BEFORE UPDATE ON ledger BEGIN SELECT raise(ABORT, 'the ledger is only added to'); END;
CREATE TRIGGER ledger_is_not_deleted BEFORE DELETE ON ledger BEGIN SELECT raise(ABORT, 'the ledger is only added to'); END;

-- Each event once, with what became of it. What could not be applied is set aside here, whole.
CREATE TABLE payment_events (
    institute   TEXT NOT NULL REFERENCES institutes,
    provider    TEXT NOT NULL,
    event       TEXT NOT NULL,
    status      TEXT NOT NULL CHECK (status IN ('applied', 'ignored', 'set-aside')),
    -- Why it was set aside.
    reason      TEXT,
    -- As it came.
    body        TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (institute, provider, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX payment_events_set_aside ON payment_events (institute, received_at) WHERE status = 'set-aside';

INSERT INTO ledger (institute, kind, entry, student, invoice, amount_minor)
    SELECT institute, 'invoice', invoice, student, invoice, amount_minor FROM invoices;
INSERT INTO ledger (institute, kind, entry, student, invoice, amount_minor, at)
    SELECT p.institute, 'payment', p.payment, i.student, p.invoice, -p.amount_minor, p.paid_at
    FROM payments p JOIN invoices i ON i.institute = p.institute AND i.invoice = p.invoice;
