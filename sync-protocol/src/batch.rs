//! `POST /sync/v1/batch`: sync messages of many documents in one request, for clients without a WebSocket.
//!
//! Stateless on the server: each message is answered as by a peer that has never been met, so a request may be repeated
//! after a lost answer. A client keeps its Automerge sync state for each document and repeats until an answer has
//! no messages; two requests are the rule, a third follows a false positive of the Bloom filters.

use crate::document_id::DocumentId;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

/// Media type of requests and answers.
pub const CONTENT_TYPE: &str = "application/cbor";
/// Most messages in one request: a device's documents of a term.
pub const MAX_MESSAGES: usize = 256;
/// Largest request, in bytes.
pub const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Higher goes first. Work that the request's time does not reach is answered [`Outcome::Later`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Priority {
    #[n(0)]
    Low,
    #[n(1)]
    Normal,
    #[n(2)]
    High,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct BatchRequest {
    #[n(0)]
    pub messages: Vec<BatchMessage>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct BatchMessage {
    #[n(0)]
    pub document: DocumentId,
    #[n(1)]
    pub priority: Priority,
    /// An Automerge sync message.
    #[n(2)]
    pub data: ByteVec,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct BatchResponse {
    /// One for each message of the request, in the order in which they were handled.
    #[n(0)]
    pub results: Vec<BatchResult>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct BatchResult {
    #[n(0)]
    pub document: DocumentId,
    #[n(1)]
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum Outcome {
    /// The message's changes are durable at the edge. `reply` is the answering sync message; none: both sides are equal.
    #[n(0)]
    Synced(#[n(0)] Option<ByteVec>),
    /// Neither the edge nor, as far as it can tell, the origin has the document.
    #[n(1)]
    Unavailable,
    /// Nothing of the message was kept; `code` is stable, for example `forbidden`, `invalid-sync-message`.
    #[n(2)]
    Refused(#[n(0)] String),
    /// Not handled for want of time: send it again.
    #[n(3)]
    Later,
}

#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error("batch is {0} bytes, the limit is {MAX_BATCH_BYTES}")]
    TooLong(usize),
    #[error("batch has {0} messages, the limit is {MAX_MESSAGES}")]
    TooMany(usize),
    #[error("batch is not CBOR: {0}")]
    Malformed(#[from] minicbor::decode::Error),
}

impl BatchRequest {
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        if bytes.len() > MAX_BATCH_BYTES {
            return Err(BatchError::TooLong(bytes.len()));
        }
        let request: Self = minicbor::decode(bytes)?;
        if request.messages.len() > MAX_MESSAGES {
            return Err(BatchError::TooMany(request.messages.len()));
        }
        Ok(request)
    }

    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("writing to a vector never fails")
    }
}

impl BatchResponse {
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        Ok(minicbor::decode(bytes)?)
    }

    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("writing to a vector never fails")
    }
}
