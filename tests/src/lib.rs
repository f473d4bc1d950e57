//! The harness of the end-to-end tests: the real programs with folders and ports of their own, and clients to them.
//!
//! A [`House`] is an origin, an edge and the [`FaultyLink`] between them. It lives as long as its test; on a failure it
//! shows what its programs have logged.

mod artefacts;
mod edge;
mod faulty_link;
mod house;
mod js_client;
mod meeting;
mod origin;
mod person;
mod plain_edge;
mod program;
mod samod_client;
mod schemathesis;
mod service;
mod template;
mod trace;
mod until;

pub use artefacts::{guest, program, shared_data, wasm, workspace};
pub use edge::Edge;
pub use faulty_link::FaultyLink;
pub use house::{Class, House};
pub use js_client::{JsClient, js_packages};
pub use meeting::in_step;
pub use origin::Origin;
pub use person::{Answer, Person};
pub use plain_edge::{PlainEdge, read_to_close};
pub use program::Program;
pub use samod_client::SamodClient;
pub use schemathesis::schemathesis;
pub use service::Service;
pub use trace::{EditingTrace, Patch, TraceEdit, Typed, Writing};
pub use until::until;

use std::time::Duration;

/// For what takes milliseconds when all is well, on two cores that others use too.
pub const SOON: Duration = Duration::from_secs(20);
/// The password of the sample people.
pub const PASSWORD: &str = "rollcall";
/// The secret between the test's edge and origin.
pub const EDGE_SECRET: &str = "a secret of the tests alone";
