//! Commands that make and change users and batches, the institute itself, and the sessions of devices.

use super::{CommandFault, already_exists, forbidden, invalid, not_found, require_admin, require_batch};
use crate::clock::unix_ms;
use crate::services::auth;
use crate::services::local_time::LocalTime;
use crate::store::{Account, NewUser, WriteTx};
use serde_json::{Value, json};
use sync_protocol::command::Command;
use sync_protocol::tag;
use sync_protocol::token::Role;
use uuid::Uuid;

pub(super) fn apply(
    tx: &mut WriteTx<'_>,
    by: &Account,
    command: &Command,
    at: i64,
) -> Result<Value, CommandFault> {
    require_admin(by)?;
    let name = command.name();
    if let Command::CreateUser { email, name: full_name, role } = command {
        return create_user(tx, (email, full_name, *role), at);
    }
    if let Command::ChangeUser { user, name, email, role } = command {
        if role.is_some() {
            become_guardian(tx, user)?;
        }
        return change_user(tx, user, name.as_deref(), email.as_deref(), *role);
    }
    if let Command::CreateBatch { batch, title } = command {
        if !tx.add_batch(batch, title)? {
            return Err(already_exists("batch", batch));
        }
        tx.touch(tag::batch(batch));
        return Ok(json!({"command": name, "batch": batch, "title": title}));
    }
    if let Command::ChangeBatch { batch, title } = command {
        require_batch(tx, batch, "batch")?;
        tx.change_batch(batch, title)?;
        tx.touch(tag::batch(batch));
        return Ok(json!({"command": name, "batch": batch, "title": title}));
    }
    if let Command::ChangeInstitute { name: title, time_zone, currency } = command {
        if let Some(zone) = time_zone {
            LocalTime::new(zone).map_err(|_| {
                invalid("time_zone", format!("time_zone is {zone:?}, not a name of the IANA's database"))
            })?;
        }
        if let Some(currency) = currency {
            require_free_currency(tx, currency)?;
        }
        tx.change_institute(title.as_deref(), time_zone.as_deref(), currency.as_deref())?;
        tx.touch_everything();
        let now = tx.institute()?.ok_or_else(|| forbidden("there is no such institute"))?;
        return Ok(json!({
            "command": name, "institute": now.institute, "name": now.name, "time_zone": now.time_zone,
            "currency": now.currency,
        }));
    }
    if let Command::RevokeDevice { user, device } = command {
        tx.directory_entry(user)?.ok_or_else(|| not_found("user", user))?;
        let sessions = auth::remove_device(tx, user, device)?.sessions;
        return Ok(json!({"command": name, "user": user, "device": device, "sessions": sessions}));
    }
    Err(forbidden("the command is not about records"))
}

/// Amounts are whole units of the institute's currency: in another one they would be other amounts.
fn require_free_currency(tx: &WriteTx<'_>, currency: &str) -> Result<(), CommandFault> {
    let same = tx.institute()?.is_some_and(|institute| institute.currency == currency);
    if !same && tx.has_ledger()? {
        return Err(invalid("currency", "the currency stays, since amounts were owed in it".to_owned()));
    }
    Ok(())
}

fn create_user(
    tx: &mut WriteTx<'_>,
    (email, name, role): (&str, &str, Role),
    at: i64,
) -> Result<Value, CommandFault> {
    let user = NewUser {
        user: Uuid::now_v7().to_string(),
        email: email.to_lowercase(),
        name: name.to_owned(),
        role,
        password_hash: None,
    };
    if !tx.add_user(&user, at)? {
        return Err(already_exists("email", &user.email));
    }
    tx.touch(tag::user(&user.user));
    tx.touch(tag::member(&user.user));
    Ok(json!({
        "command": "create-user", "user": user.user, "email": user.email, "name": user.name,
        "role": role.as_str(),
    }))
}

fn change_user(
    tx: &mut WriteTx<'_>,
    user: &str,
    name: Option<&str>,
    email: Option<&str>,
    role: Option<Role>,
) -> Result<Value, CommandFault> {
    let entry = tx.directory_entry(user)?.ok_or_else(|| not_found("user", user))?;
    let email = email.map(str::to_lowercase);
    if !tx.change_user(user, name, email.as_deref())? {
        // The user is there: what stands in the way is the address.
        return Err(already_exists("email", email.as_deref().unwrap_or_default()));
    }
    if email.is_some() {
        // They came by mail to the address that was: whoever reads that mailbox sets no password here.
        tx.remove_password_resets(user)?;
    }
    tx.touch(tag::user(user));
    // Their name stands in the views of everybody whom they meet.
    entry.batches.iter().for_each(|batch| tx.touch(tag::batch(batch)));
    let role = role.map(Role::as_str);
    Ok(json!({"command": "change-user", "user": user, "name": name, "email": email, "role": role}))
}

/// Makes a guardian of a student of whom nothing says that they ever were one. Tokens with the old role count no more.
fn become_guardian(tx: &mut WriteTx<'_>, user: &str) -> Result<(), CommandFault> {
    let mut account = tx.account(user)?.ok_or_else(|| not_found("user", user))?;
    if account.role == Role::Guardian {
        return Ok(());
    }
    let studied = !tx.batches_of(&account)?.is_empty()
        || !tx.student_invoices(user)?.is_empty()
        || !tx.student_work(user, 1)?.is_empty();
    if account.role != Role::Student || studied {
        let detail = "only a student without batches, work and invoices can become a guardian";
        return Err(invalid("role", detail.to_owned()));
    }
    tx.set_role(user, Role::Guardian)?;
    tx.touch(tag::member(user));
    Ok(auth::end_all_sessions(tx, &mut account, unix_ms())?)
}
