-- Requests that come again because their answer did not arrive.

-- Hash of the token that took this one's place; absent in one that works, and in one that was replaced unused.
ALTER TABLE refresh_tokens ADD COLUMN successor bytea;

-- The entity tag of the record as the command left it: a repetition is told the same.
ALTER TABLE idempotency ADD COLUMN entity_tag text COLLATE "C";
