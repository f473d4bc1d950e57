//! Real servers for tests: from the system's packages, in scratch folders, as a user without rights, gone with the test.

mod postgres;
mod redis;

pub use postgres::Postgres;
pub use redis::Redis;
