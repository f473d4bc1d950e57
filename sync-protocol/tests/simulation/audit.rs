//! What an edge may take in and say, by the directory that its log holds at that moment: checked effect by effect.

use crate::memory_log::MemoryLog;
use automerge::sync::Message;
use std::collections::BTreeMap;
use sync_protocol::document_id::DocumentId;
use sync_protocol::engine::{Effect, SessionId, Source};
use sync_protocol::gate;
use sync_protocol::kind::Access;
use sync_protocol::repo_message::RepoMessage;

/// The user of each session that was ever opened.
pub(crate) type Users = BTreeMap<SessionId, String>;

/// Fails when the effect takes a change of somebody without the right, or tells somebody what he may not know.
pub(crate) fn audit(effect: &Effect, log: &MemoryLog, users: &Users) {
    match effect {
        Effect::Append { document, hash, author, .. } if author.source == Source::Device => {
            let may = log.is_guess(*document) || log.access(*document, &author.user) == Access::Write;
            assert!(may, "a change of {} was taken", author.user);
            assert!(
                !log.knows_refusal(*document, hash),
                "a change that the origin has refused was taken again"
            );
        }
        Effect::Send { session, bytes } => match RepoMessage::decode(bytes).unwrap() {
            RepoMessage::Sync { document, data, .. } => audit_sync(document, &data, log, &users[session]),
            RepoMessage::Committed { document, .. } => {
                let user = &users[session];
                let reads = log.is_guess(document) || log.access(document, user) != Access::None;
                assert!(reads, "{user} was told what is committed");
            }
            _ => {}
        },
        _ => {}
    }
}

fn audit_sync(document: DocumentId, data: &[u8], log: &MemoryLog, user: &str) {
    let message = Message::decode(data).unwrap();
    let changes: Vec<_> = message.changes.iter().flat_map(|chunk| gate::changes_in(chunk).unwrap()).collect();
    if log.is_guess(document) {
        // It says back what the founder has brought.
        return;
    }
    if log.access(document, user) == Access::None {
        // A question for what was refused says nothing of the document.
        assert!(message.heads.is_empty() && changes.is_empty(), "{user} reads without the right");
    }
    for change in changes {
        assert!(!log.is_refused(document, &change.hash().into()), "a refused change was sent to {user}");
    }
}
