-- Numbers of a whole institute that are kept with what they count, so that nobody who looks counts anew.

-- Transactions add up what they change and write it once, when they commit.
CREATE TABLE figures (
    institute TEXT NOT NULL REFERENCES institutes,
    figure    TEXT NOT NULL,
    -- A role, a batch, a day (counted from 1970, UTC, six digits) or a kind of document; else empty.
    part      TEXT NOT NULL,
    value     INTEGER NOT NULL,
    PRIMARY KEY (institute, figure, part)
) STRICT, WITHOUT ROWID;

-- The marks of a class.
CREATE TABLE class_figures (
    institute TEXT NOT NULL,
    class     TEXT NOT NULL,
    present   INTEGER NOT NULL,
    absent    INTEGER NOT NULL,
    late      INTEGER NOT NULL,
    excused   INTEGER NOT NULL,
    -- Marks that several people wrote differently at the same time.
    conflicts INTEGER NOT NULL,
    PRIMARY KEY (institute, class),
    FOREIGN KEY (institute, class) REFERENCES classes
) STRICT, WITHOUT ROWID;

-- What the figures are when they are counted: for whoever wants to know, or has changed rows by hand.
CREATE VIEW counted_figures AS
    SELECT institute, 'users' AS figure, role AS part, count(*) AS value FROM users GROUP BY institute, role
    UNION ALL SELECT institute, 'batches', '', count(*) FROM batches GROUP BY institute
    UNION ALL SELECT institute, 'enrolled', batch, count(*) FROM enrolments GROUP BY institute, batch
    UNION ALL SELECT institute, 'submissions', '', count(*) FROM submissions GROUP BY institute
    UNION ALL SELECT institute, 'outstanding', '', sum(amount_minor) FROM ledger GROUP BY institute
    UNION ALL SELECT institute, 'received', printf('%06d', at / 86400000), sum(amount_minor)
        FROM (
            SELECT institute, paid_at AS at, amount_minor FROM payments
            UNION ALL SELECT institute, refunded_at, -amount_minor FROM refunds
        ) moved
        GROUP BY 1, 3
    UNION ALL SELECT institute, 'documents', kind, count(*) FROM documents
        WHERE deleted_at IS NULL AND successor IS NULL GROUP BY institute, kind
    UNION ALL SELECT institute, 'changes', kind, sum(changes) FROM documents
        WHERE deleted_at IS NULL AND successor IS NULL GROUP BY institute, kind
    UNION ALL SELECT institute, 'quarantined', '', count(*) FROM quarantine WHERE settled_at IS NULL GROUP BY institute;
CREATE VIEW counted_class_figures AS
    SELECT institute, class, count(*) FILTER (WHERE mark = 'present') AS present,
        count(*) FILTER (WHERE mark = 'absent') AS absent, count(*) FILTER (WHERE mark = 'late') AS late,
        count(*) FILTER (WHERE mark = 'excused') AS excused, count(marks) AS conflicts
    FROM attendance GROUP BY institute, class;

INSERT INTO figures SELECT institute, figure, part, value FROM counted_figures;
INSERT INTO class_figures SELECT institute, class, present, absent, late, excused, conflicts FROM counted_class_figures;
