//! `spin:redis@3.0.0`: commands to Redis servers.

use super::SpinInterfaces;
use super::bindings::spin::redis::redis::{
    Error, Host, HostConnection, HostConnectionWithStore, RedisParameter, RedisResult,
};
use super::outbound_redis::{OpenRedis, OutboundRedisError, RedisConnections};
use crate::guest_state::GuestState;
use crate::limits;
use redis::{Value, cmd};
use std::sync::Arc;
use wasmtime::component::{Accessor, Resource};

/// A connection that a guest has open; a call under way may outlive the guest's hold of it.
pub type OpenConnection = Arc<OpenRedis>;

impl From<OutboundRedisError> for Error {
    fn from(error: OutboundRedisError) -> Self {
        match error {
            OutboundRedisError::InvalidAddress => Error::InvalidAddress,
            OutboundRedisError::TooManyConnections => Error::TooManyConnections,
            OutboundRedisError::Type => Error::TypeError,
            OutboundRedisError::Dial(_) | OutboundRedisError::Redis(_) => Error::Other(error.to_string()),
        }
    }
}

impl GuestState {
    /// The component's connections, if this guest may open one more.
    pub(super) fn redis_to_open(&self) -> Result<RedisConnections, OutboundRedisError> {
        match self.open_redis >= limits::REDIS_CONNECTIONS_PER_GUEST {
            true => Err(OutboundRedisError::TooManyConnections),
            false => Ok(self.policy.redis.clone()),
        }
    }

    pub(super) fn keep_redis(&mut self, open: OpenRedis) -> wasmtime::Result<Resource<OpenConnection>> {
        let open = self.table.push(Arc::new(open))?;
        self.open_redis += 1;
        Ok(open)
    }

    pub(super) fn close_redis(&mut self, this: Resource<OpenConnection>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        self.open_redis -= 1;
        Ok(())
    }
}

/// One call of the interface, whichever of its versions it comes by.
pub(super) enum Call {
    Publish(String, Vec<u8>),
    Get(String),
    Set(String, Vec<u8>),
    Incr(String),
    Del(Vec<String>),
    Sadd(String, Vec<String>),
    Smembers(String),
    Srem(String, Vec<String>),
}

impl Call {
    pub(super) async fn run<T: redis::FromRedisValue>(
        self,
        open: &OpenRedis,
    ) -> Result<T, OutboundRedisError> {
        let command = match self {
            Call::Publish(channel, payload) => cmd("PUBLISH").arg(channel).arg(payload).clone(),
            Call::Get(key) => cmd("GET").arg(key).clone(),
            Call::Set(key, value) => cmd("SET").arg(key).arg(value).clone(),
            Call::Incr(key) => cmd("INCR").arg(key).clone(),
            Call::Del(keys) => cmd("DEL").arg(keys).clone(),
            Call::Sadd(key, values) => cmd("SADD").arg(key).arg(values).clone(),
            Call::Smembers(key) => cmd("SMEMBERS").arg(key).clone(),
            Call::Srem(key, values) => cmd("SREM").arg(key).arg(values).clone(),
        };
        open.run(&command).await
    }
}

pub(super) async fn execute(
    open: &OpenRedis,
    name: String,
    arguments: Vec<RedisParameter>,
) -> Result<Vec<RedisResult>, OutboundRedisError> {
    let mut command = cmd(&name);
    for argument in arguments {
        match argument {
            RedisParameter::Int64(number) => command.arg(number),
            RedisParameter::Binary(bytes) => command.arg(bytes),
        };
    }
    let mut flat = Vec::new();
    flatten(open.run_any(&name, &command).await?, &mut flat);
    Ok(flat)
}

