-- A document whose history was cut names what continues it, the agreed heads (hex, behind each other) and the successor's change
-- that says what it said there. Its subject is the successor's.
ALTER TABLE documents ADD COLUMN successor TEXT;
ALTER TABLE documents ADD COLUMN cut_heads TEXT;
ALTER TABLE documents ADD COLUMN cut_first TEXT;
DROP INDEX documents_by_subject;
CREATE UNIQUE INDEX documents_by_subject ON documents (institute, kind, subject)
    WHERE deleted_at IS NULL AND successor IS NULL;
-- Lists show those too that were cut.
CREATE INDEX documents_listed ON documents (institute, kind, subject) WHERE deleted_at IS NULL;
CREATE INDEX documents_by_successor ON documents (successor) WHERE successor IS NOT NULL;

-- Changes that came after the cut, and what each was carried over as.
CREATE TABLE carried (
    institute  TEXT NOT NULL REFERENCES institutes,
    document   TEXT NOT NULL REFERENCES documents,
    hash       BLOB NOT NULL CHECK (length(hash) = 32),
    upto       BLOB NOT NULL CHECK (length(upto) = 32),
    carried_as BLOB NOT NULL CHECK (length(carried_as) = 32),
    PRIMARY KEY (document, hash)
) STRICT, WITHOUT ROWID;
