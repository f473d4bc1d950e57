-- Rights that change while edges follow them.
ALTER TABLE users ADD COLUMN deactivated_at INTEGER;

-- A guardian reads what the student may read.
CREATE TABLE guardians (
    institute TEXT NOT NULL REFERENCES institutes,
    guardian  TEXT NOT NULL REFERENCES users,
    student   TEXT NOT NULL REFERENCES users,
    PRIMARY KEY (institute, guardian, student)
) STRICT, WITHOUT ROWID;
CREATE INDEX guardians_by_student ON guardians (institute, student);
