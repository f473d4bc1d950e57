//! `fermyon:spin/postgres@2.0.0`: version 3 with fewer types, those that Postgres and MySQL once shared. Those that it does not know
//! are `unsupported` and `other`, and unsigned numbers are refused, as in Spin.

use super::bindings::fermyon::spin::postgres::{Host, HostConnection};
use super::bindings::fermyon::spin::rdbms_types::{
    self, Column, DbDataType, DbValue, Error, ParameterValue, RowSet,
};
use super::bindings::spin::postgres3_0_0::postgres as v3;
use super::postgres::OpenConnection;
use crate::guest_state::GuestState;
use wasmtime::component::Resource;

impl From<v3::Error> for Error {
    fn from(error: v3::Error) -> Self {
        match error {
            v3::Error::ConnectionFailed(text) => Error::ConnectionFailed(text),
            v3::Error::BadParameter(text) => Error::BadParameter(text),
            v3::Error::QueryFailed(text) => Error::QueryFailed(text),
            v3::Error::ValueConversionFailed(text) => Error::ValueConversionFailed(text),
            v3::Error::Other(text) => Error::Other(text),
        }
    }
}

impl TryFrom<ParameterValue> for v3::ParameterValue {
    type Error = Error;

    fn try_from(parameter: ParameterValue) -> Result<Self, Error> {
        Ok(match parameter {
            ParameterValue::Boolean(value) => v3::ParameterValue::Boolean(value),
            ParameterValue::Int8(value) => v3::ParameterValue::Int8(value),
            ParameterValue::Int16(value) => v3::ParameterValue::Int16(value),
            ParameterValue::Int32(value) => v3::ParameterValue::Int32(value),
            ParameterValue::Int64(value) => v3::ParameterValue::Int64(value),
            ParameterValue::Floating32(value) => v3::ParameterValue::Floating32(value),
            ParameterValue::Floating64(value) => v3::ParameterValue::Floating64(value),
            ParameterValue::Str(value) => v3::ParameterValue::Str(value),
            ParameterValue::Binary(value) => v3::ParameterValue::Binary(value),
            ParameterValue::DbNull => v3::ParameterValue::DbNull,
            ParameterValue::Uint8(_)
            | ParameterValue::Uint16(_)
            | ParameterValue::Uint32(_)
            | ParameterValue::Uint64(_) => {
                let text = "Postgres does not support unsigned integers";
                return Err(Error::ValueConversionFailed(text.to_owned()));
            }
        })
    }
}

impl From<v3::DbValue> for DbValue {
    fn from(value: v3::DbValue) -> Self {
        match value {
            v3::DbValue::Boolean(value) => DbValue::Boolean(value),
            v3::DbValue::Int8(value) => DbValue::Int8(value),
            v3::DbValue::Int16(value) => DbValue::Int16(value),
            v3::DbValue::Int32(value) => DbValue::Int32(value),
            v3::DbValue::Int64(value) => DbValue::Int64(value),
            v3::DbValue::Floating32(value) => DbValue::Floating32(value),
            v3::DbValue::Floating64(value) => DbValue::Floating64(value),
            v3::DbValue::Str(value) => DbValue::Str(value),
            v3::DbValue::Binary(value) => DbValue::Binary(value),
            v3::DbValue::DbNull => DbValue::DbNull,
            v3::DbValue::Date(_)
            | v3::DbValue::Time(_)
            | v3::DbValue::Datetime(_)
            | v3::DbValue::Timestamp(_)
            | v3::DbValue::Unsupported => DbValue::Unsupported,
        }
    }
}

impl From<v3::DbDataType> for DbDataType {
    fn from(data_type: v3::DbDataType) -> Self {
        match data_type {
            v3::DbDataType::Boolean => DbDataType::Boolean,
            v3::DbDataType::Int8 => DbDataType::Int8,
            v3::DbDataType::Int16 => DbDataType::Int16,
            v3::DbDataType::Int32 => DbDataType::Int32,
            v3::DbDataType::Int64 => DbDataType::Int64,
            v3::DbDataType::Floating32 => DbDataType::Floating32,
            v3::DbDataType::Floating64 => DbDataType::Floating64,
            v3::DbDataType::Str => DbDataType::Str,
            v3::DbDataType::Binary => DbDataType::Binary,
            v3::DbDataType::Date
            | v3::DbDataType::Time
            | v3::DbDataType::Datetime
            | v3::DbDataType::Timestamp
            | v3::DbDataType::Other => DbDataType::Other,
        }
    }
}

fn row_set(found: v3::RowSet) -> RowSet {
    let column =
        |column: v3::Column| Column { name: column.name, data_type: DbDataType::from(column.data_type) };
    let row = |row: Vec<v3::DbValue>| row.into_iter().map(DbValue::from).collect();
    RowSet {
        columns: found.columns.into_iter().map(column).collect(),
        rows: found.rows.into_iter().map(row).collect(),
    }
}

fn with_signed_numbers(parameters: Vec<ParameterValue>) -> Result<Vec<v3::ParameterValue>, Error> {
    parameters.into_iter().map(v3::ParameterValue::try_from).collect()
}

type Outcome<T> = wasmtime::Result<Result<T, Error>>;

impl Host for &mut GuestState {}
impl rdbms_types::Host for &mut GuestState {}

impl HostConnection for &mut GuestState {
    async fn open(&mut self, address: String) -> Outcome<Resource<OpenConnection>> {
        Ok(v3::HostConnection::open(self, address).await?.map_err(Error::from))
    }

    async fn query(
        &mut self,
        this: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Outcome<RowSet> {
        let parameters = match with_signed_numbers(parameters) {
            Ok(parameters) => parameters,
            Err(error) => return Ok(Err(error)),
        };
        let found = v3::HostConnection::query(self, this, statement, parameters).await?;
        Ok(found.map(row_set).map_err(Error::from))
    }

    async fn execute(
        &mut self,
        this: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Outcome<u64> {
        let parameters = match with_signed_numbers(parameters) {
            Ok(parameters) => parameters,
            Err(error) => return Ok(Err(error)),
        };
        let changed = v3::HostConnection::execute(self, this, statement, parameters).await?;
        Ok(changed.map_err(Error::from))
    }

    async fn drop(&mut self, this: Resource<OpenConnection>) -> wasmtime::Result<()> {
        v3::HostConnection::drop(self, this).await
    }
}
