-- What the merged doubt threads say: a row for each thread in which somebody has written something, made from its document.
CREATE TABLE doubts (
    institute     text COLLATE "C" NOT NULL REFERENCES institutes,
    -- The thread's; its document is another one once the history is cut.
    subject       text COLLATE "C" NOT NULL,
    document      text COLLATE "C" NOT NULL REFERENCES documents,
    batch         text COLLATE "C" NOT NULL,
    asked_by      text COLLATE "C" NOT NULL REFERENCES users,
    question      text NOT NULL,
    -- In their order: author and text, and where somebody wrote several at once, all of them. json and not jsonb: the text
    -- stays as it came, so that it can be compared.
    answers       json NOT NULL,
    answer_count  bigint NOT NULL,
    -- Who of others than the one who asked stands last in the thread.
    answered_by   text COLLATE "C",
    -- Answers of which there are several concurrent texts.
    conflicts     bigint NOT NULL,
    -- Bytes of the thread that are not in the row, which has a limit.
    omitted_bytes bigint NOT NULL,
    -- The words of question and answers in lower case, each once, in order, with a space between them.
    words         text NOT NULL,
    asked_at      timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    -- The changes that the row comes from, hex.
    heads         json NOT NULL,
    -- The institute and the batch are words too, of a form that no word of a thread has, so that a search reads what is theirs
    -- alone. The words are split by the origin, alike for both engines: no dictionary takes part.
    search        tsvector NOT NULL GENERATED ALWAYS AS (
        array_to_tsvector(string_to_array(words, ' ') || ARRAY['institute:' || institute, 'batch:' || batch])
    ) STORED,
    PRIMARY KEY (institute, subject),
    FOREIGN KEY (institute, batch) REFERENCES batches
);
CREATE UNIQUE INDEX doubts_by_document ON doubts (institute, document);
CREATE INDEX doubts_by_time ON doubts (institute, updated_at, document);
CREATE INDEX doubts_by_time_asked ON doubts (institute, asked_at, document);
CREATE INDEX doubts_by_batch ON doubts (institute, batch, updated_at, document);
CREATE INDEX doubts_by_asker ON doubts (institute, asked_by, updated_at, document);
CREATE INDEX doubts_unanswered ON doubts (institute, updated_at, document) WHERE answered_by IS NULL;
CREATE INDEX doubts_unanswered_by_batch ON doubts (institute, batch, updated_at, document) WHERE answered_by IS NULL;
-- What was added and is not merged into the index yet is read by every search: not much of it.
CREATE INDEX doubts_by_word ON doubts USING gin (search) WITH (gin_pending_list_limit = 128);
CALL protect_table('doubts');

-- Threads of the transaction's institute that match a query of words. A function of its own: row-level security keeps a text
-- search, which is not leakproof, from using its index.
GRANT SELECT (institute, document, search) ON doubts TO rollcall_lookup;
CREATE POLICY lookup ON doubts FOR SELECT TO rollcall_lookup USING (true);
DO $$
BEGIN
    EXECUTE format('GRANT CREATE ON SCHEMA %I TO rollcall_lookup', current_schema());
END
$$;
CREATE FUNCTION search_doubts(query text) RETURNS TABLE (document text)
    LANGUAGE sql STABLE SECURITY DEFINER ROWS 100 SET search_path = pg_catalog
BEGIN ATOMIC
    SELECT d.document FROM doubts d
    WHERE d.institute = current_institute()
        AND d.search @@ (query::tsquery && ('''institute:' || current_institute() || '''')::tsquery);
END;
REVOKE ALL ON FUNCTION search_doubts(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION search_doubts(text) TO rollcall_app;
ALTER FUNCTION search_doubts(text) OWNER TO rollcall_lookup;
DO $$
BEGIN
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM rollcall_lookup', current_schema());
END
$$;
