//! Calls Spin's interfaces as components of the time before asynchronous imports do: `/INTERFACE/WHAT` with the server whose
//! address is the query, and answers what came of it.

// What a component exports links for wasm alone; `cargo test` builds examples for the machine that it runs on.
#![cfg(target_family = "wasm")]

use spin_sdk::http::Request;
use spin_sdk::http_service;

/// Bindings of the older versions in `wit/`, which the SDK has no more.
mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package rollcall:older;
            world older {
                import spin:postgres/postgres@3.0.0;
                import fermyon:spin/postgres@2.0.0;
                import fermyon:spin/redis@2.0.0;
            }
        ",
        world: "rollcall:older/older",
        generate_all,
    });
}

#[http_service]
async fn handle(request: Request) -> String {
    let address = request.uri().query().unwrap_or_default();
    match request.uri().path().rsplit_once('/') {
        Some(("/postgres-3", what)) => said(postgres_3::run(what, address)),
        Some(("/postgres-2", what)) => said(postgres_2::run(what, address)),
        Some(("/redis-2", what)) => said(redis_2::run(what, address)),
        _ => "there is no such path".to_owned(),
    }
}

fn said(done: Result<String, impl std::fmt::Debug>) -> String {
    done.unwrap_or_else(|error| format!("{error:?}"))
}

