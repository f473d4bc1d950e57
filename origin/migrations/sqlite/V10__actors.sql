-- Whose each document's actors are: who brought the first change of each, and when an edge logged that.
CREATE TABLE actors (
    institute TEXT NOT NULL REFERENCES institutes,
    document  TEXT NOT NULL REFERENCES documents,
    actor     BLOB NOT NULL,
    user      TEXT NOT NULL,
    device    TEXT NOT NULL,
    since     INTEGER NOT NULL,
    PRIMARY KEY (document, actor)
) STRICT, WITHOUT ROWID;

-- JSON arrays: the changes that a row comes from (hex), and, where people marked differently at once, who wrote what.
ALTER TABLE attendance ADD COLUMN heads TEXT;
ALTER TABLE attendance ADD COLUMN writers TEXT;
