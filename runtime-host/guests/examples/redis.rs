//! WASI 0.3: does what its path says with the Redis server whose address is its query, and answers what came of it.

// What a component exports links for wasm alone; `cargo test` builds examples for the machine that it runs on.
#![cfg(target_family = "wasm")]

use spin_sdk::http::Request;
use spin_sdk::http_service;
use spin_sdk::redis::{Connection, Error, RedisParameter};

#[http_service]
async fn handle(request: Request) -> String {
    let address = request.uri().query().unwrap_or_default();
    let done = run(request.uri().path(), address).await;
    done.unwrap_or_else(|error| format!("{error:?}"))
}

async fn run(path: &str, address: &str) -> Result<String, Error> {
    let redis = Connection::open(address).await?;
    match path {
        "/values" => values(&redis).await,
        "/sets" => sets(&redis).await,
        "/commands" => commands(&redis).await,
        "/publish" => redis.publish("news", "a cat").await.map(|()| "published".to_owned()),
        "/many" => many(address, redis).await,
        _ => Ok("there is no such path".to_owned()),
    }
}

async fn values(redis: &Connection) -> Result<String, Error> {
    let before = redis.get("value").await?;
    redis.set("value", [0, 255, b'\r', b'\n']).await?;
    let after = redis.get("value").await?;
    let counted = (redis.incr("count").await?, redis.incr("count").await?);
    let no_number = redis.incr("value").await;
    let removed = redis.del(["value", "count", "nothing"]).await?;
    Ok(format!("{before:?} {after:?} {counted:?} {no_number:?} {removed}"))
}

async fn sets(redis: &Connection) -> Result<String, Error> {
    let added = (redis.sadd("set", ["a", "b", "c"]).await?, redis.sadd("set", ["c", "é"]).await?);
    let removed = redis.srem("set", ["a", "nothing"]).await?;
    let mut members = redis.smembers("set").await?;
    members.sort_unstable();
    let no_set = redis.get("set").await;
    redis.del(["set"]).await?;
    Ok(format!("{added:?} {removed} {members:?} {no_set:?}"))
}

async fn commands(redis: &Connection) -> Result<String, Error> {
    let text = |text: &str| RedisParameter::Binary(text.into());
    let set = redis.execute("SET", [text("number"), RedisParameter::Int64(-7)]).await?;
    let sum = redis.execute("INCRBY", [text("number"), RedisParameter::Int64(10)]).await?;
    let several = redis.execute("MGET", [text("number"), text("nothing")]).await?;
    let unknown = redis.execute("NONSENSE", []).await.is_err();
    redis.del(["number"]).await?;
    Ok(format!("{set:?} {sum:?} {several:?} {unknown}"))
}

/// Opens connections until it gets no more, and uses the last.
async fn many(address: &str, first: Connection) -> Result<String, Error> {
    let mut open = vec![first];
    let refusal = loop {
        match Connection::open(address).await {
            Ok(connection) => open.push(connection),
            Err(error) => break error,
        }
    };
    let last = open[open.len() - 1].get("nothing").await?;
    Ok(format!("{} {refusal:?} {last:?}", open.len()))
}
