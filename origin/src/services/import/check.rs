//! Finds what only the store knows: people of other institutes or roles, assignments that are not there.

use super::{Faults, Record};
use crate::store::{NewUser, Records, Store, StoreError};
use std::collections::HashMap;
use sync_protocol::token::Role;

pub(super) fn against_store(
    store: &Store,
    institute: &str,
    records: &[(Record, String)],
    faults: &mut Faults,
) -> Result<(), StoreError> {
    store.read_blocking(institute, |stored| {
        let mut check =
            Check { stored, institute, faults, roles: HashMap::new(), assignments: HashMap::new() };
        records.iter().try_for_each(|(record, place)| check.record(record, place))
    })
}

struct Check<'a> {
    stored: &'a dyn Records,
    institute: &'a str,
    faults: &'a mut Faults,
    /// By address, of the import and of the store as far as they were looked up; none for somebody of elsewhere.
    roles: HashMap<&'a str, Option<Role>>,
    /// Full scores, in the same way.
    assignments: HashMap<&'a str, Option<f64>>,
}

impl<'a> Check<'a> {
    fn record(&mut self, record: &'a Record, place: &str) -> Result<(), StoreError> {
        match record {
            Record::User(user) => self.user(user, place),
            Record::Assignment(assignment) => {
                self.assignments.insert(&assignment.assignment, Some(assignment.max_score));
                Ok(())
            }
            Record::Guardianship { student, .. } => self.student(student, "student", place),
            Record::Submission(work) => self.assignment(&work.assignment, None, place),
            Record::Result { assignment, email, max_score, .. } => {
                self.student(email, "email", place)?;
                self.assignment(assignment, Some(*max_score), place)
            }
            // Their batches and people come with the same import.
            Record::Batch { .. } | Record::Teacher { .. } | Record::Enrolment { .. } => Ok(()),
        }
    }

    fn user(&mut self, user: &'a NewUser, place: &str) -> Result<(), StoreError> {
        let known = self.stored.account_by_email(&user.email)?;
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

    fn student(&mut self, email: &'a str, field: &str, place: &str) -> Result<(), StoreError> {
        if self.role(email)? != Some(Role::Student) {
            self.faults.add(place, field, format!("{email:?} is no student of {}", self.institute));
        }
        Ok(())
    }

    fn role(&mut self, email: &'a str) -> Result<Option<Role>, StoreError> {
        if let Some(role) = self.roles.get(email) {
            return Ok(*role);
        }
        let known = self.stored.account_by_email(email)?.filter(|known| known.institute == self.institute);
        let role = known.map(|known| known.role);
        self.roles.insert(email, role);
        Ok(role)
    }

    fn assignment(
        &mut self,
        assignment: &'a str,
        max_score: Option<f64>,
        place: &str,
    ) -> Result<(), StoreError> {
        if !self.assignments.contains_key(assignment) {
            let known = self.stored.assignment(assignment)?.map(|known| known.max_score);
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
