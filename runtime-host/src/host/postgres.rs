//! `spin:postgres@4.2.0`: statements to Postgres servers.

mod calendar;
mod numeric;
mod value;

use super::SpinInterfaces;
use super::bindings::spin::postgres4_2_0::postgres::{
    Column, DbError, DbValue, Error, Host, HostConnection, HostConnectionBuilder,
    HostConnectionBuilderWithStore, HostConnectionWithStore, ParameterValue, QueryError, RowSet,
};
use super::outbound_postgres::{OpenPostgres, OutboundPostgresError, PostgresAddress, PostgresConnections};
use crate::guest_state::GuestState;
use crate::limits;
use futures_util::TryStreamExt as _;
use std::sync::Arc;
use tokio_postgres::Statement as Prepared;
use tokio_postgres::types::ToSql;
use value::{Parameter, Raw, ValueError, data_type};
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

/// A connection that a guest has open; a statement under way may outlive the guest's hold of it.
pub type OpenConnection = Arc<OpenPostgres>;
/// A connection that a guest is about to open.
pub type ConnectionBuilder = PostgresAddress;

impl From<OutboundPostgresError> for Error {
    fn from(error: OutboundPostgresError) -> Self {
        Error::ConnectionFailed(error.to_string())
    }
}

fn query_error(error: &tokio_postgres::Error) -> Error {
    let Some(server) = error.as_db_error() else {
        let cause = std::error::Error::source(error);
        if let Some(error) = cause.and_then(|cause| cause.downcast_ref::<ValueError>()) {
            return Error::BadParameter(error.to_string());
        }
        let cause = cause.map_or(String::new(), |cause| format!(": {cause}"));
        return Error::QueryFailed(QueryError::Text(format!("{error}{cause}")));
    };
    let extra = |name: &str, value: Option<&str>| value.map(|value| (name.to_owned(), value.to_owned()));
    let extras = [
        extra("hint", server.hint()),
        extra("where", server.where_()),
        extra("schema", server.schema()),
        extra("table", server.table()),
        extra("column", server.column()),
        extra("datatype", server.datatype()),
        extra("constraint", server.constraint()),
    ];
    Error::QueryFailed(QueryError::DbError(DbError {
        as_text: error.to_string() + ": " + &server.to_string(),
        severity: server.severity().to_owned(),
        code: server.code().code().to_owned(),
        message: server.message().to_owned(),
        detail: server.detail().map(str::to_owned),
        extras: extras.into_iter().flatten().collect(),
    }))
}

/// All that older versions of the interface say of a statement that failed.
pub(super) fn text_of(error: QueryError) -> String {
    match error {
        QueryError::Text(text) => text,
        QueryError::DbError(error) => error.as_text,
    }
}

impl GuestState {
    /// The component's connections, if this guest may open one more.
    fn postgres_to_open(&self) -> Result<PostgresConnections, OutboundPostgresError> {
        match self.open_postgres >= limits::POSTGRES_CONNECTIONS_PER_GUEST {
            true => Err(OutboundPostgresError::TooManyConnections),
            false => Ok(self.policy.postgres.clone()),
        }
    }

    fn keep_postgres(&mut self, open: OpenPostgres) -> wasmtime::Result<Resource<OpenConnection>> {
        let open = self.table.push(Arc::new(open))?;
        self.open_postgres += 1;
        Ok(open)
    }

    async fn open_postgres(&mut self, to: PostgresAddress) -> Outcome<Resource<OpenConnection>> {
        let connections = match self.postgres_to_open() {
            Ok(connections) => connections,
            Err(error) => return Ok(Err(error.into())),
        };
        match connections.open(to).await {
            Ok(open) => Ok(Ok(self.keep_postgres(open)?)),
            Err(error) => Ok(Err(error.into())),
        }
    }
}

type Outcome<T> = wasmtime::Result<Result<T, Error>>;

/// Runs a statement for as long as one may.
async fn timed<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = || Error::Other(OutboundPostgresError::TimedOut.to_string());
    tokio::time::timeout(limits::POSTGRES_TIMEOUT, work).await.unwrap_or_else(|_| Err(late()))
}

fn references(parameters: &[Parameter]) -> Vec<&(dyn ToSql + Sync)> {
    parameters.iter().map(|parameter| parameter as &(dyn ToSql + Sync)).collect()
}

async fn prepare(client: &tokio_postgres::Client, text: &str) -> Result<Prepared, Error> {
    client.prepare(text).await.map_err(|error| query_error(&error))
}

async fn query(open: &OpenPostgres, text: &str, parameters: Vec<ParameterValue>) -> Result<RowSet, Error> {
    let parameters: Vec<_> = parameters.into_iter().map(Parameter).collect();
    let statement = open.begin();
    let work = async {
        let prepared = prepare(statement.client(), text).await?;
        let column = |column: &tokio_postgres::Column| Column {
            name: column.name().to_owned(),
            data_type: data_type(column.type_()),
        };
        let columns = prepared.columns().iter().map(column).collect();
        let found = statement.client().query_raw(&prepared, references(&parameters)).await;
        let mut found = std::pin::pin!(found.map_err(|error| query_error(&error))?);
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(row) = found.try_next().await.map_err(|error| query_error(&error))? {
            let (values, size) = values(&row)?;
            bytes += size;
            if bytes > limits::POSTGRES_ANSWER_BYTES {
                let limit = limits::POSTGRES_ANSWER_BYTES;
                return Err(Error::Other(format!("result is over {limit} bytes")));
            }
            rows.push(values);
        }
        Ok(RowSet { columns, rows })
    };
    let result = timed(work).await;
    // A connection whose statement was given up may still bring its rows.
    if matches!(result, Ok(_) | Err(Error::QueryFailed(QueryError::DbError(_)))) {
        statement.end();
    }
    result
}

