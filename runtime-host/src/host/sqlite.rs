//! `spin:sqlite@3.1.0`: the component's database, or the database that it has for the institute of the request, and the databases
//! that the runtime configuration names.

use super::SpinInterfaces;
use super::bindings::spin::sqlite::sqlite::{
    Error, Host, HostConnection, HostConnectionWithStore, QueryResult, RowResult, Value,
};
use crate::database::{Connection, DatabaseError, DatabaseFile, Rows};
use crate::guest_state::GuestState;
use crate::limits;
use rusqlite::types::Value as SqlValue;
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

/// A connection that a guest has open.
pub struct OpenDatabase {
    /// A mutex, because a statement may still run when the guest is gone.
    connection: Arc<Mutex<Connection>>,
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

    fn connection(&self, this: &Resource<OpenDatabase>) -> wasmtime::Result<Arc<Mutex<Connection>>> {
        Ok(self.table.get(this)?.connection.clone())
    }
}

fn locked(connection: &Mutex<Connection>) -> std::sync::MutexGuard<'_, Connection> {
    // A panic within SQLite's bindings leaves the connection as it was.
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a statement is quick enough to run where it is, which saves two changes of thread.
///
/// Within a transaction writes go to memory, and only its end waits for the disk; outside of one every statement may wait for
/// the disk or another writer.
fn runs_in_place(in_transaction: bool, statement: &str) -> bool {
    let word = statement.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or("");
    in_transaction && ["INSERT", "UPDATE", "DELETE", "REPLACE"].iter().any(|w| word.eq_ignore_ascii_case(w))
}

async fn run(
    connection: Arc<Mutex<Connection>>,
    statement: String,
    parameters: Vec<Value>,
) -> wasmtime::Result<Result<Rows, Error>> {
    let parameters: Vec<SqlValue> = parameters.into_iter().map(SqlValue::from).collect();
    let in_place = runs_in_place(locked(&connection).in_transaction(), &statement);
    let work = move || locked(&connection).execute(&statement, &parameters);
    let result = if in_place { work() } else { tokio::task::spawn_blocking(work).await? };
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
        Ok(locked(&*self.connection(&this)?).last_insert_rowid())
    }

    async fn changes(&mut self, this: Resource<OpenDatabase>) -> wasmtime::Result<u64> {
        Ok(locked(&*self.connection(&this)?).changes())
    }

    async fn drop(&mut self, this: Resource<OpenDatabase>) -> wasmtime::Result<()> {
        let open = self.table.delete(this)?;
        self.open_databases -= 1;
        // Rolls back what is open, which may wait for the disk.
        if locked(&open.connection).in_transaction() {
            tokio::task::spawn_blocking(move || drop(open)).await?;
        }
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
        let connection = accessor.with(|mut access| access.get().connection(&this))?;
        let rows = match run(connection, statement, parameters).await? {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error)),
        };
        let (columns, rows) = guest_rows(rows);
        accessor.with(|mut access| {
            let rows = StreamReader::new(&mut access, rows)?;
            let end = FutureReader::new(&mut access, async { wasmtime::error::Ok(Ok(())) })?;
            Ok(Ok((columns, rows, end)))
        })
    }

    async fn last_insert_rowid_async(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenDatabase>,
    ) -> wasmtime::Result<i64> {
        let connection = accessor.with(|mut access| access.get().connection(&this))?;
        Ok(locked(&connection).last_insert_rowid())
    }

    async fn changes_async(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenDatabase>,
    ) -> wasmtime::Result<u64> {
        let connection = accessor.with(|mut access| access.get().connection(&this))?;
        Ok(locked(&connection).changes())
    }
}
