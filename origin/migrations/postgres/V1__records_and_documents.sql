-- The schema of migrations/sqlite/V1, for Postgres. Ids compare byte by byte (COLLATE "C"), as in SQLite; times are
-- timestamptz with whole milliseconds; money is in minor units.
--
-- Row-level security: each table of an institute shows and takes only rows of the institute that the transaction names
-- with set_config('rollcall.institute', …, true). Without a name, or with an empty one, it shows none.

-- Roles belong to the whole server, so another database may have made them. An owner without CREATEROLE finds them made.
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['rollcall_app', 'rollcall_lookup'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOBYPASSRLS', role_name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                -- Another database's migration was faster.
                NULL;
            END;
        END IF;
        IF NOT pg_has_role(current_user, role_name, 'MEMBER') THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
        END IF;
    END LOOP;
END
$$;

-- One row: which run of history this is. A server that was promoted has a new timeline, one that was restored
-- elsewhere a new system identifier; either makes a new epoch, which ends the bookmarks of the old one.
CREATE TABLE generation (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch    bigint NOT NULL,
    system   bigint NOT NULL,
    timeline bigint NOT NULL
);

CREATE TABLE signing_keys (
    kid        text COLLATE "C" PRIMARY KEY,
    secret     bytea NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE institutes (
    institute  text COLLATE "C" PRIMARY KEY,
    name       text NOT NULL,
    time_zone  text NOT NULL,
    currency   text NOT NULL,
    -- Commits of this institute, gapless: the bookmark, the feed's cursor and the order of the log at once.
    revision   bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL
) WITH (fillfactor = 50); -- Every write updates its institute's row: room for it on its own page.

CREATE TABLE feed (
    institute    text COLLATE "C" NOT NULL REFERENCES institutes,
    revision     bigint NOT NULL,
    tags         text[] NOT NULL,
    documents    jsonb NOT NULL,
    committed_at timestamptz NOT NULL,
    PRIMARY KEY (institute, revision)
);

CREATE TABLE users (
    "user"           text COLLATE "C" PRIMARY KEY,
    institute        text COLLATE "C" NOT NULL REFERENCES institutes,
    -- Lower case.
    email            text COLLATE "C" NOT NULL UNIQUE,
    name             text COLLATE "C" NOT NULL,
    role             text COLLATE "C" NOT NULL CHECK (role IN ('admin', 'teacher', 'student')),
    -- PHC string; absent for somebody who cannot sign in yet.
    password_hash    text,
    messages_read_at timestamptz NOT NULL DEFAULT 'epoch',
    created_at       timestamptz NOT NULL
);
CREATE INDEX users_by_role ON users (institute, role);

CREATE TABLE refresh_tokens (
    -- SHA-256 of the token: the store never holds one that works.
    token_hash bytea PRIMARY KEY,
    institute  text COLLATE "C" NOT NULL REFERENCES institutes,
    -- All tokens that descend from one sign-in.
    family     text COLLATE "C" NOT NULL,
    "user"     text COLLATE "C" NOT NULL REFERENCES users,
    device     text NOT NULL,
    issued_at  timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    rotated_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX refresh_tokens_by_family ON refresh_tokens (family);
CREATE INDEX refresh_tokens_by_user ON refresh_tokens ("user", expires_at);

CREATE TABLE batches (
    institute text COLLATE "C" NOT NULL REFERENCES institutes,
    batch     text COLLATE "C" NOT NULL,
    title     text NOT NULL,
    PRIMARY KEY (institute, batch)
);

CREATE TABLE batch_teachers (
    institute text COLLATE "C" NOT NULL,
    batch     text COLLATE "C" NOT NULL,
    "user"    text COLLATE "C" NOT NULL REFERENCES users,
    PRIMARY KEY (institute, batch, "user"),
    FOREIGN KEY (institute, batch) REFERENCES batches
);
CREATE INDEX batch_teachers_by_user ON batch_teachers (institute, "user");

CREATE TABLE enrolments (
    institute   text COLLATE "C" NOT NULL,
    batch       text COLLATE "C" NOT NULL,
    student     text COLLATE "C" NOT NULL REFERENCES users,
    enrolled_at timestamptz NOT NULL,
    PRIMARY KEY (institute, batch, student),
    FOREIGN KEY (institute, batch) REFERENCES batches
);
CREATE INDEX enrolments_by_student ON enrolments (institute, student);

CREATE TABLE classes (
    institute text COLLATE "C" NOT NULL,
    class     text COLLATE "C" NOT NULL,
    batch     text COLLATE "C" NOT NULL,
    title     text NOT NULL,
    room      text NOT NULL,
    teacher   text COLLATE "C" NOT NULL REFERENCES users,
    starts_at timestamptz NOT NULL,
    ends_at   timestamptz NOT NULL,
    PRIMARY KEY (institute, class),
    FOREIGN KEY (institute, batch) REFERENCES batches
);
CREATE INDEX classes_by_batch ON classes (institute, batch, starts_at);
CREATE INDEX classes_by_time ON classes (institute, starts_at);

-- What the merged attendance sheets say.
CREATE TABLE attendance (
    institute text COLLATE "C" NOT NULL,
    class     text COLLATE "C" NOT NULL,
    student   text COLLATE "C" NOT NULL REFERENCES users,
    mark      text COLLATE "C" NOT NULL CHECK (mark IN ('present', 'absent', 'late', 'excused')),
    -- All concurrent values when there are several, the shown one last. json and not jsonb: the text stays as it came,
    -- so that it can be compared.
    marks     json,
    -- The sheet that the row comes from; absent for rows that came with records.
    document  text COLLATE "C",
    PRIMARY KEY (institute, class, student),
    FOREIGN KEY (institute, class) REFERENCES classes
);
CREATE INDEX attendance_by_student ON attendance (institute, student, mark);

CREATE TABLE assignments (
    institute  text COLLATE "C" NOT NULL,
    assignment text COLLATE "C" NOT NULL,
    batch      text COLLATE "C" NOT NULL,
    title      text NOT NULL,
    due_at     timestamptz,
    max_score  double precision NOT NULL,
    PRIMARY KEY (institute, assignment),
    FOREIGN KEY (institute, batch) REFERENCES batches
);
CREATE INDEX assignments_by_batch ON assignments (institute, batch, due_at);

CREATE TABLE submissions (
    institute    text COLLATE "C" NOT NULL,
    submission   text COLLATE "C" NOT NULL,
    assignment   text COLLATE "C" NOT NULL,
    student      text COLLATE "C" NOT NULL REFERENCES users,
    -- Absent for a result without handed-in work, such as an exam's.
    submitted_at timestamptz,
    text         text,
    score        double precision,
    feedback     text,
    graded_by    text COLLATE "C",
    graded_at    timestamptz,
    PRIMARY KEY (institute, submission),
    FOREIGN KEY (institute, assignment) REFERENCES assignments
);
CREATE UNIQUE INDEX submissions_by_assignment ON submissions (institute, assignment, student);
CREATE INDEX submissions_by_student ON submissions (institute, student);
CREATE INDEX submissions_to_grade ON submissions (institute, assignment, submitted_at) WHERE score IS NULL;

-- By quarter; ensure_message_partitions makes them ahead. The default partition takes what lies outside them.
CREATE TABLE messages (
    institute text COLLATE "C" NOT NULL REFERENCES institutes,
    message   text COLLATE "C" NOT NULL,
    author    text COLLATE "C" NOT NULL REFERENCES users,
    -- Exactly one of the two.
    recipient text COLLATE "C" REFERENCES users,
    batch     text COLLATE "C",
    text      text NOT NULL,
    posted_at timestamptz NOT NULL,
    PRIMARY KEY (institute, message, posted_at),
    CHECK ((recipient IS NULL) <> (batch IS NULL))
) PARTITION BY RANGE (posted_at);
CREATE TABLE messages_other PARTITION OF messages DEFAULT;
CREATE INDEX messages_by_recipient ON messages (institute, recipient, posted_at) WHERE recipient IS NOT NULL;
CREATE INDEX messages_by_batch ON messages (institute, batch, posted_at) WHERE batch IS NOT NULL;

CREATE TABLE invoices (
    institute    text COLLATE "C" NOT NULL REFERENCES institutes,
    invoice      text COLLATE "C" NOT NULL,
    student      text COLLATE "C" NOT NULL REFERENCES users,
    title        text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    -- Sum of the invoice's payments, kept with them so that a view need not add them up.
    paid_minor   bigint NOT NULL DEFAULT 0 CHECK (paid_minor BETWEEN 0 AND amount_minor),
    due_on       date NOT NULL,
    PRIMARY KEY (institute, invoice)
);
CREATE INDEX invoices_by_student ON invoices (institute, student);
CREATE INDEX invoices_open ON invoices (institute, amount_minor, paid_minor) WHERE paid_minor < amount_minor;

CREATE TABLE payments (
    institute    text COLLATE "C" NOT NULL,
    payment      text COLLATE "C" NOT NULL,
    invoice      text COLLATE "C" NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    method       text NOT NULL,
    reference    text,
    recorded_by  text COLLATE "C" NOT NULL,
    paid_at      timestamptz NOT NULL,
    PRIMARY KEY (institute, payment),
    FOREIGN KEY (institute, invoice) REFERENCES invoices
);
CREATE INDEX payments_by_time ON payments (institute, paid_at);

CREATE TABLE idempotency (
    institute    text COLLATE "C" NOT NULL REFERENCES institutes,
    key          text COLLATE "C" NOT NULL,
    "user"       text COLLATE "C" NOT NULL,
    device       text NOT NULL,
    -- SHA-256 of user and canonical command.
    request_hash bytea NOT NULL,
    status       text COLLATE "C" NOT NULL CHECK (status IN ('delivered', 'refused')),
    -- What the command did, or why it was refused. json: the same answer, byte for byte, each time.
    outcome      json NOT NULL,
    revision     bigint NOT NULL,
    decided_at   timestamptz NOT NULL,
    PRIMARY KEY (institute, key)
);

CREATE TABLE documents (
    document   text COLLATE "C" PRIMARY KEY,
    institute  text COLLATE "C" NOT NULL REFERENCES institutes,
    kind       text COLLATE "C" NOT NULL,
    subject    text COLLATE "C" NOT NULL,
    batch      text COLLATE "C",
    owner      text COLLATE "C" NOT NULL REFERENCES users,
    -- Hex hashes: the heads of all changes below.
    heads      text[] NOT NULL,
    -- Position of the last change.
    changes    bigint NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX documents_by_subject ON documents (institute, kind, subject);

-- The log of every document: who made each change. A change's ancestors stand before it.
CREATE TABLE changes (
    institute   text COLLATE "C" NOT NULL,
    document    text COLLATE "C" NOT NULL REFERENCES documents,
    position    bigint NOT NULL,
    hash        bytea NOT NULL,
    bytes       bytea NOT NULL,
    "user"      text COLLATE "C" NOT NULL,
    device      text NOT NULL,
    edge        text NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (document, position)
);
CREATE UNIQUE INDEX changes_by_hash ON changes (document, hash);
-- Changes are compressed already.
ALTER TABLE changes ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- A saved document that holds the changes up to `position`, so that loading costs little however long the log is.
CREATE TABLE snapshots (
    document  text COLLATE "C" PRIMARY KEY REFERENCES documents,
    institute text COLLATE "C" NOT NULL,
    position  bigint NOT NULL,
    bytes     bytea NOT NULL
);
ALTER TABLE snapshots ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- How far the log of each edge is committed.
CREATE TABLE edge_logs (
    institute    text COLLATE "C" NOT NULL,
    log          text COLLATE "C" NOT NULL,
    edge         text NOT NULL,
    acknowledged bigint NOT NULL,
    PRIMARY KEY (institute, log)
);

-- Changes that were refused, with the reason: nothing that a device wrote is thrown away.
CREATE TABLE quarantine (
    institute   text COLLATE "C" NOT NULL,
    log         text COLLATE "C" NOT NULL,
    sequence    bigint NOT NULL,
    document    text COLLATE "C" NOT NULL,
    "user"      text COLLATE "C" NOT NULL,
    device      text NOT NULL,
    edge        text NOT NULL,
    code        text NOT NULL,
    bytes       bytea NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (institute, log, sequence)
);
