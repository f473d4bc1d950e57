-- Which messages people have read, and which events of payment providers an admin has dealt with.

-- The institute's revision that brought the message: what comes late is behind what came before it, whatever its time. Those from
-- before arrivals were kept stand before all others in the order of their times: milliseconds less 10^15.
ALTER TABLE messages ADD COLUMN arrived INTEGER NOT NULL DEFAULT 0;
UPDATE messages SET arrived = posted_at - 1000000000000000;

-- The arrival up to which the user has read their messages; at first before all of them. It replaces the time up to which they had.
ALTER TABLE users ADD COLUMN messages_read INTEGER NOT NULL DEFAULT -1000000000000000;
UPDATE users SET messages_read = messages_read_at - 1000000000000000;
ALTER TABLE users DROP COLUMN messages_read_at;

-- Unread messages: those of a mailbox behind an arrival.
CREATE INDEX messages_unread_of_recipient ON messages (institute, recipient, arrived)
    WHERE recipient IS NOT NULL AND retracted_at IS NULL;
CREATE INDEX messages_unread_of_batch ON messages (institute, batch, arrived, author)
    WHERE batch IS NOT NULL AND retracted_at IS NULL;

-- An event that was set aside waits until it is applied after all, or settled with a word on why.
ALTER TABLE payment_events ADD COLUMN settled_at INTEGER;
ALTER TABLE payment_events ADD COLUMN settled_by TEXT;
ALTER TABLE payment_events ADD COLUMN settlement TEXT;
DROP INDEX payment_events_set_aside;
CREATE INDEX payment_events_set_aside ON payment_events (institute, received_at, provider, event)
    WHERE status = 'set-aside' AND settled_at IS NULL;
CREATE INDEX payment_events_by_time ON payment_events (institute, received_at, provider, event);
CREATE INDEX payment_events_by_status ON payment_events (institute, status, received_at, provider, event);

-- The list of what is open.
CREATE INDEX invoices_open_by_id ON invoices (institute, invoice)
    WHERE paid_minor < amount_minor AND voided_at IS NULL;
