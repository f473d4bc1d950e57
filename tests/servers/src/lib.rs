//! Real servers for tests: from the system's packages, in scratch folders, as a user without rights, gone with the test.

mod postgres;

pub use postgres::Postgres;
