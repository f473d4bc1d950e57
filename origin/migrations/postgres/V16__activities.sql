-- What users do with their accounts, by month (UTC): partitions are made ahead of time and dropped when they are old.

CREATE TABLE user_activities (
    institute text COLLATE "C" NOT NULL REFERENCES institutes,
    -- A UUID of version 7: their order is the order of time.
    activity  text COLLATE "C" NOT NULL,
    at        timestamptz NOT NULL,
    "user"    text COLLATE "C" NOT NULL REFERENCES users,
    kind      text COLLATE "C" NOT NULL,
    device    text NOT NULL,
    PRIMARY KEY (institute, activity, at)
) PARTITION BY RANGE (at);
CREATE TABLE user_activities_other PARTITION OF user_activities DEFAULT;
CREATE INDEX user_activities_by_user ON user_activities (institute, "user", activity);
CREATE INDEX user_activities_by_kind ON user_activities (institute, kind, activity);
CALL protect_table('user_activities');
-- Never changed by the application; whole months go.
REVOKE UPDATE, DELETE ON user_activities FROM rollcall_app;

-- Makes the partitions from the month of `since` to `ahead` months after now; how many were made. Rows that went to the
-- default partition meanwhile move. The origin calls it at its start and once a day.
CREATE FUNCTION ensure_activity_partitions(since timestamptz, ahead integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' AS $$
DECLARE
    month timestamptz := date_trunc('month', since);
    name text;
    made integer := 0;
    missing boolean;
BEGIN
    WHILE month <= date_trunc('month', now()) + ahead * interval '1 month' LOOP
        name := to_char(month, '"user_activities_"YYYY"m"MM');
        missing := to_regclass(format('%I', name)) IS NULL;
        IF missing THEN
            -- One origin at a time, and again under the lock: another one may have been first.
            PERFORM pg_advisory_xact_lock(hashtext('rollcall activity partitions'));
            missing := to_regclass(format('%I', name)) IS NULL;
        END IF;
        IF missing THEN
            EXECUTE format('CREATE TABLE %I (LIKE user_activities INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
            EXECUTE format(
                'WITH moved AS (DELETE FROM user_activities_other WHERE at >= %L AND at < %L RETURNING *) '
                || 'INSERT INTO %I SELECT * FROM moved', month, month + interval '1 month', name);
            EXECUTE format('ALTER TABLE user_activities ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                name, month, month + interval '1 month');
            made := made + 1;
        END IF;
        month := month + interval '1 month';
    END LOOP;
    RETURN made;
END
$$;

-- Drops the partitions that end before `keep_from`, and what lies in the default partition from before; how many rows
-- that were.
CREATE FUNCTION retire_activity_partitions(keep_from timestamptz) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' AS $$
DECLARE
    name text;
    retired bigint := 0;
    rows_there bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('rollcall activity partitions'));
    FOR name IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'user_activities'::regclass AND c.relname ~ '^user_activities_\d{4}m\d{2}$'
            AND to_timestamp(substr(c.relname, 17, 4) || '-' || substr(c.relname, 22, 2) || '-01', 'YYYY-MM-DD')
                + interval '1 month' <= keep_from
    LOOP
        EXECUTE format('SELECT count(*) FROM %I', name) INTO rows_there;
        EXECUTE format('DROP TABLE %I', name);
        retired := retired + rows_there;
    END LOOP;
    DELETE FROM user_activities_other WHERE at < keep_from;
    GET DIAGNOSTICS rows_there = ROW_COUNT;
    RETURN retired + rows_there;
END
$$;

REVOKE ALL ON FUNCTION ensure_activity_partitions(timestamptz, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION retire_activity_partitions(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_activity_partitions(timestamptz, integer) TO rollcall_app;
GRANT EXECUTE ON FUNCTION retire_activity_partitions(timestamptz) TO rollcall_app;
