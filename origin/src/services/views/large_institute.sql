-- An institute of the size of the Open University's dataset: 28,785 students, 173,912 submissions.

INSERT INTO institutes VALUES ('large.example', 'Large', 'UTC', 'GBP', 0, now());
INSERT INTO users ("user", institute, email, name, role, created_at)
    SELECT 'student-' || n, 'large.example', 'student-' || n || '@large.example', 'Student ' || n, 'student', now()
    FROM generate_series(1, 28785) n;
INSERT INTO users ("user", institute, email, name, role, created_at)
    SELECT 'teacher-' || n, 'large.example', 'teacher-' || n || '@large.example', 'Teacher ' || n, 'teacher', now()
    FROM generate_series(1, 220) n;
INSERT INTO users ("user", institute, email, name, role, created_at)
    VALUES ('admin-1', 'large.example', 'admin-1@large.example', 'Admin', 'admin', now());
INSERT INTO users ("user", institute, email, name, role, created_at)
    SELECT 'guardian-' || n, 'large.example', 'guardian-' || n || '@large.example', 'Guardian ' || n, 'guardian', now()
    FROM generate_series(1, 20000) n;
INSERT INTO guardians SELECT 'large.example', 'guardian-' || n, 'student-' || (n + 4 * k)
    FROM generate_series(1, 20000) n CROSS JOIN generate_series(0, 1) k WHERE n + 4 * k <= 28785;
INSERT INTO batches SELECT 'large.example', 'batch-' || n, 'Batch ' || n FROM generate_series(1, 220) n;
INSERT INTO batch_teachers SELECT 'large.example', 'batch-' || n, 'teacher-' || n FROM generate_series(1, 220) n;
INSERT INTO enrolments SELECT 'large.example', 'batch-' || (n % 220 + 1), 'student-' || n, now()
    FROM generate_series(1, 28785) n;
INSERT INTO assignments SELECT 'large.example', 'assignment-' || n, 'batch-' || ((n - 1) % 220 + 1), 'Exercise ' || n,
    now() + n * interval '1 hour', 100 FROM generate_series(1, 2200) n;
-- Six works of each student, of assignments of the student's own batch; one in a hundred waits for its grade.
INSERT INTO submissions (institute, submission, assignment, student, submitted_at, score, graded_at)
    SELECT 'large.example', 'submission-' || n || '-' || k, 'assignment-' || (n % 220 + 1 + 220 * k), 'student-' || n,
        now() - k * interval '1 day', CASE WHEN (n + k) % 100 = 0 THEN NULL ELSE 50 END,
        CASE WHEN (n + k) % 100 = 0 THEN NULL ELSE now() END
    FROM generate_series(1, 28785) n CROSS JOIN generate_series(0, 6) k WHERE n * 7 + k <= 173912 + 6 OR k < 6
    LIMIT 173912;
INSERT INTO classes SELECT 'large.example', 'class-' || n, 'batch-' || (n % 220 + 1), 'Class ' || n, '1',
    'teacher-' || (n % 220 + 1), now() + (n / 220 - 10) * interval '1 day', now() + (n / 220 - 10) * interval '1 day'
    + interval '1 hour' FROM generate_series(1, 4400) n;
INSERT INTO attendance (institute, class, student, mark)
    SELECT 'large.example', 'class-' || (n % 220 + 220 * k), 'student-' || n, 'present'
    FROM generate_series(1, 28785) n CROSS JOIN generate_series(1, 8) k;
INSERT INTO messages (institute, message, author, recipient, batch, text, posted_at, arrived)
    SELECT 'large.example', 'message-' || n, 'teacher-' || (n % 220 + 1),
    CASE WHEN n % 2 = 0 THEN 'student-' || (n % 28785 + 1) END, CASE WHEN n % 2 = 1 THEN 'batch-' || (n % 220 + 1) END,
    'Hello', now() - n * interval '1 minute', 60000 - n FROM generate_series(1, 60000) n;
INSERT INTO invoices SELECT 'large.example', 'invoice-' || n, 'student-' || n, 'Fees', 1000, 500, now()::date
    FROM generate_series(1, 28785) n;
INSERT INTO payments SELECT 'large.example', 'payment-' || n, 'invoice-' || n, 500, 'cash', NULL, 'teacher-1',
    now() - n * interval '1 minute' FROM generate_series(1, 28785) n;
INSERT INTO ledger SELECT institute, 'invoice', invoice, student, invoice, amount_minor, now() FROM invoices
    WHERE institute = 'large.example';
INSERT INTO payment_events SELECT 'large.example', 'stripe', 'event-' || n,
    CASE WHEN n % 100 = 0 THEN 'set-aside' ELSE 'applied' END, NULL, '{}', now() - n * interval '1 minute'
    FROM generate_series(1, 20000) n;
INSERT INTO figures SELECT * FROM counted_figures WHERE institute = 'large.example';
INSERT INTO class_figures SELECT * FROM counted_class_figures WHERE institute = 'large.example';
ANALYZE;
