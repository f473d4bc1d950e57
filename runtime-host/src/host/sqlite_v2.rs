//! `fermyon:spin/sqlite@2.0.0`: the same databases for components of the time before asynchronous imports.

use super::bindings::fermyon::spin::sqlite::{Error, Host, HostConnection, QueryResult, RowResult, Value};
use super::bindings::spin::sqlite::sqlite as v3;
use super::sqlite::OpenDatabase;
use crate::guest_state::GuestState;
use wasmtime::component::Resource;

impl From<v3::Error> for Error {
    fn from(error: v3::Error) -> Self {
        match error {
            v3::Error::NoSuchDatabase => Error::NoSuchDatabase,
            v3::Error::AccessDenied => Error::AccessDenied,
            v3::Error::InvalidConnection => Error::InvalidConnection,
            v3::Error::DatabaseFull => Error::DatabaseFull,
            v3::Error::Io(message) => Error::Io(message),
        }
    }
}

impl From<Value> for v3::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Integer(value) => v3::Value::Integer(value),
            Value::Real(value) => v3::Value::Real(value),
            Value::Text(value) => v3::Value::Text(value),
            Value::Blob(value) => v3::Value::Blob(value),
            Value::Null => v3::Value::Null,
        }
    }
}

impl From<v3::Value> for Value {
    fn from(value: v3::Value) -> Self {
        match value {
            v3::Value::Integer(value) => Value::Integer(value),
            v3::Value::Real(value) => Value::Real(value),
            v3::Value::Text(value) => Value::Text(value),
            v3::Value::Blob(value) => Value::Blob(value),
            v3::Value::Null => Value::Null,
        }
    }
}

fn rows(result: v3::QueryResult) -> QueryResult {
    let row = |row: v3::RowResult| RowResult { values: row.values.into_iter().map(Value::from).collect() };
    QueryResult { columns: result.columns, rows: result.rows.into_iter().map(row).collect() }
}

impl Host for &mut GuestState {}

impl HostConnection for &mut GuestState {
    async fn open(&mut self, database: String) -> wasmtime::Result<Result<Resource<OpenDatabase>, Error>> {
        Ok(v3::HostConnection::open(self, database).await?.map_err(Error::from))
    }

    async fn execute(
        &mut self,
        this: Resource<OpenDatabase>,
        statement: String,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<Result<QueryResult, Error>> {
        let parameters = parameters.into_iter().map(v3::Value::from).collect();
        let result = v3::HostConnection::execute(self, this, statement, parameters).await?;
        Ok(result.map(rows).map_err(Error::from))
    }

    async fn drop(&mut self, this: Resource<OpenDatabase>) -> wasmtime::Result<()> {
        v3::HostConnection::drop(self, this).await
    }
}
