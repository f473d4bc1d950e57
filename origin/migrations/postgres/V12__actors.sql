-- Whose each document's actors are: who brought the first change of each, and when an edge logged that.
CREATE TABLE actors (
    institute text COLLATE "C" NOT NULL REFERENCES institutes,
    document  text COLLATE "C" NOT NULL REFERENCES documents,
    actor     bytea NOT NULL,
    "user"    text COLLATE "C" NOT NULL,
    device    text NOT NULL,
    since     timestamptz NOT NULL,
    PRIMARY KEY (document, actor)
);
CALL protect_table('actors');

-- JSON arrays: the changes that a row comes from (hex), and, where people marked differently at once, who wrote what.
ALTER TABLE attendance ADD COLUMN heads json;
ALTER TABLE attendance ADD COLUMN writers json;
