-- Partitions of messages by quarter (UTC), made ahead of time.

-- Makes the partitions from the quarter of `since` to `ahead` quarters after now; how many were made. Rows that went to
-- the default partition meanwhile move. The origin calls it at its start and once a day.
CREATE FUNCTION ensure_message_partitions(since timestamptz, ahead integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' AS $$
DECLARE
    quarter timestamptz := date_trunc('quarter', since);
    name text;
    made integer := 0;
    missing boolean;
BEGIN
    WHILE quarter <= date_trunc('quarter', now()) + ahead * interval '3 months' LOOP
        name := to_char(quarter, '"messages_"YYYY"q"Q');
        missing := to_regclass(format('%I', name)) IS NULL;
        IF missing THEN
            -- One origin at a time, and again under the lock: another one may have been first.
            PERFORM pg_advisory_xact_lock(hashtext('rollcall message partitions'));
            missing := to_regclass(format('%I', name)) IS NULL;
        END IF;
        IF missing THEN
            EXECUTE format('CREATE TABLE %I (LIKE messages INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
            EXECUTE format(
                'WITH moved AS (DELETE FROM messages_other WHERE posted_at >= %L AND posted_at < %L RETURNING *) '
                || 'INSERT INTO %I SELECT * FROM moved', quarter, quarter + interval '3 months', name);
            EXECUTE format('ALTER TABLE messages ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                name, quarter, quarter + interval '3 months');
            made := made + 1;
        END IF;
        quarter := quarter + interval '3 months';
    END LOOP;
    RETURN made;
END
$$;

-- Drops the partitions that end before `keep_from`; how many. Only when the operator sets a retention.
CREATE FUNCTION retire_message_partitions(keep_from timestamptz) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' AS $$
DECLARE
    name text;
    retired integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('rollcall message partitions'));
    FOR name IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'messages'::regclass AND c.relname ~ '^messages_\d{4}q\d$'
            AND to_timestamp(substr(c.relname, 10, 4) || '-' || (substr(c.relname, 15, 1)::integer * 3 - 2) || '-01',
                'YYYY-MM-DD') + interval '3 months' <= keep_from
    LOOP
        EXECUTE format('DROP TABLE %I', name);
        retired := retired + 1;
    END LOOP;
    RETURN retired;
END
$$;

REVOKE ALL ON FUNCTION ensure_message_partitions(timestamptz, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION retire_message_partitions(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_message_partitions(timestamptz, integer) TO rollcall_app;
