//! automerge-repo's WebSocket messages, protocol version 1: one CBOR map (RFC 8949) with text keys in one binary frame.
//!
//! What stands here is what clients 2.0 to 2.6 do. Unknown keys and unknown message types are passed over, as the JS
//! implementation does; every length is checked against the input before anything is allocated.

use crate::document_id::DocumentId;
use crate::gate::MAX_HEADS;
use crate::link::Hash;
use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

/// The one version of the protocol that there is.
pub const PROTOCOL_VERSION: &str = "1";
/// The field of `join` by which a client says that it reads our own messages; others pass over fields that they do not know.
const EXTENSIONS: &str = "rollcallExtensions";
const EXTENSION_VERSION: u64 = 1;
/// The type of [`RepoMessage::Subscribe`].
const SUBSCRIBE: &str = "remote-subscription-change";
/// The type of [`RepoMessage::RemoteHeads`].
const REMOTE_HEADS: &str = "remote-heads-changed";
/// The type of [`RepoMessage::Refused`].
const REFUSED: &str = "rollcall-refused";
/// The type of [`RepoMessage::Committed`].
const COMMITTED: &str = "rollcall-committed";
/// The type of [`RepoMessage::Deleted`].
const DELETED: &str = "rollcall-deleted";
/// Largest frame that an edge takes, in bytes: all that a device has changed in a document travels in one.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;
/// Largest frame that an edge sends, in bytes: a document of the largest kind ([`crate::document_limits`]), of which nothing can be
/// compressed, with an admin's reserve and as much again for what the library adds.
pub const MAX_EDGE_FRAME_BYTES: usize = 128 * 1024 * 1024;
/// Longest peer id, session id or storage id, in bytes. automerge-repo makes ids of about 20.
pub const MAX_PEER_ID_BYTES: usize = 256;
/// Largest ephemeral message, in bytes: presence is small, and it is relayed to every reader.
pub const MAX_EPHEMERAL_BYTES: usize = 64 * 1024;
/// Deepest nesting of values that are passed over.
const MAX_DEPTH: usize = 16;

