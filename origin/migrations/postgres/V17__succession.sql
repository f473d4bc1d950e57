-- A document whose history was cut names what continues it, the agreed heads (hex, behind each other) and the successor's change
-- that says what it said there. Its subject is the successor's.
ALTER TABLE documents ADD COLUMN successor text COLLATE "C";
ALTER TABLE documents ADD COLUMN cut_heads text COLLATE "C";
ALTER TABLE documents ADD COLUMN cut_first text COLLATE "C";
ALTER TABLE documents ADD CONSTRAINT documents_cut_whole
    CHECK (num_nulls(successor, cut_heads, cut_first) IN (0, 3));
DROP INDEX documents_by_subject;
CREATE UNIQUE INDEX documents_by_subject ON documents (institute, kind, subject)
    WHERE deleted_at IS NULL AND successor IS NULL;
-- Lists show those too that were cut.
CREATE INDEX documents_listed ON documents (institute, kind, subject) WHERE deleted_at IS NULL;
CREATE INDEX documents_by_successor ON documents (successor) WHERE successor IS NOT NULL;

-- Changes that came after the cut, and what each was carried over as.
CREATE TABLE carried (
    institute  text COLLATE "C" NOT NULL REFERENCES institutes,
    document   text COLLATE "C" NOT NULL REFERENCES documents,
    hash       bytea NOT NULL CHECK (length(hash) = 32),
    upto       bytea NOT NULL CHECK (length(upto) = 32),
    carried_as bytea NOT NULL CHECK (length(carried_as) = 32),
    PRIMARY KEY (document, hash)
);
CALL protect_table('carried');
