-- A deleted document keeps its row, without its content: its id is never used again. Its subject may have another.
ALTER TABLE documents ADD COLUMN deleted_at timestamptz;
ALTER TABLE documents ADD COLUMN deleted_by text COLLATE "C";
DROP INDEX documents_by_subject;
CREATE UNIQUE INDEX documents_by_subject ON documents (institute, kind, subject) WHERE deleted_at IS NULL;
