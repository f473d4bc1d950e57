-- What admins do and what was done: the audit log, classes that were cancelled, the order of lists.

-- One row for each command that was decided. Entries are UUIDs of version 7: their order is the order of time.
CREATE TABLE audit (
    institute TEXT NOT NULL REFERENCES institutes,
    entry     TEXT NOT NULL,
    at        INTEGER NOT NULL,
    user      TEXT NOT NULL,
    device    TEXT NOT NULL,
    command   TEXT NOT NULL,
    -- The command's idempotency key.
    key       TEXT NOT NULL,
    -- The kind of the record that the command is about, and its key with slashes between the parts.
    kind      TEXT NOT NULL,
    record    TEXT,
    -- JSON: the record as it was and as it became.
    before    TEXT,
    after     TEXT,
    -- Why the command was refused.
    refusal   TEXT,
    epoch     INTEGER NOT NULL,
    revision  INTEGER NOT NULL,
    PRIMARY KEY (institute, entry)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_by_user ON audit (institute, user, entry);
CREATE INDEX audit_by_command ON audit (institute, command, entry);
CREATE INDEX audit_by_record ON audit (institute, record, entry);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is not changed'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is not deleted'); END;

ALTER TABLE classes ADD COLUMN cancelled_at INTEGER;

CREATE INDEX users_by_name ON users (institute, name, user);
CREATE INDEX users_by_role_and_name ON users (institute, role, name, user);
CREATE INDEX users_deactivated ON users (institute, name, user) WHERE deactivated_at IS NOT NULL;
CREATE INDEX users_by_address ON users (institute, email);
CREATE INDEX classes_by_teacher ON classes (institute, teacher, starts_at);
CREATE INDEX assignments_by_batch_and_id ON assignments (institute, batch, assignment);
CREATE INDEX payments_by_invoice ON payments (institute, invoice);
CREATE INDEX documents_by_batch ON documents (institute, batch, kind, subject);
CREATE INDEX quarantine_by_time ON quarantine (institute, received_at, log, sequence);
CREATE INDEX quarantine_by_document ON quarantine (institute, document);
CREATE INDEX refresh_tokens_current ON refresh_tokens (user, family) WHERE rotated_at IS NULL;