#[derive(Debug, Clone, PartialEq)]
pub enum RepoMessage {
    /// Client to server, first.
    ///
    /// `extended` is ours: the client reads [`RepoMessage::Refused`], [`RepoMessage::Committed`] and
    /// [`RepoMessage::Deleted`], which are sent to nobody else.
    Join { sender: String, versions: Vec<String>, extended: bool },
    /// Server to client, the answer to [`RepoMessage::Join`]. `storage` names what the server keeps, over its restarts: clients
    /// keep their state of sync with it by this name, and can tell what it has.
    Peer { sender: String, target: String, storage: Option<String> },
    /// Server to client, before it closes.
    Error { sender: String, target: String, message: String },
    /// `data` is an Automerge sync message. `request` says: I lack the document; tell me if you lack it too.
    Sync { request: bool, sender: String, target: String, document: DocumentId, data: Vec<u8> },
    /// Not final: [`RepoMessage::Sync`] may follow when the document turns up.
    Unavailable { sender: String, target: String, document: DocumentId },
    /// Relayed to the readers of the document with its first sender.
    Ephemeral {
        sender: String,
        target: String,
        document: DocumentId,
        session: String,
        count: u64,
        data: Vec<u8>,
    },
    /// Client to server: of which storages it wants to hear what they have.
    Subscribe { sender: String, target: String, add: Vec<String>, remove: Vec<String> },
    /// Server to client: what a storage has of a document, and when it said so, in milliseconds since the Unix epoch. It is
    /// read back as [`RepoMessage::Other`]: what clients gossip is not believed.
    RemoteHeads {
        sender: String,
        target: String,
        document: DocumentId,
        storage: String,
        heads: Vec<[u8; 32]>,
        timestamp: u64,
    },
    /// Server to client, ours: a change that the client brought was not taken. Its code says why.
    Refused { sender: String, target: String, document: DocumentId, hash: Hash, code: String },
    /// Server to client, ours: the origin has committed these heads of the document, and all that they depend on.
    Committed { sender: String, target: String, document: DocumentId, heads: Vec<Hash> },
    /// Server to client, ours: the document was deleted, for everybody and for good.
    Deleted { sender: String, target: String, document: DocumentId },
    /// A well-formed message that this server has no use for: `leave`, clients' gossip about remote heads, and types of the future.
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RepoMessageError {
    #[error("frame is {bytes} bytes, the limit is {limit}")]
    TooLong { bytes: usize, limit: usize },
    #[error("frame is not a CBOR map with text keys: {0}")]
    NotCbor(String),
    #[error("message has no {0}")]
    Missing(&'static str),
    #[error("{field} is {length} bytes, the limit is {limit}")]
    FieldTooLong { field: &'static str, length: usize, limit: usize },
    #[error("documentId is not 16 bytes in bs58check")]
    BadDocumentId,
}

impl From<minicbor::decode::Error> for RepoMessageError {
    fn from(error: minicbor::decode::Error) -> Self {
        RepoMessageError::NotCbor(error.to_string())
    }
}

/// The fields of any message, as far as this server reads them.
#[derive(Default, Clone)]
struct Fields<'a> {
    kind: Option<&'a str>,
    sender: Option<&'a str>,
    target: Option<&'a str>,
    document: Option<&'a str>,
    session: Option<&'a str>,
    storage: Option<&'a str>,
    count: Option<u64>,
    data: Option<&'a [u8]>,
    versions: Option<Vec<String>>,
    extended: bool,
    add: Vec<String>,
    remove: Vec<String>,
    hash: Option<&'a [u8]>,
    code: Option<&'a str>,
    committed: Option<Vec<Hash>>,
}

impl RepoMessage {
    pub fn decode(bytes: &[u8]) -> Result<Self, RepoMessageError> {
        Self::decode_within(bytes, MAX_FRAME_BYTES)
    }

    /// Reads what an edge sends, which a client trusts: a document that many have written comes in one frame.
    pub fn decode_from_edge(bytes: &[u8]) -> Result<Self, RepoMessageError> {
        Self::decode_within(bytes, MAX_EDGE_FRAME_BYTES)
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each message")]
    fn decode_within(bytes: &[u8], limit: usize) -> Result<Self, RepoMessageError> {
        if bytes.len() > limit {
            return Err(RepoMessageError::TooLong { bytes: bytes.len(), limit });
        }
        let fields = Fields::read(&mut Decoder::new(bytes))?;
        let sender = || peer_id("senderId", fields.sender);
        let target = || peer_id("targetId", fields.target.or(Some("")));
        let document = || -> Result<DocumentId, RepoMessageError> {
            let text = fields.document.ok_or(RepoMessageError::Missing("documentId"))?;
            text.parse().map_err(|_| RepoMessageError::BadDocumentId)
        };
        let data = || fields.data.ok_or(RepoMessageError::Missing("data"));
        match fields.kind.ok_or(RepoMessageError::Missing("type"))? {
            "join" => Ok(Self::Join {
                sender: sender()?,
                versions: fields.versions.clone().unwrap_or_else(|| vec![PROTOCOL_VERSION.into()]),
                extended: fields.extended,
            }),
            "peer" => {
                let storage = fields.storage.map(|id| peer_id("storageId", Some(id))).transpose()?;
                Ok(Self::Peer { sender: sender()?, target: target()?, storage })
            }
            "error" => {
                let message = String::from_utf8_lossy(fields.data.unwrap_or_default()).into_owned();
                Ok(Self::Error { sender: sender()?, target: target()?, message })
            }
            kind @ ("sync" | "request") => Ok(Self::Sync {
                request: kind == "request",
                sender: sender()?,
                target: target()?,
                document: document()?,
                data: data()?.to_vec(),
            }),
            "doc-unavailable" => {
                Ok(Self::Unavailable { sender: sender()?, target: target()?, document: document()? })
            }
            "ephemeral" => Ok(Self::Ephemeral {
                sender: sender()?,
                target: target()?,
                document: document()?,
                session: peer_id("sessionId", fields.session)?,
                count: fields.count.ok_or(RepoMessageError::Missing("count"))?,
                data: bounded("data", data()?, MAX_EPHEMERAL_BYTES)?.to_vec(),
            }),
            SUBSCRIBE => {
                let Fields { add, remove, .. } = fields.clone();
                Ok(Self::Subscribe { sender: sender()?, target: target()?, add, remove })
            }
            REFUSED => Ok(Self::Refused {
                sender: sender()?,
                target: target()?,
                document: document()?,
                hash: Hash(
                    fields
                        .hash
                        .and_then(|bytes| bytes.try_into().ok())
                        .ok_or(RepoMessageError::Missing("hash"))?,
                ),
                code: peer_id("code", fields.code)?,
            }),
            DELETED => Ok(Self::Deleted { sender: sender()?, target: target()?, document: document()? }),
            COMMITTED => Ok(Self::Committed {
                sender: sender()?,
                target: target()?,
                document: document()?,
                heads: fields.committed.ok_or(RepoMessageError::Missing("committed"))?,
            }),
            _ => Ok(Self::Other),
        }
    }

    /// By what name the sender of a `join` or `peer` keeps documents; none when it keeps nothing, or says nothing of it.
    pub fn storage_id(bytes: &[u8]) -> Option<String> {
        let fields = Fields::read(&mut Decoder::new(bytes)).ok()?;
        peer_id("storageId", fields.storage).ok()
    }

    /// Encodes the message as the JS implementation reads it. [`RepoMessage::Other`] has no bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut Encoder::new(&mut out)).expect("writing to a vector never fails");
        out
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each message")]
    fn write(
        &self,
        e: &mut Encoder<&mut Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
        match self {
            Self::Join { sender, versions, extended } => {
                e.map(if *extended { 5 } else { 4 })?
                    .str("type")?
                    .str("join")?
                    .str("senderId")?
                    .str(sender)?;
                e.str("peerMetadata")?.map(1)?.str("isEphemeral")?.bool(false)?;
                e.str("supportedProtocolVersions")?.array(versions.len() as u64)?;
                for version in versions {
                    e.str(version)?;
                }
                if *extended {
                    e.str(EXTENSIONS)?.u64(EXTENSION_VERSION)?;
                }
            }
            Self::Peer { sender, target, storage } => {
                e.map(5)?.str("type")?.str("peer")?;
                addresses(e, sender, target)?;
                e.str("peerMetadata")?.map(1 + u64::from(storage.is_some()))?;
                if let Some(storage) = storage {
                    e.str("storageId")?.str(storage)?;
                }
                e.str("isEphemeral")?.bool(false)?;
                e.str("selectedProtocolVersion")?.str(PROTOCOL_VERSION)?;
            }
            Self::Error { sender, target, message } => {
                e.map(4)?.str("type")?.str("error")?;
                addresses(e, sender, target)?;
                e.str("message")?.str(message)?;
            }
            Self::Sync { request, sender, target, document, data } => {
                e.map(5)?.str("type")?.str(if *request { "request" } else { "sync" })?;
                addresses(e, sender, target)?;
                e.str("documentId")?.str(&document.to_string())?.str("data")?.bytes(data)?;
            }
            Self::Unavailable { sender, target, document } => {
                e.map(4)?.str("type")?.str("doc-unavailable")?;
                addresses(e, sender, target)?;
                e.str("documentId")?.str(&document.to_string())?;
            }
            Self::Ephemeral { sender, target, document, session, count, data } => {
                e.map(7)?.str("type")?.str("ephemeral")?;
                addresses(e, sender, target)?;
                e.str("documentId")?.str(&document.to_string())?.str("sessionId")?.str(session)?;
                e.str("count")?.u64(*count)?.str("data")?.bytes(data)?;
            }
            Self::Subscribe { sender, target, add, remove } => {
                e.map(5)?.str("type")?.str(SUBSCRIBE)?;
                addresses(e, sender, target)?;
                for (field, storages) in [("add", add), ("remove", remove)] {
                    e.str(field)?.array(storages.len() as u64)?;
                    for storage in storages {
                        e.str(storage)?;
                    }
                }
            }
            Self::RemoteHeads { sender, target, document, storage, heads, timestamp } => {
                e.map(5)?.str("type")?.str(REMOTE_HEADS)?;
                addresses(e, sender, target)?;
                e.str("documentId")?.str(&document.to_string())?;
                e.str("newHeads")?.map(1)?.str(storage)?.map(2)?.str("heads")?.array(heads.len() as u64)?;
                for head in heads {
                    e.str(&bs58::encode(head).with_check().into_string())?;
                }
                // JavaScript has no other numbers, and reads a 64-bit integer as another type.
                e.str("timestamp")?.f64(*timestamp as f64)?;
            }
            Self::Refused { sender, target, document, hash, code } => {
                e.map(6)?.str("type")?.str(REFUSED)?;
                addresses(e, sender, target)?;
                e.str("documentId")?.str(&document.to_string())?;
                e.str("hash")?.bytes(&hash.0)?.str("code")?.str(code)?;
            }
            Self::Deleted { sender, target, document } => {
                e.map(4)?.str("type")?.str(DELETED)?;
                addresses(e, sender, target)?;
                e.str("documentId")?.str(&document.to_string())?;
            }
            Self::Committed { sender, target, document, heads } => {
                e.map(5)?.str("type")?.str(COMMITTED)?;
                addresses(e, sender, target)?;
                e.str("documentId")?.str(&document.to_string())?;
                e.str("committed")?.array(heads.len() as u64)?;
                for head in heads {
                    e.bytes(&head.0)?;
                }
            }
            Self::Other => {}
        }
        Ok(())
    }
}

fn addresses(
    e: &mut Encoder<&mut Vec<u8>>,
    sender: &str,
    target: &str,
) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
    e.str("senderId")?.str(sender)?.str("targetId")?.str(target)?;
    Ok(())
}

impl<'a> Fields<'a> {
    fn read(d: &mut Decoder<'a>) -> Result<Self, RepoMessageError> {
        let mut fields = Fields::default();
        let mut left = d.map()?;
        loop {
            match &mut left {
                Some(0) => break,
                Some(n) => *n -= 1,
                None if d.datatype()? == Type::Break => break,
                None => {}
            }
            match d.str()? {
                "type" => fields.kind = Some(d.str()?),
                "senderId" => fields.sender = Some(d.str()?),
                "targetId" => fields.target = optional_text(d)?,
                "documentId" => fields.document = Some(d.str()?),
                "sessionId" => fields.session = Some(d.str()?),
                "add" => fields.add = storages(d)?,
                "remove" => fields.remove = storages(d)?,
                "peerMetadata" => fields.storage = storage_id(d)?,
                "count" => fields.count = Some(count(d)?),
                "data" => fields.data = Some(byte_string(d)?),
                "message" => fields.data = optional_text(d)?.map(str::as_bytes),
                "supportedProtocolVersions" => fields.versions = versions(d)?,
                "hash" => fields.hash = Some(byte_string(d)?),
                "code" => fields.code = optional_text(d)?,
                "committed" => fields.committed = Some(hashes(d)?),
                EXTENSIONS if matches!(d.datatype()?, Type::U8) => {
                    fields.extended = u64::from(d.u8()?) >= EXTENSION_VERSION;
                }
                _ => skip(d, 0)?,
            }
        }
        Ok(fields)
    }
}

/// cbor-x writes `undefined` for a field that is not set.
fn is_absent(d: &mut Decoder<'_>) -> Result<bool, RepoMessageError> {
    Ok(matches!(d.datatype()?, Type::Null | Type::Undefined))
}

fn optional_text<'a>(d: &mut Decoder<'a>) -> Result<Option<&'a str>, RepoMessageError> {
    if is_absent(d)? {
        d.skip()?;
        return Ok(None);
    }
    Ok(Some(d.str()?))
}

