-- Which messages people have read, and which events of payment providers an admin has dealt with.

-- Rows of every institute change here, and the owner is bound by the institutes' rule too, which names none.
ALTER TABLE messages NO FORCE ROW LEVEL SECURITY;
ALTER TABLE users NO FORCE ROW LEVEL SECURITY;

-- The institute's revision that brought the message: what comes late is behind what came before it, whatever its time. Those from
-- before arrivals were kept stand before all others in the order of their times: milliseconds less 10^15.
ALTER TABLE messages ADD COLUMN arrived bigint;
UPDATE messages SET arrived = (extract(epoch FROM posted_at) * 1000)::bigint - 1000000000000000;
ALTER TABLE messages ALTER COLUMN arrived SET NOT NULL;

-- The arrival up to which the user has read their messages; at first before all of them. It replaces the time up to which they had.
ALTER TABLE users ADD COLUMN messages_read bigint NOT NULL DEFAULT -1000000000000000;
UPDATE users SET messages_read = (extract(epoch FROM messages_read_at) * 1000)::bigint - 1000000000000000
    WHERE messages_read_at <> 'epoch';

ALTER TABLE messages FORCE ROW LEVEL SECURITY;
ALTER TABLE users FORCE ROW LEVEL SECURITY;

-- Unread messages: those of a mailbox behind an arrival.
CREATE INDEX messages_unread_of_recipient ON messages (institute, recipient, arrived)
    WHERE recipient IS NOT NULL AND retracted_at IS NULL;
CREATE INDEX messages_unread_of_batch ON messages (institute, batch, arrived, author)
    WHERE batch IS NOT NULL AND retracted_at IS NULL;

-- Sign-in asks for no messages.
DROP FUNCTION account_by_email(text);
ALTER TABLE users DROP COLUMN messages_read_at;
CREATE FUNCTION account_by_email(address text)
    RETURNS TABLE ("user" text, institute text, email text, name text, role text, password_hash text)
    LANGUAGE sql STABLE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog
    BEGIN ATOMIC
        SELECT u."user", u.institute, u.email, u.name, u.role, u.password_hash FROM users u WHERE u.email = address;
    END;
REVOKE ALL ON FUNCTION account_by_email(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION account_by_email(text) TO rollcall_app;
DO $$
BEGIN
    EXECUTE format('GRANT CREATE ON SCHEMA %I TO rollcall_lookup', current_schema());
    ALTER FUNCTION account_by_email(text) OWNER TO rollcall_lookup;
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM rollcall_lookup', current_schema());
END
$$;

-- An event that was set aside waits until it is applied after all, or settled with a word on why.
ALTER TABLE payment_events
    ADD COLUMN settled_at timestamptz,
    ADD COLUMN settled_by text COLLATE "C",
    ADD COLUMN settlement text;
DROP INDEX payment_events_set_aside;
CREATE INDEX payment_events_set_aside ON payment_events (institute, received_at, provider, event)
    WHERE status = 'set-aside' AND settled_at IS NULL;
CREATE INDEX payment_events_by_time ON payment_events (institute, received_at, provider, event);
CREATE INDEX payment_events_by_status ON payment_events (institute, status, received_at, provider, event);

-- The list of what is open.
CREATE INDEX invoices_open_by_id ON invoices (institute, invoice)
    WHERE paid_minor < amount_minor AND voided_at IS NULL;