/// A row's values, and what they take on their way to the guest, about.
fn values(row: &tokio_postgres::Row) -> Result<(Vec<DbValue>, usize), Error> {
    let failed = |error: String| Error::ValueConversionFailed(error);
    let (mut values, mut bytes) = (Vec::with_capacity(row.len()), 0);
    for (n, column) in row.columns().iter().enumerate() {
        let raw: Option<Raw<'_>> = row.try_get(n).map_err(|error| failed(error.to_string()))?;
        // As large as the largest of the values' kinds that has no content of its own.
        const FIXED: usize = 64;
        bytes += FIXED + raw.as_ref().map_or(0, Raw::bytes);
        values.push(match raw {
            Some(raw) => raw
                .decode(column.type_())
                .map_err(|error| failed(format!("column `{}`: {error}", column.name())))?,
            None => DbValue::DbNull,
        });
    }
    Ok((values, bytes))
}

async fn execute(open: &OpenPostgres, text: &str, parameters: Vec<ParameterValue>) -> Result<u64, Error> {
    let parameters: Vec<_> = parameters.into_iter().map(Parameter).collect();
    let statement = open.begin();
    let work = async {
        let prepared = prepare(statement.client(), text).await?;
        let changed = statement.client().execute_raw(&prepared, references(&parameters)).await;
        changed.map_err(|error| query_error(&error))
    };
    let result = timed(work).await;
    if matches!(result, Ok(_) | Err(Error::QueryFailed(QueryError::DbError(_)))) {
        statement.end();
    }
    result
}

fn address(address: String) -> PostgresAddress {
    PostgresAddress { address, ca: None }
}

impl Host for &mut GuestState {}

impl HostConnectionBuilder for &mut GuestState {
    async fn new(&mut self, text: String) -> wasmtime::Result<Resource<ConnectionBuilder>> {
        Ok(self.table.push(address(text))?)
    }

    async fn set_ca_root(&mut self, this: Resource<ConnectionBuilder>, certificate: String) -> Outcome<()> {
        self.table.get_mut(&this)?.ca = Some(certificate);
        Ok(Ok(()))
    }

    async fn build(&mut self, this: Resource<ConnectionBuilder>) -> Outcome<Resource<OpenConnection>> {
        let to = self.table.get(&this)?.clone();
        self.open_postgres(to).await
    }

    async fn drop(&mut self, this: Resource<ConnectionBuilder>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl HostConnection for &mut GuestState {
    async fn open(&mut self, text: String) -> Outcome<Resource<OpenConnection>> {
        self.open_postgres(address(text)).await
    }

    async fn query(
        &mut self,
        this: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Outcome<RowSet> {
        Ok(query(self.table.get(&this)?, &statement, parameters).await)
    }

    async fn execute(
        &mut self,
        this: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Outcome<u64> {
        Ok(execute(self.table.get(&this)?, &statement, parameters).await)
    }

    async fn drop(&mut self, this: Resource<OpenConnection>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        self.open_postgres -= 1;
        Ok(())
    }
}

async fn open_async<T: Send>(
    accessor: &Accessor<T, SpinInterfaces>,
    to: PostgresAddress,
) -> Outcome<Resource<OpenConnection>> {
    let connections = match accessor.with(|mut access| access.get().postgres_to_open()) {
        Ok(connections) => connections,
        Err(error) => return Ok(Err(error.into())),
    };
    match connections.open(to).await {
        Ok(open) => Ok(Ok(accessor.with(|mut access| access.get().keep_postgres(open))?)),
        Err(error) => Ok(Err(error.into())),
    }
}

fn opened<T: Send>(
    accessor: &Accessor<T, SpinInterfaces>,
    this: &Resource<OpenConnection>,
) -> wasmtime::Result<OpenConnection> {
    accessor.with(|mut access| Ok(access.get().table.get(this)?.clone()))
}

impl<T: Send> HostConnectionBuilderWithStore<T> for SpinInterfaces {
    async fn build_async(
        accessor: &Accessor<T, Self>,
        this: Resource<ConnectionBuilder>,
    ) -> Outcome<Resource<OpenConnection>> {
        let to = accessor.with(|mut access| wasmtime::error::Ok(access.get().table.get(&this)?.clone()))?;
        open_async(accessor, to).await
    }
}

impl<T: Send> HostConnectionWithStore<T> for SpinInterfaces {
    async fn open_async(accessor: &Accessor<T, Self>, text: String) -> Outcome<Resource<OpenConnection>> {
        open_async(accessor, address(text)).await
    }

    async fn query_async(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Outcome<(Vec<Column>, StreamReader<Vec<DbValue>>, FutureReader<Result<(), Error>>)> {
        let open = opened(accessor, &this)?;
        let RowSet { columns, rows } = match query(&open, &statement, parameters).await {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error)),
        };
        accessor.with(|mut access| {
            let rows = StreamReader::new(&mut access, rows)?;
            let end = FutureReader::new(&mut access, async { wasmtime::error::Ok(Ok(())) })?;
            Ok(Ok((columns, rows, end)))
        })
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Outcome<u64> {
        let open = opened(accessor, &this)?;
        Ok(execute(&open, &statement, parameters).await)
    }
}

#[cfg(test)]
mod tests;
