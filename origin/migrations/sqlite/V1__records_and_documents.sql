-- Every table that belongs to an institute begins its key with it, so that no query can leave it out and stay fast.
-- Times are milliseconds since the Unix epoch, UTC; columns that end in `_on` are local dates. Money is in minor units.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE signing_keys (
    kid        TEXT PRIMARY KEY,
    secret     BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE institutes (
    institute  TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    time_zone  TEXT NOT NULL,
    currency   TEXT NOT NULL,
    -- Commits of this institute, gapless: the bookmark, the feed's cursor and the order of the log at once.
    revision   INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row for each revision. `tags` and `documents` are JSON.
CREATE TABLE feed (
    institute    TEXT NOT NULL REFERENCES institutes,
    revision     INTEGER NOT NULL,
    tags         TEXT NOT NULL,
    documents    TEXT NOT NULL,
    committed_at INTEGER NOT NULL,
    PRIMARY KEY (institute, revision)
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    user             TEXT PRIMARY KEY,
    institute        TEXT NOT NULL REFERENCES institutes,
    -- Lower case.
    email            TEXT NOT NULL UNIQUE,
    name             TEXT NOT NULL,
    role             TEXT NOT NULL CHECK (role IN ('admin', 'teacher', 'student')),
    -- PHC string; absent for somebody who cannot sign in yet.
    password_hash    TEXT,
    messages_read_at INTEGER NOT NULL DEFAULT 0,
    created_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX users_by_role ON users (institute, role);

CREATE TABLE refresh_tokens (
    -- SHA-256 of the token: the store never holds one that works.
    token_hash BLOB PRIMARY KEY,
    -- All tokens that descend from one sign-in.
    family     TEXT NOT NULL,
    user       TEXT NOT NULL REFERENCES users,
    device     TEXT NOT NULL,
    issued_at  INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    rotated_at INTEGER,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_tokens_by_family ON refresh_tokens (family);
CREATE INDEX refresh_tokens_by_user ON refresh_tokens (user, expires_at);

CREATE TABLE batches (
    institute TEXT NOT NULL REFERENCES institutes,
    batch     TEXT NOT NULL,
    title     TEXT NOT NULL,
    PRIMARY KEY (institute, batch)
) STRICT, WITHOUT ROWID;

CREATE TABLE batch_teachers (
    institute TEXT NOT NULL,
    batch     TEXT NOT NULL,
    user      TEXT NOT NULL REFERENCES users,
    PRIMARY KEY (institute, batch, user),
    FOREIGN KEY (institute, batch) REFERENCES batches
) STRICT, WITHOUT ROWID;
CREATE INDEX batch_teachers_by_user ON batch_teachers (institute, user);

CREATE TABLE enrolments (
    institute   TEXT NOT NULL,
    batch       TEXT NOT NULL,
    student     TEXT NOT NULL REFERENCES users,
    enrolled_at INTEGER NOT NULL,
    PRIMARY KEY (institute, batch, student),
    FOREIGN KEY (institute, batch) REFERENCES batches
) STRICT, WITHOUT ROWID;
CREATE INDEX enrolments_by_student ON enrolments (institute, student);

CREATE TABLE classes (
    institute TEXT NOT NULL,
    class     TEXT NOT NULL,
    batch     TEXT NOT NULL,
    title     TEXT NOT NULL,
    room      TEXT NOT NULL,
    teacher   TEXT NOT NULL REFERENCES users,
    starts_at INTEGER NOT NULL,
    ends_at   INTEGER NOT NULL,
    PRIMARY KEY (institute, class),
    FOREIGN KEY (institute, batch) REFERENCES batches
) STRICT, WITHOUT ROWID;
CREATE INDEX classes_by_batch ON classes (institute, batch, starts_at);
CREATE INDEX classes_by_time ON classes (institute, starts_at);

-- What the merged attendance sheets say.
CREATE TABLE attendance (
    institute TEXT NOT NULL,
    class     TEXT NOT NULL,
    student   TEXT NOT NULL REFERENCES users,
    mark      TEXT NOT NULL CHECK (mark IN ('present', 'absent', 'late', 'excused')),
    -- JSON array of all concurrent values when there are several, the shown one last.
    marks     TEXT,
    -- The sheet that the row comes from; absent for rows that came with records.
    document  TEXT,
    PRIMARY KEY (institute, class, student),
    FOREIGN KEY (institute, class) REFERENCES classes
) STRICT, WITHOUT ROWID;
CREATE INDEX attendance_by_student ON attendance (institute, student, mark);

CREATE TABLE assignments (
    institute  TEXT NOT NULL,
    assignment TEXT NOT NULL,
    batch      TEXT NOT NULL,
    title      TEXT NOT NULL,
    due_at     INTEGER,
    max_score  REAL NOT NULL,
    PRIMARY KEY (institute, assignment),
    FOREIGN KEY (institute, batch) REFERENCES batches
) STRICT, WITHOUT ROWID;
CREATE INDEX assignments_by_batch ON assignments (institute, batch, due_at);

CREATE TABLE submissions (
    institute    TEXT NOT NULL,
    submission   TEXT NOT NULL,
    assignment   TEXT NOT NULL,
    student      TEXT NOT NULL REFERENCES users,
    -- Absent for a result without handed-in work, such as an exam's.
    submitted_at INTEGER,
    text         TEXT,
    score        REAL,
    feedback     TEXT,
    graded_by    TEXT,
    graded_at    INTEGER,
    PRIMARY KEY (institute, submission),
    FOREIGN KEY (institute, assignment) REFERENCES assignments
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX submissions_by_assignment ON submissions (institute, assignment, student);
CREATE INDEX submissions_by_student ON submissions (institute, student);
CREATE INDEX submissions_to_grade ON submissions (institute, assignment, submitted_at) WHERE score IS NULL;

CREATE TABLE messages (
    institute TEXT NOT NULL REFERENCES institutes,
    message   TEXT NOT NULL,
    author    TEXT NOT NULL REFERENCES users,
    -- Exactly one of the two.
    recipient TEXT REFERENCES users,
    batch     TEXT,
    text      TEXT NOT NULL,
    posted_at INTEGER NOT NULL,
    PRIMARY KEY (institute, message),
    CHECK ((recipient IS NULL) <> (batch IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX messages_by_recipient ON messages (institute, recipient, posted_at) WHERE recipient IS NOT NULL;
CREATE INDEX messages_by_batch ON messages (institute, batch, posted_at) WHERE batch IS NOT NULL;

CREATE TABLE invoices (
    institute    TEXT NOT NULL REFERENCES institutes,
    invoice      TEXT NOT NULL,
    student      TEXT NOT NULL REFERENCES users,
    title        TEXT NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    -- Sum of the invoice's payments, kept with them so that a view need not add them up.
    paid_minor   INTEGER NOT NULL DEFAULT 0 CHECK (paid_minor BETWEEN 0 AND amount_minor),
    due_on       TEXT NOT NULL,
    PRIMARY KEY (institute, invoice)
) STRICT, WITHOUT ROWID;
CREATE INDEX invoices_by_student ON invoices (institute, student);
CREATE INDEX invoices_open ON invoices (institute, amount_minor, paid_minor) WHERE paid_minor < amount_minor;

CREATE TABLE payments (
    institute    TEXT NOT NULL,
    payment      TEXT NOT NULL,
    invoice      TEXT NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    method       TEXT NOT NULL,
    reference    TEXT,
    recorded_by  TEXT NOT NULL,
    paid_at      INTEGER NOT NULL,
    PRIMARY KEY (institute, payment),
    FOREIGN KEY (institute, invoice) REFERENCES invoices
) STRICT, WITHOUT ROWID;
CREATE INDEX payments_by_time ON payments (institute, paid_at);

CREATE TABLE idempotency (
    institute    TEXT NOT NULL REFERENCES institutes,
    key          TEXT NOT NULL,
    user         TEXT NOT NULL,
    device       TEXT NOT NULL,
    -- SHA-256 of user and canonical command.
    request_hash BLOB NOT NULL,
    status       TEXT NOT NULL CHECK (status IN ('delivered', 'refused')),
    -- JSON: what the command did, or why it was refused.
    outcome      TEXT NOT NULL,
    revision     INTEGER NOT NULL,
    decided_at   INTEGER NOT NULL,
    PRIMARY KEY (institute, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE documents (
    document   TEXT PRIMARY KEY,
    institute  TEXT NOT NULL REFERENCES institutes,
    kind       TEXT NOT NULL,
    subject    TEXT NOT NULL,
    batch      TEXT,
    owner      TEXT NOT NULL REFERENCES users,
    -- JSON array of hex hashes: the heads of all changes below.
    heads      TEXT NOT NULL,
    -- Position of the last change.
    changes    INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX documents_by_subject ON documents (institute, kind, subject);

-- The log of every document: who made each change. A change's ancestors stand before it.
CREATE TABLE changes (
    document    TEXT NOT NULL REFERENCES documents,
    position    INTEGER NOT NULL,
    hash        BLOB NOT NULL,
    bytes       BLOB NOT NULL,
    user        TEXT NOT NULL,
    device      TEXT NOT NULL,
    edge        TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (document, position)
) STRICT;
CREATE UNIQUE INDEX changes_by_hash ON changes (document, hash);

-- A saved document that holds the changes up to `position`, so that loading costs little however long the log is.
CREATE TABLE snapshots (
    document TEXT PRIMARY KEY REFERENCES documents,
    position INTEGER NOT NULL,
    bytes    BLOB NOT NULL
) STRICT;

-- How far the log of each edge is committed.
CREATE TABLE edge_logs (
    institute    TEXT NOT NULL,
    log          TEXT NOT NULL,
    edge         TEXT NOT NULL,
    acknowledged INTEGER NOT NULL,
    PRIMARY KEY (institute, log)
) STRICT, WITHOUT ROWID;

-- Changes that were refused, with the reason: nothing that a device wrote is thrown away.
CREATE TABLE quarantine (
    institute   TEXT NOT NULL,
    log         TEXT NOT NULL,
    sequence    INTEGER NOT NULL,
    document    TEXT NOT NULL,
    user        TEXT NOT NULL,
    device      TEXT NOT NULL,
    edge        TEXT NOT NULL,
    code        TEXT NOT NULL,
    bytes       BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (institute, log, sequence)
) STRICT;
