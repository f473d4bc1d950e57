//! Users, their refresh tokens, and the keys that sign access tokens.

use super::transaction::Transaction;
use crate::store::accounts::{
    Account, AddressHolder, NewUser, ReadAccounts, RefreshToken, StoredKey, WriteAccounts, parse_revocation,
    parse_role,
};
use crate::store::error::StoreError;
use crate::store::figures::Figure;
use rusqlite::Row;
use sync_protocol::token::Role;

const ACCOUNT: &str = "SELECT user, institute, email, name, role, password_hash, revocation FROM users";

const ACTIVE: &str = "deactivated_at IS NULL";

fn read_account(row: &Row<'_>) -> rusqlite::Result<Account> {
    let role: String = row.get(4)?;
    Ok(Account {
        user: row.get(0)?,
        institute: row.get(1)?,
        email: row.get(2)?,
        name: row.get(3)?,
        role: parse_role(&role).ok_or(rusqlite::Error::InvalidQuery)?,
        password_hash: row.get(5)?,
        revocation: parse_revocation(row.get(6)?).map_err(|_| rusqlite::Error::InvalidQuery)?,
    })
}

impl ReadAccounts for Transaction<'_> {
    fn account_by_email(&self, email: &str) -> Result<Option<Account>, StoreError> {
        self.one(&format!("{ACCOUNT} WHERE email = ?1 AND {ACTIVE}"), (email,), read_account)
    }

    fn holder_of_address(&self, email: &str) -> Result<Option<AddressHolder>, StoreError> {
        self.one("SELECT user, institute, role FROM users WHERE email = ?1", (email,), |row| {
            let role: String = row.get(2)?;
            let role = parse_role(&role).ok_or(rusqlite::Error::InvalidQuery)?;
            Ok(AddressHolder { user: row.get(0)?, institute: row.get(1)?, role })
        })
    }

    fn account(&self, user: &str) -> Result<Option<Account>, StoreError> {
        let sql = format!("{ACCOUNT} WHERE user = ?1 AND institute = ?2 AND {ACTIVE}");
        self.one(&sql, (user, self.institute), read_account)
    }

    fn batches_of(&self, account: &Account) -> Result<Vec<String>, StoreError> {
        let sql = match account.role {
            Role::Admin | Role::Guardian => return Ok(Vec::new()),
            Role::Teacher => {
                "SELECT batch FROM batch_teachers WHERE institute = ?1 AND user = ?2 ORDER BY batch"
            }
            Role::Student => {
                "SELECT batch FROM enrolments WHERE institute = ?1 AND student = ?2 ORDER BY batch"
            }
        };
        self.all(sql, (&account.institute, &account.user), |row| row.get(0))
    }

    fn institute_of_refresh_token(&self, token_hash: &[u8]) -> Result<Option<String>, StoreError> {
        let sql = "SELECT u.institute FROM refresh_tokens t CROSS JOIN users u ON u.user = t.user
             WHERE t.token_hash = ?1";
        self.one(sql, (token_hash,), |row| row.get(0))
    }

    fn refresh_token(&self, token_hash: &[u8]) -> Result<Option<RefreshToken>, StoreError> {
        self.one(
            "SELECT token_hash, family, user, device, issued_at, expires_at, rotated_at, revoked_at, successor
             FROM refresh_tokens WHERE token_hash = ?1",
            (token_hash,),
            |row| {
                Ok(RefreshToken {
                    token_hash: row.get(0)?,
                    family: row.get(1)?,
                    user: row.get(2)?,
                    device: row.get(3)?,
                    issued_at: row.get(4)?,
                    expires_at: row.get(5)?,
                    rotated_at: row.get(6)?,
                    revoked_at: row.get(7)?,
                    successor: row.get(8)?,
                })
            },
        )
    }

    fn signing_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        let sql = "SELECT kid, secret, signs_from FROM signing_keys ORDER BY signs_from DESC, kid";
        self.all(sql, (), |row| {
            Ok(StoredKey { kid: row.get(0)?, secret: row.get(1)?, signs_from: row.get(2)? })
        })
    }
}

impl WriteAccounts for Transaction<'_> {
    fn set_deactivated(&self, user: &str, at: Option<i64>) -> Result<bool, StoreError> {
        let sql = "UPDATE users SET deactivated_at = ?3
             WHERE user = ?1 AND institute = ?2 AND (deactivated_at IS NULL) <> (?3 IS NULL)";
        Ok(self.run(sql, (user, self.institute, at))? > 0)
    }

    fn add_user(&self, user: &NewUser, now: i64) -> Result<bool, StoreError> {
        let added = self.run(
            "INSERT INTO users (user, institute, email, name, role, password_hash, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
            (
                &user.user,
                self.institute,
                &user.email,
                &user.name,
                user.role.as_str(),
                &user.password_hash,
                now,
            ),
        )?;
        self.figures.add(Figure::Users, user.role.as_str(), i64::from(added > 0));
        Ok(added > 0)
    }

    fn change_user(&self, user: &str, name: Option<&str>, email: Option<&str>) -> Result<bool, StoreError> {
        let sql = "UPDATE OR IGNORE users SET name = coalesce(?3, name), email = coalesce(?4, email)
             WHERE user = ?1 AND institute = ?2";
        Ok(self.run(sql, (user, self.institute, name, email))? > 0)
    }

    fn set_role(&self, user: &str, role: Role) -> Result<(), StoreError> {
        let sql = "SELECT role FROM users WHERE user = ?1 AND institute = ?2";
        let before: Option<String> = self.one(sql, (user, self.institute), |row| row.get(0))?;
        let sql = "UPDATE users SET role = ?3 WHERE user = ?1 AND institute = ?2";
        self.run(sql, (user, self.institute, role.as_str()))?;
        if let Some(before) = before {
            self.figures.add(Figure::Users, &before, -1);
            self.figures.add(Figure::Users, role.as_str(), 1);
        }
        Ok(())
    }

    fn add_refresh_token(&self, token: &RefreshToken) -> Result<(), StoreError> {
        self.run(
            "DELETE FROM refresh_tokens WHERE user = ?1 AND expires_at < ?2",
            (&token.user, token.issued_at),
        )?;
        self.run(
            "INSERT INTO refresh_tokens (token_hash, family, user, device, issued_at, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (&token.token_hash, &token.family, &token.user, &token.device, token.issued_at, token.expires_at),
        )?;
        Ok(())
    }

    fn mark_rotated(&self, token_hash: &[u8], successor: Option<&[u8]>, now: i64) -> Result<(), StoreError> {
        let sql = "UPDATE refresh_tokens SET rotated_at = coalesce(rotated_at, ?2), successor = ?3
             WHERE token_hash = ?1";
        self.run(sql, (token_hash, now, successor))?;
        Ok(())
    }

    fn revoke_family(&self, family: &str, now: i64) -> Result<(), StoreError> {
        let sql = "UPDATE refresh_tokens SET revoked_at = ?2 WHERE family = ?1 AND revoked_at IS NULL";
        self.run(sql, (family, now))?;
        Ok(())
    }

    fn add_signing_key(&self, key: &StoredKey, now: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO signing_keys (kid, secret, created_at, signs_from) VALUES (?1, ?2, ?3, ?4)";
        self.run(sql, (&key.kid, &key.secret, now, key.signs_from))?;
        Ok(())
    }

    fn remove_signing_key(&self, kid: &str) -> Result<(), StoreError> {
        self.run("DELETE FROM signing_keys WHERE kid = ?1", (kid,))?;
        Ok(())
    }
}
