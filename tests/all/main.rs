//! Everything that crosses a crate: real programs, real sockets, real stores.

#![expect(clippy::unwrap_used, reason = "clippy knows a test function, and not the functions that it calls")]

mod auth;
mod bad_input;
mod commands;
mod components;
mod http;
mod import;
mod inspect;
mod isolation;
mod metrics;
mod openapi;
mod operators;
mod other_hosts;
mod outbound;
mod queue;
mod sessions;
mod sockets;
mod sync;
mod tidy;
mod up;
mod views;
