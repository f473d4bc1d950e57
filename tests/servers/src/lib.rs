//! Real servers for tests: from the system's packages, in scratch folders, as a user without rights, gone with the test.
//! And `wrk`, which loads servers in benchmarks.

mod patroni;
mod postgres;
mod process;
mod rabbitmq;
mod redis;
pub mod wrk;

pub use patroni::Patroni;
pub use postgres::Postgres;
pub use rabbitmq::RabbitMq;
pub use redis::{Redis, Sentinel};
