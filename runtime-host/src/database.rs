//! SQLite databases of guests: pooled connections, what a guest may not do with them, and the bounds of a statement.
//!
//! Everything here blocks; `host::sqlite` keeps it off the asynchronous threads.

use crate::limits;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{Value, ValueRef};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("database is full")]
    Full,
    #[error("statement ran longer than {} s", limits::SQLITE_STATEMENT_TIMEOUT.as_secs())]
    TooSlow,
    #[error("result is over {} bytes", limits::SQLITE_RESULT_BYTES)]
    ResultTooLarge,
    #[error("{0}")]
    Sqlite(#[source] rusqlite::Error),
    #[error("database folder: {0}")]
    Folder(#[from] std::io::Error),
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            Some(rusqlite::ErrorCode::OperationInterrupted) => Self::TooSlow,
            _ => Self::Sqlite(error),
        }
    }
}

/// Rows of a statement.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
}

/// Idle connections of all databases, so that a request need not open a file.
#[derive(Clone, Default)]
pub struct Databases {
    idle: Arc<Mutex<IdleConnections>>,
}

#[derive(Default)]
struct IdleConnections {
    by_path: HashMap<PathBuf, Vec<Guarded>>,
    count: usize,
}

/// One database file.
#[derive(Clone)]
pub struct DatabaseFile {
    databases: Databases,
    path: PathBuf,
}

/// A connection with its guards.
struct Guarded {
    sql: rusqlite::Connection,
    guards: Arc<Guards>,
}

/// What the callbacks of a connection share with its owner.
struct Guards {
    opened: Instant,
    /// When the statement that runs is stopped, in milliseconds since `opened`.
    deadline_ms: AtomicU64,
    /// The guest made something that outlives its use of the connection, such as a temporary table.
    marked: AtomicBool,
    /// The statement that is prepared is the host's own.
    by_host: AtomicBool,
}

impl Databases {
    pub fn file(&self, path: PathBuf) -> DatabaseFile {
        DatabaseFile { databases: self.clone(), path }
    }

    fn take(&self, path: &Path) -> Option<Guarded> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = idle.by_path.get_mut(path)?.pop()?;
        idle.count -= 1;
        Some(connection)
    }

    /// Keeps `connection` when there is room, else closes it.
    fn put(&self, path: &Path, connection: Guarded) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.count >= limits::SQLITE_IDLE_CONNECTIONS {
            return;
        }
        let same = idle.by_path.entry(path.to_owned()).or_default();
        if same.len() < limits::SQLITE_IDLE_PER_DATABASE {
            same.push(connection);
            idle.count += 1;
        }
    }
}

impl DatabaseFile {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Blocks: opens the file, which may wait for another connection's checkpoint.
    pub fn connect(&self) -> Result<Connection, DatabaseError> {
        let connection = match self.databases.take(&self.path) {
            Some(connection) => connection,
            None => Guarded::open(&self.path)?,
        };
        Ok(Connection { file: self.clone(), guarded: Some(connection), written: false, writes: 0 })
    }
}

impl Guarded {
    fn open(path: &Path) -> Result<Self, DatabaseError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let sql = rusqlite::Connection::open(path)?;
        sql.busy_timeout(limits::SQLITE_BUSY_TIMEOUT)?;
        sql.set_prepared_statement_cache_capacity(limits::SQLITE_CACHED_STATEMENTS);
        // FULL: what is committed is on disk, in the write-ahead log, when COMMIT returns.
        sql.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA max_page_count = {};
             PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA cache_size = -{};",
            limits::SQLITE_PAGES,
            limits::SQLITE_CACHE_KIB
        ))?;
        sql.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        sql.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, limits::SQLITE_STATEMENT_BYTES)?;
        sql.set_limit(Limit::SQLITE_LIMIT_LENGTH, limits::SQLITE_VALUE_BYTES)?;
        let guards = Arc::new(Guards {
            opened: Instant::now(),
            deadline_ms: AtomicU64::new(u64::MAX),
            marked: AtomicBool::new(false),
            by_host: AtomicBool::new(false),
        });
        let marking = guards.clone();
        sql.authorizer(Some(move |context: AuthContext<'_>| authorize(&context, &marking)))?;
        // The clock is read once in so many steps of SQLite's machine, which take about a millisecond.
        const STEPS: i32 = 10_000;
        let timing = guards.clone();
        sql.progress_handler(STEPS, Some(move || timing.late()))?;
        Ok(Self { sql, guards })
    }

    /// What is over the new size and in nobody's use goes at once.
    fn set_cache(&self, kib: i32) -> rusqlite::Result<()> {
        self.guards.by_host.store(true, Ordering::Relaxed);
        let outcome = self.sql.execute_batch(&format!("PRAGMA cache_size = -{kib}"));
        self.guards.by_host.store(false, Ordering::Relaxed);
        outcome
    }
}

impl Guards {
    fn late(&self) -> bool {
        self.opened.elapsed().as_millis() as u64 > self.deadline_ms.load(Ordering::Relaxed)
    }

    fn start_statement(&self) {
        let deadline = self.opened.elapsed() + limits::SQLITE_STATEMENT_TIMEOUT;
        self.deadline_ms.store(deadline.as_millis() as u64, Ordering::Relaxed);
    }
}

/// Pragmas that only look, or that change nothing beyond the guest's own statements.
const HARMLESS_PRAGMAS: [&str; 24] = [
    "application_id",
    "busy_timeout",
    "case_sensitive_like",
    "collation_list",
    "compile_options",
    "data_version",
    "defer_foreign_keys",
    "encoding",
    "foreign_key_check",
    "foreign_key_list",
    "foreign_keys",
    "freelist_count",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "optimize",
    "page_count",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
];