/// Most storages in one change of subscriptions; a longer one is passed over.
const MAX_STORAGES: u64 = 1_024;

/// The `storageId` of a peer's metadata, unless the peer keeps nothing. What else they are is passed over, in whatever form.
fn storage_id<'a>(d: &mut Decoder<'a>) -> Result<Option<&'a str>, RepoMessageError> {
    if d.datatype()? != Type::Map {
        skip(d, 0)?;
        return Ok(None);
    }
    let (mut storage, mut ephemeral) = (None, false);
    for _ in 0..d.map()?.unwrap_or(0) {
        let key = if d.datatype()? == Type::String { d.str()? } else { skip_key(d)? };
        match (key, d.datatype()?) {
            ("storageId", Type::String) => storage = Some(d.str()?),
            ("isEphemeral", Type::Bool) => ephemeral = d.bool()?,
            _ => skip(d, 1)?,
        }
    }
    Ok(storage.filter(|_| !ephemeral))
}

/// A key that is no text is no key that is looked for.
fn skip_key(d: &mut Decoder<'_>) -> Result<&'static str, RepoMessageError> {
    skip(d, 1)?;
    Ok("")
}

/// Storage ids of a change of subscriptions; none where the field is not set, or is another one of the same name.
fn storages(d: &mut Decoder<'_>) -> Result<Vec<String>, RepoMessageError> {
    let mut ahead = d.clone();
    match storages_in(&mut ahead) {
        Ok(storages) => {
            *d = ahead;
            Ok(storages)
        }
        Err(_) => skip(d, 0).map(|()| Vec::new()),
    }
}

fn storages_in(d: &mut Decoder<'_>) -> Result<Vec<String>, RepoMessageError> {
    let left = d.array()?.filter(|left| *left <= MAX_STORAGES);
    let left = left.ok_or(RepoMessageError::Missing("count of storages"))?;
    (0..left).map(|_| peer_id("storageId", Some(d.str()?))).collect()
}

/// A byte string, or a typed array of bytes (RFC 8746, tag 64).
fn byte_string<'a>(d: &mut Decoder<'a>) -> Result<&'a [u8], RepoMessageError> {
    if d.datatype()? == Type::Tag && d.tag()?.as_u64() != 64 {
        return Err(RepoMessageError::NotCbor("data has a tag other than 64".into()));
    }
    Ok(d.bytes()?)
}

