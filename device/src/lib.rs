//! The device side of Rollcall: documents, commands and reads that work without a network.
//!
//! A [`Device`] keeps its documents and its outbox in one SQLite file. An edit or a command is durable when the call
//! returns; the network is caught up with in the background, over a WebSocket in automerge-repo's protocol, or for
//! devices that wake for a few seconds with [`Device::sync_batch`].

mod backoff;
mod batch;
mod clock;
mod config;
mod device;
mod documents;
mod error;
mod outbox;
mod reads;
mod receipt;
mod replica;
mod session;
mod socket;
mod store;

pub use batch::BatchReport;
pub use config::DeviceConfig;
pub use device::{Device, Event};
pub use documents::Conflict;
pub use error::{DeviceError, Problem};
pub use outbox::{CommandState, OutboxEntry};
pub use reads::View;
pub use receipt::Receipt;
pub use sync_protocol::batch::Priority;
pub use sync_protocol::bookmark::Bookmark;
pub use sync_protocol::command::{Command, Recipient};
pub use sync_protocol::document_id::DocumentId;
pub use sync_protocol::kind::Kind;

#[cfg(test)]
mod test_edge;