/// Keeps a guest inside its file and its promises: no other files, no weaker durability.
fn authorize(context: &AuthContext<'_>, guards: &Guards) -> Authorization {
    match context.action {
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => Authorization::Deny,
        AuthAction::Function { function_name } if function_name.eq_ignore_ascii_case("load_extension") => {
            Authorization::Deny
        }
        AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. } => {
            guards.marked.store(true, Ordering::Relaxed);
            Authorization::Allow
        }
        AuthAction::Pragma { pragma_name, pragma_value } => pragma(pragma_name, pragma_value, guards),
        _ => Authorization::Allow,
    }
}

fn pragma(name: &str, value: Option<&str>, guards: &Guards) -> Authorization {
    if guards.by_host.load(Ordering::Relaxed) {
        return Authorization::Allow;
    }
    let name = name.to_ascii_lowercase();
    let value = value.map(str::to_ascii_lowercase);
    let allowed = match (name.as_str(), value.as_deref()) {
        ("journal_mode", None | Some("wal")) => true,
        ("synchronous", None | Some("full" | "2" | "extra" | "3")) => true,
        (name, _) => HARMLESS_PRAGMAS.contains(&name),
    };
    if allowed && value.is_some() {
        guards.marked.store(true, Ordering::Relaxed);
    }
    if allowed { Authorization::Allow } else { Authorization::Deny }
}

/// A connection in a guest's hands. Dropping it rolls back what is open and gives it back to the pool.
pub struct Connection {
    file: DatabaseFile,
    /// Taken in `drop` alone.
    guarded: Option<Guarded>,
    /// Whether this guest has written: before, the connection's counters are those of another.
    written: bool,
    /// Statements of the open transaction that have written.
    writes: u32,
}

impl Connection {
    fn guarded(&self) -> &Guarded {
        self.guarded.as_ref().expect("the connection is taken by drop alone")
    }

    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> bool {
        !self.guarded().sql.is_autocommit()
    }

    pub fn execute(&mut self, statement: &str, parameters: &[Value]) -> Result<Rows, DatabaseError> {
        let guarded = self.guarded();
        guarded.guards.start_statement();
        let mut prepared = guarded.sql.prepare_cached(statement)?;
        let writes = !prepared.readonly();
        let columns: Vec<String> = prepared.column_names().into_iter().map(str::to_owned).collect();
        let mut rows = Vec::new();
        let mut bytes = 0;
        let mut found = prepared.query(rusqlite::params_from_iter(parameters))?;
        while let Some(row) = found.next()? {
            let mut values = Vec::with_capacity(columns.len());
            for column in 0..columns.len() {
                let value = row.get_ref(column)?;
                bytes += size(value);
                values.push(Value::try_from(value).map_err(|e| {
                    rusqlite::Error::FromSqlConversionFailure(column, value.data_type(), Box::new(e))
                })?);
            }
            if bytes > limits::SQLITE_RESULT_BYTES {
                return Err(DatabaseError::ResultTooLarge);
            }
            rows.push(values);
        }
        drop(found);
        drop(prepared);
        self.written |= writes;
        self.fit_cache(writes)?;
        Ok(Rows { columns, rows })
    }

    /// A large transaction has a large cache, as long as it lasts.
    fn fit_cache(&mut self, writes: bool) -> Result<(), DatabaseError> {
        if !self.in_transaction() {
            let before = std::mem::take(&mut self.writes);
            if before >= limits::SQLITE_LARGE_TRANSACTION {
                self.guarded().set_cache(limits::SQLITE_CACHE_KIB)?;
            }
        } else if writes {
            self.writes += 1;
            if self.writes == limits::SQLITE_LARGE_TRANSACTION {
                self.guarded().set_cache(limits::SQLITE_LARGE_CACHE_KIB)?;
            }
        }
        Ok(())
    }

    pub fn last_insert_rowid(&self) -> i64 {
        if self.written { self.guarded().sql.last_insert_rowid() } else { 0 }
    }

    pub fn changes(&self) -> u64 {
        if self.written { self.guarded().sql.changes() } else { 0 }
    }
}

/// Bytes that a value takes on its way to the guest, about.
fn size(value: ValueRef<'_>) -> usize {
    const FIXED: usize = 16;
    FIXED
        + match value {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
            ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 0,
        }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(guarded) = self.guarded.take() else { return };
        guarded.guards.start_statement();
        let mut clean = guarded.sql.is_autocommit() || guarded.sql.execute_batch("ROLLBACK").is_ok();
        if self.writes >= limits::SQLITE_LARGE_TRANSACTION {
            clean &= guarded.set_cache(limits::SQLITE_CACHE_KIB).is_ok();
        }
        if clean && !guarded.guards.marked.load(Ordering::Relaxed) {
            self.file.databases.put(&self.file.path, guarded);
        }
    }
}

#[cfg(test)]
mod tests {
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
        for statement in ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA user_version = 3"]
        {
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
        let guarded = connection.guarded();
        guarded.guards.by_host.store(true, Ordering::Relaxed);
        let size: i64 = guarded.sql.query_row("PRAGMA cache_size", [], |row| row.get(0)).unwrap();
        guarded.guards.by_host.store(false, Ordering::Relaxed);
        -size
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
        let endless =
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
        let error = guarded.sql.query_row(endless, [], |_| Ok(())).unwrap_err();
        assert!(matches!(DatabaseError::from(error), DatabaseError::TooSlow));
    }
}
