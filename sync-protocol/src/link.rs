//! The link: what an edge and the origin say to each other, one CBOR value in one binary WebSocket frame.
//!
//! Log shipping. Every message may arrive twice and the connection may break between any two: a receiver drops what it
//! has, and both sides resume from the positions that [`Follow`] and [`Following`] exchange.

use crate::actor::Binding;
use crate::directory::DirectoryEntry;
use crate::document_id::DocumentId;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

/// Largest link message, in bytes. One document travels in one message, so this bounds a document's encoded size too.
pub const MAX_LINK_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// Most changes in one [`Push`]; more wait for its answer, so that a commit at the origin stays short.
pub const MAX_PUSH_ITEMS: usize = 512;
/// Most bytes of changes in one [`Push`], unless a single change is larger.
pub const MAX_PUSH_BYTES: usize = 1024 * 1024;

/// Most entries in one [`DirectoryPage`]. A teacher of 64 batches takes about 5 KiB, so a page stays within a message.
pub const MAX_DIRECTORY_ENTRIES: usize = 2_048;

/// The version of the link's frames that this build reads. An edge's host says it in [`VERSION_HEADER`] when it connects; where it
/// says nothing it is 1.
pub const LINK_VERSION: u32 = 2;
/// The version from which on [`LinkMessage::Watch`] and [`LinkMessage::RemoteHeads`] are read.
pub const GOSSIP_VERSION: u32 = 2;
pub const VERSION_HEADER: &str = "rollcall-link-version";
/// Longest name of a storage that travels on the link, in bytes. automerge-repo's are UUIDs of 36.
pub const MAX_STORAGE_BYTES: usize = 64;
/// Storages of an institute that one edge watches: 8 MB at the origin, with what it keeps of each. What devices ask for beyond, they
/// hear of their own edge alone.
pub const MAX_WATCHED_STORAGES: usize = 8_192;
/// Most storages in one [`Watch`], added and removed.
pub const MAX_WATCH_ITEMS: usize = 1_024;
/// Most heads of one document that are passed on. A document has as many as devices write to it at the same time.
pub const MAX_REMOTE_HEADS: usize = 64;
/// Most items in one [`RemoteHeads`].
pub const MAX_REMOTE_HEADS_ITEMS: usize = 256;

/// A change hash (SHA-256) as raw bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct Hash(#[cbor(with = "minicbor::bytes")] pub [u8; 32]);

impl From<automerge::ChangeHash> for Hash {
    fn from(hash: automerge::ChangeHash) -> Self {
        Self(hash.0)
    }
}