/// What the interface has no type for becomes text.
fn flatten(value: Value, flat: &mut Vec<RedisResult>) {
    match value {
        Value::Nil => flat.push(RedisResult::Nil),
        Value::Int(number) => flat.push(RedisResult::Int64(number)),
        Value::BulkString(bytes) => flat.push(RedisResult::Binary(bytes)),
        Value::SimpleString(text) => flat.push(RedisResult::Status(text)),
        Value::Okay => flat.push(RedisResult::Status("OK".to_owned())),
        Value::Array(values) | Value::Set(values) | Value::Push { data: values, .. } => {
            values.into_iter().for_each(|value| flatten(value, flat));
        }
        Value::Map(pairs) => pairs.into_iter().for_each(|(key, value)| {
            flatten(key, flat);
            flatten(value, flat);
        }),
        Value::Attribute { data, .. } => flatten(*data, flat),
        Value::Double(number) => flat.push(RedisResult::Binary(number.to_string().into_bytes())),
        Value::Boolean(truth) => flat.push(RedisResult::Int64(i64::from(truth))),
        Value::VerbatimString { text, .. } => flat.push(RedisResult::Binary(text.into_bytes())),
        Value::BigNumber(digits) => flat.push(RedisResult::Binary(digits)),
        other => flat.push(RedisResult::Status(format!("{other:?}"))),
    }
}

fn opened<T: Send>(
    accessor: &Accessor<T, SpinInterfaces>,
    this: &Resource<OpenConnection>,
) -> wasmtime::Result<OpenConnection> {
    accessor.with(|mut access| Ok(access.get().table.get(this)?.clone()))
}

type Outcome<T> = wasmtime::Result<Result<T, Error>>;

async fn call<T: Send, R: redis::FromRedisValue>(
    accessor: &Accessor<T, SpinInterfaces>,
    this: Resource<OpenConnection>,
    call: Call,
) -> Outcome<R> {
    let open = opened(accessor, &this)?;
    Ok(call.run(&open).await.map_err(Error::from))
}

impl Host for &mut GuestState {}

impl HostConnection for &mut GuestState {
    async fn drop(&mut self, this: Resource<OpenConnection>) -> wasmtime::Result<()> {
        self.close_redis(this)
    }
}

impl<T: Send> HostConnectionWithStore<T> for SpinInterfaces {
    async fn open(accessor: &Accessor<T, Self>, address: String) -> Outcome<Resource<OpenConnection>> {
        let connections = match accessor.with(|mut access| access.get().redis_to_open()) {
            Ok(connections) => connections,
            Err(error) => return Ok(Err(error.into())),
        };
        match connections.open(&address).await {
            Ok(open) => Ok(Ok(accessor.with(|mut access| access.get().keep_redis(open))?)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn publish(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenConnection>,
        channel: String,
        payload: Vec<u8>,
    ) -> Outcome<()> {
        // How many heard it is not asked for.
        let heard: Result<i64, _> = call(accessor, this, Call::Publish(channel, payload)).await?;
        Ok(heard.map(drop))
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenConnection>,
        key: String,
    ) -> Outcome<Option<Vec<u8>>> {
        call(accessor, this, Call::Get(key)).await
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenConnection>,
        key: String,
        value: Vec<u8>,
    ) -> Outcome<()> {
        call(accessor, this, Call::Set(key, value)).await
    }

    async fn incr(accessor: &Accessor<T, Self>, this: Resource<OpenConnection>, key: String) -> Outcome<i64> {
        call(accessor, this, Call::Incr(key)).await
    }

    async fn del(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenConnection>,
        keys: Vec<String>,
    ) -> Outcome<u32> {
        call(accessor, this, Call::Del(keys)).await
    }

    async fn sadd(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenConnection>,
        key: String,
        values: Vec<String>,
    ) -> Outcome<u32> {
        call(accessor, this, Call::Sadd(key, values)).await
    }

    async fn smembers(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenConnection>,
        key: String,
    ) -> Outcome<Vec<String>> {
        call(accessor, this, Call::Smembers(key)).await
    }

    async fn srem(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenConnection>,
        key: String,
        values: Vec<String>,
    ) -> Outcome<u32> {
        call(accessor, this, Call::Srem(key, values)).await
    }

    async fn execute(
        accessor: &Accessor<T, Self>,
        this: Resource<OpenConnection>,
        command: String,
        arguments: Vec<RedisParameter>,
    ) -> Outcome<Vec<RedisResult>> {
        let open = opened(accessor, &this)?;
        Ok(execute(&open, command, arguments).await.map_err(Error::from))
    }
}
