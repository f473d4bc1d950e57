-- Who may see and do what: the application's role, row-level security, and the few questions that no institute limits.

-- The institute of this transaction; NULL, which equals nothing, when there is none.
CREATE FUNCTION current_institute() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('rollcall.institute', true), '');

-- Puts a table under the rule, for every role but a superuser, its owner included.
CREATE PROCEDURE protect_table(name regclass) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', name);
    EXECUTE format(
        'CREATE POLICY of_the_institute ON %s USING (institute = (SELECT current_institute())) '
        || 'WITH CHECK (institute = (SELECT current_institute()))', name);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO rollcall_app', name);
END
$$;

-- Every table that has an institute, but no partition: those are reached through their parent, and nobody is granted them.
DO $$
DECLARE
    name regclass;
BEGIN
    FOR name IN
        SELECT c.oid::regclass FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
            AND NOT c.relispartition AND a.attname = 'institute'
    LOOP
        CALL protect_table(name);
    END LOOP;
END
$$;

GRANT SELECT, INSERT ON signing_keys TO rollcall_app;
GRANT SELECT ON generation TO rollcall_app;
DO $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO rollcall_app, rollcall_lookup', current_schema());
    EXECUTE format('GRANT CREATE ON SCHEMA %I TO rollcall_lookup', current_schema());
END
$$;

-- rollcall_lookup owns the functions below and may read what they need, nothing else.
GRANT SELECT ("user", institute, email, name, role, password_hash, messages_read_at) ON users TO rollcall_lookup;
GRANT SELECT (institute, revision) ON institutes TO rollcall_lookup;
GRANT SELECT (token_hash, institute) ON refresh_tokens TO rollcall_lookup;
GRANT SELECT (document, institute, kind, subject, batch, owner) ON documents TO rollcall_lookup;
CREATE POLICY lookup ON users FOR SELECT TO rollcall_lookup USING (true);
CREATE POLICY lookup ON institutes FOR SELECT TO rollcall_lookup USING (true);
CREATE POLICY lookup ON refresh_tokens FOR SELECT TO rollcall_lookup USING (true);
CREATE POLICY lookup ON documents FOR SELECT TO rollcall_lookup USING (true);

-- Sign-in: whoever has this address.
CREATE FUNCTION account_by_email(address text)
    RETURNS TABLE ("user" text, institute text, email text, name text, role text, password_hash text,
        messages_read_at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER ROWS 1
    BEGIN ATOMIC
        SELECT u."user", u.institute, u.email, u.name, u.role, u.password_hash, u.messages_read_at
        FROM users u WHERE u.email = address;
    END;

-- Refresh: the institute of a token that somebody shows.
CREATE FUNCTION institute_of_refresh_token(hash bytea) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER
    BEGIN ATOMIC SELECT institute FROM refresh_tokens WHERE token_hash = hash; END;

-- Documents' ids are unique everywhere: a foreign one must not be taken for a new one.
CREATE FUNCTION document_anywhere(id text)
    RETURNS TABLE (document text, institute text, kind text, subject text, batch text, owner text)
    LANGUAGE sql STABLE SECURITY DEFINER ROWS 1
    BEGIN ATOMIC
        SELECT d.document, d.institute, d.kind, d.subject, d.batch, d.owner FROM documents d WHERE d.document = id;
    END;

-- The newest revisions of the institutes that a process watches, and nothing else of them.
CREATE FUNCTION revisions(names text[]) RETURNS TABLE (institute text, revision bigint)
    LANGUAGE sql STABLE SECURITY DEFINER
    BEGIN ATOMIC SELECT i.institute, i.revision FROM institutes i WHERE i.institute = ANY (names); END;

DO $$
DECLARE
    name regprocedure;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'account_by_email(text)', 'institute_of_refresh_token(bytea)', 'document_anywhere(text)', 'revisions(text[])'
    ]::regprocedure[] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog', name);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO rollcall_app', name);
        EXECUTE format('ALTER FUNCTION %s OWNER TO rollcall_lookup', name);
    END LOOP;
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM rollcall_lookup', current_schema());
END
$$;

-- The epoch of this server, raised when its timeline or identity is new. Only on a primary.
CREATE FUNCTION current_epoch() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    now_system bigint := (SELECT system_identifier FROM pg_control_system());
    -- The first eight digits of a WAL file's name are its timeline: right from the moment of the promotion, which
    -- pg_control_checkpoint is not.
    now_timeline bigint := ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint;
    found_epoch bigint;
BEGIN
    SELECT epoch INTO found_epoch FROM generation WHERE system = now_system AND timeline = now_timeline;
    IF found_epoch IS NULL THEN
        INSERT INTO generation (epoch, system, timeline) VALUES (1, now_system, now_timeline)
        ON CONFLICT (one) DO UPDATE SET
            epoch = generation.epoch
                + (generation.system <> now_system OR generation.timeline <> now_timeline)::integer,
            system = now_system, timeline = now_timeline
        RETURNING epoch INTO found_epoch;
    END IF;
    RETURN found_epoch;
END
$$;
REVOKE ALL ON FUNCTION current_epoch() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION current_epoch() TO rollcall_app;