impl From<Hash> for automerge::ChangeHash {
    fn from(hash: Hash) -> Self {
        Self(hash.0)
    }
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum LinkMessage {
    /// Origin to edge, first.
    #[n(0)]
    Welcome(#[n(0)] Welcome),
    /// Edge to origin.
    #[n(1)]
    Follow(#[n(0)] Follow),
    /// Origin to edge, the answer to [`Follow`].
    #[n(2)]
    Following(#[n(0)] Following),
    /// Origin to edge, one for each commit of the institute, in order.
    #[n(3)]
    Feed(#[n(0)] Feed),
    /// Edge to origin.
    #[n(4)]
    Push(#[n(0)] Push),
    /// Origin to edge, the answer to [`Push`], after commit.
    #[n(5)]
    Pushed(#[n(0)] Pushed),
    /// Edge to origin.
    #[n(6)]
    Pull(#[n(0)] Pull),
    /// Origin to edge, the answer to [`Pull`].
    #[n(7)]
    Document(#[n(0)] Document),
    /// Origin to edge, after [`Following`] when the edge has no directory that the feed continues, and after commits that
    /// changed too much of it to list.
    #[n(8)]
    Directory(#[n(0)] DirectoryPage),
    /// Edge to origin.
    #[n(9)]
    Quarantine(#[n(0)] Quarantine),
    /// Origin to edge, the answer to [`Quarantine`], after commit.
    #[n(10)]
    Quarantined(#[n(0)] Quarantined),
    /// Both ways, from [`GOSSIP_VERSION`] on: what storages the sender wants to be told of.
    #[n(11)]
    Watch(#[n(0)] Watch),
    /// Both ways, from [`GOSSIP_VERSION`] on, of storages that the receiver watches.
    #[n(12)]
    RemoteHeads(#[n(0)] RemoteHeads),
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Welcome {
    #[n(0)]
    pub epoch: u64,
    /// The origin's public keys, as JWKS JSON.
    #[n(1)]
    pub keys: String,
}

/// Asks for an institute's feed after `revision`.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Follow {
    #[n(0)]
    pub institute: String,
    /// The epoch that `revision` belongs to; 0 when the edge has seen none.
    #[n(1)]
    pub epoch: u64,
    #[n(2)]
    pub revision: u64,
    /// Name of the edge's change log, made at random with its database: a lost database starts a new log.
    #[n(3)]
    pub log: String,
    /// The edge has the institute's directory as of `revision`.
    #[n(4)]
    #[cbor(default)]
    pub directory: bool,
    /// The edge's engine takes part in the gossip of remote heads.
    #[n(5)]
    #[cbor(default)]
    pub gossip: bool,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Following {
    #[n(0)]
    pub institute: String,
    #[n(1)]
    pub epoch: u64,
    /// The feed continues after this revision.
    #[n(2)]
    pub revision: u64,
    #[n(3)]
    pub log: String,
    /// Highest sequence of `log` that is committed at the origin; 0 for none.
    #[n(4)]
    pub acknowledged: u64,
    /// The feed could not be resumed from what [`Follow`] named: all that the edge derived from it is void.
    #[n(5)]
    pub reset: bool,
    /// The origin passes on remote heads. Nothing that was watched before on this connection is watched any more.
    #[n(6)]
    #[cbor(default)]
    pub gossip: bool,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Feed {
    #[n(0)]
    pub institute: String,
    #[n(1)]
    pub revision: u64,
    /// Cache tags that the commit touched.
    #[n(2)]
    pub tags: Vec<String>,
    /// Documents that the commit changed.
    #[n(3)]
    pub documents: Vec<DocumentHeads>,
    /// Users whose entry in the directory the commit changed, as it is now.
    #[n(4)]
    #[cbor(default)]
    pub members: Vec<DirectoryEntry>,
}

/// A part of the whole directory, in order.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct DirectoryPage {
    #[n(0)]
    pub institute: String,
    /// Counts from 0.
    #[n(1)]
    pub page: u32,
    #[n(2)]
    pub last: bool,
    #[n(3)]
    pub entries: Vec<DirectoryEntry>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct DocumentHeads {
    #[n(0)]
    pub document: DocumentId,
    /// None of a document that was deleted.
    #[n(1)]
    pub heads: Vec<Hash>,
}

impl DocumentHeads {
    /// Every document that is there has a first change.
    pub fn is_deleted(&self) -> bool {
        self.heads.is_empty()
    }
}

/// Changes that devices made, in the order of the edge's log.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Push {
    #[n(0)]
    pub institute: String,
    #[n(1)]
    pub log: String,
    #[n(2)]
    pub items: Vec<PushItem>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct PushItem {
    /// Position in the edge's log, from 1, rising, with gaps.
    #[n(0)]
    pub sequence: u64,
    #[n(1)]
    pub document: DocumentId,
    /// Who brought the change to the edge.
    #[n(2)]
    pub user: String,
    #[n(3)]
    pub device: String,
    /// One Automerge change chunk.
    #[n(4)]
    pub bytes: ByteVec,
    /// When the edge logged it, in milliseconds since the Unix epoch; 0 when that is not known.
    #[n(5)]
    #[cbor(default)]
    pub logged_at: u64,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Pushed {
    #[n(0)]
    pub institute: String,
    #[n(1)]
    pub log: String,
    /// Every item up to this sequence is committed or refused.
    #[n(2)]
    pub acknowledged: u64,
    #[n(3)]
    pub refused: Vec<Refused>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Refused {
    #[n(0)]
    pub sequence: u64,
    #[n(1)]
    pub document: DocumentId,
    /// Stable, for example `forbidden`, `malformed-change`, `missing-dependency`.
    #[n(2)]
    pub code: String,
}

/// Changes that the edge has refused, for somebody to look at. At most [`MAX_PUSH_ITEMS`] and [`MAX_PUSH_BYTES`].
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Quarantine {
    #[n(0)]
    pub institute: String,
    #[n(1)]
    pub log: String,
    #[n(2)]
    pub items: Vec<QuarantineItem>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct QuarantineItem {
    /// Position among the edge's refusals, from 1, rising, with gaps.
    #[n(0)]
    pub sequence: u64,
    #[n(1)]
    pub document: DocumentId,
    /// Who brought the change to the edge.
    #[n(2)]
    pub user: String,
    #[n(3)]
    pub device: String,
    /// Why it was refused.
    #[n(4)]
    pub code: String,
    /// When, by the edge's clock, in milliseconds since the Unix epoch.
    #[n(5)]
    pub refused_at: u64,
    /// One Automerge change chunk.
    #[n(6)]
    pub bytes: ByteVec,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Quarantined {
    #[n(0)]
    pub institute: String,
    #[n(1)]
    pub log: String,
    /// Every item up to this sequence is kept, or was settled before, or has no room.
    #[n(2)]
    pub acknowledged: u64,
}

/// Asks for what a document has beyond `have`.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Pull {
    #[n(0)]
    pub institute: String,
    #[n(1)]
    pub document: DocumentId,
    /// The edge's heads; those that the origin does not know are passed over.
    #[n(2)]
    pub have: Vec<Hash>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Document {
    #[n(0)]
    pub institute: String,
    #[n(1)]
    pub document: DocumentId,
    /// Absent: the institute has no such document.
    #[n(2)]
    pub record: Option<DocumentRecord>,
    /// Automerge chunks (changes or a whole document) for `load_incremental`, in causal order.
    #[n(3)]
    pub chunks: Vec<ByteVec>,
    #[n(4)]
    pub heads: Vec<Hash>,
    /// Whose the document's actors are.
    #[n(5)]
    #[cbor(default)]
    pub actors: Vec<Binding>,
    /// The document was deleted, and its id is never used again. `record` is absent.
    #[n(6)]
    #[cbor(default)]
    pub deleted: bool,
}

/// Storages, as clients name them, whose heads the sender wants to hear: an edge because devices there have subscribed to them, the
/// origin because other edges do. What was added before and is added again is asked for anew: all that is known of it is told.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Watch {
    #[n(0)]
    pub institute: String,
    #[n(1)]
    pub add: Vec<String>,
    #[n(2)]
    pub remove: Vec<String>,
}

/// What storages have of documents. Some of it may be lost, or come twice, or late.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct RemoteHeads {
    #[n(0)]
    pub institute: String,
    #[n(1)]
    pub items: Vec<StorageHeads>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct StorageHeads {
    #[n(0)]
    pub storage: String,
    #[n(1)]
    pub document: DocumentId,
    #[n(2)]
    pub heads: Vec<Hash>,
    /// When the device said so, by the clock of its edge, in milliseconds since the Unix epoch. Of two the later one counts.
    #[n(3)]
    pub said_at: u64,
}

impl StorageHeads {
    /// Whether it is as short as an honest edge makes it.
    pub fn is_bounded(&self) -> bool {
        self.storage.len() <= MAX_STORAGE_BYTES && (1..=MAX_REMOTE_HEADS).contains(&self.heads.len())
    }
}

/// What the institute knows of a document besides its content.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DocumentRecord {
    #[n(0)]
    pub document: DocumentId,
    /// [`crate::kind::Kind`] by its name, so that an edge can keep kinds that it does not know yet.
    #[n(1)]
    pub kind: String,
    #[n(2)]
    pub subject: String,
    /// The batch whose members may reach the document.
    #[n(3)]
    pub batch: Option<String>,
    /// User id of the creator.
    #[n(4)]
    pub owner: String,
}

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("link message is {0} bytes, the limit is {MAX_LINK_MESSAGE_BYTES}")]
    TooLong(usize),
    #[error("link message is not well formed: {0}")]
    Malformed(#[from] minicbor::decode::Error),
}

impl LinkMessage {
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("writing to a vector never fails")
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, LinkError> {
        if bytes.len() > MAX_LINK_MESSAGE_BYTES {
            return Err(LinkError::TooLong(bytes.len()));
        }
        Ok(minicbor::decode(bytes)?)
    }

    /// The institute that the message is about; none for [`Welcome`].
    pub fn institute(&self) -> Option<&str> {
        match self {
            LinkMessage::Welcome(_) => None,
            LinkMessage::Follow(m) => Some(&m.institute),
            LinkMessage::Following(m) => Some(&m.institute),
            LinkMessage::Feed(m) => Some(&m.institute),
            LinkMessage::Push(m) => Some(&m.institute),
            LinkMessage::Pushed(m) => Some(&m.institute),
            LinkMessage::Pull(m) => Some(&m.institute),
            LinkMessage::Document(m) => Some(&m.institute),
            LinkMessage::Directory(m) => Some(&m.institute),
            LinkMessage::Quarantine(m) => Some(&m.institute),
            LinkMessage::Quarantined(m) => Some(&m.institute),
            LinkMessage::Watch(m) => Some(&m.institute),
            LinkMessage::RemoteHeads(m) => Some(&m.institute),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push() -> LinkMessage {
        LinkMessage::Push(Push {
            institute: "northside.example".into(),
            log: "log".into(),
            items: vec![PushItem {
                sequence: 9,
                document: DocumentId::from_bytes([1; 16]),
                user: "u".into(),
                device: "d".into(),
                bytes: vec![1, 2, 3].into(),
                logged_at: 1,
            }],
        })
    }

    #[test]
    fn a_message_is_read_back_and_every_truncation_is_an_error() {
        let bytes = push().encode();
        assert_eq!(LinkMessage::decode(&bytes).unwrap(), push());
        for end in 0..bytes.len() {
            assert!(LinkMessage::decode(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn a_huge_announced_length_is_an_error_and_not_an_allocation() {
        // Message 4 (push) whose map announces an array of 2^40 items.
        let bytes = [0x82, 0x04, 0x81, 0xa1, 0x02, 0x9b, 0, 0, 1, 0, 0, 0, 0, 0];
        assert!(LinkMessage::decode(&bytes).is_err());
    }
}
