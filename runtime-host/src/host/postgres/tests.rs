//! Values of each type, to a real server and back.

use super::*;
use crate::host::bindings::spin::postgres4_2_0::postgres::{DbDataType, Interval, RangeBoundKind};
use crate::host::outbound_postgres::tests::{ANY, connections, server};

/// Each parameter in a statement that returns it as the type of the same name.
fn round_trips() -> Vec<(&'static str, ParameterValue, DbValue)> {
    use {DbValue as Out, ParameterValue as In};
    let bound = |value| Some((value, RangeBoundKind::Inclusive));
    let text = |text: &str| text.to_owned();
    let interval = || Interval { micros: -1, days: 2, months: -3 };
    vec![
        ("bool", In::Boolean(true), Out::Boolean(true)),
        ("int2", In::Int16(-2), Out::Int16(-2)),
        ("int4", In::Int32(i32::MIN), Out::Int32(i32::MIN)),
        ("int8", In::Int64(i64::MAX), Out::Int64(i64::MAX)),
        ("float4", In::Floating32(0.5), Out::Floating32(0.5)),
        ("float8", In::Floating64(-0.25), Out::Floating64(-0.25)),
        ("text", In::Str(text("é\n")), Out::Str(text("é\n"))),
        ("varchar", In::Str(text("")), Out::Str(text(""))),
        ("bytea", In::Binary(vec![0, 255]), Out::Binary(vec![0, 255])),
        ("date", In::Date((1999, 12, 31)), Out::Date((1999, 12, 31))),
        ("time", In::Time((23, 59, 58, 1_000)), Out::Time((23, 59, 58, 1_000))),
        (
            "timestamp",
            In::Datetime((1066, 10, 14, 9, 0, 0, 5_000)),
            Out::Datetime((1066, 10, 14, 9, 0, 0, 5_000)),
        ),
        ("timestamptz", In::Timestamp(-1), Out::Datetime((1969, 12, 31, 23, 59, 59, 0))),
        (
            "uuid",
            In::Uuid(text("0190C8D0-7A4E-7000-8000-0000000000FF")),
            Out::Uuid(text("0190c8d0-7a4e-7000-8000-0000000000ff")),
        ),
        ("jsonb", In::Jsonb(b"{\"a\":1}".to_vec()), Out::Jsonb(b"{\"a\": 1}".to_vec())),
        ("numeric", In::Decimal(text("-12345.678900")), Out::Decimal(text("-12345.678900"))),
        ("int4range", In::RangeInt32((bound(1), None)), Out::RangeInt32((bound(1), None))),
        // The server writes whole ranges with an open end.
        (
            "int8range",
            In::RangeInt64((Some((1, RangeBoundKind::Inclusive)), Some((4, RangeBoundKind::Inclusive)))),
            Out::RangeInt64((Some((1, RangeBoundKind::Inclusive)), Some((5, RangeBoundKind::Exclusive)))),
        ),
        (
            "numrange",
            In::RangeDecimal((None, Some((text("1.5"), RangeBoundKind::Exclusive)))),
            Out::RangeDecimal((None, Some((text("1.5"), RangeBoundKind::Exclusive)))),
        ),
        ("int4[]", In::ArrayInt32(vec![Some(1), None]), Out::ArrayInt32(vec![Some(1), None])),
        ("int8[]", In::ArrayInt64(vec![]), Out::ArrayInt64(vec![])),
        (
            "numeric[]",
            In::ArrayDecimal(vec![Some(text("0.1")), None]),
            Out::ArrayDecimal(vec![Some(text("0.1")), None]),
        ),
        ("text[]", In::ArrayStr(vec![Some(text("a")), None]), Out::ArrayStr(vec![Some(text("a")), None])),
        ("interval", In::Interval(interval()), Out::Interval(interval())),
        ("int4", In::DbNull, Out::DbNull),
    ]
}

#[tokio::test]
async fn values_of_each_type_come_back_as_they_went() {
    let (_server, to) = server();
    let open = connections(ANY).open(to).await.unwrap();
    for (ty, parameter, expected) in round_trips() {
        let rows = query(&open, &format!("SELECT $1::{ty} AS a"), vec![parameter]).await;
        let rows = rows.unwrap_or_else(|error| panic!("{ty}: {error:?}"));
        assert_eq!(rows.columns[0].name, "a");
        // The generated types have no equality.
        assert_eq!(format!("{:?}", rows.rows[0][0]), format!("{expected:?}"), "{ty}");
    }
    let rows = query(&open, "SELECT '10.0.0.0/8'::inet", vec![]).await.unwrap();
    assert!(matches!(&rows.columns[0].data_type, DbDataType::Other(name) if name == "inet"));
    assert!(matches!(rows.rows[0][0], DbValue::Unsupported(_)));
}

#[tokio::test]
async fn what_does_not_fit_is_an_error_and_the_connection_goes_on() {
    let (_server, to) = server();
    let open = connections(ANY).open(to).await.unwrap();
    for (statement, parameter) in [
        ("SELECT $1::int8", ParameterValue::Int32(1)),
        ("SELECT $1::numrange", ParameterValue::RangeInt32((None, None))),
    ] {
        let error = query(&open, statement, vec![parameter]).await.unwrap_err();
        assert!(matches!(error, Error::QueryFailed(QueryError::Text(_))), "{statement}: {error:?}");
    }
    for (statement, parameter) in [
        ("SELECT $1::date", ParameterValue::Date((2023, 2, 29))),
        ("SELECT $1::numeric", ParameterValue::Decimal("1e5".into())),
        ("SELECT $1::uuid", ParameterValue::Uuid("no".into())),
        ("SELECT $1::jsonb", ParameterValue::Jsonb(b"{".to_vec())),
    ] {
        let error = query(&open, statement, vec![parameter]).await.unwrap_err();
        assert!(matches!(error, Error::BadParameter(_)), "{statement}: {error:?}");
    }
    let error = query(&open, "SELECT 1/0", vec![]).await.unwrap_err();
    let Error::QueryFailed(QueryError::DbError(error)) = error else { panic!("{error:?}") };
    assert_eq!((error.code.as_str(), error.severity.as_str()), ("22012", "ERROR"));
    let error = query(&open, "SELECT 'infinity'::timestamp", vec![]).await.unwrap_err();
    assert!(matches!(error, Error::ValueConversionFailed(_)), "{error:?}");
    assert_eq!(
        execute(&open, "CREATE TEMP TABLE t AS SELECT generate_series(1, 7) AS n", vec![]).await.unwrap(),
        7
    );
    let changed = execute(&open, "DELETE FROM t WHERE n > $1", vec![ParameterValue::Int32(4)]).await;
    assert_eq!(changed.unwrap(), 3);
}

#[tokio::test]
async fn a_result_without_end_is_cut_off() {
    let (_server, to) = server();
    let open = connections(ANY).open(to).await.unwrap();
    let endless = "SELECT repeat('x', 1000000) FROM generate_series(1, 100000)";
    let error = query(&open, endless, vec![]).await.unwrap_err();
    assert!(matches!(error, Error::Other(_) | Error::QueryFailed(QueryError::Text(_))), "{error:?}");
    let huge = "SELECT repeat('x', 900000000)";
    assert!(query(&open, huge, vec![]).await.is_err());
}
