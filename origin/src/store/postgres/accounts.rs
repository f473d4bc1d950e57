//! Users, their refresh tokens, and the keys that sign access tokens.

use super::transaction::{Answer, Millis, Transaction, millis, some_millis};
use crate::store::accounts::{
    Account, AddressHolder, NewUser, ReadAccounts, RefreshToken, StoredKey, WriteAccounts, parse_revocation,
    parse_role,
};
use crate::store::error::StoreError;
use crate::store::figures::Figure;
use sync_protocol::revocation::Revocation;
use sync_protocol::token::Role;
use tokio_postgres::Row;

const COLUMNS: &str = r#""user", institute, email, name, role, password_hash"#;

pub(super) struct RawAccount {
    account: Account,
    role: String,
    revocation: Option<String>,
}

fn read_account(row: &Row) -> Result<RawAccount, tokio_postgres::Error> {
    Ok(RawAccount {
        account: Account {
            user: row.try_get(0)?,
            institute: row.try_get(1)?,
            email: row.try_get(2)?,
            name: row.try_get(3)?,
            role: Role::Student,
            password_hash: row.try_get(5)?,
            revocation: Revocation::default(),
        },
        role: row.try_get(4)?,
        revocation: row.try_get(6)?,
    })
}

impl RawAccount {
    pub(super) fn parse(self) -> Result<Account, StoreError> {
        let Self { account, role, revocation } = self;
        let role = parse_role(&role).ok_or(StoreError::Corrupt { what: "role", text: role })?;
        Ok(Account { role, revocation: parse_revocation(revocation)?, ..account })
    }
}

impl Transaction<'_> {
    pub(super) async fn ask_account(&self, user: &str) -> Answer<Option<RawAccount>> {
        let sql = format!(
            r#"SELECT {COLUMNS}, revocation::text FROM users WHERE "user" = $1 AND institute = $2
             AND deactivated_at IS NULL"#
        );
        self.ask_one(&sql, &[&user, &self.institute], read_account).await
    }
}

impl ReadAccounts for Transaction<'_> {
    fn account_by_email(&self, email: &str) -> Result<Option<Account>, StoreError> {
        let sql = format!("SELECT {COLUMNS}, NULL::text FROM account_by_email($1)");
        self.one(&sql, &[&email], read_account)?.map(RawAccount::parse).transpose()
    }

    fn holder_of_address(&self, email: &str) -> Result<Option<AddressHolder>, StoreError> {
        let sql = r#"SELECT "user", institute, role FROM account_by_email($1)"#;
        let found = self.one(sql, &[&email], |row| {
            Ok((row.try_get(0)?, row.try_get(1)?, row.try_get::<_, String>(2)?))
        })?;
        found
            .map(|(user, institute, role)| {
                let role = parse_role(&role).ok_or(StoreError::Corrupt { what: "role", text: role })?;
                Ok(AddressHolder { user, institute, role })
            })
            .transpose()
    }

    fn account(&self, user: &str) -> Result<Option<Account>, StoreError> {
        self.wait(self.ask_account(user))?.map(RawAccount::parse).transpose()
    }

    fn batches_of(&self, account: &Account) -> Result<Vec<String>, StoreError> {
        let sql = match account.role {
            Role::Admin | Role::Guardian => return Ok(Vec::new()),
            Role::Teacher => {
                r#"SELECT batch FROM batch_teachers WHERE institute = $1 AND "user" = $2 ORDER BY batch"#
            }
            Role::Student => {
                "SELECT batch FROM enrolments WHERE institute = $1 AND student = $2 ORDER BY batch"
            }
        };
        self.all(sql, &[&account.institute, &account.user], |row| row.try_get(0))
    }

    fn institute_of_refresh_token(&self, token_hash: &[u8]) -> Result<Option<String>, StoreError> {
        let institute =
            self.one("SELECT institute_of_refresh_token($1)", &[&token_hash], |row| row.try_get(0))?;
        Ok(institute.flatten())
    }

    fn refresh_token(&self, token_hash: &[u8]) -> Result<Option<RefreshToken>, StoreError> {
        self.one(
            r#"SELECT token_hash, family, "user", device, issued_at, expires_at, rotated_at, revoked_at, successor
             FROM refresh_tokens WHERE token_hash = $1 AND institute = $2"#,
            &[&token_hash, &self.institute],
            |row| {
                Ok(RefreshToken {
                    token_hash: row.try_get(0)?,
                    family: row.try_get(1)?,
                    user: row.try_get(2)?,
                    device: row.try_get(3)?,
                    issued_at: millis(row, 4)?,
                    expires_at: millis(row, 5)?,
                    rotated_at: some_millis(row, 6)?,
                    revoked_at: some_millis(row, 7)?,
                    successor: row.try_get(8)?,
                })
            },
        )
    }

    fn signing_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        let sql = "SELECT kid, secret, signs_from FROM signing_keys ORDER BY signs_from DESC, kid";
        self.all(sql, &[], |row| {
            Ok(StoredKey { kid: row.try_get(0)?, secret: row.try_get(1)?, signs_from: millis(row, 2)? })
        })
    }
}

