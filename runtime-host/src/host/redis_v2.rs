//! `fermyon:spin/redis@2.0.0`: the same for components of the time before asynchronous imports.

use super::bindings::fermyon::spin::redis::{Error, Host, HostConnection, RedisParameter, RedisResult};
use super::bindings::spin::redis::redis as v3;
use super::outbound_redis::{OpenRedis, OutboundRedisError};
use super::redis::{Call, OpenConnection, execute};
use crate::guest_state::GuestState;
use wasmtime::component::Resource;

impl From<OutboundRedisError> for Error {
    fn from(error: OutboundRedisError) -> Self {
        match v3::Error::from(error) {
            v3::Error::InvalidAddress => Error::InvalidAddress,
            v3::Error::TooManyConnections => Error::TooManyConnections,
            v3::Error::TypeError => Error::TypeError,
            v3::Error::Other(text) => Error::Other(text),
        }
    }
}

impl From<RedisParameter> for v3::RedisParameter {
    fn from(parameter: RedisParameter) -> Self {
        match parameter {
            RedisParameter::Int64(number) => v3::RedisParameter::Int64(number),
            RedisParameter::Binary(bytes) => v3::RedisParameter::Binary(bytes),
        }
    }
}

impl From<v3::RedisResult> for RedisResult {
    fn from(result: v3::RedisResult) -> Self {
        match result {
            v3::RedisResult::Nil => RedisResult::Nil,
            v3::RedisResult::Status(text) => RedisResult::Status(text),
            v3::RedisResult::Int64(number) => RedisResult::Int64(number),
            v3::RedisResult::Binary(bytes) => RedisResult::Binary(bytes),
        }
    }
}

type This = Resource<OpenConnection>;
type Outcome<T> = wasmtime::Result<Result<T, Error>>;

async fn run<R: redis::FromRedisValue>(open: &OpenRedis, call: Call) -> Outcome<R> {
    Ok(call.run(open).await.map_err(Error::from))
}

impl Host for &mut GuestState {}

impl HostConnection for &mut GuestState {
    async fn open(&mut self, address: String) -> Outcome<This> {
        let connections = match self.redis_to_open() {
            Ok(connections) => connections,
            Err(error) => return Ok(Err(error.into())),
        };
        match connections.open(&address).await {
            Ok(open) => Ok(Ok(self.keep_redis(open)?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn publish(&mut self, this: This, channel: String, payload: Vec<u8>) -> Outcome<()> {
        let heard: Result<i64, _> = run(self.table.get(&this)?, Call::Publish(channel, payload)).await?;
        Ok(heard.map(drop))
    }

    async fn get(&mut self, this: This, key: String) -> Outcome<Option<Vec<u8>>> {
        run(self.table.get(&this)?, Call::Get(key)).await
    }

    async fn set(&mut self, this: This, key: String, value: Vec<u8>) -> Outcome<()> {
        run(self.table.get(&this)?, Call::Set(key, value)).await
    }

    async fn incr(&mut self, this: This, key: String) -> Outcome<i64> {
        run(self.table.get(&this)?, Call::Incr(key)).await
    }

    async fn del(&mut self, this: This, keys: Vec<String>) -> Outcome<u32> {
        run(self.table.get(&this)?, Call::Del(keys)).await
    }

    async fn sadd(&mut self, this: This, key: String, values: Vec<String>) -> Outcome<u32> {
        run(self.table.get(&this)?, Call::Sadd(key, values)).await
    }

    async fn smembers(&mut self, this: This, key: String) -> Outcome<Vec<String>> {
        run(self.table.get(&this)?, Call::Smembers(key)).await
    }

    async fn srem(&mut self, this: This, key: String, values: Vec<String>) -> Outcome<u32> {
        run(self.table.get(&this)?, Call::Srem(key, values)).await
    }

    async fn execute(
        &mut self,
        this: This,
        command: String,
        arguments: Vec<RedisParameter>,
    ) -> Outcome<Vec<RedisResult>> {
        let arguments = arguments.into_iter().map(v3::RedisParameter::from).collect();
        let results = execute(self.table.get(&this)?, command, arguments).await;
        Ok(results.map(|results| results.into_iter().map(RedisResult::from).collect()).map_err(Error::from))
    }

    async fn drop(&mut self, this: This) -> wasmtime::Result<()> {
        self.close_redis(this)
    }
}
