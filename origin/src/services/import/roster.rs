//! Rosters: columns `email,name,role,batch`. A person of several batches has several rows.

use super::table::Table;
use super::{Faults, ImportError, Record};
use crate::services::seed::user_id_of;
use crate::store::{NewUser, parse_role};
use sync_protocol::token::Role;

pub(super) const COLUMNS: [&str; 4] = ["email", "name", "role", "batch"];

pub(super) fn read(table: Option<Table>, faults: &mut Faults) -> Result<Vec<(Record, String)>, ImportError> {
    let Some(table) = table else { return Ok(Vec::new()) };
    let mut records = Vec::new();
    table.each(faults, |row, faults| {
        let email = row.email("email", faults);
        let name = row.field("name").to_owned();
        if name.is_empty() || name.contains('\0') {
            faults.add(&row.place, "name", "is empty, or holds the character U+0000");
        }
        let role = parse_role(row.field("role"));
        if role.is_none() {
            let problem = format!("is {:?}, not one of admin, teacher, student", row.field("role"));
            faults.add(&row.place, "role", problem);
        }
        let has_batch = !row.field("batch").is_empty();
        let batch = if has_batch { row.id("batch", faults) } else { None };
        let (Some(email), Some(role)) = (email, role) else { return };
        if has_batch && role == Role::Admin {
            faults.add(&row.place, "batch", "is given for an admin, who reaches all batches");
            return;
        }
        let user = user_id_of(&email);
        let person = NewUser { user, email: email.clone(), name, role, password_hash: None };
        records.push((Record::User(person), row.place.clone()));
        if let Some(batch) = batch {
            let new = Record::Batch { batch: batch.clone(), title: batch.clone() };
            records.push((new, row.place.clone()));
            let membership = match role {
                Role::Student => Record::Enrolment { batch, email, enrolled_at: None },
                Role::Teacher | Role::Admin => Record::Teacher { batch, email },
            };
            records.push((membership, row.place.clone()));
        }
    })?;
    Ok(records)
}
