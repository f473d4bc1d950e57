//! What a guest may do to its database, and which of its statements run where they are called.

use super::*;

fn database() -> (tempfile::TempDir, DatabaseFile) {
    let folder = tempfile::tempdir().unwrap();
    let file = Databases::default().file(folder.path().join("a/b.db"));
    (folder, file)
}

fn integer(rows: Rows) -> i64 {
    match rows.rows[0][0] {
        Value::Integer(value) => value,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn values_of_each_type_come_back_as_they_went_in() {
    let (_folder, file) = database();
    let mut connection = file.connect().unwrap();
    let values = [
        Value::Integer(-7),
        Value::Real(0.5),
        Value::Text("é".into()),
        Value::Blob(vec![0, 255]),
        Value::Null,
    ];
    let rows = connection.execute("SELECT ?1 AS a, ?2, ?3, ?4, ?5", &values).unwrap();
    assert_eq!(rows.columns[0], "a");
    assert_eq!(rows.rows, vec![values.to_vec()]);
}

#[test]
fn what_was_not_committed_is_gone_for_the_next_user_of_the_connection() {
    let (_folder, file) = database();
    let mut first = file.connect().unwrap();
    first.execute("CREATE TABLE t (x)", &[]).unwrap();
    first.execute("BEGIN IMMEDIATE", &[]).unwrap();
    first.execute("INSERT INTO t VALUES (1)", &[]).unwrap();
    assert!(first.in_transaction());
    assert_eq!((first.last_insert_rowid(), first.changes()), (1, 1));
    drop(first);
    let mut second = file.connect().unwrap();
    assert!(!second.in_transaction());
    assert_eq!((second.last_insert_rowid(), second.changes()), (0, 0));
    assert_eq!(integer(second.execute("SELECT count(*) FROM t", &[]).unwrap()), 0);
}

#[test]
fn other_files_and_weaker_durability_are_refused() {
    let (_folder, file) = database();
    let mut connection = file.connect().unwrap();
    for statement in [
        "ATTACH '/tmp/other.db' AS other",
        "VACUUM INTO '/tmp/other.db'",
        "PRAGMA journal_mode = OFF",
        "PRAGMA synchronous = OFF",
        "PRAGMA temp_store_directory = '/tmp'",
        "PRAGMA max_page_count = 4294967294",
        "PRAGMA writable_schema = ON",
        "SELECT load_extension('/tmp/x.so')",
    ] {
        assert!(connection.execute(statement, &[]).is_err(), "{statement}");
    }
    for statement in ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA user_version = 3"] {
        connection.execute(statement, &[]).unwrap();
    }
}

#[test]
fn a_temporary_table_does_not_reach_the_next_user() {
    let (_folder, file) = database();
    let mut first = file.connect().unwrap();
    first.execute("CREATE TEMP TABLE secret (x)", &[]).unwrap();
    drop(first);
    let mut second = file.connect().unwrap();
    assert!(second.execute("SELECT * FROM secret", &[]).is_err());
}

fn cache_kib(connection: &Connection) -> i64 {
    let size = |sql: &rusqlite::Connection| sql.query_row("PRAGMA cache_size", [], |row| row.get(0));
    -connection.guarded().as_host::<i64>(size).unwrap()
}

/// Begins a transaction that becomes large.
fn write_much(connection: &mut Connection) {
    connection.execute("BEGIN IMMEDIATE", &[]).unwrap();
    for n in 0..i64::from(limits::SQLITE_LARGE_TRANSACTION) {
        connection.execute("INSERT INTO t VALUES (?)", &[Value::Integer(n)]).unwrap();
    }
}

#[test]
fn a_large_transaction_has_a_large_cache_until_it_ends() {
    let (_folder, file) = database();
    let [small, large] = [limits::SQLITE_CACHE_KIB, limits::SQLITE_LARGE_CACHE_KIB].map(i64::from);
    let mut connection = file.connect().unwrap();
    connection.execute("CREATE TABLE t (x)", &[]).unwrap();
    for end in ["COMMIT", "ROLLBACK"] {
        assert_eq!(cache_kib(&connection), small);
        write_much(&mut connection);
        assert_eq!(cache_kib(&connection), large);
        connection.execute(end, &[]).unwrap();
    }
    assert_eq!(cache_kib(&connection), small);
    for n in 0..i64::from(limits::SQLITE_LARGE_TRANSACTION) {
        connection.execute("INSERT INTO t VALUES (?)", &[Value::Integer(n)]).unwrap();
    }
    assert_eq!(cache_kib(&connection), small, "transactions of one statement each are small");
    write_much(&mut connection);
    drop(connection);
    assert_eq!(cache_kib(&file.connect().unwrap()), small, "the next user's is small again");
    let sized = file.connect().unwrap().execute("PRAGMA cache_size = 1000000", &[]);
    assert!(sized.is_err(), "a guest does not choose");
}

#[test]
fn a_result_over_the_limit_is_an_error_and_not_an_allocation() {
    let (_folder, file) = database();
    let mut connection = file.connect().unwrap();
    let endless =
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT zeroblob(1000000) FROM n";
    assert!(matches!(connection.execute(endless, &[]), Err(DatabaseError::ResultTooLarge)));
    connection.execute("SELECT 1", &[]).unwrap();
}

#[test]
fn statements_that_are_late_are_stopped() {
    let (_folder, file) = database();
    let connection = file.connect().unwrap();
    let guarded = connection.guarded();
    guarded.guards.deadline_ms.store(0, Ordering::Relaxed);
    std::thread::yield_now();
    let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
    let error = guarded.sql.query_row(endless, [], |_| Ok(())).unwrap_err();
    assert!(matches!(DatabaseError::from(error), DatabaseError::TooSlow));
}

/// A table with most of what a schema can have, without anything that takes long.
const TABLES: [&str; 6] = [
    "CREATE TABLE changes (sequence INTEGER PRIMARY KEY, document BLOB NOT NULL, hash BLOB NOT NULL, bytes BLOB,
        at INTEGER NOT NULL DEFAULT 0, UNIQUE (document, hash))",
    "CREATE INDEX of_document ON changes (document, sequence)",
    "CREATE TABLE heads (document BLOB NOT NULL, heads BLOB, PRIMARY KEY (document)) WITHOUT ROWID",
    "CREATE TABLE keyed (n INTEGER PRIMARY KEY, x)",
    "CREATE TABLE checked (x, CHECK (length(hex(x)) < 1000))",
    "CREATE TABLE made (x, y GENERATED ALWAYS AS (hex(x)) STORED)",
];

