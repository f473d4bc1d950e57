//! `spin:postgres@3.0.0`: the same for components of the time before asynchronous imports. Types that it does not know are
//! `unsupported` and `other`, as in Spin.

use super::bindings::spin::postgres3_0_0::postgres::{
    Column, DbDataType, DbValue, Error, Host, HostConnection, ParameterValue, RowSet,
};
use super::bindings::spin::postgres4_2_0::postgres as v4;
use super::postgres::{OpenConnection, text_of};
use crate::guest_state::GuestState;
use wasmtime::component::Resource;

impl From<v4::Error> for Error {
    fn from(error: v4::Error) -> Self {
        match error {
            v4::Error::ConnectionFailed(text) => Error::ConnectionFailed(text),
            v4::Error::BadParameter(text) => Error::BadParameter(text),
            v4::Error::QueryFailed(error) => Error::QueryFailed(text_of(error)),
            v4::Error::ValueConversionFailed(text) => Error::ValueConversionFailed(text),
            v4::Error::Other(text) => Error::Other(text),
        }
    }
}

impl From<ParameterValue> for v4::ParameterValue {
    fn from(parameter: ParameterValue) -> Self {
        match parameter {
            ParameterValue::Boolean(value) => v4::ParameterValue::Boolean(value),
            ParameterValue::Int8(value) => v4::ParameterValue::Int8(value),
            ParameterValue::Int16(value) => v4::ParameterValue::Int16(value),
            ParameterValue::Int32(value) => v4::ParameterValue::Int32(value),
            ParameterValue::Int64(value) => v4::ParameterValue::Int64(value),
            ParameterValue::Floating32(value) => v4::ParameterValue::Floating32(value),
            ParameterValue::Floating64(value) => v4::ParameterValue::Floating64(value),
            ParameterValue::Str(value) => v4::ParameterValue::Str(value),
            ParameterValue::Binary(value) => v4::ParameterValue::Binary(value),
            ParameterValue::Date(value) => v4::ParameterValue::Date(value),
            ParameterValue::Time(value) => v4::ParameterValue::Time(value),
            ParameterValue::Datetime(value) => v4::ParameterValue::Datetime(value),
            ParameterValue::Timestamp(value) => v4::ParameterValue::Timestamp(value),
            ParameterValue::DbNull => v4::ParameterValue::DbNull,
        }
    }
}

impl From<v4::DbValue> for DbValue {
    fn from(value: v4::DbValue) -> Self {
        match value {
            v4::DbValue::Boolean(value) => DbValue::Boolean(value),
            v4::DbValue::Int8(value) => DbValue::Int8(value),
            v4::DbValue::Int16(value) => DbValue::Int16(value),
            v4::DbValue::Int32(value) => DbValue::Int32(value),
            v4::DbValue::Int64(value) => DbValue::Int64(value),
            v4::DbValue::Floating32(value) => DbValue::Floating32(value),
            v4::DbValue::Floating64(value) => DbValue::Floating64(value),
            v4::DbValue::Str(value) => DbValue::Str(value),
            v4::DbValue::Binary(value) => DbValue::Binary(value),
            v4::DbValue::Date(value) => DbValue::Date(value),
            v4::DbValue::Time(value) => DbValue::Time(value),
            v4::DbValue::Datetime(value) => DbValue::Datetime(value),
            v4::DbValue::Timestamp(value) => DbValue::Timestamp(value),
            v4::DbValue::DbNull => DbValue::DbNull,
            v4::DbValue::Uuid(_)
            | v4::DbValue::Jsonb(_)
            | v4::DbValue::Decimal(_)
            | v4::DbValue::RangeInt32(_)
            | v4::DbValue::RangeInt64(_)
            | v4::DbValue::RangeDecimal(_)
            | v4::DbValue::ArrayInt32(_)
            | v4::DbValue::ArrayInt64(_)
            | v4::DbValue::ArrayDecimal(_)
            | v4::DbValue::ArrayStr(_)
            | v4::DbValue::Interval(_)
            | v4::DbValue::Unsupported(_) => DbValue::Unsupported,
        }
    }
}

impl From<v4::DbDataType> for DbDataType {
    fn from(data_type: v4::DbDataType) -> Self {
        match data_type {
            v4::DbDataType::Boolean => DbDataType::Boolean,
            v4::DbDataType::Int8 => DbDataType::Int8,
            v4::DbDataType::Int16 => DbDataType::Int16,
            v4::DbDataType::Int32 => DbDataType::Int32,
            v4::DbDataType::Int64 => DbDataType::Int64,
            v4::DbDataType::Floating32 => DbDataType::Floating32,
            v4::DbDataType::Floating64 => DbDataType::Floating64,
            v4::DbDataType::Str => DbDataType::Str,
            v4::DbDataType::Binary => DbDataType::Binary,
            v4::DbDataType::Date => DbDataType::Date,
            v4::DbDataType::Time => DbDataType::Time,
            v4::DbDataType::Datetime => DbDataType::Datetime,
            v4::DbDataType::Timestamp => DbDataType::Timestamp,
            v4::DbDataType::Uuid
            | v4::DbDataType::Jsonb
            | v4::DbDataType::Decimal
            | v4::DbDataType::RangeInt32
            | v4::DbDataType::RangeInt64
            | v4::DbDataType::RangeDecimal
            | v4::DbDataType::ArrayInt32
            | v4::DbDataType::ArrayInt64
            | v4::DbDataType::ArrayDecimal
            | v4::DbDataType::ArrayStr
            | v4::DbDataType::Interval
            | v4::DbDataType::Other(_) => DbDataType::Other,
        }
    }
}

fn row_set(found: v4::RowSet) -> RowSet {
    let column =
        |column: v4::Column| Column { name: column.name, data_type: DbDataType::from(column.data_type) };
    let row = |row: Vec<v4::DbValue>| row.into_iter().map(DbValue::from).collect();
    RowSet {
        columns: found.columns.into_iter().map(column).collect(),
        rows: found.rows.into_iter().map(row).collect(),
    }
}

type Outcome<T> = wasmtime::Result<Result<T, Error>>;

impl Host for &mut GuestState {}

impl HostConnection for &mut GuestState {
    async fn open(&mut self, address: String) -> Outcome<Resource<OpenConnection>> {
        Ok(v4::HostConnection::open(self, address).await?.map_err(Error::from))
    }

    async fn query(
        &mut self,
        this: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Outcome<RowSet> {
        let parameters = parameters.into_iter().map(v4::ParameterValue::from).collect();
        let found = v4::HostConnection::query(self, this, statement, parameters).await?;
        Ok(found.map(row_set).map_err(Error::from))
    }

    async fn execute(
        &mut self,
        this: Resource<OpenConnection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Outcome<u64> {
        let parameters = parameters.into_iter().map(v4::ParameterValue::from).collect();
        let changed = v4::HostConnection::execute(self, this, statement, parameters).await?;
        Ok(changed.map_err(Error::from))
    }

    async fn drop(&mut self, this: Resource<OpenConnection>) -> wasmtime::Result<()> {
        v4::HostConnection::drop(self, this).await
    }
}
