//! Who may do what in the simulated institute, and how that changes.

use crate::Rng;
use sync_protocol::directory::DirectoryEntry;
use sync_protocol::document_id::DocumentId;
use sync_protocol::kind::Kind;
use sync_protocol::link::DocumentRecord;
use sync_protocol::revocation::Revocation;
use sync_protocol::token::Role;

pub(crate) const BATCH: &str = "b1";

/// The third document is notes, which students of the batch read; the others are sheets, which they do not.
pub(crate) fn kind_of(document: DocumentId) -> Kind {
    if document.as_bytes()[0] == 3 { Kind::Notes } else { Kind::Attendance }
}

pub(crate) fn record_of(document: DocumentId) -> DocumentRecord {
    DocumentRecord {
        document,
        kind: kind_of(document).as_str().into(),
        subject: format!("class-{}", document.as_bytes()[0]),
        batch: Some(BATCH.into()),
        owner: "teacher-0".into(),
    }
}

pub(crate) fn teacher(user: &str) -> DirectoryEntry {
    DirectoryEntry {
        user: user.to_owned(),
        role: Role::Teacher,
        active: true,
        batches: vec![BATCH.into()],
        guardian_of: Vec::new(),
        revocation: Revocation::default(),
    }
}

/// Teachers mostly; now and then one leaves the batch, becomes a student of it, or is deactivated.
pub(crate) fn any(user: &str, rng: &mut Rng) -> DirectoryEntry {
    let teacher = teacher(user);
    match rng.below(6) {
        0 => DirectoryEntry { batches: Vec::new(), ..teacher },
        1 => DirectoryEntry { role: Role::Student, ..teacher },
        2 => DirectoryEntry { active: false, ..teacher },
        _ => teacher,
    }
}
