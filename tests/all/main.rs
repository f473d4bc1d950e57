//! Everything that crosses a crate: real programs, real sockets, real stores.

mod auth;
mod bad_input;
mod commands;
mod components;
mod import;
mod sync;
mod tidy;
mod up;
mod views;
