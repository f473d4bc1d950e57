-- What large_institute.sql lacks for the lists of admins, beside a small institute with rows of its own.

INSERT INTO audit (institute, entry, at, "user", device, command, key, kind, record, epoch, revision)
    SELECT 'large.example', 'entry-' || n, now() - n * interval '1 second', 'teacher-' || (n % 220 + 1), 'phone',
        CASE WHEN n % 500 = 0 THEN 'change-batch' ELSE 'grade-submission' END, 'key-' || n, 'submission',
        'submission-' || n, 1, n
    FROM generate_series(1, 100000) n;
INSERT INTO user_activities (institute, activity, at, "user", kind, device)
    SELECT 'large.example', 'activity-' || n, now() - n * interval '25 seconds', 'student-' || (n % 28785 + 1),
        CASE WHEN n % 500 = 0 THEN 'password-changed' ELSE 'signed-in' END, 'phone'
    FROM generate_series(1, 100000) n;
INSERT INTO documents (document, institute, kind, subject, batch, owner, heads, changes, created_at)
    SELECT 'document-' || n, 'large.example', CASE WHEN n % 20 = 0 THEN 'doubt' ELSE 'notes' END, 'subject-' || n,
        'batch-' || (n % 220 + 1), 'teacher-1', '{}', 1, now()
    FROM generate_series(1, 20000) n;
INSERT INTO doubts (institute, subject, document, batch, asked_by, question, answers, answer_count, answered_by, conflicts,
        omitted_bytes, words, asked_at, updated_at, heads)
    SELECT 'large.example', 'batch-' || (n % 220 + 1) || '/thread-' || n, 'document-' || n, 'batch-' || (n % 220 + 1),
        'student-' || (n % 28785 + 1), 'Why?', '[]', n % 3, CASE WHEN n % 3 > 0 THEN 'teacher-1' END, 0, 0,
        'is topic' || (n % 500) || ' why', now() - n * interval '1 minute', now() - n * interval '20 seconds', '[]'
    FROM generate_series(1, 20000) n;
INSERT INTO changes SELECT 'large.example', 'document-' || n, 1, n::text::bytea, 'x', 'teacher-1', 'phone', 'edge', now()
    FROM generate_series(1, 20000) n;
INSERT INTO quarantine SELECT 'large.example', 'document-' || n, sha256(n::text::bytea), 'teacher-1', 'phone', 'edge', 'forbidden', 'x',
    now() - n * interval '1 second' FROM generate_series(1, 20000) n;
INSERT INTO refresh_tokens SELECT ('\x' || lpad(to_hex(n), 8, '0'))::bytea, 'large.example', 'family-' || n, 'student-' || n,
    'phone', now(), now() + interval '1 month', CASE WHEN k = 0 THEN now() END
    FROM (SELECT n, n % 2 AS k FROM generate_series(1, 28785) n) tokens;
INSERT INTO refunds (institute, refund, payment, amount_minor, refunded_by, refunded_at)
    SELECT 'large.example', 'refund-' || n, 'payment-' || n, 1, 'teacher-1', now() - n * interval '1 minute'
    FROM generate_series(1, 10000) n;
INSERT INTO outbox (institute, consumer, revision, events, committed_at, due_at, failures, fault, set_aside_at)
    SELECT 'large.example', 'notifications', 1000000 + n, '[]', now(), now(), 1, 'broken', now() - n * interval '1 second'
    FROM generate_series(1, 10000) n;
INSERT INTO guardians SELECT 'large.example', 'teacher-' || (n % 220 + 1), 'student-' || n
    FROM generate_series(1, 20000) n;
ANALYZE;
