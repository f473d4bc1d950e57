-- Rights that change while edges follow them.
ALTER TABLE users ADD COLUMN deactivated_at timestamptz;

-- A guardian reads what the student may read.
CREATE TABLE guardians (
    institute text COLLATE "C" NOT NULL REFERENCES institutes,
    guardian  text COLLATE "C" NOT NULL REFERENCES users,
    student   text COLLATE "C" NOT NULL REFERENCES users,
    PRIMARY KEY (institute, guardian, student)
);
CREATE INDEX guardians_by_student ON guardians (institute, student);
CALL protect_table('guardians');
