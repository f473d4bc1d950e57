//! `POST /sync/v1/batch`: sync messages of many documents in one request, for clients without a WebSocket.
//!
//! Stateless on the server: each message is answered as by a peer that has never been met, so a request may be repeated
//! after a lost answer. A client keeps its Automerge sync state for each document and repeats until an answer has
//! no messages; two requests are the rule, a third follows a false positive of the Bloom filters.

use crate::document_id::DocumentId;
use crate::link::Hash;
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
    /// Changes of the message that were not taken, whatever became of the others; absent when there are none.
    #[n(2)]
    pub refused: Option<Vec<RefusedChange>>,
    /// Heads of the document that the origin has committed, with all that they depend on; absent when the edge knows of
    /// none.
    #[n(3)]
    pub committed: Option<Vec<Hash>>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct RefusedChange {
    #[n(0)]
    pub hash: Hash,
    /// Stable, for example `invalid-mark`.
    #[n(1)]
    pub code: String,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> BatchRequest {
        let document = DocumentId::from_bytes([0x11; 16]);
        let message = BatchMessage { document, priority: Priority::High, data: vec![0x42, 0, 0].into() };
        BatchRequest { messages: vec![message] }
    }

    fn response() -> BatchResponse {
        let document = DocumentId::from_bytes([0x11; 16]);
        let outcomes = [
            Outcome::Synced(Some(vec![0x43].into())),
            Outcome::Synced(None),
            Outcome::Unavailable,
            Outcome::Refused("forbidden".into()),
            Outcome::Later,
        ];
        BatchResponse {
            results: outcomes
                .map(|outcome| BatchResult { document, outcome, refused: None, committed: None })
                .into(),
        }
    }

    /// `docs/sync.md` promises these bytes to clients.
    #[test]
    fn the_bytes_on_the_wire_are_the_documented_ones() {
        let document = [[0x50].as_slice(), &[0x11; 16]].concat();
        let mut expected = vec![0xa1, 0x00, 0x81, 0xa3, 0x00];
        expected.extend(&document);
        expected.extend([0x01, 0x02, 0x02, 0x43, 0x42, 0x00, 0x00]);
        assert_eq!(request().encode(), expected);

        let mut expected = vec![0xa1, 0x00, 0x85];
        let outcomes: [&[u8]; 5] = [
            &[0x82, 0x00, 0x81, 0x41, 0x43],
            &[0x82, 0x00, 0x80],
            &[0x82, 0x01, 0x80],
            &[0x82, 0x02, 0x81, 0x69, b'f', b'o', b'r', b'b', b'i', b'd', b'd', b'e', b'n'],
            &[0x82, 0x03, 0x80],
        ];
        for outcome in outcomes {
            expected.extend([0xa2, 0x00]);
            expected.extend(&document);
            expected.push(0x01);
            expected.extend(outcome);
        }
        assert_eq!(response().encode(), expected);

        let refused = vec![RefusedChange { hash: Hash([7; 32]), code: "forbidden".into() }];
        let result = BatchResult {
            document: DocumentId::from_bytes([0x11; 16]),
            outcome: Outcome::Synced(None),
            refused: Some(refused),
            committed: Some(vec![Hash([8; 32])]),
        };
        let mut expected = vec![0xa1, 0x00, 0x81, 0xa4, 0x00];
        expected.extend(&document);
        expected.extend([0x01, 0x82, 0x00, 0x80, 0x02, 0x81, 0xa2, 0x00, 0x58, 0x20]);
        expected.extend([7; 32]);
        expected.extend([0x01, 0x69, b'f', b'o', b'r', b'b', b'i', b'd', b'd', b'e', b'n']);
        expected.extend([0x03, 0x81, 0x58, 0x20]);
        expected.extend([8; 32]);
        assert_eq!(BatchResponse { results: vec![result] }.encode(), expected);
    }

    #[test]
    fn batches_are_read_back_and_every_truncation_is_an_error() {
        let bytes = request().encode();
        assert_eq!(BatchRequest::decode(&bytes).unwrap(), request());
        for end in 0..bytes.len() {
            assert!(BatchRequest::decode(&bytes[..end]).is_err(), "{end}");
        }
        assert_eq!(BatchResponse::decode(&response().encode()).unwrap(), response());
    }

    #[test]
    fn too_many_messages_and_too_many_bytes_are_told_with_the_limit() {
        let many = BatchRequest { messages: vec![request().messages[0].clone(); MAX_MESSAGES + 1] };
        let error = BatchRequest::decode(&many.encode()).unwrap_err().to_string();
        assert_eq!(error, "batch has 257 messages, the limit is 256");
        let error = BatchRequest::decode(&vec![0; MAX_BATCH_BYTES + 1]).unwrap_err().to_string();
        assert_eq!(error, "batch is 4194305 bytes, the limit is 4194304");
    }
}
