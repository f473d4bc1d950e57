//! Live sync: a WebSocket session for each device, and one engine, an instance of the sync component, for each institute.

pub mod engine_code;
pub mod engine_task;
pub mod institutes;
pub mod questions;
pub mod session;
pub mod session_registry;