fn hashes(d: &mut Decoder<'_>) -> Result<Vec<Hash>, RepoMessageError> {
    let mut hashes = Vec::new();
    let left = d.array()?.ok_or(RepoMessageError::NotCbor("hashes without a count".into()))?;
    if left > MAX_HEADS {
        return Err(RepoMessageError::NotCbor(format!("{left} hashes, the limit is {MAX_HEADS}")));
    }
    for _ in 0..left {
        let bytes = byte_string(d)?.try_into();
        hashes.push(Hash(bytes.map_err(|_| RepoMessageError::NotCbor("a hash is not 32 bytes".into()))?));
    }
    Ok(hashes)
}

/// A count that JS wrote: an integer, or a float when it is large.
fn count(d: &mut Decoder<'_>) -> Result<u64, RepoMessageError> {
    if matches!(d.datatype()?, Type::F16 | Type::F32 | Type::F64) {
        let value = d.f64()?;
        // Up to 2^53 every integer has a double of its own.
        if value.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&value) {
            return Ok(value as u64);
        }
        return Err(RepoMessageError::NotCbor("count is not a whole number".into()));
    }
    Ok(d.u64()?)
}

/// Most protocol versions looked at in a join.
const MAX_VERSIONS: usize = 16;

fn versions(d: &mut Decoder<'_>) -> Result<Option<Vec<String>>, RepoMessageError> {
    if is_absent(d)? {
        d.skip()?;
        return Ok(None);
    }
    let mut versions = Vec::new();
    for version in d.array_iter::<&str>()? {
        let version = version?;
        if versions.len() < MAX_VERSIONS && version.len() <= MAX_PEER_ID_BYTES {
            versions.push(version.to_owned());
        }
    }
    Ok(Some(versions))
}

