//! Sessions of users, their devices, and the tokens that set a password.

use super::transaction::{Millis, Transaction, millis};
use crate::store::error::StoreError;
use crate::store::sessions::{Device, PasswordReset, ReadSessions, Session, WriteSessions};
use crate::store::transaction::to_json;
use sync_protocol::revocation::Revocation;

impl ReadSessions for Transaction<'_> {
    fn sessions(&self, user: &str, now: i64) -> Result<Vec<Session>, StoreError> {
        self.all(
            r#"SELECT t.family, t.device, d.name,
                    (SELECT min(issued_at) FROM refresh_tokens f WHERE f.family = t.family), t.issued_at, t.expires_at
             FROM refresh_tokens t
             LEFT JOIN devices d ON d.institute = $2 AND d."user" = t."user" AND d.device = t.device
             WHERE t."user" = $1 AND t.institute = $2 AND t.expires_at > $3
                AND t.rotated_at IS NULL AND t.revoked_at IS NULL
             ORDER BY t.issued_at, t.family"#,
            &[&user, &self.institute, &Millis(now)],
            |row| {
                Ok(Session {
                    session: row.try_get(0)?,
                    device: row.try_get(1)?,
                    device_name: row.try_get(2)?,
                    signed_in_at: millis(row, 3)?,
                    refreshed_at: millis(row, 4)?,
                    expires_at: millis(row, 5)?,
                })
            },
        )
    }

    fn devices(&self, user: &str) -> Result<Vec<Device>, StoreError> {
        self.all(
            r#"SELECT device, name, platform, registered_at FROM devices WHERE institute = $1 AND "user" = $2
             ORDER BY registered_at, device"#,
            &[&self.institute, &user],
            |row| {
                Ok(Device {
                    device: row.try_get(0)?,
                    name: row.try_get(1)?,
                    platform: row.try_get(2)?,
                    registered_at: millis(row, 3)?,
                })
            },
        )
    }

    fn password_reset(&self, token_hash: &[u8]) -> Result<Option<PasswordReset>, StoreError> {
        self.one(
            r#"SELECT token_hash, "user", expires_at FROM password_resets WHERE token_hash = $1 AND institute = $2"#,
            &[&token_hash, &self.institute],
            |row| {
                let (token_hash, user) = (row.try_get(0)?, row.try_get(1)?);
                Ok(PasswordReset { token_hash, user, expires_at: millis(row, 2)? })
            },
        )
    }
}

impl WriteSessions for Transaction<'_> {
    fn revoke_sessions(&self, user: &str, now: i64) -> Result<(), StoreError> {
        let sql = r#"UPDATE refresh_tokens SET revoked_at = $3
             WHERE "user" = $1 AND institute = $2 AND revoked_at IS NULL"#;
        self.run(sql, &[&user, &self.institute, &Millis(now)])?;
        Ok(())
    }

    fn set_revocation(&self, user: &str, revocation: &Revocation) -> Result<(), StoreError> {
        let sql = r#"UPDATE users SET revocation = $3::text::json WHERE "user" = $1 AND institute = $2"#;
        self.run(sql, &[&user, &self.institute, &to_json(revocation)])?;
        Ok(())
    }

    fn set_password(&self, user: &str, password_hash: &str) -> Result<(), StoreError> {
        let sql = r#"UPDATE users SET password_hash = $3 WHERE "user" = $1 AND institute = $2"#;
        self.run(sql, &[&user, &self.institute, &password_hash])?;
        Ok(())
    }

    fn put_device(&self, user: &str, device: &Device) -> Result<(), StoreError> {
        self.run(
            r#"INSERT INTO devices (institute, "user", device, name, platform, registered_at)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (institute, "user", device) DO UPDATE SET name = excluded.name, platform = excluded.platform"#,
            &[
                &self.institute,
                &user,
                &device.device,
                &device.name,
                &device.platform,
                &Millis(device.registered_at),
            ],
        )?;
        Ok(())
    }

    fn remove_device(&self, user: &str, device: &str) -> Result<bool, StoreError> {
        let sql = r#"DELETE FROM devices WHERE institute = $1 AND "user" = $2 AND device = $3"#;
        Ok(self.run(sql, &[&self.institute, &user, &device])? > 0)
    }

    fn add_password_reset(&self, reset: &PasswordReset, now: i64) -> Result<(), StoreError> {
        let expired =
            r#"DELETE FROM password_resets WHERE institute = $1 AND "user" = $2 AND expires_at <= $3"#;
        self.run(expired, &[&self.institute, &reset.user, &Millis(now)])?;
        let sql = r#"INSERT INTO password_resets (token_hash, institute, "user", expires_at)
             VALUES ($1, $2, $3, $4)"#;
        self.run(sql, &[&reset.token_hash, &self.institute, &reset.user, &Millis(reset.expires_at)])?;
        Ok(())
    }

    fn remove_password_resets(&self, user: &str) -> Result<(), StoreError> {
        let sql = r#"DELETE FROM password_resets WHERE institute = $1 AND "user" = $2"#;
        self.run(sql, &[&self.institute, &user])?;
        Ok(())
    }
}
