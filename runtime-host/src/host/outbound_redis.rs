//! Connections of guests to Redis servers: only to `allowed_outbound_hosts`, each guest's its own for as long as it holds it, and
//! then kept for the next one.

use super::metered::{AnswerBudget, Metered};
use super::outbound_http::{DialError, OutboundHttp};
use crate::limits;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue,
    IntoConnectionInfo as _, RedisError, ServerErrorKind,
};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Why there is no connection, or no answer.
#[derive(Debug, thiserror::Error)]
pub enum OutboundRedisError {
    #[error("address is no redis:// or rediss:// URL, or one that allowed_outbound_hosts does not give")]
    InvalidAddress,
    #[error("{} connections of the component are open, which is the limit", limits::OUTBOUND_REQUESTS)]
    TooManyConnections,
    #[error("the value has another type")]
    Type,
    #[error("no connection: {0}")]
    Dial(#[source] DialError),
    #[error("{0}")]
    Redis(#[source] RedisError),
}

impl From<RedisError> for OutboundRedisError {
    fn from(error: RedisError) -> Self {
        let no_number = || error.detail().is_some_and(|detail| detail.contains("not an integer"));
        match error.kind() {
            ErrorKind::UnexpectedReturnType => Self::Type,
            // The server's own word for it.
            ErrorKind::Extension if error.code() == Some("WRONGTYPE") => Self::Type,
            ErrorKind::Server(ServerErrorKind::ResponseError) if no_number() => Self::Type,
            _ => Self::Redis(error),
        }
    }
}

/// Commands that leave a connection as it was, so that another guest may have it. Any other might choose a database, begin a
/// transaction, or watch a key.
const STATELESS: [&str; 44] = [
    "APPEND",
    "BITCOUNT",
    "DBSIZE",
    "DECR",
    "DECRBY",
    "DEL",
    "EXISTS",
    "EXPIRE",
    "EXPIREAT",
    "GET",
    "GETDEL",
    "GETRANGE",
    "HDEL",
    "HEXISTS",
    "HGET",
    "HGETALL",
    "HINCRBY",
    "HKEYS",
    "HLEN",
    "HMGET",
    "HSET",
    "HVALS",
    "INCR",
    "INCRBY",
    "KEYS",
    "LLEN",
    "LPOP",
    "LPUSH",
    "LRANGE",
    "MGET",
    "MSET",
    "PERSIST",
    "PING",
    "RPOP",
    "RPUSH",
    "SADD",
    "SCARD",
    "SET",
    "SISMEMBER",
    "SMEMBERS",
    "SREM",
    "TTL",
    "TYPE",
    "ZRANGE",
];

/// What one component has.
#[derive(Clone)]
pub struct RedisConnections {
    outbound: OutboundHttp,
    idle: Arc<Mutex<HashMap<String, Vec<Idle>>>>,
    /// Bounds the connections that guests hold.
    room: Arc<Semaphore>,
}

struct Idle {
    connection: MultiplexedConnection,
    budget: AnswerBudget,
    since: Instant,
}

/// A connection that a guest has open. Dropped, it is kept for the next guest of the component, unless its state has changed.
pub struct OpenRedis {
    connection: MultiplexedConnection,
    budget: AnswerBudget,
    clean: AtomicBool,
    address: String,
    owner: RedisConnections,
    _room: OwnedSemaphorePermit,
}

impl RedisConnections {
    pub fn new(outbound: OutboundHttp) -> Self {
        let room = Arc::new(Semaphore::new(limits::OUTBOUND_REQUESTS));
        Self { outbound, idle: Arc::default(), room }
    }

    pub async fn open(&self, address: &str) -> Result<OpenRedis, OutboundRedisError> {
        let info = address.into_connection_info().map_err(|_| OutboundRedisError::InvalidAddress)?;
        let room = tokio::time::timeout(limits::OUTBOUND_CONNECT_TIMEOUT, self.room.clone().acquire_owned());
        let Ok(Ok(room)) = room.await else { return Err(OutboundRedisError::TooManyConnections) };
        let (connection, budget) = match self.take_idle(address) {
            Some(idle) => (idle.connection, idle.budget),
            None => self.connect(&info).await?,
        };
        Ok(OpenRedis {
            connection,
            budget,
            clean: AtomicBool::new(true),
            address: address.to_owned(),
            owner: self.clone(),
            _room: room,
        })
    }

    async fn connect(
        &self,
        info: &ConnectionInfo,
    ) -> Result<(MultiplexedConnection, AnswerBudget), OutboundRedisError> {
        let (scheme, host, port) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => ("redis", host, *port),
            // Whoever asks not to check the certificate is not believed: guests' addresses may come from anywhere.
            ConnectionAddr::TcpTls { host, port, insecure: false, .. } => ("rediss", host, *port),
            ConnectionAddr::TcpTls { insecure: true, .. } | ConnectionAddr::Unix(_) => {
                return Err(OutboundRedisError::InvalidAddress);
            }
            _ => return Err(OutboundRedisError::InvalidAddress),
        };
        let dialled = self.outbound.dial(scheme, host, port, scheme == "rediss").await;
        let stream = dialled.map_err(|error| match error {
            DialError::Denied => OutboundRedisError::InvalidAddress,
            DialError::Unreachable(_) => OutboundRedisError::Dial(error),
        })?;
        let budget = AnswerBudget::new(limits::REDIS_ANSWER_BYTES);
        let stream = Metered::new(stream, budget.clone());
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(limits::REDIS_RESPONSE_TIMEOUT));
        let connect = MultiplexedConnection::new_with_config(info.redis_settings(), stream, config);
        let connected = tokio::time::timeout(limits::REDIS_RESPONSE_TIMEOUT, connect).await;
        let (connection, driver) = connected
            .map_err(|_| OutboundRedisError::Redis(io::Error::from(io::ErrorKind::TimedOut).into()))??;
        // Ends when the connection is dropped.
        tokio::spawn(driver);
        Ok((connection, budget))
    }

