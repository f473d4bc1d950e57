//! `spin:sqlite@3.1.0`: the component's database, or the database that it has for the institute of the request, and the databases
//! that the runtime configuration names.

use super::SpinInterfaces;
use super::bindings::spin::sqlite::sqlite::{
    Error, Host, HostConnection, HostConnectionWithStore, QueryResult, RowResult, Value,
};
use super::in_flight::HeldItems;
use crate::database::{Connection, DatabaseError, DatabaseFile, Rows};
use crate::guest_state::GuestState;
use crate::limits;
use rusqlite::types::Value as SqlValue;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

/// A connection that a guest has open.
pub struct OpenDatabase {
    connection: SharedConnection,
}

/// A mutex, because a statement may still run when the guest is gone. Whoever waits for it holds no thread.
type SharedConnection = Arc<Mutex<Connection>>;

impl Drop for OpenDatabase {
    fn drop(&mut self) {
        // Rolls back what is open, which may wait for the disk. While a statement runs, the thread that runs it does that.
        let open = self.connection.try_lock().is_ok_and(|connection| connection.in_transaction());
        if open && let Ok(runtime) = Handle::try_current() {
            let connection = self.connection.clone();
            runtime.spawn_blocking(move || connection.blocking_lock().execute("ROLLBACK", &[]));
        }
    }
}

impl From<DatabaseError> for Error {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Full => Error::DatabaseFull,
            DatabaseError::TooSlow
            | DatabaseError::ResultTooLarge
            | DatabaseError::Sqlite(_)
            | DatabaseError::Folder(_) => Error::Io(error.to_string()),
        }
    }
}

impl From<Value> for SqlValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Integer(value) => SqlValue::Integer(value),
            Value::Real(value) => SqlValue::Real(value),
            Value::Text(value) => SqlValue::Text(value),
            Value::Blob(value) => SqlValue::Blob(value),
            Value::Null => SqlValue::Null,
        }
    }
}

impl From<SqlValue> for Value {
    fn from(value: SqlValue) -> Self {
        match value {
            SqlValue::Integer(value) => Value::Integer(value),
            SqlValue::Real(value) => Value::Real(value),
            SqlValue::Text(value) => Value::Text(value),
            SqlValue::Blob(value) => Value::Blob(value),
            SqlValue::Null => Value::Null,
        }
    }
}

fn guest_rows(rows: Rows) -> (Vec<String>, Vec<RowResult>) {
    let row = |row: Vec<SqlValue>| RowResult { values: row.into_iter().map(Value::from).collect() };
    (rows.columns, rows.rows.into_iter().map(row).collect())
}

/// Bytes that a value takes here, about.
fn size(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Text(text) => text.len(),
            Value::Blob(bytes) => bytes.len(),
            Value::Integer(_) | Value::Real(_) | Value::Null => 0,
        }
}

impl GuestState {
    /// The database that `name` means, if this guest may open one more.
    fn database_to_open(&self, name: &str) -> Result<DatabaseFile, Error> {
        // What is configured and not in the manifest is as closed as what is not there at all.
        let file = self.databases.get(name).cloned().ok_or(Error::AccessDenied)?;
        if self.open_databases >= limits::SQLITE_CONNECTIONS_PER_GUEST {
            let limit = limits::SQLITE_CONNECTIONS_PER_GUEST;
            return Err(Error::Io(format!("{limit} connections are open, which is the limit")));
        }
        Ok(file)
    }

    fn keep_database(&mut self, connection: Connection) -> wasmtime::Result<Resource<OpenDatabase>> {
        self.open_databases += 1;
        let connection = OpenDatabase { connection: Arc::new(Mutex::new(connection)) };
        Ok(self.table.push(connection)?)
    }

    fn connection(&self, this: &Resource<OpenDatabase>) -> wasmtime::Result<SharedConnection> {
        Ok(self.table.get(this)?.connection.clone())
    }
}

/// Where it is when it is quick for certain, which saves two changes of thread, and on a thread that may wait otherwise.
async fn run(
    connection: SharedConnection,
    statement: String,
    parameters: Vec<Value>,
) -> wasmtime::Result<Result<Rows, Error>> {
    let parameters: Vec<SqlValue> = parameters.into_iter().map(SqlValue::from).collect();
    if let Ok(mut free) = connection.try_lock()
        && let Some(result) = free.execute_if_quick(&statement, &parameters)
    {
        return Ok(result.map_err(Error::from));
    }
    let mut owned = connection.lock_owned().await;
    let result = tokio::task::spawn_blocking(move || owned.execute(&statement, &parameters)).await?;
    Ok(result.map_err(Error::from))
}

impl Host for &mut GuestState {}

