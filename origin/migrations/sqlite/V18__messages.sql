-- Messages that an admin retracts, and lists of messages. The text stays for admins; everybody else reads that there was
-- one.
ALTER TABLE messages ADD COLUMN retracted_at INTEGER;
ALTER TABLE messages ADD COLUMN retracted_by TEXT;
ALTER TABLE messages ADD COLUMN reason TEXT;
CREATE INDEX messages_by_time ON messages (institute, posted_at, message);
CREATE INDEX messages_by_author ON messages (institute, author, posted_at);
CREATE INDEX messages_retracted ON messages (institute, posted_at, message) WHERE retracted_at IS NOT NULL;

-- Tries of whoever guesses passwords or has mails sent: hashes of accounts and addresses, and when their bucket is full
-- again. Of no institute: nobody has signed in yet.
CREATE TABLE attempts (
    bucket  BLOB PRIMARY KEY,
    full_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_by_time ON attempts (full_at);