    fn take_idle(&self, address: &str) -> Option<Idle> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |idle: &Idle| idle.since.elapsed() < limits::OUTBOUND_IDLE_TIMEOUT;
        idle.values_mut().for_each(|connections| connections.retain(fresh));
        idle.retain(|_, connections| !connections.is_empty());
        idle.get_mut(address)?.pop()
    }

    fn put_idle(&self, address: String, connection: Idle) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.values().map(Vec::len).sum::<usize>() < limits::OUTBOUND_IDLE_CONNECTIONS {
            idle.entry(address).or_default().push(connection);
        }
    }
}

impl OpenRedis {
    /// Runs a command that leaves the connection as it was.
    pub async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, OutboundRedisError> {
        self.budget.renew();
        let result: Result<T, RedisError> = command.query_async(&mut self.connection.clone()).await;
        result.map_err(|error| {
            let error = OutboundRedisError::from(error);
            // Late answers would be taken for those of the next guest's commands.
            if !matches!(error, OutboundRedisError::Type) {
                self.clean.store(false, Ordering::Relaxed);
            }
            error
        })
    }

    /// Runs any command.
    pub async fn run_any(&self, name: &str, command: &Cmd) -> Result<redis::Value, OutboundRedisError> {
        if !STATELESS.iter().any(|stateless| stateless.eq_ignore_ascii_case(name)) {
            self.clean.store(false, Ordering::Relaxed);
        }
        self.run(command).await
    }
}

impl Drop for OpenRedis {
    fn drop(&mut self) {
        if self.clean.load(Ordering::Relaxed) {
            let idle = Idle {
                connection: self.connection.clone(),
                budget: self.budget.clone(),
                since: Instant::now(),
            };
            self.owner.put_idle(std::mem::take(&mut self.address), idle);
        }
    }
}

#[cfg(test)]
mod tests;
