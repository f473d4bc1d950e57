//! What devices, edges and the origin agree on.
//!
//! A pure library: it reads no clock, opens no socket and touches no store, and builds for the host and for
//! `wasm32-wasip2`. Time and randomness are arguments.

pub mod actor;
pub mod batch;
pub mod bookmark;
pub mod command;
pub mod description;
pub mod directory;
pub mod document_id;
pub mod document_limits;
pub mod engine;
pub mod gate;
pub mod kind;
pub mod link;
pub mod parts;
pub mod quarantine;
pub mod repo_message;
pub mod revocation;
pub mod rules;
pub mod tag;
pub mod token;
pub mod verifier;
