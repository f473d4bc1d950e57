-- What admins do and what was done: the audit log, classes that were cancelled, the order of lists, search by name.

-- One row for each command that was decided. Entries are UUIDs of version 7: their order is the order of time.
CREATE TABLE audit (
    institute text COLLATE "C" NOT NULL REFERENCES institutes,
    entry     text COLLATE "C" NOT NULL,
    at        timestamptz NOT NULL,
    "user"    text COLLATE "C" NOT NULL,
    device    text NOT NULL,
    command   text COLLATE "C" NOT NULL,
    -- The command's idempotency key.
    key       text COLLATE "C" NOT NULL,
    -- The kind of the record that the command is about, and its key with slashes between the parts.
    kind      text COLLATE "C" NOT NULL,
    record    text COLLATE "C",
    -- The record as it was and as it became. json and not jsonb: an entry reads as it was written.
    before    json,
    after     json,
    -- Why the command was refused.
    refusal   text COLLATE "C",
    epoch     bigint NOT NULL,
    revision  bigint NOT NULL,
    PRIMARY KEY (institute, entry)
);
CREATE INDEX audit_by_user ON audit (institute, "user", entry);
CREATE INDEX audit_by_command ON audit (institute, command, entry);
CREATE INDEX audit_by_record ON audit (institute, record, entry);
CALL protect_table('audit');
-- Never changed by the application.
REVOKE UPDATE, DELETE ON audit FROM rollcall_app;

ALTER TABLE classes ADD COLUMN cancelled_at timestamptz;

CREATE INDEX users_by_name ON users (institute, name, "user");
CREATE INDEX users_by_role_and_name ON users (institute, role, name, "user");
CREATE INDEX users_deactivated ON users (institute, name, "user") WHERE deactivated_at IS NOT NULL;
CREATE INDEX classes_by_teacher ON classes (institute, teacher, starts_at);
CREATE INDEX assignments_by_batch_and_id ON assignments (institute, batch, assignment);
CREATE INDEX payments_by_invoice ON payments (institute, invoice);
CREATE INDEX documents_by_batch ON documents (institute, batch, kind, subject);
CREATE INDEX quarantine_by_time ON quarantine (institute, received_at, log, sequence);
CREATE INDEX quarantine_by_document ON quarantine (institute, document);
CREATE INDEX refresh_tokens_current ON refresh_tokens (institute, "user", family) WHERE rotated_at IS NULL;

-- People of the transaction's institute whose name has a word for each of the `words` (to_tsquery's form), or whose
-- address or id begins with `start` (lower case, at least one character). A function of its own: row-level security keeps
-- a text search, which is not leakproof, from using its index.
CREATE INDEX users_by_word ON users USING gin (to_tsvector('simple', name));
CREATE INDEX users_by_address ON users (institute, email);
CREATE FUNCTION search_people(words text, start text, most integer)
    RETURNS TABLE ("user" text, name text, email text, role text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
BEGIN ATOMIC
    (SELECT u."user", u.name, u.email, u.role FROM users u
     WHERE u.institute = current_institute() AND to_tsvector('simple', u.name) @@ to_tsquery('simple', words)
     ORDER BY u.name, u."user" LIMIT most)
    UNION
    (SELECT u."user", u.name, u.email, u.role FROM users u
     WHERE u.institute = current_institute() AND u.email >= start AND u.email < start || chr(1114111)
     ORDER BY u.email LIMIT most)
    UNION
    (SELECT u."user", u.name, u.email, u.role FROM users u
     WHERE u.institute = current_institute() AND u."user" = start)
    ORDER BY 2, 1 LIMIT most;
END;
ALTER FUNCTION search_people(text, text, integer) OWNER TO rollcall_lookup;
REVOKE ALL ON FUNCTION search_people(text, text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION search_people(text, text, integer) TO rollcall_app;
