//! Who is who in an institute, as far as rights depend on it. The origin's word, which the link brings to every edge that
//! follows the institute, so that rights are judged there as they are now and not as they were when a token was made.

use crate::kind::{self, Access, Member};
use crate::link::DocumentRecord;
use crate::revocation::Revocation;
use crate::token::Role;
use minicbor::decode::{self, Decoder};
use minicbor::encode::{self, Encoder, Write};
use minicbor::{Decode, Encode};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// One user of the institute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    pub user: String,
    pub role: Role,
    /// False for somebody who was deactivated: no token of theirs counts any more.
    pub active: bool,
    /// Batches that the user teaches or studies in.
    pub batches: Vec<String>,
    /// Students whose guardian the user is, whatever the user's own role.
    pub guardian_of: Vec<String>,
    /// Which of the user's tokens count no more.
    pub revocation: Revocation,
}

/// An entry as it is sent and kept.
///
/// An edge that meets a role which it does not know cannot read the message, and would never get past it in the feed. So
/// `role` stays one of the first three, and `newer_role` says it where it is a later one: an edge from before takes a
/// guardian for a student of no batch, who may do no more than a guardian.
#[derive(Encode, Decode)]
#[cbor(map)]
struct SentEntry<'a> {
    #[n(0)]
    user: Cow<'a, str>,
    #[n(1)]
    role: u32,
    #[n(2)]
    active: bool,
    #[n(3)]
    batches: Cow<'a, [String]>,
    #[n(4)]
    guardian_of: Cow<'a, [String]>,
    #[n(5)]
    #[cbor(default)]
    revocation: Cow<'a, Revocation>,
    #[n(6)]
    newer_role: Option<u32>,
}

/// Roles by the number that is sent.
const ADMIN: u32 = 0;
const TEACHER: u32 = 1;
const STUDENT: u32 = 2;
const GUARDIAN: u32 = 3;

impl<C> Encode<C> for DirectoryEntry {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Result<(), encode::Error<W::Error>> {
        let (role, newer_role) = match self.role {
            Role::Admin => (ADMIN, None),
            Role::Teacher => (TEACHER, None),
            Role::Student => (STUDENT, None),
            Role::Guardian => (STUDENT, Some(GUARDIAN)),
        };
        let sent = SentEntry {
            user: Cow::Borrowed(&self.user),
            role,
            active: self.active,
            batches: Cow::Borrowed(&self.batches),
            guardian_of: Cow::Borrowed(&self.guardian_of),
            revocation: Cow::Borrowed(&self.revocation),
            newer_role,
        };
        sent.encode(e, ctx)
    }
}