/// Passes over one value. `Decoder::skip` takes any depth; a deep one is refused here first.
fn skip(d: &mut Decoder<'_>, depth: usize) -> Result<(), RepoMessageError> {
    if depth > MAX_DEPTH {
        return Err(RepoMessageError::NotCbor(format!("nested deeper than {MAX_DEPTH}")));
    }
    match d.datatype()? {
        Type::Array | Type::ArrayIndef => {
            let left = d.array()?;
            skip_items(d, left, depth)
        }
        Type::Map | Type::MapIndef => {
            let left = d.map()?.map(|pairs| pairs.saturating_mul(2));
            skip_items(d, left, depth)
        }
        Type::Tag => {
            d.tag()?;
            skip(d, depth + 1)
        }
        _ => Ok(d.skip()?),
    }
}

fn skip_items(d: &mut Decoder<'_>, left: Option<u64>, depth: usize) -> Result<(), RepoMessageError> {
    let Some(mut left) = left else {
        while d.datatype()? != Type::Break {
            skip(d, depth + 1)?;
        }
        return Ok(d.skip()?);
    };
    while left > 0 {
        skip(d, depth + 1)?;
        left -= 1;
    }
    Ok(())
}

fn peer_id(field: &'static str, value: Option<&str>) -> Result<String, RepoMessageError> {
    let value = value.ok_or(RepoMessageError::Missing(field))?;
    bounded(field, value.as_bytes(), MAX_PEER_ID_BYTES)?;
    Ok(value.to_owned())
}

