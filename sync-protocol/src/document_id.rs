//! Document ids: 16 bytes, written as bs58check, as automerge-repo does.

use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;

/// The id of one Automerge document, unique across institutes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentId([u8; 16]);

/// Longest text that can hold 16 bytes and a 4 byte checksum in base 58.
const MAX_TEXT: usize = 28;

/// Conversions that are remembered, of each direction: 3 KB.
const REMEMBERED: usize = 64;

/// What was converted last. Every frame names its document in text, and base 58 with its checksum is a quarter of what the
/// engine does for an acknowledgement; the frames of a moment name few documents.
struct Memo {
    texts: [Option<(DocumentId, Text)>; REMEMBERED],
    ids: [Option<(Text, DocumentId)>; REMEMBERED],
}

thread_local! {
    static MEMO: RefCell<Memo> =
        const { RefCell::new(Memo { texts: [None; REMEMBERED], ids: [None; REMEMBERED] }) };
}

/// The text of an id, in place.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Text {
    bytes: [u8; MAX_TEXT],
    length: u8,
}

impl Text {
    fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; MAX_TEXT];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { bytes, length: text.len() as u8 })
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }

    /// Where it is remembered: its last letters hold the checksum.
    fn place(&self) -> usize {
        let end = usize::from(self.length);
        let last = self.bytes[end.saturating_sub(4)..end].iter();
        last.fold(0_usize, |place, letter| place.wrapping_mul(31).wrapping_add(usize::from(*letter)))
            % REMEMBERED
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("document id is not 16 bytes in bs58check")]
pub struct DocumentIdError;

impl DocumentId {
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The URL under which automerge-repo clients find the document.
    pub fn to_url(&self) -> String {
        format!("automerge:{self}")
    }
}

impl FromStr for DocumentId {
    type Err = DocumentIdError;

    /// Takes the bare id or its `automerge:` URL.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.strip_prefix("automerge:").unwrap_or(text);
        let text = Text::new(text).ok_or(DocumentIdError)?;
        let place = text.place();
        let known = MEMO.with_borrow(|memo| memo.ids[place].filter(|(known, _)| *known == text));
        if let Some((_, id)) = known {
            return Ok(id);
        }
        let bytes = bs58::decode(text.as_str()).with_check(None).into_vec().map_err(|_| DocumentIdError)?;
        let id = Self(bytes.try_into().map_err(|_| DocumentIdError)?);
        MEMO.with_borrow_mut(|memo| memo.ids[place] = Some((text, id)));
        Ok(id)
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.0.iter().fold(0, |place, byte| place ^ usize::from(*byte)) % REMEMBERED;
        let known = MEMO.with_borrow(|memo| memo.texts[place].filter(|(known, _)| known == self));
        if let Some((_, text)) = known {
            return f.write_str(text.as_str());
        }
        let encoded = bs58::encode(self.0).with_check().into_string();
        if let Some(text) = Text::new(&encoded) {
            MEMO.with_borrow_mut(|memo| memo.texts[place] = Some((*self, text)));
        }
        f.write_str(&encoded)
    }
}

impl fmt::Debug for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DocumentId({self})")
    }
}

impl serde::Serialize for DocumentId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for DocumentId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<C> minicbor::Encode<C> for DocumentId {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?;
        Ok(())
    }
}

impl<'b, C> minicbor::Decode<'b, C> for DocumentId {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = d.bytes()?;
        let bytes =
            bytes.try_into().map_err(|_| minicbor::decode::Error::message("document id is not 16 bytes"))?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_and_its_url() {
        let id = DocumentId::from_bytes([7; 16]);
        assert_eq!(id.to_string().parse::<DocumentId>(), Ok(id));
        assert_eq!(id.to_url().parse::<DocumentId>(), Ok(id));
    }

    #[test]
    fn what_is_remembered_is_what_would_be_converted() {
        let ids: Vec<DocumentId> = (0..1_000_u64)
            .map(|n| {
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
                DocumentId::from_bytes(bytes)
            })
            .collect();
        for _ in 0..2 {
            for id in &ids {
                let text = bs58::encode(id.0).with_check().into_string();
                assert_eq!((id.to_string(), id.to_string()), (text.clone(), text.clone()));
                assert_eq!((text.parse(), text.parse()), (Ok(*id), Ok(*id)));
            }
        }
        // Refused though its neighbour is remembered.
        assert_eq!("1".parse::<DocumentId>(), Err(DocumentIdError));
    }

    #[test]
    fn a_changed_character_and_a_long_text_are_refused() {
        let mut text = DocumentId::from_bytes([7; 16]).to_string();
        let last = if text.ends_with('a') { "b" } else { "a" };
        text.replace_range(text.len() - 1.., last);
        assert_eq!(text.parse::<DocumentId>(), Err(DocumentIdError));
        assert_eq!("a".repeat(1_000_000).parse::<DocumentId>(), Err(DocumentIdError));
    }
}
