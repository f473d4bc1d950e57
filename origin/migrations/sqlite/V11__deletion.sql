-- A deleted document keeps its row, without its content: its id is never used again. Its subject may have another.
ALTER TABLE documents ADD COLUMN deleted_at INTEGER;
ALTER TABLE documents ADD COLUMN deleted_by TEXT;
DROP INDEX documents_by_subject;
CREATE UNIQUE INDEX documents_by_subject ON documents (institute, kind, subject) WHERE deleted_at IS NULL;