/// A connection whose transaction holds the write lock.
fn writing(file: &DatabaseFile) -> Connection {
    let mut connection = file.connect().unwrap();
    for table in TABLES {
        connection.execute(table, &[]).unwrap();
    }
    connection.execute("BEGIN IMMEDIATE", &[]).unwrap();
    connection
}

/// Runs a statement, and says whether the next one like it runs in place.
fn becomes_quick(connection: &mut Connection, statement: &str, parameters: &[Value]) -> bool {
    assert!(!connection.runs_in_place(statement, parameters), "it was never seen: {statement}");
    connection.execute(statement, parameters).unwrap();
    connection.runs_in_place(statement, parameters)
}

#[test]
fn what_makes_or_changes_a_row_by_its_key_runs_in_place_once_it_is_known() {
    let (_folder, file) = database();
    let mut connection = writing(&file);
    let blob = |byte: u8| Value::Blob(vec![byte; 100]);
    let rows: Vec<String> = (0..64).map(|at| format!("(?1, ?{}, ?2)", at + 3)).collect();
    let many = format!("INSERT OR IGNORE INTO changes (document, hash, bytes) VALUES {}", rows.join(", "));
    let parameters: Vec<Value> = (0..66).map(blob).collect();
    assert!(becomes_quick(&mut connection, &many, &parameters));
    assert!(becomes_quick(&mut connection, "INSERT INTO heads VALUES (1, 1), (2, 1), (3, 1)", &[]));
    assert!(becomes_quick(&mut connection, "INSERT INTO keyed (x) VALUES (1), (2), (3)", &[]));
    for statement in [
        "INSERT OR IGNORE INTO changes (document, hash, bytes) VALUES (?, ?, ?)",
        "INSERT OR REPLACE INTO heads VALUES (?, ?)",
        "INSERT INTO heads VALUES (?, ?) ON CONFLICT DO UPDATE SET heads = excluded.heads",
        "UPDATE heads SET heads = ? WHERE document = ?",
        "DELETE FROM changes WHERE sequence = ?",
        "DELETE FROM heads WHERE document = ?",
    ] {
        let parameters: Vec<Value> = (0..statement.matches('?').count() as u8).map(blob).collect();
        assert!(becomes_quick(&mut connection, statement, &parameters), "{statement}");
    }
}

#[test]
fn what_may_take_long_never_runs_in_place() {
    let (_folder, file) = database();
    let mut connection = writing(&file);
    for statement in [
        "INSERT INTO heads WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 10) SELECT x, x FROM n",
        "INSERT INTO heads SELECT document, hash FROM changes",
        "INSERT INTO heads VALUES (100, (SELECT count(*) FROM changes))",
        "INSERT INTO heads VALUES (101, hex(zeroblob(100)))",
        "INSERT INTO heads VALUES (102, 'a' || 'b')",
        "INSERT INTO checked VALUES (1)",
        "INSERT INTO made (x) VALUES (1)",
        "INSERT OR REPLACE INTO heads VALUES (103, 1), (104, 1)",
        "REPLACE INTO changes (sequence, document, hash) VALUES (1, 1, 7), (2, 1, 8)",
        "REPLACE INTO keyed VALUES (1, 1), (2, 1)",
        "UPDATE changes SET at = 1",
        "DELETE FROM changes WHERE document = 1",
        "DELETE FROM changes",
        "WITH n AS (SELECT 1) INSERT INTO checked SELECT * FROM n",
        "EXPLAIN INSERT INTO heads VALUES (1, 1)",
    ] {
        assert!(!becomes_quick(&mut connection, statement, &[]), "{statement}");
    }
    let statement = "INSERT OR REPLACE INTO heads VALUES (?1, ?2)";
    let sized = |bytes: usize| [Value::Integer(7), Value::Blob(vec![0; bytes])];
    assert!(becomes_quick(&mut connection, statement, &sized(10)));
    assert!(!connection.runs_in_place(statement, &sized(limits::SQLITE_QUICK_BYTES + 1)));
    let statement = "INSERT INTO changes (document, hash, bytes) VALUES (1, 1, ?1), (1, 2, ?1), (1, 3, ?1)";
    assert!(becomes_quick(&mut connection, statement, &sized(0)[1..]));
    assert!(!connection.runs_in_place(statement, &sized(limits::SQLITE_QUICK_BYTES / 2)[1..]));
}

