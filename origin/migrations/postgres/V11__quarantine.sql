-- Changes that were refused, here or at an edge, until an admin settles them. A settled one stays without its bytes, so that
-- it does not come back when its device offers it again.
CREATE TABLE quarantine_items (
    institute  text COLLATE "C" NOT NULL,
    document   text COLLATE "C" NOT NULL,
    -- Of the change; of the bytes where they are no change.
    hash       bytea NOT NULL,
    "user"     text COLLATE "C" NOT NULL,
    device     text NOT NULL,
    edge       text NOT NULL,
    code       text NOT NULL,
    bytes      bytea NOT NULL,
    refused_at timestamptz NOT NULL,
    settled_at timestamptz,
    settled_by text,
    -- `arrived`: the document got the change another way.
    outcome    text CHECK (outcome IN ('accepted', 'dropped', 'arrived')),
    PRIMARY KEY (institute, document, hash)
);
-- Rows from before have no hash; a number of their own serves as one.
INSERT INTO quarantine_items (institute, document, hash, "user", device, edge, code, bytes, refused_at)
SELECT institute, document, sha256(convert_to(log || ' ' || sequence, 'UTF8')), "user", device, edge, code, bytes,
    received_at
FROM quarantine;
DROP TABLE quarantine;
ALTER TABLE quarantine_items RENAME TO quarantine;
ALTER TABLE quarantine ALTER COLUMN bytes SET STORAGE EXTERNAL;
-- As SQLite has it, so that both engines are asked in the same words.
CREATE FUNCTION hex(bytes bytea) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN encode(bytes, 'hex');
CREATE INDEX quarantine_by_time ON quarantine (institute, refused_at, document, lower(hex(hash))) WHERE settled_at IS NULL;
CREATE INDEX quarantine_open ON quarantine (institute, refused_at, document, hash) WHERE settled_at IS NULL;
CREATE INDEX quarantine_by_device ON quarantine (institute, device) WHERE settled_at IS NULL;
CALL protect_table('quarantine');