fn bounded<'a>(field: &'static str, value: &'a [u8], limit: usize) -> Result<&'a [u8], RepoMessageError> {
    if value.len() > limit {
        return Err(RepoMessageError::FieldTooLong { field, length: value.len(), limit });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> DocumentId {
        DocumentId::from_bytes([9; 16])
    }

    fn every_kind() -> Vec<RepoMessage> {
        let (sender, target) = ("alice".to_owned(), "server".to_owned());
        let sync = |request| RepoMessage::Sync {
            request,
            sender: "alice".into(),
            target: "server".into(),
            document: document(),
            data: vec![0x42, 0, 0],
        };
        vec![
            RepoMessage::Join { sender: sender.clone(), versions: vec!["1".into()], extended: false },
            RepoMessage::Join { sender: sender.clone(), versions: vec!["1".into()], extended: true },
            RepoMessage::Refused {
                sender: sender.clone(),
                target: target.clone(),
                document: document(),
                hash: Hash([7; 32]),
                code: "invalid-mark".into(),
            },
            RepoMessage::Deleted { sender: sender.clone(), target: target.clone(), document: document() },
            RepoMessage::Committed {
                sender: sender.clone(),
                target: target.clone(),
                document: document(),
                heads: vec![Hash([7; 32]), Hash([8; 32])],
            },
            RepoMessage::Peer { sender: sender.clone(), target: target.clone(), storage: None },
            RepoMessage::Peer {
                sender: sender.clone(),
                target: target.clone(),
                storage: Some("3f2b0a52-8f6e-4f0e-9f7c-0d5f1c2b7a11".into()),
            },
            RepoMessage::Subscribe {
                sender: sender.clone(),
                target: target.clone(),
                add: vec!["a".into(), "b".into()],
                remove: vec!["c".into()],
            },
            RepoMessage::Error { sender: sender.clone(), target: target.clone(), message: "no".into() },
            sync(true),
            sync(false),
            RepoMessage::Unavailable { sender: sender.clone(), target: target.clone(), document: document() },
            RepoMessage::Ephemeral {
                sender,
                target,
                document: document(),
                session: "s".into(),
                count: 7,
                data: vec![1],
            },
        ]
    }

    #[test]
    fn every_message_is_read_back_and_every_truncation_is_an_error() {
        for message in every_kind() {
            let bytes = message.encode();
            assert_eq!(RepoMessage::decode(&bytes), Ok(message.clone()));
            for end in 0..bytes.len() {
                assert!(RepoMessage::decode(&bytes[..end]).is_err(), "{message:?} cut at {end}");
            }
        }
    }

    /// What cbor-x writes: 16 bit map length, typed array tag, undefined fields, unknown fields.
    #[test]
    fn a_frame_as_cbor_x_writes_it_is_read() {
        let mut bytes = vec![0xb9, 0, 7];
        let mut e = Encoder::new(&mut bytes);
        e.str("type").unwrap().str("sync").unwrap().str("senderId").unwrap().str("alice").unwrap();
        e.str("targetId").unwrap().undefined().unwrap();
        e.str("documentId").unwrap().str(&document().to_string()).unwrap();
        e.str("data").unwrap().tag(minicbor::data::Tag::new(64)).unwrap().bytes(&[1, 2]).unwrap();
        e.str("later")
            .unwrap()
            .array(2)
            .unwrap()
            .u8(1)
            .unwrap()
            .map(1)
            .unwrap()
            .str("a")
            .unwrap()
            .null()
            .unwrap();
        e.str("more").unwrap().begin_array().unwrap().u8(1).unwrap().end().unwrap();
        let expected = RepoMessage::Sync {
            request: false,
            sender: "alice".into(),
            target: String::new(),
            document: document(),
            data: vec![1, 2],
        };
        assert_eq!(RepoMessage::decode(&bytes), Ok(expected));
    }

    #[test]
    fn a_client_without_a_version_list_speaks_version_1() {
        let mut bytes = Vec::new();
        let mut e = Encoder::new(&mut bytes);
        e.map(2)
            .unwrap()
            .str("type")
            .unwrap()
            .str("join")
            .unwrap()
            .str("senderId")
            .unwrap()
            .str("a")
            .unwrap();
        let expected = RepoMessage::Join { sender: "a".into(), versions: vec!["1".into()], extended: false };
        assert_eq!(RepoMessage::decode(&bytes), Ok(expected));
    }

    #[test]
    fn deep_nesting_and_false_lengths_are_errors() {
        let mut deep = vec![0xa1, 0x61, b'x'];
        deep.extend(std::iter::repeat_n(0x81, 100_000));
        assert!(RepoMessage::decode(&deep).is_err());
        let tagged: Vec<u8> =
            [0xa1, 0x61, b'x'].into_iter().chain(std::iter::repeat_n(0xc1, 100_000)).collect();
        assert!(RepoMessage::decode(&tagged).is_err());
        assert!(RepoMessage::decode(&[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(RepoMessage::decode(b"hello").is_err());
        assert!(RepoMessage::decode(&[]).is_err());
    }
}
