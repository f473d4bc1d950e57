-- What the merged doubt threads say: a row for each thread in which somebody has written something, made from its document.
CREATE TABLE doubts (
    -- For the index of words.
    id            INTEGER PRIMARY KEY,
    institute     TEXT NOT NULL REFERENCES institutes,
    -- The thread's; its document is another one once the history is cut.
    subject       TEXT NOT NULL,
    document      TEXT NOT NULL REFERENCES documents,
    batch         TEXT NOT NULL,
    asked_by      TEXT NOT NULL REFERENCES users,
    question      TEXT NOT NULL,
    -- JSON, in their order: author and text, and where somebody wrote several at once, all of them.
    answers       TEXT NOT NULL,
    answer_count  INTEGER NOT NULL,
    -- Who of others than the one who asked stands last in the thread.
    answered_by   TEXT,
    -- Answers of which there are several concurrent texts.
    conflicts     INTEGER NOT NULL,
    -- Bytes of the thread that are not in the row, which has a limit.
    omitted_bytes INTEGER NOT NULL,
    -- The words of question and answers in lower case, each once, in order, with a space between them.
    words         TEXT NOT NULL,
    asked_at      INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    -- JSON: the changes that the row comes from, hex.
    heads         TEXT NOT NULL,
    UNIQUE (institute, subject),
    FOREIGN KEY (institute, batch) REFERENCES batches
) STRICT;
CREATE UNIQUE INDEX doubts_by_document ON doubts (institute, document);
CREATE INDEX doubts_by_time ON doubts (institute, updated_at, document);
CREATE INDEX doubts_by_time_asked ON doubts (institute, asked_at, document);
CREATE INDEX doubts_by_batch ON doubts (institute, batch, updated_at, document);
CREATE INDEX doubts_by_asker ON doubts (institute, asked_by, updated_at, document);
CREATE INDEX doubts_unanswered ON doubts (institute, updated_at, document) WHERE answered_by IS NULL;
CREATE INDEX doubts_unanswered_by_batch ON doubts (institute, batch, updated_at, document) WHERE answered_by IS NULL;

-- The index of words. The origin splits them, alike for both engines: what is left to the tokenizer is the spaces. Letters keep
-- the marks that stand on them.
CREATE VIRTUAL TABLE doubt_words USING fts5 (
    words, content = 'doubts', content_rowid = 'id', detail = 'none', prefix = '2 3',
    tokenize = "unicode61 remove_diacritics 0 categories 'L* M* N* Co'"
);
CREATE TRIGGER doubts_words_added AFTER INSERT ON doubts
    BEGIN INSERT INTO doubt_words (rowid, words) VALUES (new.id, new.words); END;
CREATE TRIGGER doubts_words_removed AFTER DELETE ON doubts
    BEGIN INSERT INTO doubt_words (doubt_words, rowid, words) VALUES ('delete', old.id, old.words); END;
CREATE TRIGGER doubts_words_changed AFTER UPDATE OF words ON doubts WHEN new.words <> old.words
    BEGIN
        INSERT INTO doubt_words (doubt_words, rowid, words) VALUES ('delete', old.id, old.words);
        INSERT INTO doubt_words (rowid, words) VALUES (new.id, new.words);
    END;
