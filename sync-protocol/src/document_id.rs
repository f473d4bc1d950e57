//! Document ids: 16 bytes, written as bs58check, as automerge-repo does.

use std::fmt;
use std::str::FromStr;

/// The id of one Automerge document, unique across institutes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentId([u8; 16]);

/// Longest text that can hold 16 bytes and a 4 byte checksum in base 58.
const MAX_TEXT: usize = 28;

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
        if text.len() > MAX_TEXT {
            return Err(DocumentIdError);
        }
        let bytes = bs58::decode(text).with_check(None).into_vec().map_err(|_| DocumentIdError)?;
        Ok(Self(bytes.try_into().map_err(|_| DocumentIdError)?))
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.0).with_check().into_string())
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
    fn a_changed_character_and_a_long_text_are_refused() {
        let mut text = DocumentId::from_bytes([7; 16]).to_string();
        let last = if text.ends_with('a') { "b" } else { "a" };
        text.replace_range(text.len() - 1.., last);
        assert_eq!(text.parse::<DocumentId>(), Err(DocumentIdError));
        assert_eq!("a".repeat(1_000_000).parse::<DocumentId>(), Err(DocumentIdError));
    }
}