#[test]
fn a_statement_runs_in_place_only_under_the_write_lock_and_the_schema_that_it_was_looked_at() {
    const INSERT: &str = "INSERT INTO heads VALUES (?, 1)";
    let (_folder, file) = database();
    let mut connection = writing(&file);
    let mut key = 0;
    let mut next = || {
        key += 1;
        [Value::Integer(key)]
    };
    assert!(becomes_quick(&mut connection, INSERT, &next()));
    connection.execute("COMMIT", &[]).unwrap();
    assert!(!connection.runs_in_place(INSERT, &next()), "outside of a transaction it waits for the disk");
    connection.execute("BEGIN", &[]).unwrap();
    assert!(!connection.runs_in_place(INSERT, &next()), "the lock is not taken yet");
    connection.execute("EXPLAIN INSERT INTO heads VALUES (1, 1)", &[]).unwrap();
    assert!(!connection.runs_in_place(INSERT, &next()), "nor was it by that");
    connection.execute(INSERT, &next()).unwrap();
    assert!(connection.runs_in_place(INSERT, &next()));
    connection
        .execute("CREATE TRIGGER slow AFTER INSERT ON heads BEGIN DELETE FROM changes; END", &[])
        .unwrap();
    assert!(!connection.runs_in_place(INSERT, &next()), "the transaction changed the schema");
    connection.execute("ROLLBACK", &[]).unwrap();
    connection.execute("BEGIN IMMEDIATE", &[]).unwrap();
    assert!(connection.runs_in_place(INSERT, &next()), "the schema is what it was");
    connection.execute("COMMIT", &[]).unwrap();
    let trigger = "CREATE TRIGGER slow AFTER INSERT ON heads BEGIN DELETE FROM changes; END";
    file.connect().unwrap().execute(trigger, &[]).unwrap();
    connection.execute("BEGIN IMMEDIATE", &[]).unwrap();
    assert!(!becomes_quick(&mut connection, INSERT, &next()), "another connection changed the schema");
    connection.execute("ROLLBACK", &[]).unwrap();
    connection.execute("PRAGMA foreign_keys = ON", &[]).unwrap();
    connection.execute("DROP TRIGGER slow", &[]).unwrap();
    connection.execute("BEGIN IMMEDIATE", &[]).unwrap();
    assert!(!becomes_quick(&mut connection, INSERT, &next()), "what the guest has set may make it slow");
}

#[test]
fn a_guest_waits_for_a_lock_no_longer_than_the_host_lets_it() {
    let (_folder, file) = database();
    let mut connection = file.connect().unwrap();
    let timeout =
        |connection: &mut Connection| integer(connection.execute("PRAGMA busy_timeout", &[]).unwrap());
    let usual = limits::SQLITE_BUSY_TIMEOUT.as_millis() as i64;
    for long in ["2000000000", "5001", "-1", "0x7fffffff", "'99999'", "+99999"] {
        connection.execute(&format!("PRAGMA busy_timeout = {long}"), &[]).unwrap();
        assert_eq!(timeout(&mut connection), usual, "{long}");
    }
    connection.execute("PRAGMA busy_timeout = 100", &[]).unwrap();
    assert_eq!(timeout(&mut connection), 100);
    drop(connection);
    assert_eq!(timeout(&mut file.connect().unwrap()), usual, "the next user waits as always");
}

#[test]
fn looking_at_statements_does_not_change_what_the_guest_counts() {
    let (_folder, file) = database();
    let mut connection = writing(&file);
    connection.execute("INSERT INTO heads VALUES (1, 1), (2, 1), (3, 1)", &[]).unwrap();
    assert_eq!(connection.changes(), 3);
    assert_eq!(integer(connection.execute("SELECT changes()", &[]).unwrap()), 3);
    connection.execute("INSERT INTO checked VALUES (changes())", &[]).unwrap();
    assert_eq!(integer(connection.execute("SELECT x FROM checked", &[]).unwrap()), 3);
    assert_eq!(connection.changes(), 1);
}
