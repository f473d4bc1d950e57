-- Money that moves: a ledger that is only added to, refunds, void invoices, and what payment providers tell.

ALTER TABLE invoices ADD COLUMN voided_at timestamptz;
ALTER TABLE payments ADD COLUMN refunded_minor bigint NOT NULL DEFAULT 0
    CHECK (refunded_minor BETWEEN 0 AND amount_minor);

DROP INDEX invoices_open;
CREATE INDEX invoices_open ON invoices (institute, due_on, amount_minor, paid_minor)
    WHERE paid_minor < amount_minor AND voided_at IS NULL;

CREATE TABLE refunds (
    institute    text COLLATE "C" NOT NULL,
    refund       text COLLATE "C" NOT NULL,
    payment      text COLLATE "C" NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    reason       text,
    -- Absent for one that the payment provider told of.
    refunded_by  text COLLATE "C",
    refunded_at  timestamptz NOT NULL,
    PRIMARY KEY (institute, refund),
    FOREIGN KEY (institute, payment) REFERENCES payments
);
CREATE INDEX refunds_by_payment ON refunds (institute, payment);
CALL protect_table('refunds');

-- What each student owes, entry by entry: the sum is the balance. An entry is never changed.
CREATE TABLE ledger (
    institute    text COLLATE "C" NOT NULL REFERENCES institutes,
    kind         text COLLATE "C" NOT NULL CHECK (kind IN ('invoice', 'void', 'payment', 'refund')),
    -- The invoice (twice when it was voided), payment or refund.
    entry        text COLLATE "C" NOT NULL,
    student      text COLLATE "C" NOT NULL REFERENCES users,
    invoice      text COLLATE "C" NOT NULL,
    -- What the student owes more, or less when negative.
    amount_minor bigint NOT NULL CHECK (amount_minor <> 0),
    -- Absent for invoices that were there before the ledger.
    at           timestamptz,
    PRIMARY KEY (institute, kind, entry),
    FOREIGN KEY (institute, invoice) REFERENCES invoices
);
CREATE INDEX ledger_by_student ON ledger (institute, student, at, amount_minor);
CALL protect_table('ledger');
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE insufficient_privilege USING MESSAGE = format('%s is only added to', tg_table_name);
END
$$;
CREATE TRIGGER only_added_to BEFORE UPDATE OR DELETE ON ledger FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Each event once, with what became of it. What could not be applied is set aside here, whole.
CREATE TABLE payment_events (
    institute   text COLLATE "C" NOT NULL REFERENCES institutes,
    provider    text COLLATE "C" NOT NULL,
    event       text COLLATE "C" NOT NULL,
    status      text COLLATE "C" NOT NULL CHECK (status IN ('applied', 'ignored', 'set-aside')),
    -- Why it was set aside.
    reason      text,
    -- As it came.
    body        text NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (institute, provider, event)
);
CREATE INDEX payment_events_set_aside ON payment_events (institute, received_at) WHERE status = 'set-aside';
CALL protect_table('payment_events');

-- The rows so far. Their owner is bound by the institutes' rule too, which names none here.
ALTER TABLE invoices NO FORCE ROW LEVEL SECURITY;
ALTER TABLE payments NO FORCE ROW LEVEL SECURITY;
ALTER TABLE ledger NO FORCE ROW LEVEL SECURITY;
INSERT INTO ledger (institute, kind, entry, student, invoice, amount_minor)
    SELECT institute, 'invoice', invoice, student, invoice, amount_minor FROM invoices;
INSERT INTO ledger (institute, kind, entry, student, invoice, amount_minor, at)
    SELECT p.institute, 'payment', p.payment, i.student, p.invoice, -p.amount_minor, p.paid_at
    FROM payments p JOIN invoices i ON i.institute = p.institute AND i.invoice = p.invoice;
ALTER TABLE invoices FORCE ROW LEVEL SECURITY;
ALTER TABLE payments FORCE ROW LEVEL SECURITY;
ALTER TABLE ledger FORCE ROW LEVEL SECURITY;
