//! How much a document may hold. Who is above it reads and syncs as before; only new changes are refused.
//!
//! The edge and the origin ask the same function with counts that they keep. Changes that the origin has committed are not asked
//! about: an edge that did not take them would never be in step again.

use crate::kind::Kind;
use crate::link::DocumentRecord;

/// The code of a change for which its document has no room.
pub const DOCUMENT_FULL: &str = "document-full";

/// The code of a change that is larger than any may be.
pub const CHANGE_TOO_LARGE: &str = "change-too-large";

/// Bytes of one change, without compression: half a message of the link, in which it travels to the origin. Who pastes more, pastes it
/// in parts.
pub const MAX_CHANGE_BYTES: usize = crate::link::MAX_LINK_MESSAGE_BYTES / 2;

/// Changes of an attendance sheet: 500 students in one class, each marked twenty times.
pub const ATTENDANCE_CHANGES: u64 = 10_000;
/// Changes of a doubt thread: some forty answers of a page each, written key by key.
pub const DOUBT_CHANGES: u64 = 100_000;
/// Changes of a planner: 500 a day for a year of preparation, and some.
pub const PLANNER_CHANGES: u64 = 200_000;
/// Changes of notes: twice a paper of 259,778 keystrokes. The library keeps up to 300 bytes of each, so it is 150 MB of the 512 MiB
/// that an institute's sandbox has for the document and for loading it.
pub const NOTES_CHANGES: u64 = 500_000;
/// Changes of a private document, of which nobody knows what it is: what the largest other kind may have.
pub const PRIVATE_CHANGES: u64 = NOTES_CHANGES;

/// Bytes for each change that a document may have. A keystroke is a change of about 110, so who types never meets the limit of
/// bytes first; it is for those who paste.
const CHANGE_BYTES: u64 = 128;

/// Bytes of change data of an attendance sheet. Three times what its changes need: a mark is a longer change than a keystroke.
pub const ATTENDANCE_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes of change data of a doubt thread.
pub const DOUBT_BYTES: u64 = DOUBT_CHANGES * CHANGE_BYTES;
/// Bytes of change data of a planner.
pub const PLANNER_BYTES: u64 = PLANNER_CHANGES * CHANGE_BYTES;
/// Bytes of change data of notes; together with what the library keeps of their changes less than half of the sandbox's memory.
pub const NOTES_BYTES: u64 = NOTES_CHANGES * CHANGE_BYTES;
/// Bytes of change data of a private document.
pub const PRIVATE_BYTES: u64 = NOTES_BYTES;

/// An admin who accepts changes of a full document may go beyond its limits by this part of them. The limits are to keep servers
/// whole, so there is an end for admins too.
const RESERVE_SHARE: u64 = 8;

/// Most of what a document may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentLimits {
    /// Its history.
    pub changes: u64,
    /// Change data without compression: that of the document as it was loaded, and each change since then as it came.
    pub bytes: u64,
}

/// The limits of each kind. By default the constants above.
#[derive(Debug, Clone)]
pub struct KindLimits {
    pub attendance: DocumentLimits,
    pub notes: DocumentLimits,
    pub doubt: DocumentLimits,
    pub planner: DocumentLimits,
    pub private: DocumentLimits,
}

impl Default for KindLimits {
    fn default() -> Self {
        let limits = |changes, bytes| DocumentLimits { changes, bytes };
        Self {
            attendance: limits(ATTENDANCE_CHANGES, ATTENDANCE_BYTES),
            notes: limits(NOTES_CHANGES, NOTES_BYTES),
            doubt: limits(DOUBT_CHANGES, DOUBT_BYTES),
            planner: limits(PLANNER_CHANGES, PLANNER_BYTES),
            private: limits(PRIVATE_CHANGES, PRIVATE_BYTES),
        }
    }
}

impl KindLimits {
    pub fn of(&self, kind: Kind) -> DocumentLimits {
        match kind {
            Kind::Attendance => self.attendance,
            Kind::Notes => self.notes,
            Kind::Doubt => self.doubt,
            Kind::Planner => self.planner,
            Kind::Private => self.private,
        }
    }

    /// The limits of a document. One without a record is private, as far as is known; one of a kind that this build does not know
    /// has the limits of a private one too, which are the widest, and those who know it judge more closely.
    pub fn of_document(&self, record: Option<&DocumentRecord>) -> DocumentLimits {
        let kind = record.map_or(Ok(Kind::Private), |record| record.kind.parse());
        self.of(kind.unwrap_or(Kind::Private))
    }
}