impl<'b, C> Decode<'b, C> for DirectoryEntry {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let at = d.position();
        let sent = SentEntry::decode(d, ctx)?;
        let role = match (sent.role, sent.newer_role) {
            (ADMIN, None) => Some(Role::Admin),
            (TEACHER, None) => Some(Role::Teacher),
            (STUDENT, None) => Some(Role::Student),
            (_, Some(GUARDIAN)) => Some(Role::Guardian),
            (_, Some(_)) => None,
            (role, None) => return Err(decode::Error::unknown_variant(role.into()).at(at)),
        };
        Ok(Self {
            user: sent.user.into_owned(),
            // Of a role from after this build nothing is known but that it is none of these.
            active: sent.active && role.is_some(),
            role: role.unwrap_or(Role::Guardian),
            batches: sent.batches.into_owned(),
            guardian_of: sent.guardian_of.into_owned(),
            revocation: sent.revocation.into_owned(),
        })
    }
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
            entry("gita", Role::Guardian, &[], &["sam"]),
            entry("uma", Role::Guardian, &[], &[]),
        ]);
        assert_eq!(directory.access(&notes(), "sam"), Access::Read);
        assert_eq!(directory.access(&notes(), "gita"), Access::Read);
        assert_eq!(directory.access(&notes(), "uma"), Access::None);
        let doubt = DocumentRecord { kind: "doubt".into(), ..notes() };
        assert_eq!(directory.access(&doubt, "sam"), Access::Write);
        assert_eq!(directory.access(&doubt, "gita"), Access::Read);
        assert_eq!(directory.affected_by("sam"), ["gita".to_owned(), "sam".to_owned()].into());

        let planner = DocumentRecord {
            kind: "planner".into(),
            subject: "gita".into(),
            batch: None,
            owner: "gita".into(),
            ..notes()
        };
        assert_eq!(directory.access(&planner, "gita"), Access::None);

        directory.put(entry("gita", Role::Guardian, &[], &[]));
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

    /// Whatever the parent's own role: a teacher's child may be at the school.
    #[test]
    fn a_teacher_reads_as_a_guardian_what_they_do_not_teach() {
        let directory = Directory::new([
            entry("tara", Role::Teacher, &["b2"], &["sam"]),
            entry("sam", Role::Student, &["b1"], &[]),
        ]);
        assert_eq!(directory.access(&notes(), "tara"), Access::Read);
    }

    /// What was sent and kept before there were guardians.
    #[derive(Debug, PartialEq, Encode, Decode)]
    #[cbor(map)]
    struct OldEntry {
        #[n(0)]
        user: String,
        #[n(1)]
        role: OldRole,
        #[n(2)]
        active: bool,
        #[n(3)]
        batches: Vec<String>,
        #[n(4)]
        guardian_of: Vec<String>,
        #[n(5)]
        #[cbor(default)]
        revocation: Revocation,
    }

    #[derive(Debug, PartialEq, Encode, Decode)]
    #[cbor(index_only)]
    enum OldRole {
        #[n(0)]
        Admin,
        #[n(1)]
        Teacher,
        #[n(2)]
        Student,
    }

    fn old(user: &str, role: OldRole, batches: &[&str], guardian_of: &[&str]) -> OldEntry {
        let DirectoryEntry { user, active, batches, guardian_of, revocation, .. } =
            entry(user, Role::Student, batches, guardian_of);
        OldEntry { user, role, active, batches, guardian_of, revocation }
    }

    #[test]
    fn entries_of_the_first_roles_are_sent_as_they_ever_were() {
        for (role, before) in [
            (Role::Admin, OldRole::Admin),
            (Role::Teacher, OldRole::Teacher),
            (Role::Student, OldRole::Student),
        ] {
            let (now, before) = (entry("u", role, &["b"], &["s"]), old("u", before, &["b"], &["s"]));
            let bytes = minicbor::to_vec(&before).unwrap();
            assert_eq!(minicbor::to_vec(&now).unwrap(), bytes);
            assert_eq!(minicbor::decode::<DirectoryEntry>(&bytes).unwrap(), now);
        }
    }

    #[test]
    fn an_edge_from_before_takes_a_guardian_for_a_student_of_no_batch() {
        let gita = entry("gita", Role::Guardian, &[], &["sam"]);
        let bytes = minicbor::to_vec(&gita).unwrap();
        assert_eq!(minicbor::decode::<DirectoryEntry>(&bytes).unwrap(), gita);
        let seen: OldEntry = minicbor::decode(&bytes).unwrap();
        assert_eq!(seen, old("gita", OldRole::Student, &[], &["sam"]));
    }

    #[test]
    fn somebody_of_a_role_from_after_this_build_may_do_nothing_and_is_read() {
        let tara = entry("tara", Role::Teacher, &["b1"], &["sam"]);
        let mut bytes = minicbor::to_vec(&tara).unwrap();
        // One more field of the map: 6, the newer role, is 9.
        bytes[0] += 1;
        bytes.extend([6, 9]);
        let read: DirectoryEntry = minicbor::decode(&bytes).unwrap();
        assert!(!read.active);
        let directory = Directory::new([read, entry("sam", Role::Student, &["b1"], &[])]);
        assert_eq!(directory.access(&notes(), "tara"), Access::None);
        let wrong = minicbor::to_vec(&tara).map(|mut bytes| {
            let role = bytes.windows(2).position(|pair| pair == [1, 1]).unwrap();
            bytes[role + 1] = 7;
            bytes
        });
        assert!(minicbor::decode::<DirectoryEntry>(&wrong.unwrap()).is_err());
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
