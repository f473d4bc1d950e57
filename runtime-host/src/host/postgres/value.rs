//! Values between the interface's types and Postgres' binary format.

use super::calendar::{self, DAYS_1970_TO_2000, Date, MICROS_PER_DAY, Time};
use super::numeric;
use crate::host::bindings::spin::postgres4_2_0::postgres::{
    DbDataType, DbValue, Interval, ParameterValue, RangeBoundKind,
};
use bytes::BytesMut;
use std::error::Error as StdError;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, WrongType};

#[derive(Debug, thiserror::Error)]
pub(super) enum ValueError {
    #[error("the server's {0} is malformed")]
    Malformed(&'static str),
    #[error("`{0}` is no decimal number")]
    NoDecimal(String),
    #[error("`{0}` is no UUID")]
    NoUuid(String),
    #[error("JSON: {0}")]
    NoJson(#[from] serde_json::Error),
    #[error("there is no day {year}-{month}-{day}")]
    NoDate { year: i32, month: u8, day: u8 },
    #[error("there is no time {hour}:{minute}:{second}")]
    NoTime { hour: u8, minute: u8, second: u8 },
    #[error("the date is out of Postgres' range")]
    OutOfRange,
}

type BoxError = Box<dyn StdError + Sync + Send>;

/// A value as the server sent it.
pub(super) struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl Raw<'_> {
    /// How much it takes on its way to the guest, about.
    pub(super) fn bytes(&self) -> usize {
        self.0.len()
    }

    pub(super) fn decode(&self, ty: &Type) -> Result<DbValue, BoxError> {
        let Raw(raw) = *self;
        Ok(match *ty {
            Type::BOOL => DbValue::Boolean(bool::from_sql(ty, raw)?),
            Type::BYTEA => DbValue::Binary(raw.to_vec()),
            Type::FLOAT4 => DbValue::Floating32(f32::from_sql(ty, raw)?),
            Type::FLOAT8 => DbValue::Floating64(f64::from_sql(ty, raw)?),
            Type::INT2 => DbValue::Int16(i16::from_sql(ty, raw)?),
            Type::INT4 => DbValue::Int32(i32::from_sql(ty, raw)?),
            Type::INT8 => DbValue::Int64(i64::from_sql(ty, raw)?),
            Type::TEXT | Type::VARCHAR | Type::BPCHAR => DbValue::Str(String::from_sql(ty, raw)?),
            Type::TIMESTAMP | Type::TIMESTAMPTZ => datetime(number(raw, "timestamp")?)?,
            Type::DATE => {
                let days = i64::from(i32::from_sql(&Type::INT4, raw)?);
                DbValue::Date(calendar::date(days).ok_or(ValueError::OutOfRange)?)
            }
            Type::TIME => DbValue::Time(calendar::time(number(raw, "time")?)),
            Type::UUID => DbValue::Uuid(uuid_text(raw)?),
            // A version comes first, and there has been one so far.
            Type::JSONB => DbValue::Jsonb(raw.get(1..).ok_or(ValueError::Malformed("jsonb"))?.to_vec()),
            Type::NUMERIC => DbValue::Decimal(numeric::decode(raw)?),
            Type::INT4_RANGE => DbValue::RangeInt32(range(raw, |raw| i32::from_sql(&Type::INT4, raw))?),
            Type::INT8_RANGE => DbValue::RangeInt64(range(raw, |raw| i64::from_sql(&Type::INT8, raw))?),
            Type::NUM_RANGE => DbValue::RangeDecimal(range(raw, |raw| Ok(numeric::decode(raw)?))?),
            Type::INT4_ARRAY => DbValue::ArrayInt32(Vec::from_sql(ty, raw)?),
            Type::INT8_ARRAY => DbValue::ArrayInt64(Vec::from_sql(ty, raw)?),
            Type::NUMERIC_ARRAY => {
                let decimals = Vec::<Option<Decimal>>::from_sql(ty, raw)?;
                DbValue::ArrayDecimal(decimals.into_iter().map(|d| d.map(|Decimal(text)| text)).collect())
            }
            Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::BPCHAR_ARRAY => {
                DbValue::ArrayStr(Vec::from_sql(ty, raw)?)
            }
            Type::INTERVAL => DbValue::Interval(interval(raw)?),
            _ => DbValue::Unsupported(raw.to_vec()),
        })
    }
}

pub(super) fn data_type(ty: &Type) -> DbDataType {
    match *ty {
        Type::BOOL => DbDataType::Boolean,
        Type::BYTEA => DbDataType::Binary,
        Type::FLOAT4 => DbDataType::Floating32,
        Type::FLOAT8 => DbDataType::Floating64,
        Type::INT2 => DbDataType::Int16,
        Type::INT4 => DbDataType::Int32,
        Type::INT8 => DbDataType::Int64,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR => DbDataType::Str,
        Type::TIMESTAMP | Type::TIMESTAMPTZ => DbDataType::Datetime,
        Type::DATE => DbDataType::Date,
        Type::TIME => DbDataType::Time,
        Type::UUID => DbDataType::Uuid,
        Type::JSONB => DbDataType::Jsonb,
        Type::NUMERIC => DbDataType::Decimal,
        Type::INT4_RANGE => DbDataType::RangeInt32,
        Type::INT8_RANGE => DbDataType::RangeInt64,
        Type::NUM_RANGE => DbDataType::RangeDecimal,
        Type::INT4_ARRAY => DbDataType::ArrayInt32,
        Type::INT8_ARRAY => DbDataType::ArrayInt64,
        Type::NUMERIC_ARRAY => DbDataType::ArrayDecimal,
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::BPCHAR_ARRAY => DbDataType::ArrayStr,
        Type::INTERVAL => DbDataType::Interval,
        _ => DbDataType::Other(ty.name().to_owned()),
    }
}

fn number(raw: &[u8], what: &'static str) -> Result<i64, ValueError> {
    raw.try_into().map(i64::from_be_bytes).map_err(|_| ValueError::Malformed(what))
}

fn datetime(micros: i64) -> Result<DbValue, ValueError> {
    // The ends of the range stand for infinity.
    if micros == i64::MAX || micros == i64::MIN {
        return Err(ValueError::OutOfRange);
    }
    let date = calendar::date(micros.div_euclid(MICROS_PER_DAY)).ok_or(ValueError::OutOfRange)?;
    let time = calendar::time(micros.rem_euclid(MICROS_PER_DAY));
    Ok(DbValue::Datetime((date.0, date.1, date.2, time.0, time.1, time.2, time.3)))
}

fn interval(raw: &[u8]) -> Result<Interval, ValueError> {
    let malformed = ValueError::Malformed("interval");
    let (Some(micros), Some(days), Some(months), 16) =
        (raw.first_chunk::<8>(), raw.get(8..12), raw.get(12..16), raw.len())
    else {
        return Err(malformed);
    };
    let number = |bytes: &[u8]| bytes.try_into().map_or(0, i32::from_be_bytes);
    Ok(Interval { micros: i64::from_be_bytes(*micros), days: number(days), months: number(months) })
}

fn uuid_text(raw: &[u8]) -> Result<String, ValueError> {
    if raw.len() != 16 {
        return Err(ValueError::Malformed("uuid"));
    }
    let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

fn uuid_bytes(text: &str) -> Result<Vec<u8>, ValueError> {
    let bad = || ValueError::NoUuid(text.chars().take(64).collect());
    let hex: String = text.chars().filter(|c| *c != '-').collect();
    if hex.len() != 32 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(bad());
    }
    (0..16).map(|byte| u8::from_str_radix(&hex[2 * byte..2 * byte + 2], 16).map_err(|_| bad())).collect()
}

type Bound<T> = Option<(T, RangeBoundKind)>;

/// What the first byte of a range says.
const EMPTY: u8 = 0x01;
const LOWER_INCLUSIVE: u8 = 0x02;
const UPPER_INCLUSIVE: u8 = 0x04;
const LOWER_INFINITE: u8 = 0x08;
const UPPER_INFINITE: u8 = 0x10;

/// An empty range has no bounds, as in Spin.
fn range<T>(
    raw: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, BoxError>,
) -> Result<(Bound<T>, Bound<T>), BoxError> {
    let malformed = || ValueError::Malformed("range");
    let (flags, mut rest) = raw.split_first().ok_or_else(malformed)?;
    if flags & EMPTY != 0 {
        return Ok((None, None));
    }
    let mut bound = |infinite: u8, inclusive: u8| {
        if flags & infinite != 0 {
            return Ok(None);
        }
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
        let (value, after) =
            after.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or_else(malformed)?;
        rest = after;
        let kind = match flags & inclusive {
            0 => RangeBoundKind::Exclusive,
            _ => RangeBoundKind::Inclusive,
        };
        Ok::<_, BoxError>(Some((decode(value)?, kind)))
    };
    Ok((bound(LOWER_INFINITE, LOWER_INCLUSIVE)?, bound(UPPER_INFINITE, UPPER_INCLUSIVE)?))
}

fn put_range<T>(
    (lower, upper): (&Bound<T>, &Bound<T>),
    encode: impl Fn(&T) -> Result<Vec<u8>, ValueError>,
    out: &mut BytesMut,
) -> Result<(), ValueError> {
    let flag = |bound: &Bound<T>, infinite: u8, inclusive: u8| match bound {
        None => infinite,
        Some((_, RangeBoundKind::Inclusive)) => inclusive,
        Some((_, RangeBoundKind::Exclusive)) => 0,
    };
    let flags = flag(lower, LOWER_INFINITE, LOWER_INCLUSIVE) | flag(upper, UPPER_INFINITE, UPPER_INCLUSIVE);
    out.extend_from_slice(&[flags]);
    for (value, _) in [lower, upper].into_iter().flatten() {
        let bytes = encode(value)?;
        out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        out.extend_from_slice(&bytes);
    }
    Ok(())
}

/// `numeric` as text.
#[derive(Debug)]
struct Decimal(String);

impl<'a> FromSql<'a> for Decimal {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        Ok(Self(numeric::decode(raw)?))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::NUMERIC
    }
}

