-- Changes that were refused, here or at an edge, until an admin settles them. A settled one stays without its bytes, so that
-- it does not come back when its device offers it again.
CREATE TABLE quarantine_items (
    institute  TEXT NOT NULL,
    document   TEXT NOT NULL,
    -- Of the change; of the bytes where they are no change.
    hash       BLOB NOT NULL,
    user       TEXT NOT NULL,
    device     TEXT NOT NULL,
    edge       TEXT NOT NULL,
    code       TEXT NOT NULL,
    bytes      BLOB NOT NULL,
    refused_at INTEGER NOT NULL,
    settled_at INTEGER,
    settled_by TEXT,
    -- `arrived`: the document got the change another way.
    outcome    TEXT CHECK (outcome IN ('accepted', 'dropped', 'arrived')),
    PRIMARY KEY (institute, document, hash)
) STRICT;
-- Rows from before have no hash; a number of their own serves as one.
INSERT INTO quarantine_items (institute, document, hash, user, device, edge, code, bytes, refused_at)
SELECT institute, document, randomblob(32), user, device, edge, code, bytes, received_at FROM quarantine;
DROP TABLE quarantine;
ALTER TABLE quarantine_items RENAME TO quarantine;
CREATE INDEX quarantine_by_time ON quarantine (institute, refused_at, document, lower(hex(hash))) WHERE settled_at IS NULL;
CREATE INDEX quarantine_open ON quarantine (institute, refused_at, document, hash) WHERE settled_at IS NULL;
CREATE INDEX quarantine_by_device ON quarantine (institute, device) WHERE settled_at IS NULL;
