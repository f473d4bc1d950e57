//! Finds what only the store knows: people of other institutes or roles, assignments that are not there.

use super::{CHUNK, Faults, Record};
use crate::store::{NewUser, Records, Store, StoreError};
use std::collections::HashMap;
use sync_protocol::token::Role;

pub(super) fn against_store(
    store: &Store,
    institute: &str,
    records: &[(Record, String)],
    faults: &mut Faults,
) -> Result<(), StoreError> {
    let mut check = Check { institute, faults, roles: HashMap::new(), assignments: HashMap::new() };
    // Each part in a transaction of its own: one that reads for minutes keeps the server from tidying up.
    records.chunks(CHUNK).try_for_each(|part| {
        store.read_blocking(institute, |stored| {
            part.iter().try_for_each(|(record, place)| check.record(stored, record, place))
        })
    })
}

struct Check<'a> {
    institute: &'a str,
    faults: &'a mut Faults,
    /// By address, of the import and of the store as far as they were looked up; none for somebody of elsewhere.
    roles: HashMap<&'a str, Option<Role>>,
    /// Full scores, in the same way.
    assignments: HashMap<&'a str, Option<f64>>,
}

impl<'a> Check<'a> {
    fn record(&mut self, stored: &dyn Records, record: &'a Record, place: &str) -> Result<(), StoreError> {
        match record {
            Record::User(user) => self.user(stored, user, place),
            Record::Assignment(assignment) => {
                self.assignments.insert(&assignment.assignment, Some(assignment.max_score));
                Ok(())
            }
            Record::Guardianship { student, .. } => self.student(stored, student, "student", place),
            Record::Submission(work) => self.assignment(stored, &work.assignment, None, place),
            Record::Result { assignment, email, max_score, .. } => {
                self.student(stored, email, "email", place)?;
                self.assignment(stored, assignment, Some(*max_score), place)
            }
            // Their batches and people come with the same import.
            Record::Batch { .. } | Record::Teacher { .. } | Record::Enrolment { .. } => Ok(()),
        }
    }

    fn user(&mut self, stored: &dyn Records, user: &'a NewUser, place: &str) -> Result<(), StoreError> {
        let known = stored.holder_of_address(&user.email)?;
        if known.as_ref().is_some_and(|known| known.institute != self.institute) {
            self.faults.add(place, "email", format!("{:?} is of another institute", user.email));
            return Ok(());
        }
        let role = known.map_or(user.role, |known| known.role);
        if role != user.role {
            self.faults.add(place, "role", format!("{:?} is {} already", user.email, role.as_str()));
        }
        self.roles.insert(&user.email, Some(role));
        Ok(())
    }

    fn student(
        &mut self,
        stored: &dyn Records,
        email: &'a str,
        field: &str,
        place: &str,
    ) -> Result<(), StoreError> {
        if self.role(stored, email)? != Some(Role::Student) {
            self.faults.add(place, field, format!("{email:?} is no student of {}", self.institute));
        }
        Ok(())
    }

    fn role(&mut self, stored: &dyn Records, email: &'a str) -> Result<Option<Role>, StoreError> {
        if let Some(role) = self.roles.get(email) {
            return Ok(*role);
        }
        let known = stored.holder_of_address(email)?.filter(|known| known.institute == self.institute);
        let role = known.map(|known| known.role);
        self.roles.insert(email, role);
        Ok(role)
    }

    fn assignment(
        &mut self,
        stored: &dyn Records,
        assignment: &'a str,
        max_score: Option<f64>,
        place: &str,
    ) -> Result<(), StoreError> {
        if !self.assignments.contains_key(assignment) {
            let known = stored.assignment(assignment)?.map(|known| known.max_score);
            self.assignments.insert(assignment, known);
        }
        match (self.assignments.get(assignment).copied().flatten(), max_score) {
            (None, _) => {
                self.faults.add(place, "assignment", format!("there is no assignment {assignment:?}"));
            }
            (Some(known), Some(max)) if known != max => {
                self.faults.add(place, "max", format!("is {max}, the assignment's is {known}"));
            }
            (Some(_), _) => {}
        }
        Ok(())
    }
}
