//! The edge node: runs the WebAssembly components of a Spin application (manifest version 2) behind HTTP, gives them the
//! interfaces that they import, and, where the manifest asks for it under `tool.rollcall`, keeps a sync engine for each
//! institute behind a WebSocket and a link to the origin.
//!
//! Nothing here knows the coaching domain: institutes are tenants, documents are bytes.

pub mod access;
pub mod admin;
pub mod app;
pub mod application;
pub mod body;
mod bounded_file;
pub mod client_stream;
pub mod code_cache;
mod component_depth;
pub mod composition;
pub mod config;
pub mod connection;
pub mod connection_activity;
pub mod data_folder;
pub mod database;
pub mod delivery;
pub mod engine;
pub mod epoch_clock;
pub mod execution;
pub mod feed_state;
pub mod front;
mod gathered;
pub mod guest;
pub mod guest_files;
pub mod guest_state;
pub mod host;
#[cfg(test)]
mod hostile;
pub mod identity;
pub mod inspect;
pub mod key_value;
pub mod limits;
pub mod link;
pub mod manifest;
pub mod operator;
pub mod outbound;
pub mod problem;
pub mod proxies;
pub mod proxy_protocol;
pub mod reload;
pub mod request_target;
mod revocations;
pub mod route;
pub mod runtime_config;
pub mod server;
pub mod spin_headers;
pub mod sync;
pub mod template;
#[cfg(test)]
mod test_host;
pub mod threads;
pub mod tls;
pub mod trace_context;
mod watch;