impl DocumentLimits {
    /// Judges a change of `bytes` that a device brings to a document that holds so much. The error is the code of the refusal.
    pub fn check(self, holds: Size, bytes: usize) -> Result<(), &'static str> {
        if bytes > MAX_CHANGE_BYTES {
            return Err(CHANGE_TOO_LARGE);
        }
        let after = holds.bytes.saturating_add(bytes) as u64;
        let fits = holds.changes < self.changes && after <= self.bytes;
        if fits { Ok(()) } else { Err(DOCUMENT_FULL) }
    }

    /// How far an admin may go who accepts what was refused.
    pub fn with_reserve(self) -> Self {
        let extended = |limit: u64| limit.saturating_add(limit / RESERVE_SHARE);
        Self { changes: extended(self.changes), bytes: extended(self.bytes) }
    }
}

/// How much a document holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub changes: u64,
    pub bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use automerge::transaction::Transactable as _;
    use automerge::{Automerge, ObjType, ROOT};

    const KINDS: [Kind; 5] = [Kind::Attendance, Kind::Notes, Kind::Doubt, Kind::Planner, Kind::Private];

    #[test]
    fn the_last_change_and_the_last_byte_fit_and_the_next_do_not() {
        for kind in KINDS {
            let limits = KindLimits::default().of(kind);
            let most = usize::try_from(limits.bytes).unwrap();
            let last = Size { changes: limits.changes - 1, bytes: most - 10 };
            assert_eq!(limits.check(last, 10), Ok(()), "{kind}");
            assert_eq!(limits.check(last, 11), Err(DOCUMENT_FULL), "{kind}");
            let full = Size { changes: limits.changes, bytes: 0 };
            assert_eq!(limits.check(full, 0), Err(DOCUMENT_FULL), "{kind}");
            let reserve = limits.with_reserve();
            let grown = Size { changes: limits.changes, bytes: most };
            assert_eq!(reserve.check(grown, most / 10), Ok(()), "{kind}: what an admin accepts");
            assert_eq!((reserve.changes, reserve.bytes), (limits.changes * 9 / 8, limits.bytes * 9 / 8));
            let beyond = Size { changes: u64::MAX, bytes: usize::MAX };
            assert_eq!(limits.check(beyond, MAX_CHANGE_BYTES), Err(DOCUMENT_FULL), "{kind}");
            let empty = Size { changes: 0, bytes: 0 };
            assert_eq!(reserve.check(empty, MAX_CHANGE_BYTES + 1), Err(CHANGE_TOO_LARGE), "{kind}");
        }
    }

    /// Every kind can be typed full, and a paper that was written key by key is half of the notes.
    #[test]
    fn who_types_meets_the_limit_of_changes_and_a_real_paper_fits() {
        const PAPER: u64 = 259_778;
        let mut doc = Automerge::new();
        let mut tx = doc.transaction();
        let text = tx.put_object(ROOT, "text", ObjType::Text).unwrap();
        tx.commit();
        let mut longest = 0;
        for at in 0..300 {
            let before = doc.get_heads();
            let mut tx = doc.transaction();
            tx.splice_text(&text, at, 0, "x").unwrap();
            tx.commit_with(automerge::transaction::CommitOptions::default().with_time(1_795_348_800));
            longest = doc.get_changes(&before)[0].raw_bytes().len().max(longest);
        }
        for kind in KINDS {
            let limits = KindLimits::default().of(kind);
            assert!(limits.changes * longest as u64 <= limits.bytes, "{kind}: {longest} bytes a keystroke");
        }
        for kind in [Kind::Notes, Kind::Private] {
            let holds = Size { changes: PAPER, bytes: longest * usize::try_from(PAPER).unwrap() };
            assert_eq!(KindLimits::default().of(kind).check(holds, longest), Ok(()), "{kind}");
        }
    }

    #[test]
    fn the_table_of_the_documentation_is_true() {
        let table = include_str!("../../docs/sync.md");
        let whole = |n: u64| -> String {
            let digits = n.to_string();
            let groups = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group));
            groups.collect::<Vec<_>>().join(",")
        };
        for kind in KINDS {
            let limits = KindLimits::default().of(kind);
            let row = format!("| {kind} | {} | {} |", whole(limits.changes), whole(limits.bytes));
            assert!(table.contains(&row), "{row}");
        }
    }

    #[test]
    fn a_document_of_no_known_kind_has_the_widest_limits() {
        let widest = KindLimits::default().private;
        assert!(KINDS.iter().all(|kind| {
            let limits = KindLimits::default().of(*kind);
            limits.changes <= widest.changes && limits.bytes <= widest.bytes
        }));
        let document = crate::document_id::DocumentId::from_bytes([1; 16]);
        let future = DocumentRecord {
            document,
            kind: "whiteboard".into(),
            subject: "c1".into(),
            batch: None,
            owner: "owner".into(),
        };
        assert_eq!(KindLimits::default().of_document(Some(&future)), widest);
        assert_eq!(KindLimits::default().of_document(None), widest);
        let sheet = DocumentRecord { kind: Kind::Attendance.as_str().into(), ..future };
        assert_eq!(KindLimits::default().of_document(Some(&sheet)), KindLimits::default().attendance);
    }
}