impl ToSql for Decimal {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        out.extend_from_slice(&numeric::encode(&self.0)?);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::NUMERIC
    }

    tokio_postgres::types::to_sql_checked!();
}

fn days(date: Date) -> Result<i32, ValueError> {
    i32::try_from(calendar::days(date)?).map_err(|_| ValueError::OutOfRange)
}

fn micros(date: Date, time: Time) -> Result<i64, ValueError> {
    let (days, micros) = (calendar::days(date)?, calendar::micros(time)?);
    let micros = days.checked_mul(MICROS_PER_DAY).and_then(|days| days.checked_add(micros));
    micros.ok_or(ValueError::OutOfRange)
}

/// Of seconds since 1970.
fn micros_of_seconds(seconds: i64) -> Result<i64, ValueError> {
    let since_2000 = seconds.checked_sub(DAYS_1970_TO_2000 * MICROS_PER_DAY / 1_000_000);
    since_2000.and_then(|seconds| seconds.checked_mul(1_000_000)).ok_or(ValueError::OutOfRange)
}

/// A parameter of a statement, encoded as the server says it wants it.
#[derive(Debug)]
pub(super) struct Parameter(pub(super) ParameterValue);

impl ToSql for Parameter {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        let put = |bytes: &[u8], types: &[Type], out: &mut BytesMut| {
            if !types.contains(ty) {
                return Err(BoxError::from(WrongType::new::<Parameter>(ty.clone())));
            }
            out.extend_from_slice(bytes);
            Ok(IsNull::No)
        };
        match &self.0 {
            ParameterValue::Boolean(value) => value.to_sql_checked(ty, out),
            ParameterValue::Int8(value) => value.to_sql_checked(ty, out),
            ParameterValue::Int16(value) => value.to_sql_checked(ty, out),
            ParameterValue::Int32(value) => value.to_sql_checked(ty, out),
            ParameterValue::Int64(value) => value.to_sql_checked(ty, out),
            ParameterValue::Floating32(value) => value.to_sql_checked(ty, out),
            ParameterValue::Floating64(value) => value.to_sql_checked(ty, out),
            ParameterValue::Str(value) => value.to_sql_checked(ty, out),
            ParameterValue::Binary(value) => value.to_sql_checked(ty, out),
            ParameterValue::ArrayInt32(values) => values.to_sql_checked(ty, out),
            ParameterValue::ArrayInt64(values) => values.to_sql_checked(ty, out),
            ParameterValue::ArrayStr(values) => values.to_sql_checked(ty, out),
            ParameterValue::ArrayDecimal(values) => {
                let values: Vec<_> = values.iter().map(|value| value.clone().map(Decimal)).collect();
                values.to_sql_checked(ty, out)
            }
            ParameterValue::Decimal(text) => Decimal(text.clone()).to_sql_checked(ty, out),
            ParameterValue::Date(date) => put(&days(*date)?.to_be_bytes(), &[Type::DATE], out),
            ParameterValue::Time(time) => put(&calendar::micros(*time)?.to_be_bytes(), &[Type::TIME], out),
            ParameterValue::Datetime((year, month, day, hour, minute, second, nanosecond)) => {
                let micros = micros((*year, *month, *day), (*hour, *minute, *second, *nanosecond))?;
                put(&micros.to_be_bytes(), &[Type::TIMESTAMP], out)
            }
            ParameterValue::Timestamp(seconds) => {
                put(&micros_of_seconds(*seconds)?.to_be_bytes(), &[Type::TIMESTAMPTZ], out)
            }
            ParameterValue::Uuid(text) => put(&uuid_bytes(text)?, &[Type::UUID], out),
            ParameterValue::Jsonb(json) => {
                serde_json::from_slice::<serde::de::IgnoredAny>(json).map_err(ValueError::NoJson)?;
                if *ty == Type::JSONB {
                    out.extend_from_slice(&[1]);
                }
                put(json, &[Type::JSONB, Type::JSON], out)
            }
            ParameterValue::RangeInt32((lower, upper)) => {
                put_range((lower, upper), |value| Ok(value.to_be_bytes().to_vec()), out)?;
                put(&[], &[Type::INT4_RANGE], out)
            }
            ParameterValue::RangeInt64((lower, upper)) => {
                put_range((lower, upper), |value| Ok(value.to_be_bytes().to_vec()), out)?;
                put(&[], &[Type::INT8_RANGE], out)
            }
            ParameterValue::RangeDecimal((lower, upper)) => {
                put_range((lower, upper), |value| numeric::encode(value), out)?;
                put(&[], &[Type::NUM_RANGE], out)
            }
            ParameterValue::Interval(Interval { micros, days, months }) => {
                let bytes = [&micros.to_be_bytes()[..], &days.to_be_bytes(), &months.to_be_bytes()].concat();
                put(&bytes, &[Type::INTERVAL], out)
            }
            ParameterValue::DbNull => Ok(IsNull::Yes),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    tokio_postgres::types::to_sql_checked!();
}
