-- What commits ask to be done after them, one row for each consumer. A row goes in the transaction that does what it
-- asks: whether it is there says whether that was done.
--
-- No foreign key: a row is written by the statement that has just updated its institute's row. Rows come and go, so the
-- table is vacuumed by their number and not by its size.
CREATE TABLE outbox (
    institute    text COLLATE "C" NOT NULL,
    consumer     text COLLATE "C" NOT NULL,
    -- Of the commit: the order of the outbox.
    revision     bigint NOT NULL,
    events       json NOT NULL,
    committed_at timestamptz NOT NULL,
    -- Nobody takes it up before: a lease, or the pause after a failure.
    due_at       timestamptz NOT NULL,
    failures     bigint NOT NULL DEFAULT 0,
    -- Of the last failure.
    fault        text,
    -- It failed too often and waits for an operator.
    set_aside_at timestamptz,
    PRIMARY KEY (institute, consumer, revision)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE INDEX outbox_due ON outbox (due_at, revision) WHERE set_aside_at IS NULL;
CREATE INDEX outbox_set_aside ON outbox (set_aside_at) WHERE set_aside_at IS NOT NULL;
CALL protect_table('outbox');

CREATE TABLE notifications (
    institute  text COLLATE "C" NOT NULL REFERENCES institutes,
    "user"     text COLLATE "C" NOT NULL,
    -- Of the commit that it tells of, and which of its events: nobody is told twice.
    revision   bigint NOT NULL,
    position   bigint NOT NULL,
    kind       text COLLATE "C" NOT NULL,
    body       json NOT NULL,
    created_at timestamptz NOT NULL,
    read_at    timestamptz,
    PRIMARY KEY (institute, "user", revision, position)
);
CREATE INDEX notifications_unread ON notifications (institute, "user") WHERE read_at IS NULL;
CALL protect_table('notifications');

-- For what is dropped when it is old: rows are added in the order of time, so a summary of each block does, and costs a
-- write next to nothing.
CREATE INDEX notifications_by_time ON notifications USING brin (created_at);
CREATE INDEX idempotency_by_time ON idempotency USING brin (decided_at);

-- The workers of an origin serve all institutes: what is due anywhere is a question that no institute limits.
GRANT SELECT, UPDATE (due_at) ON outbox TO rollcall_lookup;
CREATE POLICY lookup ON outbox FOR SELECT TO rollcall_lookup USING (true);
CREATE POLICY lease ON outbox FOR UPDATE TO rollcall_lookup USING (true) WITH CHECK (true);
DO $$
BEGIN
    EXECUTE format('GRANT CREATE ON SCHEMA %I TO rollcall_lookup', current_schema());
END
$$;

-- Takes up what is due, the oldest first, so that nobody else does for as long as the lease lasts.
CREATE FUNCTION claim_work(lease_ms bigint, most bigint)
    RETURNS TABLE (institute text, consumer text, revision bigint, events text, committed_at timestamptz)
    LANGUAGE sql VOLATILE SECURITY DEFINER
    BEGIN ATOMIC
        UPDATE outbox o SET due_at = clock_timestamp() + lease_ms * interval '1 millisecond'
        FROM (
            SELECT w.institute, w.consumer, w.revision FROM outbox w
            WHERE w.set_aside_at IS NULL AND w.due_at <= statement_timestamp()
            ORDER BY w.due_at, w.revision LIMIT most FOR UPDATE SKIP LOCKED
        ) due
        WHERE o.institute = due.institute AND o.consumer = due.consumer AND o.revision = due.revision
        RETURNING o.institute, o.consumer, o.revision, o.events::text, o.committed_at;
    END;

-- How much waits, since when, and how much was set aside.
CREATE FUNCTION outbox_figures() RETURNS TABLE (waiting bigint, oldest timestamptz, set_aside bigint)
    LANGUAGE sql STABLE SECURITY DEFINER ROWS 1
    BEGIN ATOMIC
        SELECT (SELECT count(*) FROM outbox WHERE set_aside_at IS NULL),
            (SELECT min(o.committed_at) FROM outbox o WHERE set_aside_at IS NULL),
            (SELECT count(*) FROM outbox WHERE set_aside_at IS NOT NULL);
    END;

-- What was set aside anywhere, the oldest first, for the operator of the cluster.
CREATE FUNCTION work_set_aside(most bigint)
    RETURNS TABLE (institute text, consumer text, revision bigint, events text, committed_at timestamptz,
        failures bigint, fault text, set_aside_at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER
    BEGIN ATOMIC
        SELECT o.institute, o.consumer, o.revision, o.events::text, o.committed_at, o.failures, o.fault, o.set_aside_at
        FROM outbox o WHERE o.set_aside_at IS NOT NULL ORDER BY o.set_aside_at LIMIT most;
    END;

-- The names of all institutes, page by page, for what is done in each of them.
CREATE FUNCTION institutes_after(last text, most bigint) RETURNS TABLE (institute text)
    LANGUAGE sql STABLE SECURITY DEFINER
    BEGIN ATOMIC
        SELECT i.institute FROM institutes i WHERE i.institute > last COLLATE "C" ORDER BY i.institute LIMIT most;
    END;

DO $$
DECLARE
    name regprocedure;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'claim_work(bigint, bigint)', 'outbox_figures()', 'work_set_aside(bigint)', 'institutes_after(text, bigint)'
    ]::regprocedure[]
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog', name);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO rollcall_app', name);
        EXECUTE format('ALTER FUNCTION %s OWNER TO rollcall_lookup', name);
    END LOOP;
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM rollcall_lookup', current_schema());
END
$$;
