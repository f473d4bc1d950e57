-- Messages that an admin retracts, lists of messages, and partitions that go one by one without anybody waiting for it.

-- The text stays for admins; everybody else reads that there was one.
ALTER TABLE messages
    ADD COLUMN retracted_at timestamptz,
    ADD COLUMN retracted_by text COLLATE "C",
    ADD COLUMN reason       text;
CREATE INDEX messages_by_time ON messages (institute, posted_at, message);
CREATE INDEX messages_by_author ON messages (institute, author, posted_at);
CREATE INDEX messages_retracted ON messages (institute, posted_at, message) WHERE retracted_at IS NOT NULL;

DROP FUNCTION retire_message_partitions(timestamptz);
DROP FUNCTION retire_activity_partitions(timestamptz);

-- Drops the oldest partition of `parent` that ends at `keep_from` or before; without one, some rows of the default
-- partition from before it, by the column `at_column`. How many rows that were; none when there is nothing to drop or
-- another process drops it; -1 when somebody uses the table.
--
-- A partition is dropped, and not detached concurrently: beside a default partition that is refused. While it waits for
-- its lock all who come later wait behind it, so it waits for a moment and is called again. One at a time, since the lock
-- is held until the transaction ends, and the rows are counted before it is taken.
CREATE FUNCTION retire_partition(parent regclass, at_column text, keep_from timestamptz) RETURNS bigint
    LANGUAGE plpgsql SET search_path FROM CURRENT SET timezone = 'UTC' SET lock_timeout = '100ms' AS $$
DECLARE
    name text;
    rows_there bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('rollcall retires ' || parent::text)) THEN
        RETURN NULL;
    END IF;
    SELECT bounded.relname INTO name FROM (
        SELECT c.relname,
            substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''([^'']*)''\)')::timestamptz AS ends
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = parent
    ) bounded WHERE bounded.ends <= keep_from ORDER BY bounded.ends LIMIT 1;
    IF name IS NULL THEN
        name := parent::text || '_other';
        EXECUTE format('DELETE FROM %1$I WHERE ctid = ANY (ARRAY(SELECT ctid FROM %1$I WHERE %2$I < %3$L LIMIT 10000))',
            name, at_column, keep_from);
        GET DIAGNOSTICS rows_there = ROW_COUNT;
        RETURN nullif(rows_there, 0);
    END IF;
    -- Counting many takes longer than a statement may: they are told as the server estimates them.
    SELECT c.reltuples::bigint INTO rows_there FROM pg_class c WHERE c.oid = to_regclass(format('%I', name));
    IF rows_there < 1000000 THEN
        EXECUTE format('SELECT count(*) FROM %I', name) INTO rows_there;
    END IF;
    EXECUTE format('DROP TABLE %I', name);
    RETURN rows_there;
EXCEPTION WHEN lock_not_available THEN
    RETURN -1;
END
$$;
CREATE FUNCTION retire_message_partition(keep_from timestamptz) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
    AS $$ SELECT retire_partition('messages', 'posted_at', keep_from) $$;
CREATE FUNCTION retire_activity_partition(keep_from timestamptz) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
    AS $$ SELECT retire_partition('user_activities', 'at', keep_from) $$;

REVOKE ALL ON FUNCTION retire_partition(regclass, text, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION retire_message_partition(timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION retire_activity_partition(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION retire_message_partition(timestamptz) TO rollcall_app;
GRANT EXECUTE ON FUNCTION retire_activity_partition(timestamptz) TO rollcall_app;

-- Tries of whoever guesses passwords or has mails sent, where several origins count them together and there is no Redis.
-- Hashes of accounts and addresses, and when their bucket is full again. Of no institute: nobody has signed in yet. What a
-- crash takes is some tries.
CREATE UNLOGGED TABLE attempts (
    bucket  bytea PRIMARY KEY,
    full_at timestamptz NOT NULL
);
CREATE INDEX attempts_by_time ON attempts (full_at);
GRANT SELECT, INSERT, UPDATE, DELETE ON attempts TO rollcall_app;
