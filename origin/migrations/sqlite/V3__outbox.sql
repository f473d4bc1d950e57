-- What commits ask to be done after them, one row for each consumer. A row goes in the transaction that does what it
-- asks: whether it is there says whether that was done.
CREATE TABLE outbox (
    institute    TEXT NOT NULL REFERENCES institutes,
    consumer     TEXT NOT NULL,
    -- Of the commit: the order of the outbox.
    revision     INTEGER NOT NULL,
    -- JSON array.
    events       TEXT NOT NULL,
    committed_at INTEGER NOT NULL,
    -- Nobody takes it up before: a lease, or the pause after a failure.
    due_at       INTEGER NOT NULL,
    failures     INTEGER NOT NULL DEFAULT 0,
    -- Of the last failure.
    fault        TEXT,
    -- It failed too often and waits for an operator.
    set_aside_at INTEGER,
    PRIMARY KEY (institute, consumer, revision)
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_due ON outbox (due_at, revision) WHERE set_aside_at IS NULL;
CREATE INDEX outbox_set_aside ON outbox (set_aside_at) WHERE set_aside_at IS NOT NULL;

CREATE TABLE notifications (
    institute  TEXT NOT NULL REFERENCES institutes,
    user       TEXT NOT NULL,
    -- Of the commit that it tells of, and which of its events: nobody is told twice.
    revision   INTEGER NOT NULL,
    position   INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    -- JSON object.
    body       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    read_at    INTEGER,
    PRIMARY KEY (institute, user, revision, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX notifications_unread ON notifications (institute, user) WHERE read_at IS NULL;
