-- Numbers of a whole institute that are kept with what they count, so that nobody who looks counts anew.

-- Transactions add up what they change and write it once, when they commit.
CREATE TABLE figures (
    institute text COLLATE "C" NOT NULL REFERENCES institutes,
    figure    text COLLATE "C" NOT NULL,
    -- A role, a batch, a day (counted from 1970, UTC, six digits) or a kind of document; else empty.
    part      text COLLATE "C" NOT NULL,
    value     bigint NOT NULL,
    PRIMARY KEY (institute, figure, part)
) WITH (fillfactor = 50); -- Rows change often: room for them on their own page.
CALL protect_table('figures');

-- The marks of a class.
CREATE TABLE class_figures (
    institute text COLLATE "C" NOT NULL,
    class     text COLLATE "C" NOT NULL,
    present   bigint NOT NULL,
    absent    bigint NOT NULL,
    late      bigint NOT NULL,
    excused   bigint NOT NULL,
    -- Marks that several people wrote differently at the same time.
    conflicts bigint NOT NULL,
    PRIMARY KEY (institute, class),
    FOREIGN KEY (institute, class) REFERENCES classes
) WITH (fillfactor = 75);
CALL protect_table('class_figures');

-- What the figures are when they are counted: for whoever wants to know, or has changed rows by hand.
CREATE VIEW counted_figures AS
    SELECT institute, 'users' AS figure, role AS part, count(*) AS value FROM users GROUP BY institute, role
    UNION ALL SELECT institute, 'batches', '', count(*) FROM batches GROUP BY institute
    UNION ALL SELECT institute, 'enrolled', batch, count(*) FROM enrolments GROUP BY institute, batch
    UNION ALL SELECT institute, 'submissions', '', count(*) FROM submissions GROUP BY institute
    UNION ALL SELECT institute, 'outstanding', '', sum(amount_minor)::bigint FROM ledger GROUP BY institute
    UNION ALL SELECT institute, 'received', lpad(floor(extract(epoch FROM at) / 86400)::bigint::text, 6, '0'),
            sum(amount_minor)::bigint
        FROM (
            SELECT institute, paid_at AS at, amount_minor FROM payments
            UNION ALL SELECT institute, refunded_at, -amount_minor FROM refunds
        ) moved
        GROUP BY 1, 3
    UNION ALL SELECT institute, 'documents', kind, count(*) FROM documents
        WHERE deleted_at IS NULL AND successor IS NULL GROUP BY institute, kind
    UNION ALL SELECT institute, 'changes', kind, sum(changes)::bigint FROM documents
        WHERE deleted_at IS NULL AND successor IS NULL GROUP BY institute, kind
    UNION ALL SELECT institute, 'quarantined', '', count(*) FROM quarantine WHERE settled_at IS NULL GROUP BY institute;
CREATE VIEW counted_class_figures AS
    SELECT institute, class, count(*) FILTER (WHERE mark = 'present') AS present,
        count(*) FILTER (WHERE mark = 'absent') AS absent, count(*) FILTER (WHERE mark = 'late') AS late,
        count(*) FILTER (WHERE mark = 'excused') AS excused, count(marks) AS conflicts
    FROM attendance GROUP BY institute, class;

-- The rows so far, which nobody changes meanwhile. Their owner is bound by the institutes' rule too, which names none here.
DO $$
DECLARE
    name text;
    counted text[] := ARRAY['users', 'batches', 'enrolments', 'submissions', 'ledger', 'payments', 'refunds', 'documents',
        'quarantine', 'attendance', 'classes', 'institutes', 'figures', 'class_figures'];
BEGIN
    FOREACH name IN ARRAY counted LOOP
        EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', name);
    END LOOP;
    INSERT INTO figures SELECT institute, figure, part, value FROM counted_figures;
    INSERT INTO class_figures SELECT institute, class, present, absent, late, excused, conflicts
        FROM counted_class_figures;
    FOREACH name IN ARRAY counted LOOP
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    END LOOP;
END
$$;