impl WriteAccounts for Transaction<'_> {
    fn set_deactivated(&self, user: &str, at: Option<i64>) -> Result<bool, StoreError> {
        let sql = r#"UPDATE users SET deactivated_at = $3::timestamptz
             WHERE "user" = $1 AND institute = $2 AND (deactivated_at IS NULL) <> ($3::timestamptz IS NULL)"#;
        Ok(self.run(sql, &[&user, &self.institute, &Millis::of(at)])? > 0)
    }

    fn add_user(&self, user: &NewUser, now: i64) -> Result<bool, StoreError> {
        let added = self.run(
            r#"INSERT INTO users ("user", institute, email, name, role, password_hash, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING"#,
            &[
                &user.user,
                &self.institute,
                &user.email,
                &user.name,
                &user.role.as_str(),
                &user.password_hash,
                &Millis(now),
            ],
        )?;
        self.figures.add(Figure::Users, user.role.as_str(), i64::from(added > 0));
        Ok(added > 0)
    }

    fn change_user(&self, user: &str, name: Option<&str>, email: Option<&str>) -> Result<bool, StoreError> {
        let sql = r#"UPDATE users SET name = coalesce($3, name), email = coalesce($4, email)
             WHERE "user" = $1 AND institute = $2
                 AND NOT EXISTS (SELECT FROM account_by_email($4) other WHERE other."user" <> $1)"#;
        Ok(self.run(sql, &[&user, &self.institute, &name, &email])? > 0)
    }

    fn set_role(&self, user: &str, role: Role) -> Result<(), StoreError> {
        let sql = r#"WITH before AS (SELECT role FROM users WHERE "user" = $1 AND institute = $2)
             UPDATE users SET role = $3 FROM before WHERE "user" = $1 AND institute = $2 RETURNING before.role"#;
        let before: Option<String> =
            self.one(sql, &[&user, &self.institute, &role.as_str()], |row| row.try_get(0))?;
        if let Some(before) = before {
            self.figures.add(Figure::Users, &before, -1);
            self.figures.add(Figure::Users, role.as_str(), 1);
        }
        Ok(())
    }

    fn add_refresh_token(&self, token: &RefreshToken) -> Result<(), StoreError> {
        self.run(
            r#"DELETE FROM refresh_tokens WHERE "user" = $1 AND expires_at < $2"#,
            &[&token.user, &Millis(token.issued_at)],
        )?;
        self.run(
            r#"INSERT INTO refresh_tokens (token_hash, institute, family, "user", device, issued_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)"#,
            &[
                &token.token_hash,
                &self.institute,
                &token.family,
                &token.user,
                &token.device,
                &Millis(token.issued_at),
                &Millis(token.expires_at),
            ],
        )?;
        Ok(())
    }

    fn mark_rotated(&self, token_hash: &[u8], successor: Option<&[u8]>, now: i64) -> Result<(), StoreError> {
        let sql = "UPDATE refresh_tokens SET rotated_at = coalesce(rotated_at, $2), successor = $3
             WHERE token_hash = $1";
        self.run(sql, &[&token_hash, &Millis(now), &successor])?;
        Ok(())
    }

    fn revoke_family(&self, family: &str, now: i64) -> Result<(), StoreError> {
        let sql = "UPDATE refresh_tokens SET revoked_at = $2 WHERE family = $1 AND revoked_at IS NULL";
        self.run(sql, &[&family, &Millis(now)])?;
        Ok(())
    }

    fn add_signing_key(&self, key: &StoredKey, now: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO signing_keys (kid, secret, created_at, signs_from) VALUES ($1, $2, $3, $4)";
        self.run(sql, &[&key.kid, &key.secret, &Millis(now), &Millis(key.signs_from)])?;
        Ok(())
    }

    fn remove_signing_key(&self, kid: &str) -> Result<(), StoreError> {
        self.run("DELETE FROM signing_keys WHERE kid = $1", &[&kid])?;
        Ok(())
    }
}
