//! WASI 0.3: does what its path says with the Postgres server whose address is its query, and answers what came of it. The
//! server's certificate is a file of the component's.

// What a component exports links for wasm alone; `cargo test` builds examples for the machine that it runs on.
#![cfg(target_family = "wasm")]

use spin_sdk::http::Request;
use spin_sdk::http_service;
use spin_sdk::pg::wit::postgres::ConnectionBuilder;
use spin_sdk::pg::{
    Certificate, Connection, DbValue, Error, Interval, OpenOptions, ParameterValue, PgError, RangeBoundKind,
};

const CERTIFICATE: &str = "/server.crt";

#[http_service]
async fn handle(request: Request) -> String {
    let address = request.uri().query().unwrap_or_default();
    let done = match request.uri().path() {
        "/synchronous" => synchronous(address),
        path => run(path, address).await,
    };
    done.unwrap_or_else(|error| format!("{error:?}"))
}

async fn run(path: &str, address: &str) -> Result<String, Error> {
    let ca_root = Some(Certificate::FilePath(CERTIFICATE.to_owned()));
    let postgres = match path {
        "/without-certificate" => Connection::open(address).await?,
        _ => Connection::open_with_options(address, OpenOptions { ca_root }).await?,
    };
    match path {
        "/types" => types(&postgres).await,
        "/rows" => rows(&postgres).await,
        "/early" => early(&postgres).await,
        "/late-error" => late_error(&postgres).await,
        "/changes" => changes(&postgres).await,
        "/syntax" => postgres.query("SELEC 1", []).await.map(|_| "no error".to_owned()),
        "/parameter" => {
            let text = ParameterValue::Str("seven".to_owned());
            postgres.query("SELECT $1::int4", [text]).await.map(|_| "no error".to_owned())
        }
        _ => Ok("there is no such path".to_owned()),
    }
}

fn samples() -> Vec<(&'static str, ParameterValue)> {
    use ParameterValue as P;
    use RangeBoundKind::{Exclusive, Inclusive};
    let text = |text: &str| Some(text.to_owned());
    vec![
        ("boolean", P::Boolean(true)),
        ("int2", P::Int16(-2)),
        ("int4", P::Int32(i32::MIN)),
        ("int8", P::Int64(i64::MAX)),
        ("float4", P::Floating32(0.5)),
        ("float8", P::Floating64(-1e300)),
        ("text", P::Str("é 'quoted'".to_owned())),
        ("varchar", P::Str(String::new())),
        ("bytea", P::Binary(vec![0, 255, b'\\'])),
        ("date", P::Date((2024, 2, 29))),
        ("time", P::Time((23, 59, 59, 999_999_000))),
        ("timestamp", P::Datetime((1999, 12, 31, 23, 59, 59, 1_000))),
        ("uuid", P::Uuid("01934c2e-0000-7000-8000-0123456789ab".to_owned())),
        ("jsonb", P::Jsonb(br#"{"a": [1, null]}"#.to_vec())),
        ("numeric", P::Decimal("-12345678901234567890.000123456789".to_owned())),
        ("int4range", P::RangeInt32((Some((1, Inclusive)), Some((5, Exclusive))))),
        ("int8range", P::RangeInt64((None, Some((5, Exclusive))))),
        ("numrange", P::RangeDecimal((Some(("0.5".to_owned(), Exclusive)), None))),
        ("int4[]", P::ArrayInt32(vec![Some(1), None, Some(-1)])),
        ("int8[]", P::ArrayInt64(vec![])),
        ("numeric[]", P::ArrayDecimal(vec![text("1.50"), None])),
        ("text[]", P::ArrayStr(vec![text("a,b"), None, text("")])),
        ("interval", P::Interval(Interval { micros: 1, days: -2, months: 14 })),
        ("int4", P::DbNull),
    ]
}

/// A value without the name of its type, which differs on the way there and back.
fn bare(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split_once("::").map_or(text.clone(), |(_, value)| value.to_owned())
}

/// Each value there and back: `TYPE ok`, or what became of it.
async fn types(postgres: &Connection) -> Result<String, Error> {
    let mut lines = Vec::new();
    for (name, sample) in samples() {
        let sent = bare(&sample);
        let result = postgres.query(format!("SELECT $1::{name} AS value"), [sample]).await?;
        let column = format!("{} {:?}", result.columns()[0].name, result.columns()[0].data_type);
        let rows = result.collect().await?;
        let came = bare(&rows[0][0]);
        let verdict = if came == sent { "ok".to_owned() } else { format!("sent {sent}, came {came}") };
        lines.push(format!("{name} {verdict}: {column}"));
    }
    Ok(lines.join("\n"))
}

/// More rows than fit into one message, counted as they come.
async fn rows(postgres: &Connection) -> Result<String, Error> {
    let statement = "SELECT n::int8, repeat('x', 100) FROM generate_series(1, $1::int4) n";
    let mut result = postgres.query(statement, [ParameterValue::Int32(20_000)]).await?;
    let (mut count, mut sum) = (0, 0);
    while let Some(row) = result.next().await {
        if let DbValue::Int64(number) = row[0] {
            (count, sum) = (count + 1, sum + number);
        }
    }
    result.result().await?;
    Ok(format!("{count} {sum}"))
}

/// Reads one row of many, and asks something else.
async fn early(postgres: &Connection) -> Result<String, Error> {
    let mut result = postgres.query("SELECT n FROM generate_series(1, 100000) n", []).await?;
    let first = result.next().await.map(|row| bare(&row[0]));
    drop(result);
    let next = postgres.query("SELECT 'next'", []).await?.collect().await?;
    Ok(format!("{first:?} {}", bare(&next[0][0])))
}

/// The server finds the fault after it has sent rows.
async fn late_error(postgres: &Connection) -> Result<String, Error> {
    let statement = "SELECT 6 / (5 - n) FROM generate_series(1, 10) n";
    let mut result = postgres.query(statement, []).await?;
    let mut count = 0;
    while result.next().await.is_some() {
        count += 1;
    }
    Ok(format!("{count} rows, then {:?}", result.result().await))
}

async fn changes(postgres: &Connection) -> Result<String, Error> {
    postgres.execute("CREATE TEMPORARY TABLE t (a int4, b text)", []).await?;
    let row = |a, b: &str| [ParameterValue::Int32(a), ParameterValue::Str(b.to_owned())];
    let mut changed = Vec::new();
    for (a, b) in [(1, "one"), (2, "two"), (3, "two")] {
        changed.push(postgres.execute("INSERT INTO t VALUES ($1, $2)", row(a, b)).await?);
    }
    changed.push(postgres.execute("DELETE FROM t WHERE b = 'two'", []).await?);
    let left = postgres.query("SELECT a, b FROM t", []).await?.collect().await?;
    Ok(format!("{changed:?} {} {} {}", left.len(), bare(&left[0][0]), bare(&left[0][1])))
}

/// By the functions from before there were asynchronous ones.
fn synchronous(address: &str) -> Result<String, Error> {
    let certificate =
        std::fs::read_to_string(CERTIFICATE).map_err(|error| PgError::Other(error.to_string()))?;
    let builder = ConnectionBuilder::new(address);
    builder.set_ca_root(&certificate)?;
    let postgres = builder.build()?;
    let found = postgres.query("SELECT $1::int4 + 1 AS sum", &[ParameterValue::Int32(41)])?;
    let changed = postgres.execute("CREATE TEMPORARY TABLE t AS SELECT generate_series(1, 3)", &[])?;
    Ok(format!("{} {} {changed}", found.columns[0].name, bare(&found.rows[0][0])))
}
