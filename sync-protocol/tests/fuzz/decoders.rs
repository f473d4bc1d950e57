//! Decoders of single values: none panics, and what is taken is written and read back as the same.

use ed25519_dalek::SigningKey;
use sync_protocol::batch::{BatchRequest, BatchResponse};
use sync_protocol::bookmark::Bookmark;
use sync_protocol::command::{self, Command};
use sync_protocol::document_id::DocumentId;
use sync_protocol::link::LinkMessage;
use sync_protocol::repo_message::RepoMessage;
use sync_protocol::tag;
use sync_protocol::token::{self, Claims, KeySet};

pub(crate) fn repo_message(data: &[u8]) {
    let Ok(message) = RepoMessage::decode(data) else { return };
    if message != RepoMessage::Other {
        assert_eq!(RepoMessage::decode(&message.encode()), Ok(message));
    }
}

pub(crate) fn batch(data: &[u8]) {
    if let Ok(request) = BatchRequest::decode(data) {
        assert_eq!(BatchRequest::decode(&request.encode()).unwrap(), request);
    }
    if let Ok(response) = BatchResponse::decode(data) {
        assert_eq!(BatchResponse::decode(&response.encode()).unwrap(), response);
    }
}

pub(crate) fn link(data: &[u8]) {
    if let Ok(message) = LinkMessage::decode(data) {
        assert_eq!(LinkMessage::decode(&message.encode()).unwrap(), message);
    }
}

pub(crate) fn document_id(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(id) = text.parse::<DocumentId>() {
        assert_eq!(id.to_string(), text.strip_prefix("automerge:").unwrap_or(text));
        assert_eq!(id.to_url().parse(), Ok(id));
    }
}

pub(crate) fn bookmark(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(bookmark) = text.parse::<Bookmark>() {
        assert_eq!(bookmark.to_string().parse(), Ok(bookmark));
    }
}

pub(crate) fn tag(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let tags = tag::parse_list(text);
    assert!(tags.len() <= tag::MAX_TAGS);
    assert!(tags.iter().all(|tag| !tag.is_empty() && tag.len() <= tag::MAX_TAG_BYTES));
    assert_eq!(tag::parse_list(&tags.join(", ")), tags);
}

pub(crate) fn command(data: &[u8]) {
    if let Ok(command) = Command::decode(data) {
        let canonical = command.canonical();
        let again = Command::decode(&canonical).unwrap();
        assert_eq!(again.canonical(), canonical);
        assert_eq!(again.name(), command.name());
    }
    if let Ok(key) = std::str::from_utf8(data)
        && command::check_key(Some(key)).is_ok()
    {
        assert!(key.len() <= command::MAX_IDEMPOTENCY_KEY_BYTES);
    }
}

/// A token that nobody has signed does not pass; one whose claims are these bytes does when they are claims.
pub(crate) fn token(data: &[u8]) {
    let key = SigningKey::from_bytes(&[7; 32]);
    let mut keys = KeySet::default();
    keys.insert("k".into(), key.verifying_key());
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(keys.verify(text, 0).is_err(), "a token that was not signed passes");
        if let Ok(set) = KeySet::from_json(text) {
            assert_eq!(KeySet::from_json(&set.to_json()), Ok(set));
        }
    }
    if let Ok(claims) = serde_json::from_slice::<Claims>(data) {
        let signed = token::sign(&claims, "k", &key);
        match keys.verify(&signed, i64::MIN) {
            Ok(verified) => assert_eq!(verified, claims),
            Err(token::TokenError::WrongAudience | token::TokenError::TooLong(_)) => {}
            Err(error) => panic!("{error} for a token that was signed just now"),
        }
        drop(keys.verify(&signed, i64::MAX));
    }
}