impl HostConnection for &mut GuestState {
    async fn open(&mut self, database: String) -> wasmtime::Result<Result<Resource<OpenDatabase>, Error>> {
        let file = match self.database_to_open(&database) {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        match tokio::task::spawn_blocking(move || file.connect()).await? {
            Ok(connection) => Ok(Ok(self.keep_database(connection)?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn execute(
        &mut self,
        this: Resource<OpenDatabase>,
        statement: String,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<Result<QueryResult, Error>> {
        let rows = run(self.connection(&this)?, statement, parameters).await?;
        Ok(rows.map(|rows| {
            let (columns, rows) = guest_rows(rows);
            QueryResult { columns, rows }
        }))
    }

    async fn last_insert_rowid(&mut self, this: Resource<OpenDatabase>) -> wasmtime::Result<i64> {
        Ok(self.connection(&this)?.lock().await.last_insert_rowid())
    }

    async fn changes(&mut self, this: Resource<OpenDatabase>) -> wasmtime::Result<u64> {
        Ok(self.connection(&this)?.lock().await.changes())
    }

    async fn drop(&mut self, this: Resource<OpenDatabase>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        self.open_databases -= 1;
        Ok(())
    }
}

impl<T: Send> HostConnectionWithStore<T> for SpinInterfaces {
    async fn open_async(
        accessor: &Accessor<T, Self>,
        database: String,
    ) -> wasmtime::Result<Result<Resource<OpenDatabase>, Error>> {
        let file = match accessor.with(|mut access| access.get().database_to_open(&database)) {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        match tokio::task::spawn_blocking(move || file.connect()).await? {
            Ok(connection) => Ok(Ok(accessor.with(|mut access| access.get().keep_database(connection))?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenDatabase>,
        statement: String,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<
        Result<(Vec<String>, StreamReader<RowResult>, FutureReader<Result<(), Error>>), Error>,
    > {
        let (connection, in_flight) = accessor.with(|mut access| {
            let guest = access.get();
            wasmtime::error::Ok((guest.connection(&this)?, guest.in_flight.clone()))
        })?;
        let bytes = statement.len() + parameters.iter().map(size).sum::<usize>();
        let handed_over = match in_flight.hold(bytes) {
            Ok(held) => held,
            Err(error) => return Ok(Err(Error::Io(error.to_string()))),
        };
        let rows = match run(connection, statement, parameters).await? {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error)),
        };
        drop(handed_over);
        let (columns, rows) = guest_rows(rows);
        let bytes = rows.iter().flat_map(|row| &row.values).map(size).sum();
        let unread = match in_flight.hold(bytes) {
            Ok(held) => held,
            Err(error) => return Ok(Err(Error::Io(error.to_string()))),
        };
        accessor.with(|mut access| {
            let rows = StreamReader::new(&mut access, HeldItems::new(rows, unread))?;
            let end = FutureReader::new(&mut access, async { wasmtime::error::Ok(Ok(())) })?;
            Ok(Ok((columns, rows, end)))
        })
    }

    async fn last_insert_rowid_async(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenDatabase>,
    ) -> wasmtime::Result<i64> {
        let connection = accessor.with(|mut access| access.get().connection(&this))?;
        Ok(connection.lock().await.last_insert_rowid())
    }

    async fn changes_async(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenDatabase>,
    ) -> wasmtime::Result<u64> {
        let connection = accessor.with(|mut access| access.get().connection(&this))?;
        Ok(connection.lock().await.changes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Databases;
    use std::pin::pin;

    async fn execute(connection: &SharedConnection, statement: &str) -> Result<Rows, Error> {
        run(connection.clone(), statement.to_owned(), Vec::new()).await.unwrap()
    }

    fn two_connections() -> (tempfile::TempDir, [SharedConnection; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let file = Databases::default().file(folder.path().join("a.db"));
        let connect = || Arc::new(Mutex::new(file.connect().unwrap()));
        (folder, [connect(), connect()])
    }

    #[tokio::test]
    async fn who_waits_for_the_write_lock_holds_no_thread_so_that_its_holder_can_commit() {
        let (_folder, [holder, waiter]) = two_connections();
        execute(&holder, "CREATE TABLE t (x)").await.unwrap();
        for statement in ["BEGIN IMMEDIATE", "INSERT INTO t VALUES (1)"] {
            execute(&holder, statement).await.unwrap();
        }
        execute(&waiter, "BEGIN").await.unwrap();
        // On this one thread: the holder gets on only if the waiter leaves it.
        let (waited, held) =
            tokio::join!(execute(&waiter, "INSERT INTO t VALUES (2)"), execute(&holder, "COMMIT"));
        held.unwrap();
        waited.unwrap();
        execute(&waiter, "COMMIT").await.unwrap();
    }

    #[tokio::test]
    async fn statements_of_one_connection_run_one_after_the_other_and_the_second_holds_no_thread() {
        const ENDLESS: &str = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 3000000)
                               SELECT count(*) FROM n";
        let (_folder, [connection, _]) = two_connections();
        let mut first = pin!(execute(&connection, ENDLESS));
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        let mut second = pin!(execute(&connection, "SELECT 1"));
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        assert!(connection.try_lock().is_err(), "the first runs while this thread does other things");
        first.await.unwrap();
        second.await.unwrap();
    }

    #[tokio::test]
    async fn a_row_that_is_inserted_under_the_write_lock_is_there_without_a_change_of_thread() {
        let (_folder, [connection, _]) = two_connections();
        execute(&connection, "CREATE TABLE t (x)").await.unwrap();
        for statement in ["BEGIN IMMEDIATE", "INSERT INTO t VALUES (1)"] {
            execute(&connection, statement).await.unwrap();
        }
        let again = pin!(execute(&connection, "INSERT INTO t VALUES (1)"));
        assert!(futures_util::poll!(again).is_ready());
        // Not over before it is looked at, whichever thread it runs on.
        let many = "INSERT INTO t WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 1000000) SELECT x FROM n";
        let long = pin!(execute(&connection, many));
        assert!(futures_util::poll!(long).is_pending());
    }
}
