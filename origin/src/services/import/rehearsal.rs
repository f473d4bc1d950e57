//! What an import would write, found out by reading alone: nobody's writes wait for it.

use super::{CHUNK, Counts, KINDS, Record};
use crate::store::{Records, Store, StoreError};
use std::collections::{HashMap, HashSet};

/// The counts that [`super::write`] would tell if nobody else wrote meanwhile.
pub(super) fn rehearse(store: &Store, institute: &str, records: &[Record]) -> Result<Counts, StoreError> {
    let mut written = Written { institute, ..Written::default() };
    let mut counts = [(0, 0); KINDS.len()];
    // Each part in a transaction of its own: one that reads for minutes keeps the server from tidying up.
    for part in records.chunks(CHUNK) {
        store.read_blocking::<_, StoreError>(institute, |stored| {
            for record in part {
                let (new, there) = &mut counts[record.kind()];
                *if written.is_new(stored, record)? { new } else { there } += 1;
            }
            Ok(())
        })?;
    }
    Ok(counts)
}

/// What the import would have written so far. People are named by their addresses.
#[derive(Default)]
struct Written<'a> {
    institute: &'a str,
    /// The ids of those who are there; none for those who would be new.
    people: HashMap<&'a str, Option<String>>,
    batches: HashSet<&'a str>,
    /// Batch and person.
    teachings: HashSet<(&'a str, &'a str)>,
    enrolments: HashSet<(&'a str, &'a str)>,
    /// Guardian and student.
    guardianships: HashSet<(&'a str, &'a str)>,
    assignments: HashSet<&'a str>,
    /// Assignment and student.
    submissions: HashSet<(&'a str, &'a str)>,
    scores: HashMap<(&'a str, &'a str), f64>,
}

impl<'a> Written<'a> {
    fn is_new(&mut self, stored: &dyn Records, record: &'a Record) -> Result<bool, StoreError> {
        Ok(match record {
            Record::User(user) => {
                let known = self.people.contains_key(user.email.as_str());
                !known && self.person(stored, &user.email)?.is_none()
            }
            Record::Batch { batch, .. } => self.batches.insert(batch) && !stored.batch_exists(batch)?,
            Record::Teacher { batch, email } => {
                self.teachings.insert((batch, email))
                    && !self.holds(stored, email, |user| stored.teaches(user, batch))?
            }
            Record::Enrolment { batch, email, .. } => {
                self.enrolments.insert((batch, email))
                    && !self.holds(stored, email, |user| stored.studies(user, batch))?
            }
            Record::Guardianship { guardian, student } => {
                let student_id = self.person(stored, student)?;
                let known = |user: &str| {
                    let entry = stored.directory_entry(user)?;
                    Ok(entry.is_some_and(|entry| {
                        entry.guardian_of.iter().any(|known| Some(known) == student_id.as_ref())
                    }))
                };
                self.guardianships.insert((guardian, student)) && !self.holds(stored, guardian, known)?
            }
            Record::Assignment(assignment) => {
                let id = assignment.assignment.as_str();
                self.assignments.insert(id) && stored.assignment(id)?.is_none()
            }
            Record::Submission(work) => {
                let assignment = work.assignment.as_str();
                self.submissions.insert((assignment, &work.student))
                    && !self.holds(stored, &work.student, |user| {
                        Ok(stored.submission(assignment, user)?.is_some())
                    })?
            }
            Record::Result { assignment, email, score, .. } => {
                let before = self.scores.insert((assignment, email), *score);
                let graded = |user: &str| {
                    let work = stored.submission(assignment, user)?;
                    Ok(work.is_some_and(|work| work.score == Some(*score)))
                };
                match before {
                    Some(before) => before != *score,
                    None => !self.holds(stored, email, graded)?,
                }
            }
        })
    }

    /// Whether something is so of a person who is there.
    fn holds(
        &mut self,
        stored: &dyn Records,
        email: &'a str,
        is_so: impl FnOnce(&str) -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        match self.person(stored, email)? {
            Some(user) => is_so(&user),
            None => Ok(false),
        }
    }

    fn person(&mut self, stored: &dyn Records, email: &'a str) -> Result<Option<String>, StoreError> {
        if let Some(known) = self.people.get(email) {
            return Ok(known.clone());
        }
        let holder = stored.holder_of_address(email)?.filter(|holder| holder.institute == self.institute);
        let user = holder.map(|holder| holder.user);
        self.people.insert(email, user.clone());
        Ok(user)
    }
}
