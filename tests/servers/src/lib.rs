//! Real servers for tests: from the system's packages, in scratch folders, as a user without rights, gone with the test.

mod postgres;
mod process;
mod rabbitmq;
mod redis;

pub use postgres::Postgres;
pub use rabbitmq::RabbitMq;
pub use redis::{Redis, Sentinel};
