//! Who is who in an institute, as far as rights depend on it. The origin's word, which the link brings to every edge that
//! follows the institute, so that rights are judged there as they are now and not as they were when a token was made.

use crate::kind::{self, Access, Member};
use crate::link::DocumentRecord;
use crate::revocation::Revocation;
use crate::token::Role;
use minicbor::{Decode, Encode};
use std::collections::{BTreeMap, BTreeSet};

/// One user of the institute.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DirectoryEntry {
    #[n(0)]
    pub user: String,
    #[n(1)]
    pub role: Role,
    /// False for somebody who was deactivated: no token of theirs counts any more.
    #[n(2)]
    pub active: bool,
    /// Batches that the user teaches or studies in.
    #[n(3)]
    pub batches: Vec<String>,
    /// Students whose guardian the user is, whatever the user's own role.
    #[n(4)]
    pub guardian_of: Vec<String>,
    /// Which of the user's tokens count no more.
    #[n(5)]
    #[cbor(default)]
    pub revocation: Revocation,
}

impl DirectoryEntry {
    fn member(&self) -> Member<'_> {
        Member { user: &self.user, role: self.role, batches: &self.batches }
    }
}

/// What `entry` may do with a document. A guardian may read what the child may read; `child` finds one.
pub fn access<'a>(
    record: &DocumentRecord,
    entry: &DirectoryEntry,
    child: impl Fn(&str) -> Option<&'a DirectoryEntry>,
) -> Access {
    if !entry.active {
        return Access::None;
    }
    let own = kind::access(record, entry.member());
    let may_read =
        |student: &DirectoryEntry| student.active && kind::access(record, student.member()) != Access::None;
    match own {
        Access::None if entry.guardian_of.iter().any(|student| child(student).is_some_and(may_read)) => {
            Access::Read
        }
        Access::None | Access::Read | Access::Write => own,
    }
}

/// All users of one institute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    entries: BTreeMap<String, DirectoryEntry>,
    /// Guardians by student.
    guardians: BTreeMap<String, BTreeSet<String>>,
}

impl Directory {
    pub fn new(entries: impl IntoIterator<Item = DirectoryEntry>) -> Self {
        let mut directory = Self::default();
        for entry in entries {
            directory.put(entry);
        }
        directory
    }

    /// Adds an entry or replaces the one of the same user.
    pub fn put(&mut self, entry: DirectoryEntry) {
        if let Some(before) = self.entries.get(&entry.user) {
            for student in &before.guardian_of {
                if let Some(guardians) = self.guardians.get_mut(student) {
                    guardians.remove(&entry.user);
                }
            }
        }
        for student in &entry.guardian_of {
            self.guardians.entry(student.clone()).or_default().insert(entry.user.clone());
        }
        self.entries.insert(entry.user.clone(), entry);
    }

    pub fn get(&self, user: &str) -> Option<&DirectoryEntry> {
        self.entries.get(user)
    }

    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The user, and all whose rights follow from the user's.
    pub fn affected_by(&self, user: &str) -> BTreeSet<String> {
        let guardians = self.guardians.get(user).into_iter().flatten();
        guardians.cloned().chain([user.to_owned()]).collect()
    }

    /// Nothing for somebody who is not in the directory.
    pub fn access(&self, record: &DocumentRecord, user: &str) -> Access {
        self.get(user).map_or(Access::None, |entry| access(record, entry, |student| self.get(student)))
    }

    /// Whether `user` studies in `batch`; none for somebody who is not in the directory.
    pub fn studies(&self, user: &str, batch: &str) -> Option<bool> {
        let entry = self.get(user)?;
        Some(entry.role == Role::Student && entry.batches.iter().any(|own| own == batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document_id::DocumentId;

    fn entry(user: &str, role: Role, batches: &[&str], guardian_of: &[&str]) -> DirectoryEntry {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        DirectoryEntry {
            user: user.into(),
            role,
            active: true,
            batches: owned(batches),
            guardian_of: owned(guardian_of),
            revocation: Revocation::default(),
        }
    }

    fn notes() -> DocumentRecord {
        DocumentRecord {
            document: DocumentId::from_bytes([1; 16]),
            kind: "notes".into(),
            subject: "c1".into(),
            batch: Some("b1".into()),
            owner: "tara".into(),
        }
    }

    #[test]
    fn a_guardian_reads_what_the_child_reads_and_writes_nothing() {
        let mut directory = Directory::new([
            entry("sam", Role::Student, &["b1"], &[]),
            entry("gita", Role::Student, &[], &["sam"]),
            entry("uma", Role::Student, &[], &[]),
        ]);
        assert_eq!(directory.access(&notes(), "sam"), Access::Read);
        assert_eq!(directory.access(&notes(), "gita"), Access::Read);
        assert_eq!(directory.access(&notes(), "uma"), Access::None);
        let doubt = DocumentRecord { kind: "doubt".into(), ..notes() };
        assert_eq!(directory.access(&doubt, "sam"), Access::Write);
        assert_eq!(directory.access(&doubt, "gita"), Access::Read);
        assert_eq!(directory.affected_by("sam"), ["gita".to_owned(), "sam".to_owned()].into());

        directory.put(entry("gita", Role::Student, &[], &[]));
        assert_eq!(directory.access(&notes(), "gita"), Access::None);
        assert_eq!(directory.affected_by("sam"), ["sam".to_owned()].into());
    }

    #[test]
    fn nobody_has_rights_who_is_deactivated_or_unknown() {
        let mut tara = entry("tara", Role::Teacher, &["b1"], &[]);
        let mut directory = Directory::new([
            tara.clone(),
            entry("gita", Role::Student, &[], &["sam"]),
            entry("sam", Role::Student, &["b1"], &[]),
        ]);
        assert_eq!(directory.access(&notes(), "tara"), Access::Write);
        tara.active = false;
        directory.put(tara);
        assert_eq!(directory.access(&notes(), "tara"), Access::None);
        assert_eq!(directory.access(&notes(), "nobody"), Access::None);
        let gone = DirectoryEntry { active: false, ..entry("sam", Role::Student, &["b1"], &[]) };
        directory.put(gone);
        assert_eq!(directory.access(&notes(), "gita"), Access::None, "a guardian of somebody who is gone");
    }

    #[test]
    fn who_studies_where_is_known_only_of_those_in_the_directory() {
        let directory = Directory::new([
            entry("sam", Role::Student, &["b1"], &[]),
            entry("tara", Role::Teacher, &["b1"], &[]),
        ]);
        assert_eq!(directory.studies("sam", "b1"), Some(true));
        assert_eq!(directory.studies("sam", "b2"), Some(false));
        assert_eq!(directory.studies("tara", "b1"), Some(false));
        assert_eq!(directory.studies("uma", "b1"), None);
    }
}
