//! SQLite databases of guests: pooled connections, what a guest may not do with them, and the bounds of a statement.
//!
//! Everything here blocks; `host::sqlite` keeps it off the asynchronous threads.

mod quick;

use crate::limits;
use quick::{Instruction, KnownStatements, Program};
use rusqlite::ffi;
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
    known: KnownStatements,
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
        Ok(Connection {
            file: self.clone(),
            guarded: Some(connection),
            written: false,
            writes: 0,
            schema: Schema::Unread,
        })
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
        Ok(Self { sql, guards, known: KnownStatements::default() })
    }

    /// Whether the open transaction holds the write lock of the file, so that no statement of it waits for another connection.
    fn holds_write_lock(&self) -> bool {
        // SAFETY: the handle is that of an open connection, which nobody else uses meanwhile, and the name is a C string.
        let state = unsafe { ffi::sqlite3_txn_state(self.sql.handle(), c"main".as_ptr()) };
        state == ffi::SQLITE_TXN_WRITE
    }

    /// Runs a statement that no guest may.
    fn as_host<T>(
        &self,
        run: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.guards.by_host.store(true, Ordering::Relaxed);
        let outcome = run(&self.sql);
        self.guards.by_host.store(false, Ordering::Relaxed);
        outcome
    }

    /// The number that changes with each change of the schema.
    fn schema(&self) -> rusqlite::Result<i64> {
        self.as_host(|sql| sql.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get(0)))
    }

    fn program(&self, statement: &str) -> rusqlite::Result<Option<Program>> {
        let mut explained = self.sql.prepare(&format!("EXPLAIN {statement}"))?;
        let instruction = |row: &rusqlite::Row<'_>| Ok(Instruction { code: row.get(1)?, first: row.get(2)? });
        // Parameters that are not bound are NULL, and are not looked at.
        let rows = explained.raw_query().mapped(instruction);
        Ok(Program::of(&rows.collect::<rusqlite::Result<Vec<_>>>()?))
    }

    /// What is over the new size and in nobody's use goes at once.
    fn set_cache(&self, kib: i32) -> rusqlite::Result<()> {
        self.as_host(|sql| sql.execute_batch(&format!("PRAGMA cache_size = -{kib}")))
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
const HARMLESS_PRAGMAS: [&str; 23] = [
    "application_id",
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
        // Who waits for a lock is not interrupted: no longer than the host lets it. A longer wait is no error and no wait, so
        // that what asks for ten seconds elsewhere runs here.
        ("busy_timeout", Some(wait)) if !is_short_wait(wait) => return Authorization::Ignore,
        ("busy_timeout", _) => true,
        (name, _) => HARMLESS_PRAGMAS.contains(&name),
    };
    if allowed && value.is_some() {
        guards.marked.store(true, Ordering::Relaxed);
    }
    if allowed { Authorization::Allow } else { Authorization::Deny }
}

/// Whether a busy timeout, in milliseconds, is no longer than the host's own.
fn is_short_wait(milliseconds: &str) -> bool {
    milliseconds.parse::<u32>().is_ok_and(|wait| u128::from(wait) <= limits::SQLITE_BUSY_TIMEOUT.as_millis())
}

/// What is known of the schema in the open transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Schema {
    Unread,
    /// It is that of the known statements, and nobody else changes it before the transaction ends.
    Known,
    /// The transaction itself may have changed it.
    Changed,
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
    schema: Schema,
}

impl Connection {
    fn guarded(&self) -> &Guarded {
        self.guarded.as_ref().expect("the connection is taken by drop alone")
    }

    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> bool {
        !self.guarded().sql.is_autocommit()
    }

    /// Whether a statement is quick enough to run on an asynchronous thread: it is quick for certain, and waits for nobody,
    /// because the transaction holds the write lock already. Only its end waits for the disk.
    fn runs_in_place(&mut self, statement: &str, parameters: &[Value]) -> bool {
        self.knows_schema() && self.guarded().known.is_quick(statement, parameters)
    }

    /// Whether what is known of statements holds for the schema as it is until the end of the open transaction.
    fn knows_schema(&mut self) -> bool {
        let guarded = self.guarded.as_mut().expect("the connection is taken by drop alone");
        // What a guest has set may change what its statements do.
        if guarded.guards.marked.load(Ordering::Relaxed) || !guarded.holds_write_lock() {
            return false;
        }
        if self.schema == Schema::Unread
            && let Ok(schema) = guarded.schema()
        {
            guarded.known.hold_for(schema);
            self.schema = Schema::Known;
        }
        self.schema == Schema::Known
    }

    /// Looks at a statement that was never seen before, so that it may run in place the next time. Before it runs: explaining sets
    /// what `changes()` says to nothing.
    fn learn(&mut self, statement: &str) {
        if !quick::is_worth_a_look(statement)
            || !self.knows_schema()
            || self.guarded().known.contains(statement)
        {
            return;
        }
        // One that cannot be explained is not quick.
        let program = self.guarded().program(statement).unwrap_or_default();
        let guarded = self.guarded.as_mut().expect("the connection is taken by drop alone");
        guarded.known.add(statement, program);
    }

    /// Notes what a statement that ran may have changed.
    fn note_schema(&mut self, statement: &str, writes: bool) {
        if !self.in_transaction() {
            self.schema = Schema::Unread;
        } else if writes && !quick::changes_rows_alone(statement) {
            self.schema = Schema::Changed;
        }
    }

    /// Runs a statement that is quick for certain; none for any other, which is not touched.
    pub fn execute_if_quick(
        &mut self,
        statement: &str,
        parameters: &[Value],
    ) -> Option<Result<Rows, DatabaseError>> {
        self.runs_in_place(statement, parameters).then(|| self.execute_known(statement, parameters))
    }

    /// Blocks.
    pub fn execute(&mut self, statement: &str, parameters: &[Value]) -> Result<Rows, DatabaseError> {
        self.learn(statement);
        self.execute_known(statement, parameters)
    }

    fn execute_known(&mut self, statement: &str, parameters: &[Value]) -> Result<Rows, DatabaseError> {
        let outcome = self.run(statement, parameters);
        // One that failed may have written before, and may have ended its transaction.
        self.note_schema(statement, outcome.as_ref().map_or(true, |(_, writes)| *writes));
        let (rows, writes) = outcome?;
        self.written |= writes;
        self.fit_cache(writes)?;
        Ok(rows)
    }

    /// The rows, and whether the statement may have written.
    fn run(&mut self, statement: &str, parameters: &[Value]) -> Result<(Rows, bool), DatabaseError> {
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
        Ok((Rows { columns, rows }, writes))
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
mod tests;