/// Types that a version sends and gets back, and what only newer ones know: each with an SQL value.
type Sample<Parameter> = (&'static str, Parameter);

/// What both versions of Postgres have; their types share nothing but the names.
macro_rules! statements {
    () => {
        pub(crate) fn run(what: &str, address: &str) -> Result<String, Error> {
            let postgres = Connection::open(address)?;
            match what {
                "types" => types(&postgres),
                "unknown" => unknown(&postgres),
                "changes" => changes(&postgres),
                "syntax" => postgres.query("SELEC 1", &[]).map(|_| "no error".to_owned()),
                "parameter" => parameter(&postgres),
                "many" => many(address, postgres),
                _ => Ok("there is no such path".to_owned()),
            }
        }

        /// Each value there and back: `TYPE ok`, or what became of it.
        fn types(postgres: &Connection) -> Result<String, Error> {
            let mut lines = Vec::new();
            for (name, sample) in samples() {
                let sent = bare(&sample);
                let found = postgres.query(&format!("SELECT $1::{name} AS value"), &[sample])?;
                let (column, came) = (&found.columns[0], bare(&found.rows[0][0]));
                let verdict = if came == sent { "ok".to_owned() } else { format!("sent {sent}, came {came}") };
                lines.push(format!("{name} {verdict}: {} {:?}", column.name, column.data_type));
            }
            Ok(lines.join("\n"))
        }

        fn unknown(postgres: &Connection) -> Result<String, Error> {
            let statement = "SELECT DATE '2024-02-29', TIME '12:00', TIMESTAMP '2024-02-29 12:00', \
                             TIMESTAMPTZ '2024-02-29 12:00Z', 1.5::numeric, '{}'::jsonb, '1 day'::interval, \
                             ARRAY[1], '[1,2]'::int4range, '01934c2e-0000-7000-8000-0123456789ab'::uuid, '{}'::json";
            let found = postgres.query(statement, &[])?;
            let each = found.columns.iter().zip(&found.rows[0]);
            let each = each.map(|(column, value)| format!("{} {}", bare(&column.data_type), bare(value)));
            Ok(each.collect::<Vec<_>>().join("\n"))
        }

        fn changes(postgres: &Connection) -> Result<String, Error> {
            postgres.execute("CREATE TEMPORARY TABLE t (a int4, b text)", &[])?;
            let row = |a, b: &str| [ParameterValue::Int32(a), ParameterValue::Str(b.to_owned())];
            let mut changed = Vec::new();
            for (a, b) in [(1, "one"), (2, "two"), (3, "two")] {
                changed.push(postgres.execute("INSERT INTO t VALUES ($1, $2)", &row(a, b))?);
            }
            changed.push(postgres.execute("DELETE FROM t WHERE b = 'two'", &[])?);
            let left = postgres.query("SELECT a, b FROM t", &[])?.rows;
            Ok(format!("{changed:?} {} {} {}", left.len(), bare(&left[0][0]), bare(&left[0][1])))
        }

        /// Opens connections until it gets no more, closes one, and opens another.
        fn many(address: &str, first: Connection) -> Result<String, Error> {
            let mut open = vec![first];
            let refusal = loop {
                match Connection::open(address) {
                    Ok(connection) => open.push(connection),
                    Err(error) => break error,
                }
            };
            let most = open.len();
            open.pop();
            let again = Connection::open(address)?.execute("SELECT 1", &[])?;
            Ok(format!("{most} {refusal:?} {again}"))
        }
    };
}

/// A value without the name of its type, which differs on the way there and back.
fn bare(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split_once("::").map_or(text.clone(), |(_, value)| value.to_owned())
}

mod postgres_3 {
    use super::bindings::spin::postgres3_0_0::postgres::{Connection, Error, ParameterValue};
    use super::{Sample, bare};

    statements!();

    fn samples() -> Vec<Sample<ParameterValue>> {
        use ParameterValue as P;
        vec![
            ("boolean", P::Boolean(true)),
            ("int2", P::Int16(-2)),
            ("int4", P::Int32(i32::MIN)),
            ("int8", P::Int64(i64::MAX)),
            ("float4", P::Floating32(0.5)),
            ("float8", P::Floating64(-1e300)),
            ("text", P::Str("é 'quoted'".to_owned())),
            ("bytea", P::Binary(vec![0, 255, b'\\'])),
            ("date", P::Date((2024, 2, 29))),
            ("time", P::Time((23, 59, 59, 999_999_000))),
            ("timestamp", P::Datetime((1999, 12, 31, 23, 59, 59, 1_000))),
            ("int4", P::DbNull),
        ]
    }

    fn parameter(postgres: &Connection) -> Result<String, Error> {
        let seconds = postgres.query("SELECT $1::timestamptz", &[ParameterValue::Timestamp(-1)])?;
        let seconds = bare(&seconds.rows[0][0]);
        let text = ParameterValue::Str("seven".to_owned());
        let refusal = postgres.query("SELECT $1::int4", &[text]).map(|_| "no error".to_owned());
        Ok(format!("{seconds} {refusal:?}"))
    }
}

mod postgres_2 {
    use super::bindings::fermyon::spin::postgres::Connection;
    use super::bindings::fermyon::spin::rdbms_types::{Error, ParameterValue};
    use super::{Sample, bare};

    statements!();

    fn samples() -> Vec<Sample<ParameterValue>> {
        use ParameterValue as P;
        vec![
            ("boolean", P::Boolean(true)),
            ("int2", P::Int16(-2)),
            ("int4", P::Int32(i32::MIN)),
            ("int8", P::Int64(i64::MAX)),
            ("float4", P::Floating32(0.5)),
            ("float8", P::Floating64(-1e300)),
            ("text", P::Str("é 'quoted'".to_owned())),
            ("bytea", P::Binary(vec![0, 255, b'\\'])),
            ("int4", P::DbNull),
        ]
    }

    fn parameter(postgres: &Connection) -> Result<String, Error> {
        use ParameterValue as P;
        let unsigned = [P::Uint8(1), P::Uint16(1), P::Uint32(1), P::Uint64(1)];
        let refusals = unsigned.map(|number| postgres.query("SELECT $1", &[number]).map(|_| "no error"));
        let executed = postgres.execute("SELECT $1", &[P::Uint8(1)]);
        Ok(format!("{refusals:?} {executed:?}"))
    }
}

mod redis_2 {
    use super::bindings::fermyon::spin::redis::{Connection, Error, RedisParameter};

    pub(crate) fn run(what: &str, address: &str) -> Result<String, Error> {
        let redis = Connection::open(address)?;
        match what {
            "values" => values(&redis),
            "sets" => sets(&redis),
            "commands" => commands(&redis),
            "publish" => redis.publish("news", b"a cat").map(|()| "published".to_owned()),
            "many" => many(address, redis),
            _ => Ok("there is no such path".to_owned()),
        }
    }

    fn strings<const N: usize>(texts: [&str; N]) -> Vec<String> {
        texts.map(str::to_owned).into()
    }

    fn values(redis: &Connection) -> Result<String, Error> {
        let before = redis.get("value")?;
        redis.set("value", &[0, 255, b'\r', b'\n'])?;
        let after = redis.get("value")?;
        let counted = (redis.incr("count")?, redis.incr("count")?);
        let no_number = redis.incr("value");
        let removed = redis.del(&strings(["value", "count", "nothing"]))?;
        Ok(format!("{before:?} {after:?} {counted:?} {no_number:?} {removed}"))
    }

    fn sets(redis: &Connection) -> Result<String, Error> {
        let added = (redis.sadd("set", &strings(["a", "b", "c"]))?, redis.sadd("set", &strings(["c", "é"]))?);
        let removed = redis.srem("set", &strings(["a", "nothing"]))?;
        let mut members = redis.smembers("set")?;
        members.sort_unstable();
        let no_set = redis.get("set");
        redis.del(&strings(["set"]))?;
        Ok(format!("{added:?} {removed} {members:?} {no_set:?}"))
    }

    fn commands(redis: &Connection) -> Result<String, Error> {
        let text = |text: &str| RedisParameter::Binary(text.into());
        let set = redis.execute("SET", &[text("number"), RedisParameter::Int64(-7)])?;
        let sum = redis.execute("INCRBY", &[text("number"), RedisParameter::Int64(10)])?;
        let several = redis.execute("MGET", &[text("number"), text("nothing")])?;
        let unknown = redis.execute("NONSENSE", &[]).is_err();
        redis.del(&strings(["number"]))?;
        Ok(format!("{set:?} {sum:?} {several:?} {unknown}"))
    }

    /// Opens connections until it gets no more, closes one, and opens another.
    fn many(address: &str, first: Connection) -> Result<String, Error> {
        let mut open = vec![first];
        let refusal = loop {
            match Connection::open(address) {
                Ok(connection) => open.push(connection),
                Err(error) => break error,
            }
        };
        let most = open.len();
        open.pop();
        let again = Connection::open(address)?.get("nothing")?;
        Ok(format!("{most} {refusal:?} {again:?}"))
    }
}
