//! Frames in the shapes of automerge-repo 2.5 that the library has no use for, written and read as clients do.

use minicbor::{Decoder, Encoder};
use sync_protocol::document_id::DocumentId;

/// `join` of a client with a store.
pub(crate) fn join_with_storage(sender: &str, storage: &str, extended: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut e = Encoder::new(&mut bytes);
    e.map(if extended { 5 } else { 4 }).unwrap().str("type").unwrap().str("join").unwrap();
    e.str("senderId").unwrap().str(sender).unwrap();
    e.str("peerMetadata").unwrap().map(2).unwrap();
    e.str("storageId").unwrap().str(storage).unwrap().str("isEphemeral").unwrap().bool(false).unwrap();
    e.str("supportedProtocolVersions").unwrap().array(1).unwrap().str("1").unwrap();
    if extended {
        e.str("rollcallExtensions").unwrap().u64(1).unwrap();
    }
    bytes
}

/// What `remote-heads-changed` says.
pub(crate) struct RemoteHeads {
    pub(crate) document: DocumentId,
    pub(crate) storage: String,
    /// In bs58check.
    pub(crate) heads: Vec<String>,
    pub(crate) timestamp: f64,
}

/// None of any other frame.
pub(crate) fn remote_heads(bytes: &[u8]) -> Option<RemoteHeads> {
    let mut d = Decoder::new(bytes);
    d.map().unwrap();
    d.str().unwrap();
    if d.str().unwrap() != "remote-heads-changed" {
        return None;
    }
    for field in ["senderId", "targetId"] {
        assert_eq!(d.str().unwrap(), field);
        d.str().unwrap();
    }
    assert_eq!(d.str().unwrap(), "documentId");
    let document = d.str().unwrap().parse().unwrap();
    assert_eq!((d.str().unwrap(), d.map().unwrap()), ("newHeads", Some(1)));
    let storage = d.str().unwrap().to_owned();
    assert_eq!((d.map().unwrap(), d.str().unwrap()), (Some(2), "heads"));
    let count = d.array().unwrap().unwrap();
    let heads = (0..count).map(|_| d.str().unwrap().to_owned()).collect();
    assert_eq!(d.str().unwrap(), "timestamp");
    Some(RemoteHeads { document, storage, heads, timestamp: d.f64().unwrap() })
}
