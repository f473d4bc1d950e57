//! Row-level security: what the database itself refuses, whatever the application asks.

use super::*;
use crate::services::seed;

const OTHER: &str = "riverside.example";
/// Tables that belong to no institute. A table that is not here must be protected.
const SHARED: [&str; 4] = ["attempts", "generation", "refinery_schema_history", "signing_keys"];

/// Tables that the application adds to and never changes.
const APPEND_ONLY: [&str; 2] = ["audit", "user_activities"];

/// Runs SQL as the application does, in the name of an institute.
fn as_application(database: &TestDatabase, name: Option<&str>, sql: &str) -> String {
    let name = name.map_or_else(String::new, |name| format!("SET rollcall.institute = '{name}';"));
    database.sql(&format!("SET ROLE rollcall_app; {name} {sql}"))
}

fn seeded() -> TestDatabase {
    let database = TestDatabase::create();
    let store = Store::connect(&database.config()).unwrap();
    seed::load(&store, crate::clock::unix_ms()).unwrap();
    database
}

fn tables(database: &TestDatabase) -> Vec<String> {
    let sql =
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
         AND NOT relispartition ORDER BY relname";
    database.sql(sql).lines().map(str::to_owned).collect()
}

#[test]
fn no_table_shows_or_takes_rows_of_another_institute() {
    let database = seeded();
    let mut rows_of_others = 0;
    for table in tables(&database) {
        if SHARED.contains(&table.as_str()) {
            continue;
        }
        let foreign = format!("FROM {table} WHERE institute <> '{OTHER}'");
        let there: u64 = database.sql(&format!("SELECT count(*) {foreign}")).parse().unwrap();
        rows_of_others += there;
        assert_eq!(
            as_application(&database, Some(OTHER), &format!("SELECT count(*) {foreign}")),
            "0",
            "{table}"
        );
        for nobody in [None, Some("")] {
            let all = format!("SELECT count(*) FROM {table}");
            assert_eq!(as_application(&database, nobody, &all), "0", "{table} without an institute");
        }
        if APPEND_ONLY.contains(&table.as_str()) {
            let rights = "has_table_privilege('rollcall_app', '{table}', 'UPDATE, DELETE, TRUNCATE')";
            assert_eq!(database.sql(&format!("SELECT {}", rights.replace("{table}", &table))), "f");
            continue;
        }
        let deleted = format!("WITH gone AS (DELETE {foreign} RETURNING 1) SELECT count(*) FROM gone");
        assert_eq!(as_application(&database, Some(OTHER), &deleted), "0", "{table}");
        // Own rows, one of which is needed to see it, cannot be given to another institute.
        let own: u64 = database
            .sql(&format!("SELECT count(*) FROM {table} WHERE institute = '{OTHER}'"))
            .parse()
            .unwrap();
        if own > 0 {
            let give = format!(
                "DO $$ BEGIN UPDATE {table} SET institute = 'northside.example';
                 RAISE 'given'; EXCEPTION WHEN insufficient_privilege THEN NULL; END $$"
            );
            as_application(&database, Some(OTHER), &give);
        }
        let after: u64 = database.sql(&format!("SELECT count(*) {foreign}")).parse().unwrap();
        assert_eq!(after, there, "{table}");
    }
    assert!(rows_of_others > 1_000, "{rows_of_others}");
}

#[test]
fn every_table_with_an_institute_is_protected_even_from_its_owner() {
    let database = seeded();
    let unprotected = database.sql(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
         AND NOT relispartition AND NOT (relrowsecurity AND relforcerowsecurity) ORDER BY relname",
    );
    assert_eq!(unprotected.lines().collect::<Vec<_>>(), SHARED);
    let partitions = database.sql(
        "SELECT count(*) FILTER (WHERE has_table_privilege('rollcall_app', oid, 'SELECT')), count(*) > 2
         FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relispartition AND relkind = 'r'",
    );
    assert_eq!(partitions, "0|t", "partitions are reached through their parent alone");
    let role = database
        .sql("SELECT rolsuper OR rolbypassrls OR rolcanlogin FROM pg_roles WHERE rolname = 'rollcall_app'");
    assert_eq!(role, "f");
}

#[test]
fn a_connection_that_goes_back_to_the_pool_keeps_no_institute() {
    let database = TestDatabase::create();
    let store = Store::connect(&database.config()).unwrap();
    seed::load(&store, crate::clock::unix_ms()).unwrap();
    for _ in 0..20 {
        let named = store.read_blocking::<_, StoreError>(INSTITUTE, |records| records.institute_figures());
        assert!(named.unwrap().students > 0);
        let nobody = store.read_blocking::<_, StoreError>(NO_INSTITUTE, |records| records.institute());
        assert!(nobody.unwrap().is_none());
    }
}
