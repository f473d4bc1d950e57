//! Rosters: columns `email,name,role,batch`, and `student` where there are guardians. A person of several batches, and a
//! guardian of several students, has several rows.

use super::table::Table;
use super::{Faults, ImportError, Record};
use crate::services::seed::user_id_of;
use crate::store::{NewUser, parse_role};
use sync_protocol::token::Role;

/// The address of a student whose guardian the person is.
const STUDENT: &str = "student";

pub(super) const COLUMNS: [&str; 4] = ["email", "name", "role", "batch"];

pub(super) fn read(table: Option<Table>, faults: &mut Faults) -> Result<Vec<(Record, String)>, ImportError> {
    let Some(table) = table else { return Ok(Vec::new()) };
    let mut records = Vec::new();
    // Written last: a guardian may stand above the student.
    let mut guardianships = Vec::new();
    table.with_optional(STUDENT).each(faults, |row, faults| {
        let email = row.email("email", faults);
        let name = row.field("name").to_owned();
        if name.is_empty() || name.contains('\0') {
            faults.add(&row.place, "name", "is empty, or holds the character U+0000");
        }
        let role = parse_role(row.field("role"));
        if role.is_none() {
            let problem = format!("is {:?}, not one of admin, teacher, student, guardian", row.field("role"));
            faults.add(&row.place, "role", problem);
        }
        let has_batch = !row.field("batch").is_empty();
        let batch = if has_batch { row.id("batch", faults) } else { None };
        let has_student = !row.field(STUDENT).is_empty();
        let student = if has_student { row.email(STUDENT, faults) } else { None };
        let (Some(email), Some(role)) = (email, role) else { return };
        let surplus = match role {
            Role::Admin if has_batch => Some(("batch", "is given for an admin, who reaches all batches")),
            Role::Guardian if has_batch => Some(("batch", "is given for a guardian, who is in none")),
            Role::Student if has_student => Some((STUDENT, "is given for a student")),
            Role::Admin | Role::Teacher | Role::Student | Role::Guardian => None,
        };
        if let Some((field, problem)) = surplus {
            faults.add(&row.place, field, problem);
            return;
        }
        if let Some(student) = student {
            let guardian = email.clone();
            guardianships.push((Record::Guardianship { guardian, student }, row.place.clone()));
        }
        let user = user_id_of(&email);
        let person = NewUser { user, email: email.clone(), name, role, password_hash: None };
        records.push((Record::User(person), row.place.clone()));
        if let Some(batch) = batch {
            let new = Record::Batch { batch: batch.clone(), title: batch.clone() };
            records.push((new, row.place.clone()));
            let membership = match role {
                Role::Student => Record::Enrolment { batch, email, enrolled_at: None },
                Role::Teacher | Role::Admin | Role::Guardian => Record::Teacher { batch, email },
            };
            records.push((membership, row.place.clone()));
        }
    })?;
    records.extend(guardianships);
    Ok(records)
}
